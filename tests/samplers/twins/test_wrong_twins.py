"""Where diffusers' schedulers are no twins: the exact answer, that ours is it, and by how much theirs misses it.

Data are one point (every deterministic method is then exact, at any times), one Gaussian (its path is known in closed
form) or a polynomial in lambda = log(alpha / sigma) (its integral is). Everything of theirs runs in float64, so that a
miss is no rounding. Each test fails once diffusers mends what it describes: the twin then belongs with the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import (  # noqa: E402
    Ask,
    at_ratio,
    furthest,
    mixture,
    normals,
    ours,
    precision,
    prior_mean,
    walk,
)

from mezzotint.core import NONE, Dirac, Rng  # noqa: E402
from mezzotint.denoiser import Denoiser, Mixture  # noqa: E402
from mezzotint.processes import DDPM, EDM, Continuous, Flow  # noqa: E402
from mezzotint.samplers import (  # noqa: E402
    Ancestral,
    Euler,
    LogSNR,
    Multistep,
    Respaced,
    Sampler,
    Shift,
    State,
    Uniform,
    UniPC,
)

CENTRE = 2.0
START = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64).reshape(-1, 1)
ONE = torch.ones((), dtype=torch.float64)


def gaussian(process: Continuous, spread: float) -> Mixture:
    """Data N(CENTRE, spread^2); with 0, one point."""
    return Mixture(process, [[CENTRE]], [[[spread**2]]])


def path(process: Continuous, spread: float, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Where the probability flow takes x from t to s: (x - alpha centre) / sqrt(alpha^2 spread^2 + sigma^2) stays."""
    alpha_t, sigma_t, alpha_s, sigma_s = process.alpha(t), process.sigma(t), process.alpha(s), process.sigma(s)
    size_t, size_s = torch.hypot(alpha_t * spread, sigma_t), torch.hypot(alpha_s * spread, sigma_s)
    return alpha_s * CENTRE + size_s / size_t * (x - alpha_t * CENTRE)


def noise_at_index(spread: float) -> Ask:
    """What a network that predicts the noise would say, at the index it is asked at."""

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        kept = scheduler.alphas_cumprod[timestep]
        alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
        return sigma * (x - alpha * CENTRE) / (alpha**2 * spread**2 + sigma**2)

    return ask


def run(sampler: Sampler, model: Denoiser, start: Tensor) -> list[State]:
    times = sampler.grid(model.process, sampler.steps)  # type: ignore[arg-type]
    return list(sampler.trajectory(model, rng=Rng(range(len(start))), times=times, start=start))


def theirs(kind: str, steps: int, spread: float, **options: Any) -> list[Tensor]:
    with precision("float64"):
        scheduler = getattr(diffusers, kind)(**options)
        scheduler.set_timesteps(steps)
        return walk(scheduler, START, noise_at_index(spread))


@pytest.mark.parametrize(
    ("spacing", "steps", "miss"),
    [("linspace", 10, 0.248), ("linspace", 50, 0.0429), ("trailing", 7, 0.0160), ("trailing", 13, 0.0276)],
)
def test_ddim_misses_its_own_indices(spacing: str, steps: int, miss: float) -> None:
    """It goes down by floor(T / N) from wherever it is, and asks at the next index of its list all the same."""
    process, grid = DDPM(), Respaced(spacing)
    states = run(Euler(steps, grid=grid), gaussian(process, 0.0), START)
    exact = [path(process, 0.0, START, states[0].t[0], state.t[0]) for state in states]
    assert furthest([state.x for state in states], exact) < 1e-12
    found = theirs("DDIMScheduler", steps, 0.0, timestep_spacing=spacing, clip_sample=False)
    print(f"\n{spacing} {steps}: {furthest(found, exact):.3g}", end="")
    assert furthest(found, exact) == pytest.approx(miss, rel=0.01)


