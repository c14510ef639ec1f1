"""Missing entries: what lies under the mask was seen, the rest is 0.

A is diagonal with ones and zeros, so it is its own adjoint and its own pseudo-inverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.operators.base import Operator


@dataclass(frozen=True)
class Mask(Operator):
    """y = x where the sample's mask holds, 0 elsewhere; y has the shape of x.

    Arguments:
        name: where the condition carries the mask, bool (B, ...), True where seen; it broadcasts over x, so (B, 1, H,
            W) serves every channel.
    """

    name: str = "observed.mask"

    def forward(self, x: Tensor, cond: Condition = NONE) -> Tensor:
        return torch.where(masked(x, cond, self.name), x, torch.zeros_like(x))

    def adjoint(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return self.forward(y, cond)

    def pinv(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return self.forward(y, cond)


def masked(x: Tensor, cond: Condition, name: str) -> Tensor:
    """The mask a condition carries under ``name``, bool on the device of x (B, *shape), broadcasting over it."""
    if name not in cond:
        raise Refusal(f"a mask is to be read from {name!r}, but the condition holds {', '.join(cond.values) or 'none'}")
    mask = cond[name]
    if mask.dtype != torch.bool:
        raise Refusal(f"the mask {name!r} is {mask.dtype}, but a mask is bool, True where x is known")
    sizes = tuple(mask.shape[1:]) if mask.ndim > 1 else (1,) * (x.ndim - 1)
    if len(sizes) != x.ndim - 1 or any(m not in (1, n) for m, n in zip(sizes, x.shape[1:], strict=False)):
        raise Refusal(
            f"the mask {name!r} is {sizes} for samples of {tuple(x.shape[1:])}; give it their rank, with ones where it "
            "is the same along an axis"
        )
    return expand(mask, x).to(x.device)
