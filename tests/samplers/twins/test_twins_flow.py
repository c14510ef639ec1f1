"""Rectified flow: Euler and Heun, on the grids that pipelines hand over and on the schedulers' own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import agree, at_ratio, given, mixture, normals, once_an_interval, ours, walk  # noqa: E402

from mezzotint.processes import Flow  # noqa: E402
from mezzotint.samplers import Ancestral, Euler, Heun, Sampler, Shift, Uniform  # noqa: E402

ASK = at_ratio("flow_prediction")


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("factor", [1.0, 3.0])
@pytest.mark.parametrize("name", ["Euler", "DDIM"])
def test_euler(steps: int, factor: float, name: str) -> None:
    """With the sigmas that pipelines hand over, 1, 1 - 1 / N, .., 1 / N."""
    grid = Shift(Uniform(), factor)
    sampler: Sampler = Euler(steps, grid=grid) if name == "Euler" else Ancestral(steps, eta=0.0, grid=grid)
    states, _ = ours(sampler, mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=factor)
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
        return walk(scheduler, normals(), ASK)

    agree(f"flow Euler shift {factor} {steps} as {name}", states, run)


def test_a_shift_that_depends_on_the_resolution() -> None:
    states, _ = ours(Euler(10, grid=Shift(Uniform(), math.exp(1.15))), mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        scheduler.set_timesteps(sigmas=np.linspace(1, 0.1, 10), mu=1.15)
        return walk(scheduler, normals(), ASK)

    agree("flow Euler mu 1.15", states, run)


def own(steps: int, shift: float) -> torch.Tensor:
    """The schedulers' own grid: uniform from 1 to the shifted 1 / T, then shifted (again), then 0."""
    last = shift * 0.001 / (1 + (shift - 1) * 0.001)
    t = torch.linspace(1, last, steps, dtype=torch.float64)
    return torch.cat([shift * t / (1 + (shift - 1) * t), torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("sampler", [Euler, Heun])
def test_their_own_grid(shift: float, sampler: type[Sampler]) -> None:
    states, _ = ours(sampler(10, grid=given(own(10, shift))), mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = getattr(diffusers, f"FlowMatch{sampler.__name__}DiscreteScheduler")(shift=shift)
        scheduler.set_timesteps(10)
        theirs = walk(scheduler, normals(), ASK)
        return once_an_interval(theirs) if sampler is Heun else theirs

    agree(f"flow {sampler.__name__} shift {shift} own grid", states, run)


def test_a_terminal_shift() -> None:
    """Stretched so that the last time before 0 is the one wanted: t -> 1 - (1 - t) (1 - end) / (1 - last)."""
    t = torch.linspace(1, 0.1, 10, dtype=torch.float64)
    times = torch.cat([1 - (1 - t) * (1 - 0.05) / (1 - t[-1]), torch.zeros(1, dtype=torch.float64)])
    states, _ = ours(Euler(10, grid=given(times)), mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift_terminal=0.05)
        scheduler.set_timesteps(sigmas=np.linspace(1, 0.1, 10))
        return walk(scheduler, normals(), ASK)

    agree("flow Euler terminal shift", states, run)
