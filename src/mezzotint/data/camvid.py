"""Streets seen from a car, with what every pixel shows: CamVid (Brostow et al. 2008, 2009), in eleven classes.

The files, ``camvid/camvid_64.npz`` and ``camvid_128.npz``, lie in the folder that the environment variable
``MEZZOTINT_DATA`` names. Frames are a second apart, and neighbours look alike: the split is that of the files, and not
at random.

Licence: CC BY-NC 4.0, as the mirror it came from states; for personal use and research only, and whoever uses it cites
Brostow, Fauqueur and Cipolla 2009, "Semantic object classes in video". Its pictures stay in run folders.
"""

from __future__ import annotations

from dataclasses import dataclass

from mezzotint.data.licence import Licence
from mezzotint.data.mapped import Mapped

THINGS = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


@dataclass(frozen=True)
class CamVid(Mapped):
    """Street photographs, x (3, H, W) in [-1, 1], with ``Condition(layout)`` uint8 (B, H, W). For research only.

    367 to train on and 101 held out. A map holds 0..10, the ``things``, and 255 where a pixel is unlabelled.

    Arguments:
        size: pixels of a side, or (height, width), the centre kept; 64 and 128 are as they are.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    size: int | tuple[int, int] = 64
    split: str = "train"
    stem = "camvid/camvid"
    unsaid = len(THINGS)
    licence = Licence("CC BY-NC 4.0", "as the mirror states; cite Brostow et al. 2009", research=True)

    @property
    def things(self) -> tuple[str, ...]:
        return THINGS
