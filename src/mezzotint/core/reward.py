"""A reward: how good a sample is, for search, guidance and selection.

Higher is better. ``NaN`` abstains: a judge that cannot read a sample says so, and search treats it as no opinion.
Several columns (B, R) are compared by their mean rank, so that judges with different units can sit together.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from mezzotint.core.condition import Condition


@runtime_checkable
class Reward(Protocol):
    """``(x, cond, t=None) -> (B,)`` or ``(B, R)``; ``t`` (B,) is the time of noisy samples, None for clean ones."""

    def __call__(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor: ...
