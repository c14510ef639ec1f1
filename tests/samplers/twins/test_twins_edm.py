"""Schedulers that write everything in sigma / alpha: Euler, Euler with fresh noise, Heun, and EDM's Euler.

Their state is x / alpha, so a run on a variance-preserving process is compared with ours over alpha.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import (  # noqa: E402
    agree,
    at_sigma,
    given,
    lowest,
    mixture,
    normals,
    of_ratios,
    once_an_interval,
    ours,
    over_alpha,
    precision,
    walk,
)

from mezzotint.processes import DDPM, EDM  # noqa: E402
from mezzotint.samplers import Ancestral, Churn, Euler, Grid, Karras, LogSNR, Respaced  # noqa: E402

LATENT = DDPM(1000, 0.00085, 0.012, "scaled_linear")
THEIRS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
GRIDS: dict[str, tuple[dict[str, Any], Grid | None]] = {
    "trailing": ({"timestep_spacing": "trailing"}, Respaced("trailing")),
    "leading": ({"timestep_spacing": "leading", "steps_offset": 1}, Respaced("leading", offset=1)),
    "karras": ({"use_karras_sigmas": True}, Karras(sigma_min=lowest(LATENT))),
    "exponential": ({"use_exponential_sigmas": True}, LogSNR(sigma_min=lowest(LATENT))),
    "between indices": ({}, None),
}
CASES = pytest.mark.parametrize(
    ("kind", "name"), [("epsilon", name) for name in GRIDS] + [("sample", "karras"), ("v_prediction", "karras")]
)


def scheduler_of(kind: str, **options: Any) -> Any:
    scheduler = getattr(diffusers, kind)(**THEIRS, **options)
    scheduler.set_timesteps(12)
    return scheduler


def grid_of(name: str, kind: str) -> Grid:
    """Ours; their own linspace interpolates sigma between whole indices and is taken over."""
    options, grid = GRIDS[name]
    if grid is not None:
        return grid
    with precision("float64"):
        return given(of_ratios(LATENT, scheduler_of(kind, **options).sigmas))


@CASES
def test_euler(kind: str, name: str) -> None:
    grid = grid_of(name, "EulerDiscreteScheduler")
    states, _ = ours(Euler(12, grid=grid), mixture(LATENT), normals())
    mine = over_alpha(LATENT, states)

    def run() -> list[torch.Tensor]:
        scheduler = scheduler_of("EulerDiscreteScheduler", prediction_type=kind, **GRIDS[name][0])
        return walk(scheduler, mine[0], at_sigma(kind))

    agree(f"Euler {kind} {name}", mine, run)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_euler_with_fresh_noise(kind: str) -> None:
    """It is DDPM's step."""
    states, noises = ours(Ancestral(12, grid=Respaced("trailing")), mixture(LATENT), normals())
    mine = over_alpha(LATENT, states)

    def run() -> list[torch.Tensor]:
        scheduler = scheduler_of("EulerAncestralDiscreteScheduler", prediction_type=kind, timestep_spacing="trailing")
        return walk(scheduler, mine[0], at_sigma(kind), noises)

    agree(f"Euler ancestral {kind}", mine, run)


@CASES
def test_heun(kind: str, name: str) -> None:
    """EDM's second order method, whose coordinate is sigma: ours without churn."""
    grid = grid_of(name, "HeunDiscreteScheduler")
    states, _ = ours(Churn(12, grid=grid), mixture(LATENT), normals())
    mine = over_alpha(LATENT, states)

    def run() -> list[torch.Tensor]:
        scheduler = scheduler_of("HeunDiscreteScheduler", prediction_type=kind, **GRIDS[name][0])
        return once_an_interval(walk(scheduler, mine[0], at_sigma(kind)))

    agree(f"Heun {kind} {name}", mine, run)


@pytest.mark.parametrize("grid", [Karras(), LogSNR()], ids=str)
@pytest.mark.parametrize("steps", [2, 18])
def test_edm_euler(grid: Grid, steps: int) -> None:
    name = "karras" if isinstance(grid, Karras) else "exponential"
    states, _ = ours(Euler(steps, grid=grid), mixture(EDM()), 80 * normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.EDMEulerScheduler(sigma_schedule=name)
        scheduler.set_timesteps(steps)
        return walk(scheduler, 80 * normals(), at_sigma("edm"))

    agree(f"EDM Euler {name} {steps}", states, run)
