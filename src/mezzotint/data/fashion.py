"""Pictures of clothes, in the place of handwritten digits: Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, 1708.07747).

The two files, ``fashion_mnist/train.npz`` and ``test.npz`` with ``images`` (N, 28, 28) and ``labels`` (N,), lie in the
folder that the environment variable ``MEZZOTINT_DATA`` names; nothing is downloaded, and no path enters a config.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows, unit
from mezzotint.data.npz import read
from mezzotint.data.resize import fit, sides
from mezzotint.data.root import find

VALIDATION = 5_000
CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_BUDGET = 2**27
_SPLITS = ("train", "validation", "held_out", "all")


@dataclass(frozen=True)
class FashionMNIST(Data):
    """Clothes in ten classes, x (1, H, W) in [-1, 1], with ``Condition(label)`` 0..9.

    The last 5,000 pictures of the training file are the ``validation`` split, for whatever is chosen by looking; the
    test file is held out, for whatever is reported.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept. 28 is as they are.
        split: ``"train"``, ``"validation"``, ``"held_out"`` or ``"all"`` (train and held out).
    """

    size: int | tuple[int, int] = 28
    split: str = "train"

    def __post_init__(self) -> None:
        if self.split not in _SPLITS:
            raise Refusal(f"there is no split {self.split!r}; choose one of {', '.join(_SPLITS)}")
        sides(self.size)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = self._table[0].shape[1:3]
        return 1, height, width

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def labels(self) -> Rows:
        return self._table[1]

    def __len__(self) -> int:
        return len(self._table[1])

    def read(self, rows: Rows) -> Tensor:
        return unit(self._table[0][rows])

    @cached_property
    def _table(self) -> tuple[NDArray[np.uint8], Rows]:
        files = {"held_out": ("test",), "all": ("train", "test")}.get(self.split, ("train",))
        parts = []
        for name in files:
            images, labels = read(find(f"fashion_mnist/{name}.npz"), ["images", "labels"], _BUDGET)
            parts.append((images[..., None], labels.astype(np.int64)))
            if name == "train":
                end = len(parts[-1][1]) - VALIDATION
                cut = slice(end, None) if self.split == "validation" else slice(None, end)
                parts[-1] = (parts[-1][0][cut], parts[-1][1][cut])
        pictures, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        size = sides(self.size)
        assert size is not None
        # In pieces: the means are taken in float32, four times the bytes.
        fitted = [fit(pictures[row : row + 4096], size) for row in range(0, len(pictures), 4096)]
        return np.concatenate(fitted), labels