@pytest.mark.parametrize("spacing", ["linspace", "trailing"])
def test_ddim_with_more_steps_gets_worse(spacing: str) -> None:
    """Beyond half the indices floor(T / N) is 1, and most of the noise is still there at the last one."""
    process, grid, missed, mine = DDPM(), Respaced(spacing), [], []
    exact = path(process, 0.5, START, ONE, 0 * ONE)
    for steps in (100, 600):
        mine.append(float((run(Euler(steps, grid=grid), gaussian(process, 0.5), START)[-1].x - exact).abs().max()))
        end = theirs("DDIMScheduler", steps, 0.5, timestep_spacing=spacing, clip_sample=False)[-1]
        missed.append(float((end - exact).abs().max()))
    print(f"\n{spacing} 100, 600: ours {mine} theirs {missed}", end="")
    assert mine[0] < 0.04 and mine[1] < 0.007  # first order
    assert missed[1] == pytest.approx(0.984, rel=0.01)


@pytest.mark.parametrize("kind", ["DDIMScheduler", "DDPMScheduler"])
def test_trailing_counts_one_index_too_many(kind: str) -> None:
    """Their list of 61 has 62 entries, by rounding; the last is -1, in Python the noisiest: all end at the mean."""
    process, steps = DDPM(), 61
    with precision("float64"):
        scheduler = getattr(diffusers, kind)(timestep_spacing="trailing", clip_sample=False)
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == 62 and scheduler.timesteps[-1] == -1
        end = walk(scheduler, START, noise_at_index(0.5), [torch.zeros_like(START)] * 62)[-1]
    eta = 0.0 if kind == "DDIMScheduler" else 1.0
    sampler = Ancestral(steps, eta=eta, grid=Respaced("trailing"))
    states = run(sampler, gaussian(process, 0.5), START)
    assert len(states) == steps + 1
    if eta == 0:
        assert float((states[-1].x - path(process, 0.5, START, ONE, 0 * ONE)).abs().max()) < 0.06
    assert 0.4 < float(states[-1].x.std()) < 1.0
    print(f"\n{kind} 61: every sample within {float((end - CENTRE).abs().max()):.3g} of the mean", end="")
    assert float((end - CENTRE).abs().max()) < 0.01


@pytest.mark.parametrize("kind", ["DDIMScheduler", "DDPMScheduler"])
def test_one_step_of_linspace(kind: str) -> None:
    """The mean given pure noise is the answer; theirs asks at index 0 and hands the noise back."""
    process = DDPM()
    end = run(Euler(1, grid=Respaced("linspace")), gaussian(process, 0.5), START)[-1].x
    alpha, sigma = process.alpha(ONE), process.sigma(ONE)
    exact = CENTRE + alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) * (START - alpha * CENTRE)
    torch.testing.assert_close(end, exact, rtol=0, atol=1e-12)
    back = theirs(kind, 1, 0.5, timestep_spacing="linspace", clip_sample=False)[-1]
    assert float((back - START).abs().max()) < 2e-3
    assert float((back - exact).abs().max()) > 4


def test_larger_variance_at_the_clean_end() -> None:
    """Where the last index is not 0 theirs adds beta of the whole last interval to clean data: a third of all noise."""
    process, steps = DDPM(), 10
    states = run(Ancestral(steps, variance="large", grid=Respaced("trailing")), gaussian(process, 0.0), START)
    torch.testing.assert_close(states[-1].x, torch.full_like(START, CENTRE), rtol=0, atol=1e-12)
    with precision("float64"):
        scheduler = diffusers.DDPMScheduler(variance_type="fixed_large", timestep_spacing="trailing", clip_sample=False)
        scheduler.set_timesteps(steps)
        end = walk(scheduler, START, noise_at_index(0.0), [torch.ones_like(START)] * steps)[-1]
    assert scheduler.timesteps[-1] == 99
    extra = process.sigma(torch.tensor(0.1, dtype=torch.float64))
    torch.testing.assert_close(end, CENTRE + extra.expand_as(START), rtol=0, atol=1e-9)
    assert 0.3 < float(extra) < 0.35


