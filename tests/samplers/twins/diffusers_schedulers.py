"""A run of one of diffusers' schedulers, asking an exact mixture and drawing the noise it is handed.

Its answers are converted to what the scheduler expects of a network, so that a whole run can be compared with one of
ours state by state. diffusers computes its tables, and in places its states, in float32: a run *as shipped* can agree
to about seven digits, less what the noise levels amplify. To tell rounding from mathematics every comparison is made a
second time with float64 in place of float32 in diffusers' own lines (:func:`precision`), where it agrees to twelve
digits and more; it is held to nine, because DDPM adds noise of variance 1e-20 where there should be none.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.core import Gaussian, Rng
from mezzotint.denoiser import Denoiser, Mixture
from mezzotint.processes import DDPM, EDM, Continuous
from mezzotint.samplers import Sampler, State

SHAPE = (3, 2)
SEEDS = range(5)
TOLERANCE = {"as shipped": 1e-4, "float64": 1e-9}
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}  # theirs: ours
Ask = Callable[[Any, Tensor, Tensor], Tensor]  # (scheduler, timestep, x) -> what the network says


@contextmanager
def precision(digits: str) -> Iterator[None]:
    """``as shipped``, or ``float64`` in place of float32 in the lines of diffusers."""
    before = torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        if digits == "float64":
            patch.setattr(torch, "float32", torch.float64)
            patch.setattr(np, "float32", np.float64)
            torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@cache
def mixture(process: Continuous) -> Mixture:
    """Three components off the centre, each with its own axes and spreads."""
    draw, size = np.random.default_rng(11), SHAPE[0] * SHAPE[1]
    means = draw.normal(size=(3, size)) + 0.7
    axes = [np.linalg.qr(draw.normal(size=(size, size)))[0] for _ in range(3)]
    covariances = np.array([a @ np.diag(draw.uniform(0.2, 1.0, size) ** 2) @ a.T for a in axes])
    return Mixture(process, torch.tensor(means), torch.tensor(covariances), weights=[0.5, 0.3, 0.2], shape=SHAPE)


@cache
def prior_mean() -> Tensor:
    """What is best said of the clean data where nothing of it is left: the mean of the mixture."""
    model = mixture(EDM())
    return (model.log_weights.exp()[:, None] * model.means).sum(0).reshape(SHAPE)


@cache
def normals() -> Tensor:
    return Rng(SEEDS).normal("twins", SHAPE).double()


def answer(kind: str, x: Tensor, alpha: Tensor, sigma: Tensor, sigma_data: float = 0.5) -> Tensor:
    """What a network of this prediction type that had learnt the mixture would say of x = alpha x_0 + sigma noise.

    The mixture is asked on the variance-exploding process, x / alpha at sigma / alpha, which knows no table of anybody.
    """
    alpha, sigma, edm = alpha.double(), sigma.double(), EDM()
    if alpha == 0:
        x0 = prior_mean().expand_as(x)
    else:
        x0 = mixture(edm)(x.double() / alpha, (sigma / alpha / edm.sigma_max).expand(len(x))).mean
    noise = (x.double() - alpha * x0) / sigma
    size = (sigma_data**2 + sigma**2).sqrt()
    return {
        "epsilon": lambda: noise,
        "sample": lambda: x0,
        "v_prediction": lambda: alpha * noise - sigma * x0,
        "flow_prediction": lambda: noise - x0,
        "edm": lambda: (x0 - (sigma_data / size) ** 2 * x) * size / (sigma * sigma_data),  # alpha = 1
    }[kind]()


def at_index(kind: str) -> Ask:
    """Of schedulers that name an index of their table (DDPM, DDIM)."""

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        kept = scheduler.alphas_cumprod[timestep]
        return answer(kind, x, kept.sqrt(), (1 - kept).sqrt())

    return ask


def _sigma(scheduler: Any, timestep: Tensor) -> Tensor:
    if scheduler.step_index is None:
        scheduler._init_step_index(timestep)
    return scheduler.sigmas[scheduler.step_index].double()


def at_sigma(kind: str) -> Ask:
    """Of schedulers that have a list of sigmas and keep x / alpha (Euler, Heun, EDM)."""

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        sigma = _sigma(scheduler, timestep)
        scheduler.is_scale_input_called = True
        if kind == "edm":
            return answer(kind, x, torch.ones_like(sigma), sigma)
        alpha = (1 + sigma**2).rsqrt()  # their networks see x_t of unit variance
        return answer(kind, alpha * x, alpha, alpha * sigma)

    return ask


def at_ratio(kind: str) -> Ask:
    """Of schedulers that have a list of sigmas and keep x_t (DPM-Solver, UniPC, flow matching)."""

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        sigma = _sigma(scheduler, timestep)
        flow = kind == "flow_prediction"
        alpha = 1 - sigma if flow else (1 + sigma**2).rsqrt()
        return answer(kind, x, alpha, sigma if flow else alpha * sigma)

    return ask


def walk(scheduler: Any, x: Tensor, ask: Ask, noises: Sequence[Tensor] | None = None, **options: Any) -> list[Tensor]:
    """The states of their run, its start included.

    Arguments:
        noises: one for each step; None for a scheduler that draws none.
        options: of the scheduler's own ``step``.
    """
    states, module = [x], sys.modules[type(scheduler).__module__]
    for i, timestep in enumerate(scheduler.timesteps):
        with pytest.MonkeyPatch.context() as patch:
            if noises is not None:
                patch.setattr(module, "randn_tensor", lambda *_, noise=noises[i], **__: noise)
            x = scheduler.step(ask(scheduler, timestep, x), timestep, x, **options).prev_sample
        states.append(x)
    return states


def once_an_interval(states: list[Tensor]) -> list[Tensor]:
    """The states of a scheduler that steps twice for every interval but the last, without those halfway."""
    return states[:-1:2] + states[-1:]


def ours(sampler: Sampler, model: Denoiser, start: Tensor) -> tuple[list[State], list[Tensor]]:
    """The states of our run on the sampler's grid, and the noise each of its steps draws."""
    times = sampler.grid(model.process, sampler.steps)
    states = list(sampler.trajectory(model, rng=Rng(SEEDS), times=times, start=start))
    unit = Gaussian(torch.zeros_like(start), torch.ones_like(start))  # two laws under one key share their noise
    return states, [unit.sample(state.rng.at("move")) for state in states[:-1]]


