"""Rectified flow: a straight line from data to noise.

x_t = (1 - t) x_0 + t noise, so the level is the time and the velocity dx/dt is noise - x_0. Sources: Liu et al. 2022
(2209.03003); Lipman et al. 2022, "Flow matching" (2210.02747).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mezzotint.processes.base import Continuous


@dataclass(frozen=True)
class Flow(Continuous):
    """alpha = 1 - t, sigma = t."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def time(self, u: Tensor) -> Tensor:
        return u.clamp(0, 1)
