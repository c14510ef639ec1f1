"""Every picture twice, as it is and as a mirror shows it, with whatever is told of it.

Flips double a small set for nothing, where a mirrored picture is one that the set might have held. Whether it is
depends on what is told: a mirrored map is the map of the mirrored picture, but "a ball on the left" becomes false. So a
mirrored item is an item of its own, with a number of its own - nothing is drawn at random - and what nobody can mirror
is refused unless whoever knows it declares it harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition, family
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows
from mezzotint.data.digits import Digits
from mezzotint.data.origins import Origins
from mezzotint.data.wrapped import Wrapped

PICTURES = ("layout", "image", "mask", "depth", "edges", "instances", "low")
"""Families whose last axis is the picture's width."""
PLAIN = ("boxes.label",)
"""What is the same of both: which form stands in a box. A label is not among them: digits and letters are no mirror
images, nor is a label that says left or right."""


@dataclass(frozen=True)
class Flipped(Wrapped):
    """2N items of a source of N: item N + k is item k mirrored left to right.

    Only what is trained on is mirrored: the held-out split is that of the source, and ``"all"`` is both one after the
    other. With a picture are mirrored ``layout``, ``mask``, ``image``, ``depth``, ``edges``, ``instances`` and ``low``,
    ``boxes`` (B, K, 4) and ``keypoints`` (B, ..., K, 3). Everything else that is told, such as a label, a caption,
    places and relations, is kept where it is declared harmless, and refused else: a mirrored 2 is no 2.

    Arguments:
        source: what is mirrored.
        harmless: families, or values of one such as ``"attributes.count"``, that are as true of a mirrored picture.
        pairs: keypoints by number that change places in a mirror, such as the hands: ((4, 6), ...).

    Raises:
        Refusal: something is told of the source that is neither known here nor declared harmless.
    """

    source: Data
    harmless: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()
    _parts: tuple[tuple[Data, bool], ...] = field(init=False, repr=False, compare=False)

    @classmethod
    def example(cls) -> Flipped:
        return cls(Digits(), harmless=("label",))

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.harmless, str):
            raise Refusal(f"harmless is a list of what is told, not {self.harmless!r}: write [{self.harmless}]")
        pairs = tuple(tuple(pair) for pair in self.pairs)
        places = [place for pair in pairs for place in pair]
        if any(len(pair) != 2 for pair in pairs) or len(set(places)) < len(places) or min(places, default=0) < 0:
            raise Refusal(f"pairs are numbers of two keypoints each, none of them twice, not {self.pairs}")
        self._set(harmless=tuple(self.harmless), pairs=pairs, _parts=tuple(self._split_up()))
        self._check(self.source.condition(np.arange(1)))

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _split_up(self) -> Iterator[tuple[Data, bool]]:
        """The data sets that follow each other, and whether they are mirrored."""
        if self.split in ("train", "all"):
            train = self.source.sibling("train")
            yield from ((train, False), (train, True))
        if self.split == "all":
            try:
                yield self.source.sibling("held_out"), False
            except Refusal:  # nothing was held out
                return
        elif self.split != "train":
            yield self.source, False

    def _check(self, told: Condition) -> None:
        for name in told.values:
            if not (_mirrors(name) or self._harmless(name)):
                raise Refusal(
                    f"{name!r} is told of these pictures, and may be false of mirrored ones, where left is right; "
                    f"if it is not, declare it by harmless=({name!r},), or leave it out of the source"
                )
        if "keypoints" in told and any(max(pair) >= told["keypoints"].shape[-2] for pair in self.pairs):
            raise Refusal(f"there are {told['keypoints'].shape[-2]} keypoints, from 0, and pairs are {self.pairs}")

    def _harmless(self, name: str) -> bool:
        return name in self.harmless or family(name) in self.harmless

    @cached_property
    def labels(self) -> Rows | None:
        return _joined([part.labels for part, _ in self._parts])

    @cached_property
    def origins(self) -> Origins | None:
        found = [part.origins for part, _ in self._parts]
        known = [one for one in found if one is not None]
        return Origins.joined(known) if known else None

    @cached_property
    def buckets(self) -> Rows | None:
        return _joined([part.buckets for part, _ in self._parts])

    def __len__(self) -> int:
        return sum(len(part) for part, _ in self._parts)

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self._gathered(rows, lambda data, some: data.items(some))

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        return self._gathered(rows, lambda data, some: data.packed(some))

    def read(self, rows: Rows) -> Tensor:
        return self._gathered(rows, lambda data, some: (data.read(some), NONE))[0]

    def condition(self, rows: Rows) -> Condition:
        return self._gathered(rows, lambda data, some: (torch.zeros(len(some), 1), data.condition(some)))[1]

    def _gathered(self, rows: Rows, ask: Callable[[Data, Rows], tuple[Tensor, Condition]]) -> tuple[Tensor, Condition]:
        """What the parts answer for the rows that are theirs, mirrored where it is to be, in the order of the rows."""
        pieces: list[tuple[Rows, Tensor, Condition]] = []
        first = 0
        for data, flip in self._parts:
            places = np.flatnonzero((rows >= first) & (rows < first + len(data)))
            if len(places) or not (pieces or len(rows)):
                x, told = ask(data, rows[places] - first)
                pieces.append((places, *((x.flip(-1), self.mirrored(told)) if flip else (x, told))))
            first += len(data)
        order = torch.from_numpy(np.argsort(np.concatenate([places for places, _, _ in pieces]), kind="stable"))
        x, told = torch.cat([x for _, x, _ in pieces]), cat([told for _, _, told in pieces])
        return x[order], told[order] if told else told

    def mirrored(self, told: Condition) -> Condition:
        """What is to be told of mirrored pictures, where ``told`` is told of the pictures."""
        found = Condition(**{name: self._mirror(name, value) for name, value in told.values.items()})
        for name, kept in told.keep.items():  # where nothing is told of a picture, nothing is of the mirrored one
            found = found.drop(name, rows=~kept)
        return found

    def _mirror(self, name: str, value: Tensor) -> Tensor:
        if self._harmless(name) or name in PLAIN:
            return value
        if name == "boxes":
            left, top, right, bottom = value.unbind(-1)
            there = right > left
            left, right = torch.where(there, 1 - right, left), torch.where(there, 1 - left, right)
            return torch.stack([left, top, right, bottom], -1)
        if name == "keypoints":
            across, down, seen = value.unbind(-1)
            found = torch.stack([torch.where(seen > 0, 1 - across, across), down, seen], -1)
            order = list(range(value.shape[-2]))
            for a, b in self.pairs:
                order[a], order[b] = b, a
            return found[..., order, :]
        return value.flip(-1)

    def _marks(self) -> Iterator[bytes]:
        yield repr((self.pairs, len(self))).encode()


def _mirrors(name: str) -> bool:
    """Whether it is known what a mirror makes of a value of this name."""
    return family(name) in PICTURES or name in (*PLAIN, "boxes", "keypoints")


def _joined(parts: list[Rows | None]) -> Rows | None:
    found = [part for part in parts if part is not None]
    return np.concatenate(found) if found else None
