"""The maps of a folder of pairs: which pictures have one, what cannot be read as one, and what all of them show.

The rules are those of :class:`~mezzotint.data.pairs.Pairs`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data.check.files import File, Notes
from mezzotint.data.data import in_split
from mezzotint.data.map_file import layout_file
from mezzotint.data.pairs import Pairs
from mezzotint.data.palette import UNSAID
from mezzotint.data.picture import Header, Source
from mezzotint.data.resize import check_aspect
from mezzotint.data.threads import each

_FIRST = re.compile(r", which is|: so looks|; ")


class Maps:
    """One look at the maps of a folder.

    Arguments:
        root: the folder.
        found: its files, as a walk found them.
        notes: where to say what is wrong.
        held_out_share: share of the names that is held out, where folders do not say it.
        max_pixels: the largest width times height of a file that is unpacked.

    Attributes:
        files: the pictures.
        splits: which of them are held out, by their names.
        things: the share of the pixels that each thing has, by its name or number; ``unsaid`` at the end.
    """

    def __init__(self, root: Path, found: list[File], notes: Notes, held_out_share: float, max_pixels: int) -> None:
        palette, records = Pairs.opened(os.fspath(root))
        for name, why in sorted(records.broken.items()):
            notes.add("unpaired", name, _short(why))
        rows = {records.at(records.picture, row): row for row in range(len(records))}
        self.files = [File(file.path, file.name, "") for file in found if file.path in rows]
        held, kept = records.held_out(), [rows[file.path] for file in self.files]
        self.splits = {
            file.name: bool(held[row]) if held is not None else in_split(records.names[row], "held_out", held_out_share)
            for file, row in zip(self.files, kept, strict=True)
        }

        def count(row: int) -> NDArray[np.int64] | Refusal:
            try:
                numbers = layout_file(files[row], palette, where=where(row), max_pixels=max_pixels)
                width, height = _size(records.at(records.picture, row), max_pixels) or numbers.shape[::-1]
                check_aspect(f"the map {where(row)!r}", numbers.shape, (height, width))
            except Refusal as refusal:
                return refusal
            return np.bincount(numbers.reshape(-1), minlength=UNSAID + 1)

        def where(row: int) -> str:
            return files[row].relative_to(root).as_posix()

        files = [records.at(records.layout, row) for row in range(len(records))]
        total = np.zeros(UNSAID + 1, dtype=np.int64)
        for row, counted in zip(kept, each(count, kept), strict=True):
            if isinstance(counted, Refusal):
                notes.add("map broken", where(row), _short(str(counted).removeprefix(f"the map {where(row)!r} ")))
            else:
                total += counted
        said = np.flatnonzero(total[:UNSAID])
        names = palette.names if palette is not None else [str(n) for n in range(said.max(initial=-1) + 1)]
        shares = total / max(1, total.sum())
        self.things = {name: float(shares[number]) for number, name in enumerate(names)}
        if total[UNSAID]:
            self.things["unsaid"] = float(shares[UNSAID])


def _size(picture: Source, max_pixels: int) -> tuple[int, int] | None:
    """(width, height) of a picture, None where it cannot be read, which is said elsewhere."""
    try:
        return Header.of(picture, max_pixels).size
    except Refusal:
        return None


def _short(why: str) -> str:
    """What a sentence says before it says what to do."""
    return _FIRST.split(why)[0]
