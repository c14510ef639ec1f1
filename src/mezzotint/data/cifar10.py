"""Small photographs of ten kinds of things: 30,000 of the training pictures of CIFAR-10 (Krizhevsky 2009).

They lie in three balanced, shuffled files of 10,000, ``cifar10/train_a.npz``, ``train_b.npz`` and ``train_c.npz``, in
the folder that the environment variable ``MEZZOTINT_DATA`` names: losslessly, as differences of planes
(:mod:`.containers`). The convention is that c is held out: one trains on a, or on a and b, and on all three only for a
last figure that needs nothing held out.

Licence: none stated; for research only, and whoever uses it cites Krizhevsky 2009, "Learning multiple layers of
features from tiny images". Its pictures stay in run folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mezzotint.core.errors import Refusal
from mezzotint.data.containers import from_delta
from mezzotint.data.gathered import BUDGET, Gathered, Piece
from mezzotint.data.licence import Licence
from mezzotint.data.npz import read

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_TRAIN = ("a", "ab")


@dataclass(frozen=True)
class CIFAR10(Gathered):
    """Photographs in ten classes, x (3, H, W) in [-1, 1], with ``Condition(label)`` 0..9. For research only.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 32 is as they are.
        train: the files that are trained on, ``"ab"`` (20,000 pictures) or ``"a"`` (10,000).
        split: ``"train"``, ``"held_out"`` (file c, 10,000) or ``"all"`` (both).
    """

    size: int | tuple[int, int] = 32
    train: str = "ab"
    split: str = "train"
    licence = Licence("none stated", "cite Krizhevsky 2009", research=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train not in _TRAIN:
            raise Refusal(
                f"data.CIFAR10 trains on the files 'a' or 'ab', not {self.train!r}: c is held out, and split='all' has "
                "all of them"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    def _files(self) -> Sequence[str]:
        files = {"train": self.train, "held_out": "c", "all": f"{self.train}c"}[self.split]
        return [f"cifar10/train_{name}.npz" for name in files]

    def _piece(self, file: Path) -> Piece:
        planes, labels = read(file, ["delta", "labels"], BUDGET)
        return Piece(from_delta(planes), labels)
