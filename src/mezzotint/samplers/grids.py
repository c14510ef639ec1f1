"""Grids: where the intervals of a run lie.

A grid is a function ``(process, steps) -> times`` of steps + 1 float64 times that starts at 1 (the prior) and ends at
0 (clean): *steps are intervals*. A time that rises again re-noises.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part
from mezzotint.processes.base import Process

Grid = Callable[[Process, int], Tensor]


def _ends(times: Tensor) -> Tensor:
    """The same times with both ends exact."""
    times[0], times[-1] = 1.0, 0.0
    return times


@dataclass(frozen=True)
class Uniform(Part):
    """Equal intervals of the process's own time."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Level(Part):
    """Equal intervals of the level u = sigma / (alpha + sigma); on rectified flow the same as :class:`Uniform`."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        top = process.level(torch.ones(1, dtype=torch.float64))
        return _ends(process.time(top * torch.linspace(1, 0, steps + 1, dtype=torch.float64)))


@dataclass(frozen=True)
class Karras(Part):
    """Dense at low noise: sigma_i = (max^(1/rho) + i / (N - 1) (min^(1/rho) - max^(1/rho)))^rho, then 0.

    sigma stands for sigma / alpha, so the grid means the same on every process. Where that ratio is infinite at t = 1
    (rectified flow, cosine) the power is spaced in k / (1 + k / sigma_max), which is ``sigma_max`` there and the ratio
    k itself at low noise.

    Source: Karras et al. 2022 (2206.00364), eq. 5, with its final step to 0 counted as one of the N + 1 points.

    Arguments:
        rho: 7 in the paper; 1 is uniform in sigma.
        sigma_min: the last noise before 0.
        sigma_max: the largest finite ratio; a process that ends below it starts at its own end.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not (self.rho > 0 and 0 < self.sigma_min < self.sigma_max):
            raise Refusal(f"Karras needs rho > 0 and 0 < sigma_min < sigma_max, not {self}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        top = float(process.level(torch.ones(1, dtype=torch.float64)))
        end = top / (1 - top) if top < 1 else float("inf")
        bounded = end > 1e6
        largest = self.sigma_max if bounded else end
        if largest <= self.sigma_min:
            raise Refusal(
                f"Karras goes down to {self.sigma_min}, but this process begins at {largest:g}; lower sigma_min"
            )
        i = torch.arange(steps, dtype=torch.float64) / max(1, steps - 1)
        low, high = self.sigma_min ** (1 / self.rho), largest ** (1 / self.rho)
        k = (high + i * (low - high)) ** self.rho
        if bounded:
            k = k / (1 - k / self.sigma_max).clamp(min=1e-300)
        level = torch.where(torch.isinf(k), 1.0, k / (1 + k))
        return _ends(torch.cat([process.time(level), torch.zeros(1, dtype=torch.float64)]))