def test_one_step_of_flow_with_a_terminal_shift() -> None:
    """The stretch divides by 1 - t of its last point, which of one step is the prior: 0 / 0."""
    with precision("float64"), np.errstate(invalid="ignore"):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift_terminal=0.1)
        scheduler.set_timesteps(1)
    assert bool(torch.isnan(scheduler.sigmas[0]))
    for factor in (1.0, 3.0):
        states, _ = ours(Euler(1, grid=Shift(Uniform(), factor)), mixture(Flow()), normals())
        torch.testing.assert_close(states[-1].x, prior_mean().expand_as(normals()), rtol=0, atol=1e-12)


def test_the_end_of_unipc_bh1() -> None:
    """B(h) = -h is infinite on the interval that ends at clean data, and theirs multiplies it by 0."""
    process = DDPM()
    states, _ = ours(
        UniPC(8, variant="bh1", lower_order_final=True, grid=Respaced("trailing")), mixture(process), normals()
    )
    with precision("float64"):
        scheduler = diffusers.UniPCMultistepScheduler(solver_type="bh1", timestep_spacing="trailing")
        scheduler.set_timesteps(8)
        found = walk(scheduler, normals(), at_ratio("epsilon"))
    assert furthest(found[:-1], [state.x for state in states[:-1]]) < 1e-9
    assert bool(torch.isnan(found[-1]).all())
    before = states[-2]
    torch.testing.assert_close(states[-1].x, mixture(process)(before.x, before.t).mean, rtol=0, atol=1e-12)


