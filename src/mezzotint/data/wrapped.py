"""A data set around another: what it is not about is the source's."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self, cast

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows
from mezzotint.data.origins import Origins


class Wrapped(Data, ABC):
    """A data set with a field ``source``; its split is the source's, and its siblings are around the source's siblings.

    What an author does not write is the source's.
    """

    source: Data
    split: str = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.source, Data):
            raise Refusal(f"the source of data.{type(self).__name__} is a data set, not {repr(self.source)[:60]}")
        object.__setattr__(self, "split", self.source.split)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def things(self) -> tuple[str, ...]:
        return self.source.things

    @property
    def labels(self) -> Rows | None:
        return self.source.labels

    @property
    def buckets(self) -> Rows | None:
        return self.source.buckets

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.source.shapes

    @property
    def vocab(self) -> int | None:
        return self.source.vocab

    def spelt(self, x: Tensor) -> list[str] | None:
        return self.source.spelt(x)

    def drawn(self, x: Tensor) -> Tensor | None:
        return self.source.drawn(x)

    def coded(self, x: Tensor) -> Tensor | None:
        return self.source.coded(x)

    def __len__(self) -> int:
        return len(self.source)

    def condition(self, rows: Rows) -> Condition:
        return self.source.condition(rows)

    @cached_property
    def origins(self) -> Origins | None:
        return self.source.origins

    def sibling(self, split: str) -> Self:
        if split == self.split:
            return self
        return self._around(self.source.sibling(split))

    def _around(self, source: Data) -> Self:
        return cast(Self, dataclasses.replace(cast(Any, self), source=source))

    @cached_property
    def _moments(self) -> tuple[float, float]:
        return self.source._moments

    @cached_property
    def mark(self) -> str:
        """What tells these pictures from others: BLAKE2b over the source's and what is made of it."""
        found = blake2b(f"{type(self).__name__} {self.source.mark}".encode(), digest_size=16)
        for piece in self._marks():
            found.update(piece)
        return found.hexdigest()

    def _marks(self) -> Iterator[bytes]:
        yield from ()
