"""Photographs with a map each that says what every pixel shows, in two sizes: 64 and 128 pixels.

Photographs are brought to size by area, maps by the nearest pixel: the mean of two numbers of things is no thing.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mezzotint.data.containers import from_delta
from mezzotint.data.gathered import BUDGET, Gathered, Piece, of_split
from mezzotint.data.npz import read
from mezzotint.data.palette import UNSAID

_SIZES = (64, 128)


class Mapped(Gathered, ABC):
    """Files ``<stem>_64.npz`` and ``<stem>_128.npz``: photographs as differences of planes, ``layouts`` and ``split``.

    The file of 64 pixels is read where no more are asked for, and that of 128 pixels else.
    """

    stem: str
    unsaid: int | None = None
    """What the file's maps say where they say nothing; told as 255."""

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    def _files(self) -> Sequence[str]:
        side = _SIZES[max(self.sides) > _SIZES[0]]
        return [f"{self.stem}_{side}.npz"]

    def _piece(self, file: Path) -> Piece:
        planes, layouts, held_out = read(file, ["delta", "layouts", "split"], BUDGET)
        rows = of_split(held_out, self.split)
        layouts = layouts[rows]
        if self.unsaid is not None:
            layouts = np.where(layouts == self.unsaid, np.uint8(UNSAID), layouts)
        return Piece(from_delta(planes[:, rows]), layouts=layouts)
