"""How strongly to guide: a number, a function of the noise level, or a family of the condition.

1 is the plain conditional model, 0 the weak one. A function takes levels u in [0, 1] and returns scales of the same
shape; it is asked at the level of every evaluation, so it means the same on every process and at every step count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part

Scale = float | str | Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Between(Part):
    """``scale`` where low < u <= high, 1 elsewhere.

    Source: Kynkaanniemi et al. 2024, "Applying guidance in a limited interval" (2404.07724); its sigma is u / (1 - u).
    """

    scale: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise Refusal(f"an interval of levels needs 0 <= low <= high <= 1, not {self.low} and {self.high}")

    def __call__(self, u: Tensor) -> Tensor:
        inside = (u > self.low) & (u <= self.high)
        return torch.where(inside, torch.full_like(u, self.scale), 1.0)  # in the precision of u, not in float32


def between(scale: float, low: float, high: float) -> Between:
    """Guide by ``scale`` between two levels only."""
    return Between(scale, low, high)


def evaluate(scale: Scale, u: Tensor, cond: Condition) -> Tensor:
    """The scale of every row (or entry) at levels ``u``, float64 in the shape of ``u``."""
    if isinstance(scale, str):
        if scale not in cond:
            raise Refusal(f"the guidance scale is to be read from {scale!r}, which the condition does not hold")
        values: Tensor = cond[scale].to(device=u.device, dtype=torch.float64)
        return values.reshape(-1, *(1 for _ in range(u.ndim - 1))).expand_as(u)
    if callable(scale):
        return scale(u).to(torch.float64)
    return torch.full_like(u, float(scale))
