"""What is given, and what is to be drawn around it: a surface as large as what a model draws at once, or larger.

A larger one is drawn in windows of the model's size, one after another from what is given outwards. Neighbours overlap
by half of the model's size at least, and each window is drawn given all of it that is there by then; so a window knows
of what it borders on, and of nothing further away. Esser et al. 2021, "Taming transformers" (2012.09841, section 3.2)
draw large pictures of codes so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng

Window = tuple[slice, slice]
MOST = 4_096
"""Windows of one canvas: each is a run of the sampler."""


@dataclass(frozen=True)
class Margins:
    """What a picture grows by on its four sides.

    Arguments:
        left, top, right, bottom: in pixels, or in entries.
    """

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @classmethod
    def of(cls, text: str) -> Margins:
        """``"4,0,4,0"``: left, top, right, bottom; or ``"right=4,top=2"``."""
        pieces = [piece.strip() for piece in text.split(",")]
        names = ("left", "top", "right", "bottom")
        named = [piece.partition("=") for piece in pieces]
        if all(equals for _, equals, _ in named):
            said = {name.strip(): value.strip() for name, _, value in named}
            whole = len(said) == len(pieces) and set(said) <= set(names)
        else:
            said, whole = dict(zip(names, pieces, strict=False)), len(pieces) == len(names)
        if not whole or not all(value.isdecimal() and len(value) < 7 for value in said.values()):
            raise Refusal(
                f"--extend is {text!r}, but it is four numbers of pixels, left, top, right and bottom, such as "
                "8,0,8,0, or some of them by name, such as right=8,top=4"
            )
        made = cls(**{name: int(value) for name, value in said.items()})
        if not any(made.sides):
            raise Refusal(f"--extend is {text!r}, which adds nothing on any side; leave it out")
        return made

    @property
    def sides(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom."""
        return self.left, self.top, self.right, self.bottom

    def cells(self, size: tuple[int, int]) -> Margins:
        """As so many cells of (height, width) pixels, rounded up."""
        high, wide = size
        return Margins(-(-self.left // wide), -(-self.top // high), -(-self.right // wide), -(-self.bottom // high))

    def times(self, size: tuple[int, int]) -> Margins:
        """So many cells of (height, width) pixels, in pixels."""
        high, wide = size
        return Margins(self.left * wide, self.top * high, self.right * wide, self.bottom * high)

    def around(self, x: Tensor, value: float = 0) -> Tensor:
        """A tensor (..., H, W) with a margin of this value on each side."""
        left, top, right, bottom = self.sides
        wide = x.new_full((*x.shape[:-2], x.shape[-2] + top + bottom, x.shape[-1] + left + right), value)
        wide[..., top : top + x.shape[-2], left : left + x.shape[-1]] = x
        return wide


@dataclass(frozen=True)
class Canvas:
    """One sample, some of it given, with margins around it.

    Arguments:
        x: (..., h, w), what is given or not; the size of the windows, too.
        known: bool (h, w), where it is given.
        margins: in entries.
    """

    x: Tensor
    known: Tensor
    margins: Margins = Margins()

    def __post_init__(self) -> None:
        high, wide = (max(1, side // 2) for side in self.x.shape[-2:])
        left, top, right, bottom = self.margins.sides
        many = (1 + -(-left // wide) + -(-right // wide)) * (1 + -(-top // high) + -(-bottom // high))
        if many > MOST:
            raise Refusal(
                f"this canvas takes {many:,} windows of the model's size, and {MOST:,} are the most: add less"
            )

    def windows(self) -> list[Window]:
        """Where the windows lie, the first on the sample itself, each later one on a part of earlier ones."""
        high, wide = self.x.shape[-2:]
        left, top, right, bottom = self.margins.sides
        rows, columns = _places(high, top, bottom), _places(wide, left, right)
        near = sorted(product(rows, columns), key=lambda place: (abs(place[0][0]) + abs(place[1][0]), place))
        return [(slice(row, row + high), slice(column, column + wide)) for (_, row), (_, column) in near]

    def fill(self, draw: Callable[[bool], Pipeline], cond: Condition, rng: Rng) -> Tensor:
        """All of it, (B, ..., H, W), one row a key.

        Arguments:
            draw: answers whether anything is known with what draws a window; where something is, it is told ``known.x``
                and ``known.mask``.
            cond: what else it is told, one row a key, or NONE.
            rng: one key a row; a window beyond the first has keys of its own.
        """
        one, known = self.margins.around(self.x), self.margins.around(self.known)
        x = one.expand(len(rng), *one.shape)
        for number, place in enumerate(self.windows()):
            given = known[place]
            if bool(given.all()):
                continue
            at = (..., *place)
            here, keys = x[at], rng.at("window", number) if number else rng
            told = cond
            if bool(given.any()):
                told = cond | Condition(**{"known.x": here, "known.mask": given.expand(here.shape)})
            drawn = draw(bool(given.any()))(told, keys).cpu()
            x = x.to(drawn.dtype, copy=True)
            # To the bit: solvers arrive at what is known but for rounding.
            x[at] = torch.where(given, here.to(drawn), drawn)
            known = known.clone()
            known[place] = True
        return x

    def shown(self, x: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Entries (B, ..., H, W) as pictures (B, C, H', W'), window by window; where these overlap, their mean.

        Arguments:
            x: of the whole canvas.
            draw: makes pictures of entries of one window.
        """
        total, weights = torch.zeros(()), torch.zeros(())
        for rows, columns in self.windows():
            part = draw(x[..., rows, columns])
            high, wide = (a // b for a, b in zip(part.shape[-2:], self.x.shape[-2:], strict=True))
            if not total.ndim:
                size = x.shape[-2] * high, x.shape[-1] * wide
                total = part.new_zeros(*part.shape[:2], *size, dtype=torch.float64)
                weights = torch.zeros(size, dtype=torch.float64)
            # A picture of codes is worst at its edges, beyond which they know of nothing.
            weight = _tent(part.shape[-2])[:, None] * _tent(part.shape[-1])
            at = slice(rows.start * high, rows.stop * high), slice(columns.start * wide, columns.stop * wide)
            total[(..., *at)] += weight * part
            weights[at] += weight
        return (total / weights).to(part.dtype)


def _tent(size: int) -> Tensor:
    """How far each entry lies from the nearer end of an axis, counted from 1: float64 (size,)."""
    place = torch.arange(size, dtype=torch.float64)
    return torch.minimum(place, size - 1 - place) + 1


def _places(size: int, before: int, after: int) -> list[tuple[int, int]]:
    """(number, beginning) of the windows along one axis; number 0 is the sample's own, those before it are negative."""
    step = max(1, size // 2)
    down, up = -(-before // step), -(-after // step)
    lower = [(-k, before - round(before * k / down)) for k in range(1, down + 1)]
    return [*lower, (0, before), *((k, before + round(after * k / up)) for k in range(1, up + 1))]
