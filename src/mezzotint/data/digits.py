"""Real handwritten digits that need no download.

scikit-learn carries the 1,797 test digits of the "Optical recognition of handwritten digits" set (Alpaydin and Kaynak
1998, UCI): 8 x 8 pixels of 0..16, each the count of ink in a 4 x 4 block of a scanned bitmap, 174 to 183 of a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.data.data import Data, Rows, check_split
from mezzotint.data.licence import Licence

HELD_OUT = 360


@dataclass(frozen=True)
class Digits(Data):
    """1,437 digits to train on and 360 held out, x (1, 8, 8) in [-1, 1], ``Condition(label)`` 0..9.

    x = ink / 8 - 1. The split, fixed for good: picture i (in scikit-learn's order) has the key
    SHA-256("mezzotint.digits.<i>"); pictures are ordered by key, and the first n_c of class c are held out, where n_c
    is the class's share of 360 rounded by largest remainder (36 37 35 37 36 36 36 36 35 36). Both splits keep the
    order of the keys, so a prefix is a random subset. The same people wrote both splits: held-out pictures are new,
    hands are not.

    Arguments:
        split: ``"train"``, ``"held_out"`` or ``"all"`` (all 1,797, by key).
    """

    split: str = "train"
    licence = Licence("CC BY 4.0", "name Alpaydin and Kaynak 1998, UCI")

    def __post_init__(self) -> None:
        check_split(self.split)

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, 8, 8

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple("0123456789")

    @property
    def labels(self) -> Rows:
        return self._table[1]

    def __len__(self) -> int:
        return len(self._table[1])

    def read(self, rows: Rows) -> Tensor:
        return torch.from_numpy(self._table[0][rows])

    @cached_property
    def _table(self) -> tuple[NDArray[np.float32], Rows]:
        from sklearn.datasets import load_digits

        ink, labels = load_digits(return_X_y=True)
        labels = labels.astype(np.int64)
        keys = [sha256(f"mezzotint.digits.{i}".encode()).digest() for i in range(len(labels))]
        order = np.array(sorted(range(len(labels)), key=keys.__getitem__), dtype=np.int64)
        # The place of each picture within its class, in the order of the keys.
        place = np.empty(len(labels), dtype=np.int64)
        for label in range(10):
            rows = order[labels[order] == label]
            place[rows] = np.arange(len(rows))
        held = place[order] < _shares(np.bincount(labels), HELD_OUT)[labels[order]]
        rows = order if self.split == "all" else order[held == (self.split == "held_out")]
        return (ink[rows] / 8 - 1).astype(np.float32).reshape(-1, 1, 8, 8), labels[rows]


def _shares(counts: Rows, total: int) -> Rows:
    """``total`` parted in proportion to ``counts`` by largest remainder; ties go to the lower class."""
    exact = counts * total / counts.sum()
    shares: Rows = np.floor(exact).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: total - shares.sum()]] += 1
    return shares
