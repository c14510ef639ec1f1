"""The arrays of one ``.npz`` file, each checked for what it is to mean: pictures, labels, captions, a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.core.text import written
from mezzotint.data.data import Rows
from mezzotint.data.npz import read

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
LABELS = 100_000
"""Labels lie below this: every one up to the largest has a name."""
PICTURES = 2**24
"""How many pictures a file may hold, however small they are: each is asked by its number which split it is in."""
_AT_ONCE = 2**14  # captions: each is a string of its own while it is looked at
_WITHOUT = {
    "label": "pass label=None for a set without labels",
    "caption": "pass caption=None for a set without captions",
    "split_by": "pass split_by=None to hold a share out",
}


@dataclass(frozen=True)
class Archive:
    """What one file holds.

    Arguments:
        path: where it was read.
        pictures: (N, H, W, C), uint8 or float.
        labels: (N,), or None where none are read.
        captions: UTF-8 bytes (N, L) as :func:`mezzotint.core.text.written` makes them, or None.
        held_out: bool (N,), whether the file itself holds a picture out, or None.
    """

    path: str
    pictures: Array
    labels: Rows | None
    captions: Bytes | None
    held_out: NDArray[np.bool_] | None

    @classmethod
    def read(
        cls,
        path: str,
        images: str,
        label: str | None = None,
        caption: str | None = None,
        split_by: str | None = None,
        budget: int = 2**31,
    ) -> Archive:
        """Read the arrays of these names; ``budget`` is what they may unpack to, in bytes."""
        asked = {"label": label, "caption": caption, "split_by": split_by}
        names = {meaning: name for meaning, name in asked.items() if name is not None}
        hints = {name: _WITHOUT[meaning] for meaning, name in names.items()}
        first, *rest = read(path, [images, *names.values()], budget, hints)
        pictures = _pictures(first, f"{images!r} of {path!r}")
        found = dict(zip(names, rest, strict=True))
        for meaning, values in found.items():
            if values.ndim != 1 or len(values) != len(pictures):
                raise Refusal(
                    f"{names[meaning]!r} of {path!r} is {values.dtype} of shape {values.shape}, but {_KINDS[meaning]}, "
                    f"one for each of the {len(pictures)} pictures"
                )
        return cls(
            path,
            pictures,
            _labels(found["label"], f"{label!r} of {path!r}") if "label" in found else None,
            _captions(found["caption"], f"{caption!r} of {path!r}") if "caption" in found else None,
            _held_out(found["split_by"], f"{split_by!r} of {path!r}") if "split_by" in found else None,
        )


_KINDS = {
    "label": "labels are integers from 0",
    "caption": "captions are strings",
    "split_by": "a split is integers, 0 train and 1 held out",
}


def captions(path: str, name: str, budget: int) -> Bytes:
    """The captions of a file alone, bytes (N, L)."""
    return _captions(read(path, [name], budget, {name: _WITHOUT["caption"]})[0], f"{name!r} of {path!r}")


def widened(rows: Bytes, width: int) -> Bytes:
    """The same texts with more zeros behind, (N, width)."""
    return rows if rows.shape[1] == width else np.pad(rows, ((0, 0), (0, width - rows.shape[1])))


def _pictures(pictures: Array, what: str) -> Array:
    if pictures.ndim == 3:
        pictures = pictures[..., None]
    if pictures.ndim != 4 or not 1 <= pictures.shape[3] <= 4 or not pictures.size:
        raise Refusal(
            f"{what} has the shape {pictures.shape}, but pictures are (N, H, W) or (N, H, W, C) with C from 1 to 4"
        )
    if len(pictures) > PICTURES:
        raise Refusal(f"{what} holds {len(pictures):,} pictures, and at most {PICTURES:,} are read")
    if pictures.dtype != np.uint8 and pictures.dtype.kind != "f":
        raise Refusal(f"{what} is {pictures.dtype}, but only uint8 and floats are read")
    return pictures


def _labels(labels: Array, what: str) -> Rows:
    if labels.size and labels.dtype.kind in "iu" and labels.max() >= LABELS:
        raise Refusal(
            f"{what} holds the label {labels.max()}, but labels count classes from 0 and lie below {LABELS:,}; "
            "number the classes that there are"
        )
    if labels.dtype.kind not in "iu" or (labels.size and labels.min() < 0):
        raise Refusal(f"{what} is {labels.dtype} of shape {labels.shape}, but {_KINDS['label']}")
    return labels.astype(np.int64)


def _captions(texts: Array, what: str) -> Bytes:
    if texts.dtype.kind not in "US" or texts.ndim != 1:
        raise Refusal(f"{what} is {texts.dtype} of shape {texts.shape}, but {_KINDS['caption']}")
    try:
        pieces = []
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE].tolist()
            pieces.append(written([t.decode() if isinstance(t, bytes) else t for t in some]).numpy())
    except UnicodeDecodeError as error:
        raise Refusal(f"{what} holds bytes that are not UTF-8: {error}") from None
    except Refusal as refusal:
        raise Refusal(f"{what} cannot be read: {refusal}") from None
    width = max((piece.shape[1] for piece in pieces), default=1)
    return np.concatenate([widened(piece, width) for piece in pieces]) if pieces else np.zeros((0, 1), np.uint8)


def _held_out(split: Array, what: str) -> NDArray[np.bool_]:
    if split.dtype.kind not in "iub" or not np.isin(split, (0, 1)).all():
        raise Refusal(f"{what} holds other values than 0 and 1, but {_KINDS['split_by']}")
    found: NDArray[np.bool_] = split.astype(bool)
    return found
