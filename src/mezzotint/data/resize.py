"""Bringing a picture to a size: the centre is kept, every pixel is an average over the area it covers.

An output pixel that covers the interval [a, b) of the input is the mean of the input over that interval, edges counted
by the share that lies inside, in both directions. So a constant stays constant, the mean over the kept area stays the
mean, and a fine pattern fades to grey where it cannot be shown (no aliasing). Means are taken of the stored values, as
trained models and their measures do, not of linear light. A picture smaller than the size is enlarged by linear
interpolation between pixel centres.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal

_AT_ONCE = 2**24
Value = TypeVar("Value", np.uint8, np.float32)


def fit(pictures: NDArray[Value], size: tuple[int, int]) -> NDArray[Value]:
    """The largest centred rectangle of the pictures' aspect, brought to ``size``.

    Arguments:
        pictures: uint8 or float32 (..., H, W, C); bytes are rounded back to bytes.
        size: (height, width) in pixels.
    """
    height, width, channels = pictures.shape[-3:]
    if (height, width) == size:
        return pictures
    scale = max(size[0] / height, size[1] / width)
    down, across = (_weights(have, want, want / scale) for have, want in zip((height, width), size, strict=True))
    lead = pictures.shape[:-3]
    wide = pictures.reshape(*lead, height, width * channels)
    if height * width * channels <= _AT_ONCE:
        rows = down @ wide.astype(np.float32)
    else:  # of a picture this large, a copy in float32 would be the largest thing in memory
        some = max(1, _AT_ONCE // height)
        bands = [down @ wide[..., at : at + some].astype(np.float32) for at in range(0, width * channels, some)]
        rows = np.concatenate(bands, axis=-1)
    out = across @ rows.reshape(*lead, size[0], width, channels)
    if pictures.dtype == np.uint8:
        out = np.rint(out).clip(0, 255)
    return out.astype(pictures.dtype)


def nearest(pictures: NDArray[Value], size: tuple[int, int]) -> NDArray[Value]:
    """The same rectangle as in :func:`fit`, every pixel taken from the one in whose area its centre lies: for masks."""
    height, width = pictures.shape[-3:-1]
    scale = max(size[0] / height, size[1] / width)
    down, across = (
        np.floor((have - want / scale) / 2 + (np.arange(want) + 0.5) / scale).astype(np.int64).clip(0, have - 1)
        for have, want in zip((height, width), size, strict=True)
    )
    return pictures[..., down[:, None], across, :]


def sides(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """A size as (height, width): a number means a square, None stays None."""
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise Refusal(f"the size is {size!r}, but a size is one number of pixels or (height, width), each at least 1")
    return pair[0], pair[1]


def _weights(have: int, want: int, span: float) -> NDArray[np.float32]:
    """Shares (want, have) of each input pixel in each output pixel, over the centred interval of length ``span``."""
    pixels = np.arange(have)
    edges = np.linspace((have - span) / 2, (have + span) / 2, want + 1)
    if span >= want:
        shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    else:
        centres = ((edges[1:] + edges[:-1]) / 2 - 0.5).clip(0, have - 1)
        shares = 1 - np.abs(centres[:, None] - pixels)
    shares = shares.clip(0, None)
    normed: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return normed
