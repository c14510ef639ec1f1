"""Where to guide: an interval of noise levels.

A scale is a number, a function of the level or the name of a condition family (:mod:`mezzotint.core.scale`). What is
here are functions of the level, asked at the level of every evaluation: guidance is harmful at high noise and useless
at low noise, so much of its good comes from the levels between.

Source: Kynkaanniemi et al. 2024, "Applying guidance in a limited interval" (2404.07724).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part


@dataclass(frozen=True)
class Between(Part):
    """``scale`` where low < u <= high, the plain model elsewhere (NaN); an interval with low = high is empty.

    The level of each evaluation decides, also of a solver's second one and of a level raised by churn; the paper's
    code decides once per step. The paper's sigma is u / (1 - u): its (0.19, 1.61] are the levels (0.160, 0.617].

    Arguments:
        scale: inside.
        low, high: levels in [0, 1].
    """

    scale: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= 1:
            raise Refusal(f"an interval of levels needs 0 <= low <= high <= 1, not {self.low} and {self.high}")

    def __call__(self, u: Tensor) -> Tensor:
        inside = (u > self.low) & (u <= self.high)
        return torch.where(inside, torch.full_like(u, self.scale), torch.nan)  # in the precision of u, not float32


def between(scale: float, low: float, high: float) -> Between:
    """Guide by ``scale`` between two levels only."""
    return Between(scale, low, high)
