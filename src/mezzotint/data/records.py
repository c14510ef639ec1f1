"""What a container of records answers: its columns, the cells of one, and the picture files that records name.

A record is a row of a table, the files of one key in a tar, or a row of an Arrow file. Whoever reads pictures and
conditions out of records (:mod:`.recorded`) asks these few questions and does not know which it was.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data.data import glimpse
from mezzotint.data.picture import Source, Stretch

RECORDS = 2**24
"""How many records a source may have: each is asked by its name which split it is in."""


class Records(ABC):
    """Records of one container, in its order.

    Arguments:
        columns: what a record may have.
        names: of the records, which say in which split each is; of the picture's file, where it has a name.
        broken: what of the container could not be read at all, and why, by name.
    """

    columns: tuple[str, ...]
    names: Sequence[str]
    broken: dict[str, str]

    def __len__(self) -> int:
        return len(self.names)

    def has(self, column: str) -> bool:
        """Whether any record may have this column."""
        return column in self.columns

    @abstractmethod
    def cells(self, column: str) -> list[object]:
        """The values of a column, one a record; None, "" or NaN where it is missing."""

    @abstractmethod
    def source(self, column: str, row: int) -> Source | None:
        """The picture file that a record has in a column, None where it has none.

        Raises:
            Refusal: what the record says leads to no file that may be read.
        """

    def without(self, column: str) -> NDArray[np.bool_]:
        """Which records have no picture file in a column."""
        return np.fromiter(map(is_missing, self.cells(column)), dtype=bool, count=len(self))

    def files(self, column: str) -> tuple[Sequence[Path], NDArray[np.int64]]:
        """Files, and the number of that in which each record has its picture, int64 (N,); any where it has none."""
        number: dict[Path, int] = {}
        of = np.zeros(len(self), dtype=np.int64)
        for row in range(len(self)):
            try:
                found = self.source(column, row)
            except Refusal:  # whoever reads that record is told
                continue
            if isinstance(found, Path):
                of[row] = number.setdefault(found, len(number))
        return tuple(number), of

    def classes(self, column: str) -> tuple[str, ...] | None:
        """What the numbers of a column are called, where the container says so."""
        return None

    def held_out(self) -> NDArray[np.bool_] | None:
        """Which records the container itself holds out, where it says so."""
        return None

    def glimpse(self, column: str, row: int) -> bytes:
        """The size of a picture file and some of its bytes: another hardly has the same."""
        found = self.source(column, row)
        if found is None:
            return b""
        if isinstance(found, Path):
            return glimpse(found)
        if isinstance(found, Stretch):
            return f"{found.size} ".encode() + found.read(256, max(0, found.size // 2 - 128))
        middle = max(0, len(found.content) // 2 - 128)
        return f"{len(found.content)} ".encode() + bytes(found.content[middle : middle + 256])


def is_missing(cell: object) -> bool:
    """Whether a cell says nothing: null, the empty string, or a float that is no number."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))
