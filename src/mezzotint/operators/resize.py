"""A lower resolution: each cell of pixels is seen as its mean.

y = A x with A the mean over cells of f_1 x f_2 x ... entries. Rows of A do not overlap and each has squared length 1/n
for a cell of n entries, so A A^T = I / n: the pseudo-inverse n A^T repeats each mean over its cell, and the adjoint is
that divided by n. It is area averaging, the same that brings pictures of a whole multiple down to a smaller size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.operators.base import Operator


@dataclass(frozen=True)
class BlockMean(Operator):
    """Means over cells: (B, C, H, W) to (B, C, H / f, W / f), and so on any rank.

    Arguments:
        factor: the side of a cell along every axis after the channels, or one number for each of the last axes: (2,)
            for vectors (B, D), (1, 4, 4) for pictures in time.
    """

    factor: int | tuple[int, ...] = 2

    def __post_init__(self) -> None:
        sides = self.factor if isinstance(self.factor, tuple) else (self.factor,)
        if not sides or any(isinstance(f, bool) or not isinstance(f, int) or f < 1 for f in sides):
            raise Refusal(f"a cell has a whole number of entries along each axis, at least 1, not {self.factor!r}")

    def forward(self, x: Tensor, cond: Condition = NONE) -> Tensor:
        sides = self._sides(x)
        lead, space = x.shape[: x.ndim - len(sides)], x.shape[x.ndim - len(sides) :]
        if any(n % f for n, f in zip(space, sides, strict=True)):
            raise Refusal(f"cells of {sides} do not divide {tuple(space)}: crop the picture, or take another factor")
        split = [part for n, f in zip(space, sides, strict=True) for part in (n // f, f)]
        first = len(lead)
        coarse, fine = range(first, first + len(split), 2), range(first + 1, first + len(split), 2)
        # Cells become one trailing axis: a sum over it rounds alike in any batch.
        cells = x.reshape(*lead, *split).permute(*range(first), *coarse, *fine)
        return cells.flatten(first + len(sides)).mean(-1)

    def adjoint(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return self.pinv(y, cond) / math.prod(self._sides(y))

    def pinv(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        sides = self._sides(y)
        for axis, f in enumerate(sides, y.ndim - len(sides)):
            y = y.repeat_interleave(f, axis)
        return y

    def _sides(self, x: Tensor) -> tuple[int, ...]:
        """The side of a cell along each of the last axes."""
        sides = (self.factor,) * (x.ndim - 2) if isinstance(self.factor, int) else tuple(self.factor)
        if not 0 < len(sides) < x.ndim:
            raise Refusal(
                f"cells of {self.factor} have no axes to lie along in samples of rank {x.ndim - 1}: name the last "
                "axes, (2,) for one"
            )
        return sides
