"""A data set: pictures with their conditions, always read in batches.

``data[index]`` answers with ``(x, cond)`` whatever the index is: an integer gives a batch of one, a slice, a list, an
integer array or tensor, or a boolean mask gives as many rows as it names. Nothing is drawn at random: item k is the
same picture on every machine, in every worker, so the order of training is decided in one place, by whoever picks the
indices. A data set is one *split* of its source; the siblings are parts like itself.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part
from mezzotint.core.text import spoken
from mezzotint.data.licence import Licence
from mezzotint.data.origins import Origins

Rows = NDArray[np.int64]
Index = int | slice | Sequence[int] | NDArray[Any] | Tensor
SPLITS = ("train", "held_out", "all")
PLACES = ("path", "held_out_path", "folder", "cache")
"""Settings that say where pictures lie; what lies there is known by ``Data.mark``, so they may be moved."""
EXAMPLES = 10
"""How many items stand for a set where a few of them are shown."""
_CHUNK, _ENTRIES = 1024, 2**24
_SEARCHED = 256


class Data(Part, ABC):
    """One split of a source of pictures, as a frozen dataclass with a field ``split``.

    An author writes ``shape``, ``classes``, ``labels`` and ``read``; the rest follows. Pixels lie in [-1, 1]. Samples
    of another kind, such as points (D,), have the same interface and whatever range they have. Symbols have a
    ``vocab``, and are ``spelt`` where they are text or ``drawn`` where they are a picture.
    """

    split: str
    licence: ClassVar[Licence | None] = None
    """Under which the pictures may be shown; None: whoever brought them knows."""

    def __init_subclass__(cls, **given: Any) -> None:
        """Whoever reads in another way than the class it derives from packs what it reads."""
        super().__init_subclass__(**given)
        if "packed" not in vars(cls) and not vars(cls).keys().isdisjoint(("read", "items")):
            cls.packed = Data.packed  # type: ignore[method-assign]

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one sample: (C, H, W) of a picture, (D,) of a point."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...]:
        """Names of the classes by label, or () where there are none."""

    @property
    def things(self) -> tuple[str, ...]:
        """Names of what the numbers of a layout mean, or () where nobody says."""
        return ()

    @property
    @abstractmethod
    def labels(self) -> Rows | None:
        """Class of every picture of this split, int64 (N,), or None."""

    @abstractmethod
    def __len__(self) -> int:
        """Pictures in this split."""

    @abstractmethod
    def read(self, rows: Rows) -> Tensor:
        """The samples of these rows, (B, *shape): float32, in [-1, 1] where they are pictures; symbols int64 from 0."""

    @property
    def vocab(self) -> int | None:
        """How many symbols there are, where samples are symbols 0 .. vocab - 1; None: samples are real numbers."""
        return None

    def spelt(self, x: Tensor) -> list[str] | None:
        """Samples (B, *shape) of this kind as texts, where they are written; None: they are no text."""
        return None

    def drawn(self, x: Tensor) -> Tensor | None:
        """Samples (B, *shape) of this kind as pictures (B, C, H, W) in [-1, 1]; None: they are no pictures."""
        return x if self.vocab is None and len(self.shape) == 3 else None

    def coded(self, x: Tensor) -> Tensor | None:
        """Pictures (B, C, H, W) in [-1, 1] as samples (B, *shape) of this kind, as its own were made; None: it is not
        known how. :meth:`drawn` is the way back.
        """
        return x if self.vocab is None and len(self.shape) == 3 else None

    def condition(self, rows: Rows) -> Condition:
        """What is told of these rows: ``Condition(label)``, or ``NONE`` without labels; sources add what they know."""
        labels = self.labels
        return NONE if labels is None else Condition(label=torch.from_numpy(labels[rows]))

    @property
    def buckets(self) -> Rows | None:
        """Which items may be read together, int64 (N,): those with one number, from 0; None: all of them."""
        return None

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of one sample of each bucket, by its number; ``(shape,)`` where there are none."""
        return (self.shape,)

    @property
    def originals(self) -> Rows | None:
        """Height and width of every picture as it came, int64 (N, 2); None where that is not known."""
        return None

    def resized(self, size: tuple[int, int]) -> Data | None:
        """The same items, with all that is told of them, brought to another (height, width); None: it cannot be."""
        return None

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        """Pictures and conditions of these rows; a source that makes both in one go writes this one."""
        return self.read(rows), self.condition(rows)

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        """The same as :meth:`items`, pictures as bytes (B, C, H, W) where the source has them: see :func:`unpacked`.

        A quarter of what floats take on the way from those who read to the device that trains.
        """
        return self.items(rows)

    def __getitem__(self, index: Index) -> tuple[Tensor, Condition]:
        """A batch: pictures float32 (B, C, H, W) and their condition, or ``NONE`` where nothing is told of them."""
        return self.items(self._rows(index))

    def __iter__(self) -> Iterator[tuple[Tensor, Condition]]:
        return (self[row] for row in range(len(self)))

    def texts(self, index: Index = slice(None)) -> list[str]:
        """What is written of these items, a text each; [] where the source has no captions."""
        rows = self._rows(index)
        buckets = np.zeros(len(rows), dtype=np.int64) if self.buckets is None else self.buckets[rows]
        found: dict[int, str] = {}
        for bucket in np.unique(buckets):
            places = np.flatnonzero(buckets == bucket)
            cond = self.condition(rows[places])
            found |= zip(places.tolist(), spoken(cond["caption"]), strict=True) if "caption" in cond else ()
        return [found[place] for place in sorted(found)]

    @cached_property
    def examples(self) -> Condition:
        """What is told of a few held-out items, of this split where none is held out: ten at most, no caption twice and
        no empty one; ``NONE`` where no more is told than a label, which needs no examples.

        For whoever shows what a model can do.
        """
        if not set(self.condition(self._numbers[:1]).families) - {"label"}:
            return NONE
        try:
            others = self.held_out()
        except Refusal:  # nothing was held out
            others = self
        rows = others._numbers
        if others.buckets is not None:  # those that a picture of ``shape`` can be drawn for
            rows = np.flatnonzero(others.buckets == others.shapes.index(others.shape))
            if not len(rows):
                return NONE
        cond = others.condition(rows[:_SEARCHED])
        texts = spoken(cond["caption"]) if "caption" in cond else list(map(str, range(len(cond))))
        first = [texts.index(text) for text in dict.fromkeys(texts) if text.strip()] or [0]
        few: Condition = cond[first[:EXAMPLES]]
        return few

    def _rows(self, index: Index) -> Rows:
        if isinstance(index, Tensor):
            index = index.detach().cpu().numpy()
        if not isinstance(index, int | slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.int64)  # an empty list would be an array of floats
        return np.atleast_1d(self._numbers[index])

    @cached_property
    def _numbers(self) -> Rows:
        return np.arange(len(self), dtype=np.int64)

    def sibling(self, split: str) -> Self:
        """Another split of the same source: ``"train"``, ``"held_out"`` or ``"all"``."""
        return self if split == self.split else dataclasses.replace(cast(Any, self), split=split)

    def held_out(self) -> Self:
        """The pictures kept back from training, as a part of the same kind."""
        return self.sibling("held_out")

    @property
    def mean(self) -> float:
        """Mean over every entry of the *train* split, whichever split this is."""
        return self._moments[0]

    @property
    def std(self) -> float:
        """Standard deviation over every entry of the *train* split: what a denoiser calls ``sigma_data``."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        if train is not self:
            return train._moments
        return self._measured()

    def _measured(self) -> tuple[float, float]:
        """Mean and standard deviation over every entry of this split."""
        sums = [(x.numel(), x.double().sum().item()) for x in self._chunks()]
        count = sum(many for many, _ in sums)
        mean = sum(total for _, total in sums) / count
        # A second pass: the sum of squares less the square of the sum loses digits where the mean is large.
        spread = sum((x.double() - mean).square_().sum().item() for x in self._chunks()) / count
        return mean, float(np.sqrt(spread))

    @cached_property
    def mark(self) -> str:
        """What tells these pictures from others: BLAKE2b over their number, shape, labels and what the source knows.

        It does not depend on where they lie, so a run can go on where its pictures were moved. Of a file it sees the
        size and a few bytes (:func:`glimpse`), so that a run of a million pictures starts at once: a set with pictures
        added, taken away, renamed, told otherwise or saved anew has another mark, and a picture that was painted over
        in place, to a file as large as before, may have the same. :class:`~mezzotint.data.Cached`, which must not
        miss that either, reads every byte (:attr:`origins`).
        """
        found = blake2b(repr((len(self), tuple(self.shape), self.classes)).encode(), digest_size=16)
        found.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        for piece in self._marks():
            found.update(piece)
        return found.hexdigest()

    def _marks(self) -> Iterator[bytes]:
        """What else a source knows of its pictures at little cost, such as a :func:`glimpse` of every file.

        Not what is decoded from them: another version of a decoder may round in another way.
        """
        yield from ()

    @cached_property
    def origins(self) -> Origins | None:
        """The files that the items are made of, as they were before they were read; None where there are none.

        By what they hold a cache knows whether it is still theirs.
        """
        return None

    def _chunks(self) -> Iterator[Tensor]:
        many = max(1, min(_CHUNK, _ENTRIES // max(int(np.prod(shape)) for shape in self.shapes)))
        return (self.read(rows) for rows in together(self._numbers, self.buckets, many))


def together(rows: Rows, buckets: Rows | None, most: int) -> Iterator[Rows]:
    """Rows in pieces of ``most`` that may be read together, in their order; bucket by bucket where there are some."""
    parts = [rows] if buckets is None else [rows[buckets[rows] == bucket] for bucket in np.unique(buckets[rows])]
    return (part[start : start + most] for part in parts for start in range(0, len(part), most))


def unplaced(tree: Any) -> Any:
    """The spec of a data set without what says where its pictures lie, in the parts inside it, too."""
    if isinstance(tree, list | tuple):
        return [unplaced(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    return {key: unplaced(value) for key, value in tree.items() if key not in PLACES}


def glimpse(file: Path, places: int = 1) -> bytes:
    """The size of a file, and 256 bytes of it at so many places spread evenly.

    Another picture hardly has the same where files are packed; what changes between these places is not seen.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        pieces = []
        for place in range(places):
            opened.seek(max(0, size * (2 * place + 1) // (2 * places) - 128))
            pieces.append(opened.read(256))
    return b" ".join([str(size).encode(), *pieces])


def check_split(split: str) -> None:
    """Refuse a split that no data set has."""
    if split not in SPLITS:
        raise Refusal(f"there is no split {split!r}; choose one of {', '.join(SPLITS)}")


def check_share(share: float) -> None:
    """Refuse a held-out share outside [0, 1)."""
    if not 0.0 <= share < 1.0:
        raise Refusal(f"the held-out share is {share}, but a share lies in [0, 1)")


def fraction(name: str) -> float:
    """A number in [0, 1) that depends on a name only: the first 8 bytes of its BLAKE2b as a binary fraction."""
    said = name.encode(errors="surrogateescape")  # the name of a file may hold bytes that are no UTF-8
    return int.from_bytes(blake2b(said, digest_size=8).digest(), "big") / 2.0**64


def in_split(name: str, split: str, share: float) -> bool:
    """Whether a named item belongs to a split: it is held out where its ``fraction`` is below ``share``.

    Items never change sides because others come or go, and a larger share only moves items from train to held out.
    """
    return split == "all" or (fraction(name) < share) == (split == "held_out")


def bytes_of(pictures: NDArray[np.uint8]) -> Tensor:
    """Bytes (B, H, W, C) as they are, seen as (B, C, H, W): what :meth:`Data.packed` answers with."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2)


def unpacked(x: Tensor) -> Tensor:
    """What :meth:`Data.packed` answers with, as :meth:`Data.items` does, on whatever device: the same bits."""
    if x.dtype != torch.uint8:
        return x
    if x.device.type == "cpu":
        return unit(x.permute(0, 2, 3, 1).numpy())
    return x.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


def unit(pictures: NDArray[np.uint8]) -> Tensor:
    """Bytes (B, H, W, C) as float32 (B, C, H, W): 0 becomes -1, 255 becomes 1."""
    out = np.empty((len(pictures), pictures.shape[3], *pictures.shape[1:3]), dtype=np.float32)
    for channel in range(pictures.shape[3]):  # faster than all of them turned at once
        out[:, channel] = pictures[..., channel]
    return torch.from_numpy(out).div_(127.5).sub_(1.0)
