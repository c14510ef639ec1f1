"""Pictures of several shapes, each brought to the nearest of a few, so that little is cut off.

A square cut out of a wide picture loses its ends. Where a batch has one size and the next another, none has to be
square: the sizes are multiples of a step, so that a network can halve them, and of about equal area, so that a batch of
each costs the same. Every picture goes to the size whose aspect is nearest to its own, and what is over is cut off
around the centre, as everywhere. Every batch is of one size; :mod:`mezzotint.training.order` says of which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows
from mezzotint.data.wrapped import Wrapped


@dataclass(frozen=True)
class Buckets(Wrapped):
    """Pictures x (C, H, W) in [-1, 1] of a few sizes; items that are read together have one of them.

    ``shape`` is that of the size nearest to a square; a network that takes other sizes than its own, such as a U-Net,
    is built for it and trained on all. ``buckets`` says which of ``shapes`` an item has.

    Arguments:
        source: knows how large its pictures are (``originals``) and can bring them to any size (``resized``), as
            ``Folder`` does; the size that it has itself is not asked for (``budget=0`` spares it from decoding them).
        side: of a square of the area that all sizes have, in pixels.
        step: what divides every side.
        longest: the longest side over the shortest, at most.
        chosen: the sizes themselves, (height, width) each, in place of those that follow from the three above.
    """

    source: Data
    side: int = 64
    step: int = 8
    longest: float = 2.0
    chosen: tuple[tuple[int, int], ...] = ()
    _sets: tuple[Data, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source.resized((8, 8)) is None or self.source.originals is None:
            raise Refusal(
                f"data.{type(self.source).__name__} does not know how large its pictures were; aspect buckets are for "
                "sources that do, such as data.Folder"
            )
        object.__setattr__(self, "chosen", tuple(tuple(size) for size in self.chosen))
        if not self.chosen and not 1 <= self.step <= self.side:
            raise Refusal(f"the step is {self.step}, but it divides sides of about {self.side}; take 1 to {self.side}")
        if not self.chosen and not self.longest >= 1:
            raise Refusal(f"the longest side is {self.longest} times the shortest, but it cannot be less than once")
        if any(len(size) != 2 or min(size) < 1 for size in self.chosen) or len(set(self.chosen)) < len(self.chosen):
            raise Refusal(f"the chosen sizes are (height, width) in pixels, each once, not {self.chosen}")
        found = (self.source.resized(size) for size in self.brought_to)
        object.__setattr__(self, "_sets", tuple(one for one in found if one is not None))

    @cached_property
    def brought_to(self) -> tuple[tuple[int, int], ...]:
        """The sizes, (height, width), from the widest to the highest."""
        found = set(self.chosen)
        most = int(self.side * self.longest**0.5 / self.step) if not found else 0
        for short in range(1, most + 1):
            other = round(self.side**2 / (short * self.step**2))
            if max(short, other) <= self.longest * min(short, other):
                found |= {(short * self.step, other * self.step), (other * self.step, short * self.step)}
        found = found or {(self.side // self.step * self.step,) * 2}
        return tuple(sorted(found, key=lambda size: (size[0] / size[1], size)))

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(one.shape for one in self._sets)

    @property
    def shape(self) -> tuple[int, ...]:
        return min(self.shapes, key=lambda shape: abs(np.log(shape[-2] / shape[-1])))

    @cached_property
    def buckets(self) -> Rows:
        sizes = self.source.originals
        assert sizes is not None
        aspects = np.log(sizes[:, 0] / sizes[:, 1])
        offered = np.log([height / width for height, width in self.brought_to])
        nearest: Rows = np.abs(aspects[:, None] - offered).argmin(1)
        return nearest

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self._set_of(rows).items(rows)

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self._set_of(rows).packed(rows)

    def read(self, rows: Rows) -> Tensor:
        return self._set_of(rows).read(rows)

    def condition(self, rows: Rows) -> Condition:
        """What is told of these rows; of several sizes only where none of it lies on the picture."""
        found = set(self.buckets[rows].tolist())
        if len(found) < 2:
            return self._set_of(rows).condition(rows)
        told = self.source.condition(rows)
        for name, value in told.values.items():
            if value.ndim > 2 and tuple(value.shape[-2:]) == tuple(self.source.shape[-2:]):
                raise Refusal(
                    f"{name!r} lies on the picture, and these {len(rows)} items are of {len(found)} sizes; ask for "
                    "items of one of data.buckets at a time"
                )
        return told

    def _set_of(self, rows: Rows) -> Data:
        found = set(self.buckets[rows].tolist())
        if len(found) > 1:
            raise Refusal(
                f"{len(rows)} items of {len(found)} sizes make no batch; ask for items of one of data.buckets at a time"
            )
        return self._sets[found.pop() if found else 0]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        return self._measured() if train is self else train._moments

    def _marks(self) -> Iterator[bytes]:
        yield repr(self.brought_to).encode()
        yield self.buckets.astype("<i8").tobytes()
