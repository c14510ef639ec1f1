"""One of the sizes of a set of several: what is compared with one another has one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows
from mezzotint.data.origins import Origins
from mezzotint.data.wrapped import Wrapped


@dataclass(frozen=True)
class Bucket(Wrapped):
    """The items of one size, as the source has them and in its order; ``places`` says which they are there.

    Arguments:
        source: has items of several sizes, such as ``Buckets``.
        size: (height, width), one of them.
    """

    source: Data
    size: tuple[int, int]
    places: Rows = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "size", tuple(self.size))
        buckets, offered = self.source.buckets, [tuple(shape[-2:]) for shape in self.source.shapes]
        if buckets is None:
            raise Refusal(f"the items of data.{type(self.source).__name__} have one size, so there is none to choose")
        counts = {size: int((buckets == number).sum()) for number, size in enumerate(offered)}
        if not counts.get(self.size):
            found = ", ".join(f"{count} of {high}x{wide}" for (high, wide), count in counts.items() if count)
            raise Refusal(f"there is no item of {'x'.join(map(str, self.size))}; the {self.split} split has {found}")
        object.__setattr__(self, "places", np.flatnonzero(buckets == offered.index(self.size)))

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.source.shape[:-2], *self.size)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.shape,)

    @property
    def buckets(self) -> Rows | None:
        return None

    @cached_property
    def labels(self) -> Rows | None:
        labels = self.source.labels
        return None if labels is None else labels[self.places]

    @cached_property
    def origins(self) -> Origins | None:
        found = self.source.origins
        return None if found is None else found.take(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self.source.items(self.places[rows])

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self.source.packed(self.places[rows])

    def read(self, rows: Rows) -> Tensor:
        return self.source.read(self.places[rows])

    def condition(self, rows: Rows) -> Condition:
        return self.source.condition(self.places[rows])

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        return self._measured() if train is self else train._moments

    def _marks(self) -> Iterator[bytes]:
        yield repr(self.size).encode()
