"""How pictures lie in the files of small research sets: as arrays, as lossless differences, as JPEG files end to end.

*Plain* is an array (N, H, W) or (N, H, W, C) of bytes. *Delta* is smaller and loses nothing: the planes green, red less
green and blue less green, (3, N, H, W), each differenced along both sides modulo 256, so that smooth surfaces become
zeros, which pack well; two running sums modulo 256 give the planes back. *JPEG* is whole files behind one another, with
the places where they begin: photographs that came as JPEG would be many times larger as anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data.data import Rows
from mezzotint.data.picture import MAX_PIXELS, Packed, decode
from mezzotint.data.threads import each

Pictures = NDArray[np.uint8]


def plain(images: NDArray[Any]) -> Pictures:
    """Bytes (N, H, W) or (N, H, W, C) as pictures (N, H, W, C)."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise Refusal(f"pictures are bytes (N, H, W) or (N, H, W, C), not {images.dtype} of shape {images.shape}")
    return images[..., None] if images.ndim == 3 else images


def from_delta(planes: NDArray[Any]) -> Pictures:
    """Differences (3, N, H, W) as pictures (N, H, W, 3): red, green, blue."""
    if planes.dtype != np.uint8 or planes.ndim != 4 or len(planes) != 3:
        raise Refusal(f"differences of planes are bytes (3, N, H, W), not {planes.dtype} of shape {planes.shape}")
    out = np.empty((*planes.shape[1:], 3), dtype=np.uint8)
    for channel, plane in ((1, 0), (0, 1), (2, 2)):  # green first: the others are told beside it
        summed = np.cumsum(planes[plane], 1, dtype=np.uint8)
        out[..., channel] = np.cumsum(summed, 2, dtype=np.uint8)
    out[..., 0] += out[..., 1]
    out[..., 2] += out[..., 1]
    return out


@dataclass(frozen=True)
class Jpegs:
    """JPEG files behind one another.

    Arguments:
        blob: their bytes, uint8.
        offsets: where each begins, and the end of the last, int64 (N + 1,).
        names: of the pictures, which a refusal calls them by.
    """

    blob: NDArray[np.uint8]
    offsets: Rows
    names: Sequence[str]

    def __post_init__(self) -> None:
        whole = len(self.offsets) == len(self.names) + 1 and (np.diff(self.offsets) > 0).all()
        if not whole or self.offsets[0] != 0 or self.offsets[-1] != len(self.blob):
            raise Refusal(f"the offsets of {len(self.names)} JPEG files do not cut {len(self.blob)} bytes into as many")

    def file(self, row: int) -> bytes:
        """The bytes of one file, as they came."""
        return self.blob[self.offsets[row] : self.offsets[row + 1]].tobytes()

    def pictures(self, rows: Rows) -> Pictures:
        """These pictures in colour, (B, H, W, 3); all have one size."""
        found = each(lambda row: decode(Packed(self.names[row], self.file(row)), 3, MAX_PIXELS), rows.tolist())
        out = np.empty((0, 0, 0, 3), dtype=np.uint8)
        for place, picture in enumerate(found):
            if not place:
                out = np.empty((len(rows), *picture.shape), dtype=np.uint8)
            if picture.shape != out.shape[1:]:
                raise Refusal(
                    f"{self.names[rows[place]]!r} has the shape {picture.shape}, those before it {out.shape[1:]}"
                )
            out[place] = picture
        return out
