"""What measures keep of a set of pictures: small tables, so that the pictures themselves need not fit into memory.

No measure needs a picture whole after it has been looked at once: the judge and the neighbours see it at 32 pixels a
side, the Frechet distance in pixels at 16, an extractor makes a row of features of it, and of some of them a few
patches are cut. So a set is read a piece at a
time, each piece is looked at and let go, and what stays grows with the number of pictures and not with their size. The
fingerprint is that of the whole tensor, taken on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.stop import poll
from mezzotint.metrics.features import Features
from mezzotint.metrics.patches import Patches
from mezzotint.metrics.pictures import Fingerprint, Source, checked, flat, shown, shrink, subset

PIXEL_SIDE = 16
SMALL_SIDE = 32
Rows = NDArray[np.int64]
_ROWS, _ENTRIES = 512, 2**25  # pictures at once, and numbers: 128 MiB


@dataclass(frozen=True)
class Held:
    """Pictures in memory as a source.

    Arguments:
        pictures: (N, C, H, W).
        labels: (N,), or None.
    """

    pictures: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: Any, /) -> tuple[Tensor, Condition]:
        rows = torch.as_tensor(index)
        return self.pictures[rows], NONE if self.labels is None else Condition(label=self.labels[rows])


@dataclass(frozen=True)
class Seen:
    """A set of pictures that was looked at once.

    Arguments:
        shape: (C, H, W) of one of them.
        small: (N, C, h, w) in float32, at most 32 a side.
        coarse: pixels (N, D) at 16 a side.
        labels: (N,), or None.
        features: (N, D) by the extractor, or None.
        patches: of some of them, or None.
        sha256: of pictures and labels, as they would be shown.
    """

    shape: tuple[int, ...]
    small: Tensor
    coarse: NDArray[np.float64]
    labels: Tensor | None
    features: NDArray[np.float64] | None
    sha256: str
    patches: Patches | None = None

    def __len__(self) -> int:
        return len(self.small)


def pieces(source: Source, what: str, limit: int | None = None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """At most ``limit`` pictures of a source as they would be shown, with their labels, some at a time.

    Raises:
        Refusal: there are fewer than two, they are no pictures, or hold pixels that are not finite.
    """
    rows = subset(len(source), limit)
    if len(rows) < 2:
        raise Refusal(f"{what} are {len(rows)}, but at least two pictures (N, C, H, W) are needed")
    first = source[rows[:2]][0]
    checked(first, None, what)
    each = max(2, min(_ROWS, _ENTRIES // max(1, first[0].numel())))
    for at in range(0, len(rows), each):
        poll()
        pictures, cond = source[rows[at : at + each]]
        labels = cond["label"] if "label" in cond else None
        if labels is not None and labels.shape != (len(pictures),):
            raise Refusal(f"{what} are {len(pictures)}, but their labels are of shape {tuple(labels.shape)}")
        yield shown(pictures, what), None if labels is None else labels.detach().cpu().long()


def see(
    source: Source,
    what: str,
    limit: int | None = None,
    extractor: Features | None = None,
    patched: Rows | None = None,
    patches: Patches | None = None,
) -> Seen:
    """Look at a source once, a piece at a time.

    Arguments:
        source: answers ``source[rows]`` with pictures and their condition.
        what: the set in words, for refusals.
        limit: of more pictures than that, a fixed random subset.
        extractor: what makes features of them, or None.
        patched: of which of those that are looked at, by place and in ascending order, patches are kept.
        patches: of no pictures yet, to which they are added.
    """
    count, start = len(subset(len(source), limit)), 0
    small, coarse, labels, features = list[Tensor](), list[Any](), list[Tensor](), list[Any]()
    made, shape = Fingerprint(), tuple[int, ...]()
    for pictures, told in pieces(source, what, limit):
        if not shape:
            shape = tuple(pictures.shape[1:])
            made.begin(pictures.dtype, (count, *shape))
        made.add(pictures)
        small.append(shrink(pictures, SMALL_SIDE))
        coarse.append(flat(pictures, PIXEL_SIDE))
        labels += [] if told is None else [told]
        features += [] if extractor is None else [extractor.features(pictures)]
        if patched is not None and patches is not None:
            here = patched[(patched >= start) & (patched < start + len(pictures))] - start
            patches = patches.add(pictures[here]) if len(here) else patches
        start += len(pictures)
    said = torch.cat(labels) if labels else None
    made.whole(torch.empty(0) if said is None else said)
    table = np.concatenate(features) if features else None
    return Seen(shape, torch.cat(small), np.concatenate(coarse), said, table, made.hexdigest(), patches)


def digest(source: Source, what: str, limit: int | None = None) -> str:
    """The fingerprint of at most ``limit`` pictures of a source and their labels, read a piece at a time."""
    made, labels, begun = Fingerprint(), list[Tensor](), False
    for pictures, told in pieces(source, what, limit):
        if not begun:
            made.begin(pictures.dtype, (len(subset(len(source), limit)), *pictures.shape[1:]))
            begun = True
        made.add(pictures)
        labels += [] if told is None else [told]
    made.whole(torch.cat(labels) if labels else torch.empty(0))
    return made.hexdigest()