class Polynomial(Denoiser):
    """Clean data that are 0.3 + 0.5 lambda + BEND lambda^2 whatever x is."""

    def __init__(self, process: Continuous) -> None:
        super().__init__()
        self.process, self.shape = process, (1,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        return Dirac(polynomial(0.5 * self.process.log_snr(t)).reshape(-1, 1).expand_as(x))


BEND = 0.2


def polynomial(at: Tensor) -> Tensor:
    return 0.3 + 0.5 * at + BEND * at**2


def integral(rate: int, start: Tensor, end: Tensor) -> Tensor:
    """Of rate e^(-rate (end - l)) polynomial(l) over l from start to end: by parts, term by term."""

    def until(at: Tensor) -> Tensor:
        slope, bend = (0.5 + 2 * BEND * at) / rate, 2 * BEND / rate**2
        return torch.exp(-rate * (end - at)) * (polynomial(at) - slope + bend)

    return until(end) - until(start)


def quadratic_run(process: DDPM, algorithm: str, steps: int) -> list[Tensor]:
    """A run of their third order whose network says the polynomial; no noise is drawn."""

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        kept = scheduler.alphas_cumprod[timestep]
        return polynomial(0.5 * (kept / (1 - kept)).log()).expand_as(x)

    with precision("float64"):
        scheduler = diffusers.DPMSolverMultistepScheduler(
            solver_order=3, algorithm_type=algorithm, prediction_type="sample", timestep_spacing="trailing"
        )
        scheduler.set_timesteps(steps)
        return walk(scheduler, START, ask, [torch.zeros_like(START)] * steps)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_third_order_is_exact_on_parabolas(eta: float) -> None:
    """Ours is. Theirs misses by closed forms: half of the last term without noise, more than all of it with noise.

    With z = -h, or -2 h with fresh noise, the last difference h^2 BEND enters with the weight 1 - 2 phi_2(z). Theirs
    has 1/2 - phi_2 (c = 1) and, with noise, -1/2 - phi_2: a wrong sign, which costs two orders.
    """
    process, steps = DDPM(), 16
    sampler = Multistep(steps, order=3, eta=eta, grid=Respaced("trailing"))
    as_theirs = Multistep(steps, order=3, eta=eta, compat="reference", grid=Respaced("trailing"))
    model, times = Polynomial(process), sampler.grid(process, steps)
    half = 0.5 * process.log_snr(times)
    found = quadratic_run(process, "sde-dpmsolver++" if eta else "dpmsolver++", steps)
    states, reference = run(sampler, model, START), run(as_theirs, model, START)
    for i in range(2, steps - 1):  # until then there are fewer than three answers
        h, alpha, rate = half[i + 1] - half[i], process.alpha(times[i + 1]), 2 if eta else 1
        keep = process.sigma(times[i + 1]) / process.sigma(times[i]) * torch.exp(-(rate - 1) * h)
        arrives = alpha * integral(rate, half[i], half[i + 1])
        s = times[i + 1].expand(len(START))
        for one, weight in ((sampler, 0.0), (as_theirs, None)):
            state = (states if one is sampler else reference)[i]
            off = one.transition(model, state, s, NONE).mean - keep * state.x - arrives
            phi_2 = (1 - (1 - torch.exp(-rate * h)) / (rate * h)) / (rate * h)
            missing = alpha * BEND * h**2 * (phi_2 - 0.5 if weight is None else weight)
            torch.testing.assert_close(off, missing.expand_as(off), rtol=1e-7, atol=1e-12)
        off = found[i + 1] - keep * found[i] - arrives
        missing = alpha * BEND * h**2 * (phi_2 - (1.5 if eta else 0.5))
        torch.testing.assert_close(off, missing.expand_as(off), rtol=1e-7, atol=1e-12)
        assert float(missing.abs()) > (2e-3 if eta else 1e-4)


def mass(model: Mixture, sigma: float, x: Tensor) -> Tensor:
    """How much of a one-dimensional mixture plus noise lies below x (B, 1)."""
    spread = (model.spreads[:, 0] + sigma**2).sqrt()
    return (model.log_weights.exp() * torch.special.ndtr((x - model.means[:, 0]) / spread)).sum(-1, keepdim=True)


def quantile(model: Mixture, sigma: float, below: Tensor) -> Tensor:
    """Its inverse, by bisection."""
    low, high = torch.full_like(below, -1e3), torch.full_like(below, 1e3)
    for _ in range(80):
        middle = 0.5 * (low + high)
        under = mass(model, sigma, middle) < below
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return middle


def test_third_order_has_third_order() -> None:
    """On two Gaussians, from sigma 80 to 0.002 at equal steps of the log: ours 3, theirs 2.

    On the line the probability flow keeps the order of points, so each stays at its own quantile: that is the truth.
    """
    process, mine, missed = EDM(), [], []
    model = Mixture(process, [[-1.0], [2.0]], [[[0.25]], [[0.16]]], weights=[0.4, 0.6])
    exact = quantile(model, 0.002, mass(model, 80.0, 80 * START))

    def ask(scheduler: Any, timestep: Tensor, x: Tensor) -> Tensor:
        if scheduler.step_index is None:
            scheduler._init_step_index(timestep)
        sigma = scheduler.sigmas[scheduler.step_index]
        x0 = model(x, (sigma / 80).expand(len(x))).mean
        size = torch.hypot(sigma, torch.tensor(0.5))
        return (x0 - (0.5 / size) ** 2 * x) * size / (0.5 * sigma)

    for steps in (80, 320):
        end = run(Multistep(steps, order=3, grid=LogSNR()), model, 80 * START)[-2].x
        with precision("float64"):
            scheduler = diffusers.EDMDPMSolverMultistepScheduler(solver_order=3, sigma_schedule="exponential")
            scheduler.set_timesteps(steps)
            found = walk(scheduler, 80 * START, ask)[-2]
        mine.append(float((end - exact).abs().median()))
        missed.append(float((found - exact).abs().median()))
    orders = [math.log(error[0] / error[1], 4) for error in (mine, missed)]
    print(f"\nours {mine} order {orders[0]:.2f}, theirs {missed} order {orders[1]:.2f}", end="")
    assert orders[0] == pytest.approx(3, abs=0.25) and orders[1] == pytest.approx(2, abs=0.25)
    assert missed[1] > 10 * mine[1]
