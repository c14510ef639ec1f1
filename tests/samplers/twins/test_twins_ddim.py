"""DDIM, with and without fresh noise, wherever its next index is the next one of its list."""

from __future__ import annotations

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import SCHEDULES, agree, at_index, given, mixture, normals, ours, walk  # noqa: E402

from mezzotint.processes import DDPM  # noqa: E402
from mezzotint.samplers import Ancestral, Euler, Respaced  # noqa: E402


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    ("steps", "grid"),
    [(10, Respaced("leading")), (7, Respaced("leading")), (8, Respaced("trailing")), (1, Respaced("trailing"))],
    ids=str,
)
def test_spacings(eta: float, steps: int, grid: Respaced) -> None:
    process = DDPM(schedule="cosine")
    states, noises = ours(Ancestral(steps, eta=eta, grid=grid), mixture(process), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DDIMScheduler(
            beta_schedule="squaredcos_cap_v2", timestep_spacing=grid.spacing, clip_sample=False
        )
        scheduler.set_timesteps(steps)
        return walk(scheduler, normals(), at_index("epsilon"), noises, eta=eta)

    agree(f"DDIM eta {eta} {grid.spacing} {steps}", states, run)


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_zero_terminal(kind: str, schedule: str) -> None:
    process = DDPM(schedule=SCHEDULES[schedule], zero_terminal=True)
    states, _ = ours(Euler(10, grid=Respaced("trailing")), mixture(process), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DDIMScheduler(
            beta_schedule=schedule,
            prediction_type=kind,
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
            clip_sample=False,
        )
        scheduler.set_timesteps(10)
        return walk(scheduler, normals(), at_index(kind))

    agree(f"DDIM {schedule} {kind} trailing zero terminal", states, run)


def test_stable_diffusion() -> None:
    """Its settings end the run at index 0, t = 1 / T, instead of at clean data."""
    process = DDPM(1000, 0.00085, 0.012, "scaled_linear")
    times = Respaced("leading", offset=1)(process, 20)
    times[-1] = 1 / 1000
    states, _ = ours(Euler(20, grid=given(times)), mixture(process), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            set_alpha_to_one=False,
            clip_sample=False,
        )
        scheduler.set_timesteps(20)
        return walk(scheduler, normals(), at_index("epsilon"))

    agree("DDIM as in Stable Diffusion", states, run)
