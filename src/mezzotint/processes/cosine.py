"""The cosine process: data and noise trade places along a quarter of a circle.

alpha = cos(pi t / 2), sigma = sin(pi t / 2). Source: Nichol and Dhariwal 2021 (2102.09672) in the continuous form of
Salimans and Ho 2022, "Progressive distillation" (2202.00512), without the offset. At t = 1 nothing of the data is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.processes.base import Continuous


@dataclass(frozen=True)
class Cosine(Continuous):
    """alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * (1 - t))  # the cosine, but exactly zero at t = 1

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def time(self, u: Tensor) -> Tensor:
        return (2 / math.pi) * torch.atan(u / (1 - u))  # atan2's last bit depends on the place in the batch
