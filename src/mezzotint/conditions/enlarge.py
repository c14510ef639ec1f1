"""Pictures brought up to a larger size, by a whole number of times: what a network of the larger size is shown.

Sample points are centres of pixels, so ``up`` times as many pixels cover the same area, and a constant stays constant.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest

RESIZES = ("nearest", "linear", "cubic")
_MODES = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}


def check(up: int | Sequence[int], resize: str) -> int | tuple[int, ...]:
    """The same factor, one for all axes or one an axis, refused if it is none; and the filter by its name."""
    sides = tuple(up) if isinstance(up, Sequence) else (up,)
    if not sides or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise Refusal(f"pictures are enlarged a whole number of times along each axis, at least 1, not {up!r}")
    if resize not in RESIZES:
        raise Refusal(f"there is no way {resize!r} to enlarge a picture: {nearest(resize, RESIZES)}")
    return up if isinstance(up, int) else sides


def sides_of(up: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The factor along each of ``rank`` axes of space."""
    sides = (up,) * rank if isinstance(up, int) else up
    if len(sides) != rank:
        raise Refusal(f"pictures over {rank} axes of space cannot be enlarged by {up}: name a factor for each")
    return sides


def enlarged(x: Tensor, up: int | tuple[int, ...], resize: str = "linear") -> Tensor:
    """x (B, C, *space) with ``up`` times as many pixels along each axis of space.

    Arguments:
        x: floating point.
        up: one factor for all axes, or one an axis.
        resize: ``nearest``, ``linear`` (bilinear on pictures), or ``cubic`` (bicubic, a = -0.75; pictures only).
    """
    rank = x.ndim - 2
    sides = sides_of(up, rank)
    if all(side == 1 for side in sides):
        return x
    if resize == "nearest":
        for axis, side in enumerate(sides, 2):
            x = x.repeat_interleave(side, axis)
        return x
    if (resize, rank) not in _MODES:
        raise Refusal(f"{resize} enlarges pictures (B, C, H, W), not {tuple(x.shape)}: use linear")
    size = [side * n for side, n in zip(sides, x.shape[2:], strict=True)]
    return F.interpolate(x, size=size, mode=_MODES[resize, rank], align_corners=False)
