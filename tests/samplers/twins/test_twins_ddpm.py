"""DDPM: the same tables, the same indices, and every state of a run under the same noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import SCHEDULES, Ask, agree, at_index, mixture, normals, ours, precision, walk  # noqa: E402

from mezzotint.processes import DDPM  # noqa: E402
from mezzotint.samplers import Ancestral, Respaced  # noqa: E402

TERMINAL = pytest.mark.parametrize("zero", [False, True], ids=["", "zero terminal"])


@TERMINAL
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_tables(schedule: str, zero: bool) -> None:
    process = DDPM(schedule=SCHEDULES[schedule], zero_terminal=zero)
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    # Theirs are a product of rounded factors, which near t = 1 is off in its fourth digit, as is 1 - it near t = 0.
    # A last bit of theirs at t = 0.001 is 5e-6 of sigma, and processors differ by some.
    for digits, rtol, atol in (("as shipped", 2e-4, 3e-5), ("float64", 1e-10, 1e-12)):
        with precision(digits):
            kept = diffusers.DDPMScheduler(beta_schedule=schedule, rescale_betas_zero_snr=zero).alphas_cumprod.double()
        torch.testing.assert_close(process.alpha(t), kept.sqrt(), rtol=rtol, atol=atol)
        torch.testing.assert_close(process.sigma(t), (1 - kept).sqrt(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_indices_for_every_number_of_steps(spacing: str) -> None:
    """Where the two differ, theirs is wrong: see test_wrong_twins."""
    scheduler, process, different = diffusers.DDPMScheduler(timestep_spacing=spacing), DDPM(), []
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        times = Respaced(spacing)(process, steps)
        assert len(times) == steps + 1 and times[-1] == 0
        if not torch.equal(scheduler.timesteps, (1000 * times[:-1] - 1).round().long()):
            different.append(steps)
            assert spacing == "linspace" or (len(scheduler.timesteps) == steps + 1 and scheduler.timesteps[-1] == -1)
    assert len(different) == {"leading": 0, "trailing": 62, "linspace": 1}[spacing]


def check(schedule: str, kind: str, zero: bool, grid: Respaced, variance: str = "fixed_small") -> None:
    process, ask = DDPM(schedule=SCHEDULES[schedule], zero_terminal=zero), at_index(kind)
    law = {"fixed_small": "small", "fixed_large": "large", "learned_range": "medium"}[variance]
    states, noises = ours(Ancestral(10, grid=grid, variance=law), mixture(process), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DDPMScheduler(
            beta_schedule=schedule,
            prediction_type=kind,
            variance_type=variance,
            timestep_spacing=grid.spacing,
            steps_offset=grid.offset,
            rescale_betas_zero_snr=zero,
            clip_sample=False,
        )
        scheduler.set_timesteps(10)
        return walk(scheduler, normals(), halfway(ask) if variance == "learned_range" else ask, noises)

    agree(f"DDPM {schedule}{' zero terminal' * zero} {kind} {variance} {grid.spacing} {grid.offset or ''}", states, run)


def halfway(ask: Ask) -> Ask:
    """The network says 0 about the variance: in the middle between the two, in the logarithm."""

    def ask_both(scheduler: Any, timestep: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        said = ask(scheduler, timestep, x)
        return torch.cat([said, torch.zeros_like(said)], 1)

    return ask_both


@TERMINAL
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("grid", [Respaced("leading"), Respaced("leading", offset=1), Respaced("trailing")], ids=str)
def test_schedules(zero: bool, schedule: str, grid: Respaced) -> None:
    check(schedule, "v_prediction", zero, grid)


@pytest.mark.parametrize("kind", ["epsilon", "sample"])
def test_kinds(kind: str) -> None:
    check("linear", kind, False, Respaced("linspace"))


@pytest.mark.parametrize("variance", ["fixed_large", "learned_range"])
def test_larger_variances(variance: str) -> None:
    check("linear", "epsilon", False, Respaced("leading"), variance)
