"""Euler's method on the probability-flow equation, in the level.

y = x / (alpha + sigma), dy/du = noise - x_0, so y_s = y_t + (u_s - u_t)(noise - x_0): one evaluation an interval,
first order. In this coordinate it is DDIM exactly (alpha_s x_0 + sigma_s noise), and the flow Euler of rectified flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import Sampler, State, continuous


@dataclass(frozen=True)
class Euler(Sampler):
    """One evaluation an interval, first order."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = continuous(denoiser, self)
        x0 = denoiser(state.x, state.t, cond).mean
        return drift(process, state.x, x0, process.noise(state.x, x0, state.t), state.t, s), state.memory


def drift(process: object, x: Tensor, x0: Tensor, noise: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """x_s on the straight line in (y, u) with slope noise - x_0, entries with t == s untouched.

    Computed as (alpha + sigma)_s / (alpha + sigma)_t x + (...) so that the prior's large scale never meets the data's.
    """
    alpha_t, sigma_t = process.scales(t, x)  # type: ignore[attr-defined]
    alpha_s, sigma_s = process.scales(s, x)  # type: ignore[attr-defined]
    total_t, total_s = alpha_t + sigma_t, alpha_s + sigma_s
    step = sigma_s / total_s - sigma_t / total_t
    held = (alpha_t == alpha_s) & (sigma_t == sigma_s)
    moved = (total_s / total_t).to(x) * x + (total_s * step).to(x) * (noise - x0)
    return torch.where(held, x, moved)
