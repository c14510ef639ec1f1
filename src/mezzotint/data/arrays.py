"""Pictures in a ``.npz`` file, the usual container of small research sets.

Numbers decide what they mean by one rule: bytes are 0..255; floats with a negative entry are [-1, 1], floats without
one are [0, 1]; anything outside is refused, not guessed at. Object arrays, which would need a pickle, are never read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.archive import Archive, Array, Bytes, captions, widened
from mezzotint.data.data import Data, Rows, bytes_of, check_share, check_split, glimpse, in_split, unit
from mezzotint.data.origins import Origins
from mezzotint.data.resize import fit, sides
from mezzotint.data.transparency import check_colour, laid

Number = TypeVar("Number", np.int64, np.uint8)
_CHUNK = 2**23  # bytes of pictures that are worked on at once


@dataclass(frozen=True)
class Arrays(Data):
    """Pictures of a ``.npz`` file, x (C, H, W) in [-1, 1], with ``Condition(label, caption)`` as far as they are named.

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
        caption: name of the array of strings (N,), or None for a set without captions; numpy strings, or bytes in
            UTF-8. Told as ``caption``, uint8 (B, L), L the same in all splits.
        split_by: name of an integer array (N,) that says which pictures the file itself holds out (1) and which not
            (0), in place of ``held_out_share``.
        under: the colour under transparency, such as ``"white"``, of pictures with 2 or 4 channels, whose last says how
            opaque they are; None: it is a channel like the others.
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
    caption: str | None = None
    split_by: str | None = None
    under: str | None = None
    _pictures: Array = field(init=False, repr=False, compare=False)
    _labels: Rows | None = field(init=False, repr=False, compare=False)
    _captions: Bytes | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_split(self.split)
        check_share(self.held_out_share)
        size = sides(self.size)
        self._set(path=os.fspath(self.path), size=self.size if isinstance(self.size, int) else size)
        if self.held_out_path is not None:
            self._set(held_out_path=os.fspath(self.held_out_path))
        if self.under is not None:
            check_colour(self.under)
        if self.split_by is not None and self.held_out_path is not None:
            raise Refusal(
                "split_by says that the file itself holds pictures out, and held_out_path that another does; name one"
            )
        first = self._load(self.path)
        pictures, labels = first.pictures, first.labels
        signed = bool(len(pictures)) and pictures.min() < 0
        classes = tuple(str(name) for name in self.classes)
        if labels is not None and not classes:
            classes = tuple(str(label) for label in range(int(labels.max()) + 1))
        parts, other = [(first, self._mine(first))], None
        if self.held_out_path is not None and not os.path.isfile(self.held_out_path):
            raise Refusal(f"there is no file {os.fspath(self.held_out_path)!r} with held-out pictures")
        if self.held_out_path is not None and self.split != "train":
            other = self._load(self.held_out_path)
            if other.pictures.shape[1:] != pictures.shape[1:] or other.pictures.dtype != pictures.dtype:
                raise Refusal(
                    f"{self.held_out_path!r} holds {other.pictures.dtype} pictures of shape "
                    f"{other.pictures.shape[1:]}, {self.path!r} {pictures.dtype} of shape {pictures.shape[1:]}; "
                    "the two must agree"
                )
            parts = [*parts[self.split == "held_out" :], (other, np.arange(len(other.pictures)))]
        for part, rows in parts:
            found = part.labels
            if found is not None and len(rows) and labels is not None and int(found[rows].max()) >= len(classes):
                raise Refusal(
                    f"{part.path!r} holds the label {int(found[rows].max())}, but there are {len(classes)} classes"
                )
        if not sum(len(rows) for _, rows in parts):
            hint = "choose another share" if self.split_by is None else f"look at {self.split_by!r}"
            raise Refusal(f"no picture of {self.path!r} falls into the split {self.split!r}; {hint}")
        width = self._width(first, other)
        self._set(
            classes=classes,
            _labels=_joined([part.labels[rows] for part, rows in parts if part.labels is not None]),
            _captions=_joined([widened(p.captions[rows], width) for p, rows in parts if p.captions is not None]),
        )
        for part, rows in parts:
            if len(rows):
                _check_range(part.pictures, rows, signed, part.path)
        height, width, channels = pictures.shape[1:]
        if self.under is not None:
            if channels not in (2, 4):
                raise Refusal(
                    f"the pictures of {self.path!r} have {channels} channels, so none says how transparent they are; "
                    "leave under out"
                )
            channels -= 1
        many, kind = sum(len(rows) for _, rows in parts), np.uint8 if pictures.dtype == np.uint8 else np.float32
        if many * math.prod(size or (height, width)) * channels * np.dtype(kind).itemsize > self.budget:
            raise Refusal(
                f"the pictures of {self.path!r} take more than budget = {self.budget} bytes; raise it if they fit"
            )
        kept: Array = np.empty((many, *(size or (height, width)), channels), dtype=kind)
        at = 0
        for part, rows in parts:
            for some in _chunks(part.pictures, rows):
                values = _values(part.pictures[some], signed)
                values = values if self.under is None else laid(values, self.under)
                kept[at : at + len(some)] = values if size is None else fit(values, size)
                at += len(some)
        self._set(_pictures=kept)

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _load(self, path: str) -> Archive:
        assert Path(path) in self.origins.files  # which are looked at before they are read
        return Archive.read(path, self.images, self.label, self.caption, self.split_by, self.budget)

    def _mine(self, first: Archive) -> Rows:
        """The rows of the first file that are of this split."""
        count = len(first.pictures)
        if self.held_out_path is not None or self.split == "all":
            return np.arange(count)
        if first.held_out is not None:
            return np.flatnonzero(first.held_out == (self.split == "held_out"))
        asked = (in_split(str(row), self.split, self.held_out_share) for row in range(count))
        return np.flatnonzero(np.fromiter(asked, dtype=bool, count=count))

    def _width(self, first: Archive, other: Archive | None) -> int:
        """Bytes of the longest caption of both files, so that rows of all splits agree."""
        widths = [part.captions.shape[1] for part in (first, other) if part is not None and part.captions is not None]
        if other is None and self.held_out_path is not None and self.caption is not None:
            widths.append(captions(self.held_out_path, self.caption, self.budget).shape[1])
        return max(widths, default=0)

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
        if self._captions is not None:
            yield f"captions {self._captions.shape}".encode()
            yield self._captions.tobytes()

    @cached_property
    def origins(self) -> Origins:
        return Origins.shared(Path(path) for path in (self.path, self.held_out_path) if path is not None)

    def condition(self, rows: Rows) -> Condition:
        told = super().condition(rows)
        return told if self._captions is None else told | Condition(caption=torch.from_numpy(self._captions[rows]))

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        if self._pictures.dtype != np.uint8:
            return self.items(rows)
        return bytes_of(self._pictures[rows]), self.condition(rows)

    def read(self, rows: Rows) -> Tensor:
        pictures = self._pictures[rows]
        if pictures.dtype == np.uint8:
            return unit(pictures)
        return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


def _joined(parts: list[NDArray[Number]]) -> NDArray[Number] | None:
    return np.concatenate(parts) if parts else None


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
