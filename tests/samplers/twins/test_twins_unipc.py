"""UniPC: every order, both variants, on the variance-preserving grids and on flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install mezzotint[diffusers]")

from diffusers_schedulers import agree, at_ratio, given, lowest, mixture, normals, ours, walk  # noqa: E402

from mezzotint.processes import DDPM, Flow  # noqa: E402
from mezzotint.samplers import Karras, LogSNR, Respaced, UniPC  # noqa: E402

LATENT = DDPM(1000, 0.00085, 0.012, "scaled_linear")
THEIRS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
GRIDS: dict[str, tuple[dict[str, Any], Callable[..., torch.Tensor]]] = {
    "trailing": ({"timestep_spacing": "trailing"}, Respaced("trailing")),
    "karras": ({"use_karras_sigmas": True}, Karras(sigma_min=lowest(LATENT))),
    "exponential": ({"use_exponential_sigmas": True}, LogSNR(sigma_min=lowest(LATENT))),
}


@pytest.mark.parametrize(
    ("order", "steps", "name"),
    [(order, steps, "trailing") for order in (1, 2, 3) for steps in (4, 16)]
    + [(3, 16, name) for name in GRIDS if name != "trailing"],
)
def test_orders_and_grids(order: int, steps: int, name: str) -> None:
    """Theirs lowers the order at the end whatever the number of steps."""
    options, grid = GRIDS[name]
    states, _ = ours(UniPC(steps, order=order, lower_order_final=True, grid=grid), mixture(LATENT), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.UniPCMultistepScheduler(solver_order=order, **THEIRS, **options)
        scheduler.set_timesteps(steps)
        return walk(scheduler, normals(), at_ratio("epsilon"))

    agree(f"UniPC-{order} bh2 {name} {steps}", states, run)


@pytest.mark.parametrize(("order", "steps"), [(1, 4), (2, 4), (2, 16), (3, 4), (3, 16)])
def test_the_other_variant(order: int, steps: int) -> None:
    """Theirs cannot end at clean data (see test_wrong_twins), so both end at index 0."""
    times = Respaced("trailing")(LATENT, steps)
    times[-1] = 1 / LATENT.steps
    sampler = UniPC(steps, order=order, variant="bh1", lower_order_final=True, grid=given(times))
    states, _ = ours(sampler, mixture(LATENT), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.UniPCMultistepScheduler(
            solver_order=order,
            solver_type="bh1",
            final_sigmas_type="sigma_min",
            timestep_spacing="trailing",
            **THEIRS,
        )
        scheduler.set_timesteps(steps)
        return walk(scheduler, normals(), at_ratio("epsilon"))

    agree(f"UniPC-{order} bh1 trailing {steps}", states, run)


@pytest.mark.parametrize("kind", ["sample", "v_prediction"])
def test_kinds(kind: str) -> None:
    states, _ = ours(UniPC(10, lower_order_final=True, grid=Respaced("trailing")), mixture(LATENT), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.UniPCMultistepScheduler(prediction_type=kind, timestep_spacing="trailing", **THEIRS)
        scheduler.set_timesteps(10)
        return walk(scheduler, normals(), at_ratio(kind))

    agree(f"UniPC-2 bh2 {kind}", states, run)


@pytest.mark.parametrize("order", [2, 3])
def test_flow(order: int) -> None:
    """Theirs begins at 1 - 1e-6, where log(alpha / sigma) is finite."""
    t = torch.linspace(1, 0, 11, dtype=torch.float64)
    times = 3 * t / (1 + 2 * t)
    times[0] -= 1e-6
    states, _ = ours(UniPC(10, order=order, lower_order_final=True, grid=given(times)), mixture(Flow()), normals())

    def run() -> list[torch.Tensor]:
        scheduler = diffusers.UniPCMultistepScheduler(
            solver_order=order, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        )
        scheduler.set_timesteps(sigmas=np.linspace(1, 0, 11)[:-1])
        return walk(scheduler, normals(), at_ratio("flow_prediction"))

    agree(f"UniPC-{order} bh2 flow", states, run)
