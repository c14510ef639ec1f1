"""Fronts of houses, with what every pixel shows: the CMP facade database (Tylecek and Sara 2013), in twelve classes.

The files, ``cmp_facades/facades_64.npz`` and ``facades_128.npz``, lie in the folder that the environment variable
``MEZZOTINT_DATA`` names. The colours of the maps came through JPEG and were brought back to the nearest class, so the
edges of labels are off by a pixel here and there.

Licence: published for research by the Czech Technical University in Prague, none stated in the mirror; for research
only, and whoever uses it cites Tylecek and Sara 2013, "Spatial pattern templates for recognition of objects with
regular structure". Its pictures stay in run folders.
"""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.data.licence import Licence
from mezzotint.data.mapped import Mapped

THINGS = (
    "background", "facade", "window", "door", "cornice", "sill", "balcony", "blind", "deco", "molding", "pillar",
    "shop",
)  # fmt: skip


@dataclass(frozen=True)
class Facades(Mapped):
    """Fronts of houses, x (3, H, W) in [-1, 1], with ``Condition(layout)`` uint8 (B, H, W). For research only.

    400 to train on and 100 held out. A map holds 0..11, the ``things``.

    Arguments:
        size: pixels of a side, or (height, width), the centre kept; 64 and 128 are as they are.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    size: int | tuple[int, int] = 64
    split: str = "train"
    stem = "cmp_facades/facades"
    licence = Licence("none stated", "cite Tylecek and Sara 2013", research=True)

    @property
    def things(self) -> tuple[str, ...]:
        return THINGS
