"""DPM-Solver++: 2M, 3M as the reference code has it, and 2M with fresh noise, on its own grids and on flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import (  # noqa: E402
    agree,
    at_ratio,
    at_sigma,
    given,
    lowest,
    mixture,
    normals,
    ours,
    walk,
)

from mezzotint.processes import DDPM, EDM, Flow, Table  # noqa: E402
from mezzotint.samplers import Karras, LogSNR, Multistep, Respaced  # noqa: E402

LATENT = DDPM(1000, 0.00085, 0.012, "scaled_linear")
THEIRS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
FEW = 15  # below so many steps theirs lowers the order at the end; the reference, and ours by default, below 10


def all_but_the_last_index(process: DDPM, steps: int) -> torch.Tensor:
    """Their ``linspace`` has one index more than steps and goes from the last but one to clean data."""
    times = Respaced("linspace")(process, steps + 1)
    return torch.cat([times[:-2], times[-1:]])


GRIDS: dict[str, tuple[dict[str, Any], Callable[..., torch.Tensor]]] = {
    "trailing": ({"timestep_spacing": "trailing"}, Respaced("trailing")),
    "linspace": ({}, all_but_the_last_index),
    "karras": ({"use_karras_sigmas": True}, Karras(sigma_min=lowest(LATENT))),
    "lu": ({"use_lu_lambdas": True}, LogSNR(sigma_min=lowest(LATENT))),
}


@pytest.mark.parametrize(
    ("order", "steps", "name"),
    [(order, steps, "trailing") for order in (1, 2, 3) for steps in (8, 16)]
    + [(3, 16, name) for name in GRIDS if name != "trailing"],
)
def test_orders_and_grids(order: int, steps: int, name: str) -> None:
    options, grid = GRIDS[name]
    sampler = Multistep(steps, order=order, compat="reference", lower_order_final=steps < FEW, grid=grid)
    states, _ = ours(sampler, mixture(LATENT), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DPMSolverMultistepScheduler(solver_order=order, **THEIRS, **options)
        scheduler.set_timesteps(steps)
        return walk(scheduler, normals(), at_ratio("epsilon"))

    agree(f"DPM-Solver++ {order} {name} {steps}", states, run)


@pytest.mark.parametrize(
    ("order", "steps", "kind"),
    [(1, 16, "sample"), (2, 8, "sample"), (2, 16, "sample"), (2, 16, "v_prediction"), (2, 16, "epsilon")],
)
def test_with_fresh_noise(order: int, steps: int, kind: str) -> None:
    sampler = Multistep(steps, order=order, eta=1.0, lower_order_final=steps < FEW, grid=Respaced("trailing"))
    states, noises = ours(sampler, mixture(LATENT), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DPMSolverMultistepScheduler(
            solver_order=order,
            algorithm_type="sde-dpmsolver++",
            prediction_type=kind,
            timestep_spacing="trailing",
            **THEIRS,
        )
        scheduler.set_timesteps(steps)
        return walk(scheduler, normals(), at_ratio(kind), noises)

    agree(f"SDE-DPM-Solver++ {order} {kind} {steps}", states, run)


@pytest.mark.parametrize("order", [2, 3])
def test_zero_terminal(order: int) -> None:
    """Theirs has no alpha of 0 but 2^-12, which is a table like any other."""
    alphas, sigmas = DDPM(schedule="scaled_linear", zero_terminal=True).points()
    alphas[-1] = 2.0**-12
    sigmas[-1] = (1 - alphas[-1] ** 2).sqrt()
    process = Table(tuple(alphas.tolist()), tuple(sigmas.tolist()))
    sampler = Multistep(16, order=order, compat="reference", grid=Respaced("trailing"))
    states, _ = ours(sampler, mixture(process), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DPMSolverMultistepScheduler(
            beta_schedule="scaled_linear",
            solver_order=order,
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            rescale_betas_zero_snr=True,
        )
        scheduler.set_timesteps(16)
        return walk(scheduler, normals(), at_ratio("v_prediction"))

    agree(f"DPM-Solver++ {order} zero terminal", states, run)


def test_flow() -> None:
    """Their grid on flow is uniform from 1 - 1 / T to 0, shifted."""
    t = torch.linspace(0.999, 0, 17, dtype=torch.float64)
    states, _ = ours(Multistep(16, grid=given(3 * t / (1 + 2 * t))), mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
        scheduler.set_timesteps(16)
        return walk(scheduler, normals(), at_ratio("flow_prediction"))

    agree("DPM-Solver++ 2 flow", states, run)


@pytest.mark.parametrize(
    ("order", "eta", "steps"), [(1, 0.0, 18), (2, 0.0, 8), (2, 0.0, 18), (3, 0.0, 8), (3, 0.0, 18), (2, 1.0, 18)]
)
def test_edm(order: int, eta: float, steps: int) -> None:
    sampler = Multistep(steps, order=order, eta=eta, compat="reference", lower_order_final=steps < FEW)
    states, noises = ours(sampler, mixture(EDM()), 80 * normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.EDMDPMSolverMultistepScheduler(
            solver_order=order, algorithm_type="sde-dpmsolver++" if eta else "dpmsolver++"
        )
        scheduler.set_timesteps(steps)
        return walk(scheduler, 80 * normals(), at_sigma("edm"), noises)

    agree(f"EDM DPM-Solver++ {order} eta {eta} {steps}", states, run)