def over_alpha(process: Continuous, states: list[State]) -> list[Tensor]:
    """x / alpha, in which Euler's scheduler and its kin write everything."""
    return [state.x / process.alpha(state.t)[:, None, None] for state in states]


def agree(name: str, mine: Sequence[Tensor | State], run: Callable[[], list[Tensor]]) -> None:
    """Every state of ours is theirs, as shipped and in float64, relative to entries above 1."""
    states = [state.x if isinstance(state, State) else state for state in mine]
    found = {}
    for digits in TOLERANCE:
        with precision(digits):
            found[digits] = furthest(run(), states)
    print(f"\n{name:60}" + "".join(f"{digits:>12} {worst:.1e}" for digits, worst in found.items()), end="")
    assert all(worst < TOLERANCE[digits] for digits, worst in found.items()), found


def furthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        assert bool(torch.isfinite(a).all()) and bool(torch.isfinite(b).all())
        worst = max(worst, float(((a.double() - b.double()).abs() / b.double().abs().clamp(min=1)).max()))
    return worst


def given(times: Tensor) -> Callable[[Continuous, int], Tensor]:
    """The grid of these times."""
    return lambda process, steps: times


def of_ratios(process: Continuous, sigmas: Tensor) -> Tensor:
    """The times at which sigma / alpha is what their list says."""
    ratio = torch.unique_consecutive(sigmas.double())
    return process.time(ratio / (1 + ratio))


def lowest(process: DDPM) -> float:
    """sigma / alpha at index 0."""
    t = torch.tensor(1 / process.steps, dtype=torch.float64)
    return float(process.sigma(t) / process.alpha(t))
