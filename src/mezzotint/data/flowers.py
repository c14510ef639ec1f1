"""Photographs of five kinds of flowers, real and messy: the set that TensorFlow's tutorials use, 2,699 of them.

The file, ``flowers/flowers_128.npz``, holds them as JPEG files of 128 x 128 pixels and lies in the folder that the
environment variable ``MEZZOTINT_DATA`` names.

Licence: each photograph is CC BY, by its author on Flickr; the number that its name begins with is its number there,
and whoever shows one names its author. Some show people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mezzotint.core.errors import Refusal
from mezzotint.data.containers import Jpegs
from mezzotint.data.data import Rows, in_split
from mezzotint.data.gathered import BUDGET, Gathered, Piece
from mezzotint.data.licence import Licence
from mezzotint.data.npz import read
from mezzotint.data.root import find

CLASSES = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
SHARE = 0.1
_FILE = "flowers/flowers_128.npz"


@dataclass(frozen=True)
class Flowers(Gathered):
    """Flowers in five classes, x (3, H, W) in [-1, 1], with ``Condition(label)`` 0..4.

    A tenth is held out, by a hash of a photograph's name. They are decoded when they are first read, and kept at the
    size that is asked for: 33 MB at 64 pixels, 133 MB at 128.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 128 is as they are.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    size: int | tuple[int, int] = 64
    split: str = "train"
    licence = Licence("CC BY", "name the author of each photograph, whom its number on Flickr leads to")

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def labels(self) -> Rows:
        return self._held[1][self._mine]

    def __len__(self) -> int:
        return len(self._mine)

    @property
    def names(self) -> tuple[str, ...]:
        """What the photographs were called, a name each; it begins with their number on Flickr."""
        return tuple(self._held[0].names[row] for row in self._mine)

    def write(self, folder: str | Path, count: int | None = None) -> int:
        """Write the photographs as the JPEG files that they are, ``class/name.jpg``, and return how many.

        Arguments:
            folder: where; it is made, or is empty.
            count: the first so many; None: all of this split.

        Raises:
            Refusal: the folder holds something.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Refusal(f"{str(folder)!r} is there already, and is no empty folder; name another")
        jpegs, labels = self._held
        rows = self._mine[:count]
        for row in rows:
            place = folder / CLASSES[labels[row]] / f"{jpegs.names[row]}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(jpegs.file(row))
        return len(rows)

    @cached_property
    def _held(self) -> tuple[Jpegs, Rows]:
        blob, offsets, labels, names = read(find(_FILE), ["jpeg", "offsets", "labels", "names"], BUDGET)
        return Jpegs(blob, offsets, names.tolist()), labels.astype(np.int64)

    @cached_property
    def _mine(self) -> Rows:
        return np.flatnonzero([in_split(name, self.split, SHARE) for name in self._held[0].names])

    def _files(self) -> Sequence[str]:
        return [_FILE]

    def _piece(self, file: Path) -> Piece:
        self._check_budget(len(self))
        return Piece(self._held[0].pictures(self._mine), self.labels)
