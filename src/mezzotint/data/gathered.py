"""Sets of pictures that somebody gathered once and for all: a file or a few in the data root, small enough to keep.

Each is a page of facts - which files there are, what they hold, which pictures are held out, under which licence - and
everything else is here: the pictures of a split are read when they are first asked for, brought to size by area, and
kept as bytes. The data root is what :func:`mezzotint.data.find` names; nothing is downloaded, and no path enters a
config.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.containers import Pictures, plain
from mezzotint.data.data import SPLITS, Data, Rows, glimpse, unit
from mezzotint.data.npz import read
from mezzotint.data.origins import Origins
from mezzotint.data.resize import fit, nearest, sides
from mezzotint.data.root import find

Number = TypeVar("Number", np.int64, np.uint8)
BUDGET = 2**31
"""Bytes that a file may unpack to, and that the pictures kept of a split may have."""
VALIDATION = 5_000
_AT_ONCE = 2**22  # entries that are brought to size at once: their means are taken in float32, four times the bytes


class Piece(NamedTuple):
    """What one file gives to a split: pictures (N, H, W, C), and a label or a map (N, H, W) each."""

    pictures: Pictures
    labels: Rows | None = None
    layouts: NDArray[np.uint8] | None = None


class Gathered(Data, ABC):
    """Pictures of files in the data root, with fields ``size`` and ``split``; an author writes three methods.

    Arguments:
        size: pixels of a side, or (height, width); by area, the centre kept.
        split: one of ``splits``.
    """

    size: int | tuple[int, int]
    splits: tuple[str, ...] = SPLITS
    channels = 3

    @abstractmethod
    def _files(self) -> Sequence[str]:
        """The files of this split, by their names in the data root."""

    @abstractmethod
    def _piece(self, file: Path) -> Piece:
        """What one of them gives to this split."""

    def __post_init__(self) -> None:
        if self.split not in self.splits:
            raise Refusal(f"there is no split {self.split!r}; choose one of {', '.join(self.splits)}")
        if sides(self.size) is None:
            raise Refusal(f"data.{type(self).__name__} has a size: one number of pixels, or (height, width)")

    @property
    def sides(self) -> tuple[int, int]:
        """(height, width) of a picture."""
        both = sides(self.size)
        assert both is not None
        return both

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, *self.sides

    @property
    def labels(self) -> Rows | None:
        return self._table.labels

    def __len__(self) -> int:
        return len(self._table.pictures)

    def read(self, rows: Rows) -> Tensor:
        return unit(self._table.pictures[rows])

    def condition(self, rows: Rows) -> Condition:
        told, layouts = super().condition(rows), self._table.layouts
        return told if layouts is None else told | Condition(layout=torch.from_numpy(layouts[rows]))

    def _marks(self) -> Iterator[bytes]:
        for file in self._files():
            yield glimpse(find(file), 64)

    @cached_property
    def origins(self) -> Origins:
        return Origins.shared(find(file) for file in self._files())

    @cached_property
    def _table(self) -> Piece:
        pieces = [self._brought(self._piece(file)) for file in self.origins.files]
        return Piece(
            np.concatenate([piece.pictures for piece in pieces]),
            _joined([piece.labels for piece in pieces if piece.labels is not None]),
            _joined([piece.layouts for piece in pieces if piece.layouts is not None]),
        )

    def _brought(self, piece: Piece) -> Piece:
        """The same at the size that is asked for: pictures by area, maps by the nearest pixel."""
        pictures, labels, layouts = piece
        self._check_budget(len(pictures))
        many = max(1, _AT_ONCE // max(math.prod(pictures.shape[1:]), math.prod(self.shape)))
        if pictures.shape[1:3] != self.sides:
            fitted = [fit(pictures[row : row + many], self.sides) for row in range(0, len(pictures), many)]
            pictures = np.concatenate(fitted)
        return Piece(
            pictures,
            None if labels is None else labels.astype(np.int64),
            None if layouts is None else nearest(layouts[..., None], self.sides)[..., 0],
        )

    def _check_budget(self, count: int) -> None:
        taken = count * math.prod(self.shape)
        if taken > BUDGET:
            raise Refusal(
                f"{count:,} pictures of data.{type(self).__name__} take {taken / 2**30:.1f} GiB at size {self.size}, "
                f"and {BUDGET / 2**30:.0f} are kept at most; choose a smaller size"
            )


class TrainAndTest(Gathered, ABC):
    """Grey pictures in two files, ``train.npz`` and ``test.npz`` of ``folder``, with ``images`` and ``labels``.

    The last 5,000 pictures of the training file are the ``validation`` split, for whatever is chosen by looking; the
    test file is held out, for whatever is reported.
    """

    folder: str
    splits = ("train", "validation", "held_out", "all")
    channels = 1

    def _files(self) -> Sequence[str]:
        files = {"held_out": ("test",), "all": ("train", "test")}.get(self.split, ("train",))
        return [f"{self.folder}/{name}.npz" for name in files]

    def _piece(self, file: Path) -> Piece:
        images, labels = read(file, ["images", "labels"], BUDGET)
        cut = slice(None)
        if file.stem == "train":
            end = len(labels) - VALIDATION
            cut = slice(end, None) if self.split == "validation" else slice(None, end)
        return Piece(plain(images)[cut], labels[cut])


def of_split(held_out: NDArray[np.integer], split: str) -> Rows:
    """The rows of a split where the file itself says what is held out (1) and what is not (0)."""
    wanted = np.ones(len(held_out), dtype=bool) if split == "all" else (held_out == 1) == (split == "held_out")
    return np.flatnonzero(wanted)


def _joined(parts: Sequence[NDArray[Number]]) -> NDArray[Number] | None:
    return np.concatenate(parts) if parts else None
