"""Pictures in a ``.npz`` file, the usual container of small research sets.

Numbers decide what they mean by one rule: bytes are 0..255; floats with a negative entry are [-1, 1], floats without
one are [0, 1]; anything outside is refused, not guessed at. Object arrays, which would need a pickle, are never read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows, check_share, check_split, glimpse, in_split, unit
from mezzotint.data.npz import read
from mezzotint.data.resize import fit, sides

Array = NDArray[Any]
_CHUNK = 2**23  # bytes of pictures that are worked on at once
LABELS = 100_000
"""Labels lie below this: every one up to the largest has a name."""
PICTURES = 2**24
"""How many pictures a file may hold, however small they are: each is asked by its number which split it is in."""


@dataclass(frozen=True)
class Arrays(Data):
    """Pictures of a ``.npz`` file, x (C, H, W) in [-1, 1], with ``Condition(label)`` where labels are named.

    Arguments:
        path: the file.
        images: name of the array (N, H, W) or (N, H, W, C) with C from 1 to 4, uint8 or float.
        label: name of the integer array (N,), or None for a set without labels.
        classes: names by label; by default ``"0"``, ``"1"``, ... up to the largest label of the file, which is below
            ``LABELS``.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
        held_out_path: a second file with the held-out pictures; then all of the first is the train split.
        held_out_share: else the share held out, by a hash of the row number, in [0, 1).
        size: pixels of a side, (height, width), or None to keep the size; by area, centre kept.
        budget: bytes that the arrays of a file may unpack to, and that the pictures kept of them may have; 2 GiB unless
            you say more. While they are prepared both are in memory, and little else: of bytes and float32 twice what
            the file unpacks to, of float16 three times, since it is kept as float32.
    """

    path: str
    images: str = "images"
    label: str | None = "labels"
    classes: tuple[str, ...] = ()
    split: str = "train"
    held_out_path: str | None = None
    held_out_share: float = 0.1
    size: int | tuple[int, int] | None = None
    budget: int = 2**31
    _pictures: Array = field(init=False, repr=False, compare=False)
    _labels: Rows | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_split(self.split)
        check_share(self.held_out_share)
        size = sides(self.size)
        self._set(path=os.fspath(self.path), size=self.size if isinstance(self.size, int) else size)
        if self.held_out_path is not None:
            self._set(held_out_path=os.fspath(self.held_out_path))
        pictures, labels = self._load(self.path)
        signed = bool(len(pictures)) and pictures.min() < 0
        classes = tuple(str(name) for name in self.classes)
        if labels is not None and not classes:
            classes = tuple(str(label) for label in range(int(labels.max()) + 1))
        rows: Rows = np.arange(len(pictures))
        parts = [(pictures, rows, labels, self.path)]
        if self.held_out_path is None:
            asked = (in_split(str(row), self.split, self.held_out_share) for row in range(len(pictures)))
            mine = np.fromiter(asked, dtype=bool, count=len(pictures))
            parts = [(pictures, rows[mine], None if labels is None else labels[mine], self.path)]
        elif not os.path.isfile(self.held_out_path):
            raise Refusal(f"there is no file {os.fspath(self.held_out_path)!r} with held-out pictures")
        elif self.split != "train":
            other, theirs = self._load(self.held_out_path)
            if other.shape[1:] != pictures.shape[1:] or other.dtype != pictures.dtype:
                raise Refusal(
                    f"{self.held_out_path!r} holds {other.dtype} pictures of shape {other.shape[1:]}, "
                    f"{self.path!r} {pictures.dtype} of shape {pictures.shape[1:]}; the two must agree"
                )
            parts = [*parts[self.split == "held_out" :], (other, np.arange(len(other)), theirs, self.held_out_path)]
        for _, _, part, where in parts:
            if part is not None and len(part) and labels is not None and int(part.max()) >= len(classes):
                raise Refusal(f"{where!r} holds the label {int(part.max())}, but there are {len(classes)} classes")
        if not sum(len(rows) for _, rows, _, _ in parts):
            raise Refusal(f"no picture of {self.path!r} falls into the split {self.split!r}; choose another share")
        self._set(
            classes=classes,
            _labels=None if labels is None else np.concatenate([part for *_, part, _ in parts if part is not None]),
        )
        for part, rows, _, where in parts:
            if len(rows):
                _check_range(part, rows, signed, where)
        height, width, channels = pictures.shape[1:]
        many, kind = sum(len(rows) for _, rows, _, _ in parts), np.uint8 if pictures.dtype == np.uint8 else np.float32
        if many * math.prod(size or (height, width)) * channels * np.dtype(kind).itemsize > self.budget:
            raise Refusal(
                f"the pictures of {self.path!r} take more than budget = {self.budget} bytes; raise it if they fit"
            )
        kept: Array = np.empty((many, *(size or (height, width)), channels), dtype=kind)
        at = 0
        for part, rows, _, _ in parts:
            for some in _chunks(part, rows):
                values = _values(part[some], signed)
                kept[at : at + len(some)] = values if size is None else fit(values, size)
                at += len(some)
        self._set(_pictures=kept)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _load(self, path: str) -> tuple[Array, Rows | None]:
        """The arrays of one file, checked: pictures (N, H, W, C) and labels (N,)."""
        pictures, *rest = read(path, [self.images] + ([] if self.label is None else [self.label]), self.budget)
        if pictures.ndim == 3:
            pictures = pictures[..., None]
        if pictures.ndim != 4 or not 1 <= pictures.shape[3] <= 4 or not pictures.size:
            raise Refusal(
                f"{self.images!r} of {path!r} has the shape {pictures.shape}, but pictures are (N, H, W) or "
                "(N, H, W, C) with C from 1 to 4"
            )
        if len(pictures) > PICTURES:
            raise Refusal(
                f"{self.images!r} of {path!r} holds {len(pictures):,} pictures, and at most {PICTURES:,} are read"
            )
        if pictures.dtype != np.uint8 and pictures.dtype.kind != "f":
            raise Refusal(f"{self.images!r} of {path!r} is {pictures.dtype}, but only uint8 and floats are read")
        if not rest:
            return pictures, None
        labels = rest[0]
        if labels.size and labels.dtype.kind in "iu" and labels.max() >= LABELS:
            raise Refusal(
                f"{self.label!r} of {path!r} holds the label {labels.max()}, but labels count classes from 0 and lie "
                f"below {LABELS:,}: number the classes anew"
            )
        if labels.shape != (len(pictures),) or labels.dtype.kind not in "iu" or (len(labels) and labels.min() < 0):
            raise Refusal(
                f"{self.label!r} of {path!r} is {labels.dtype} of shape {labels.shape}, but labels are integers "
                f"from 0, one for each of {len(pictures)} pictures"
            )
        return pictures, labels.astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self._pictures.shape[1:]
        return channels, height, width

    @property
    def labels(self) -> Rows | None:
        return self._labels

    def __len__(self) -> int:
        return len(self._pictures)

    def _marks(self) -> Iterator[bytes]:
        for path in (self.path, self.held_out_path):
            if path is not None:
                yield glimpse(Path(path), 64)

    def read(self, rows: Rows) -> Tensor:
        pictures = self._pictures[rows]
        if pictures.dtype == np.uint8:
            return unit(pictures)
        return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def _chunks(pictures: Array, rows: Rows) -> Iterator[Rows]:
    """The rows in runs that are worked on at once: copies of all of them would need their memory several times over."""
    many = max(1, _CHUNK // (4 * math.prod(pictures.shape[1:])))
    return (rows[start : start + many] for start in range(0, len(rows), many))


def _check_range(pictures: Array, rows: Rows, signed: bool, path: str) -> None:
    """Refuse floats beyond [0, 1], or beyond [-1, 1] where any is negative."""
    if pictures.dtype == np.uint8:
        return
    ends = [(pictures[some].min(), pictures[some].max()) for some in _chunks(pictures, rows)]
    low, high = np.min([low for low, _ in ends]), np.max([high for _, high in ends])
    # Written so that a NaN, which compares false, is refused as well.
    if not (low >= (-1.0 if signed else 0.0) and high <= 1.0):
        raise Refusal(
            f"the pictures of {path!r} run from {low:.4g} to {high:.4g}, "
            f"but floats lie in [0, 1], or in [-1, 1] where any is negative"
        )


def _values(pictures: Array, signed: bool) -> Array:
    """Bytes as they are, floats as float32 in [-1, 1]."""
    if pictures.dtype == np.uint8:
        return pictures
    values = pictures.astype(np.float32)
    if not signed:
        values *= 2
        values -= 1
    return values
