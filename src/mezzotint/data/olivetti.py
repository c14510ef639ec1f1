"""Ten photographs each of forty people: the Olivetti faces of AT&T Laboratories Cambridge (Samaria and Harter 1994).

The file, ``olivetti/faces_64.npz`` with ``images`` (400, 64, 64), ``labels`` and ``split``, lies in the folder that the
environment variable ``MEZZOTINT_DATA`` names. It is a set for personalisation, and for what happens where there is
little data.

Licence: free with credit to AT&T Laboratories Cambridge, for research. Its pictures stay in run folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mezzotint.data.containers import plain
from mezzotint.data.gathered import BUDGET, Gathered, Piece, of_split
from mezzotint.data.licence import Licence
from mezzotint.data.npz import read

PEOPLE = 40


@dataclass(frozen=True)
class Olivetti(Gathered):
    """Grey faces, x (1, H, W) in [-1, 1]; the ``Condition(label)`` 0..39 is the person. For research only.

    The last two photographs of each person are held out: 320 and 80.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 64 is as they are.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    size: int | tuple[int, int] = 64
    split: str = "train"
    channels = 1
    licence = Licence("free with credit", "name AT&T Laboratories Cambridge", research=True)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(map(str, range(PEOPLE)))

    def _files(self) -> Sequence[str]:
        return ["olivetti/faces_64.npz"]

    def _piece(self, file: Path) -> Piece:
        images, labels, held_out = read(file, ["images", "labels", "split"], BUDGET)
        rows = of_split(held_out, self.split)
        return Piece(plain(images)[rows], labels[rows])
