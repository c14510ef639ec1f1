"""A pipeline: anything that turns a condition and keys into samples.

A sampler with a denoiser, a flow, a cascade, a distilled student, and any of them under search, are all called the
same way, so that search, metrics and the command line never ask what is inside.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.rng import Rng


@runtime_checkable
class Pipeline(Protocol):
    """``(cond, rng) -> x``: one sample (B, *shape) per key; sample k depends on condition k and key k only."""

    def __call__(self, cond: Condition, rng: Rng) -> Tensor: ...
