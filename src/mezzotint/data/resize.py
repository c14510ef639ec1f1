"""Bringing a picture, and all that is told of its places, to a size: every pixel is an average over what it covers.

An output pixel that covers the interval [a, b) of the input is the mean of the input over that interval, edges counted
by the share that lies inside, in both directions. So a constant stays constant, the mean over the kept area stays the
mean, and a fine pattern fades to grey where it cannot be shown (no aliasing). Means are taken of the stored values, as
trained models and their measures do, not of linear light. A picture smaller than the size is enlarged by linear
interpolation between pixel centres.

Where the aspect is another, a policy says what gives way: ``crop`` keeps the largest centred rectangle of the new
aspect, ``pad`` keeps everything and lays it on a colour, ``stretch`` brings each side by itself. Each is one affine map
a side, so pictures (:func:`fit`), maps whose numbers may not be mixed (:func:`nearest`) and points (:func:`moved`) stay
together.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.core.errors import nearest as closest

RESIZES = ("crop", "pad", "stretch")
_AT_ONCE, _FEW = 2**18, 16
_SUMMED = 257
"""Bytes whose sum fits into 16 bits."""
Shares = tuple[NDArray[np.int64], NDArray[np.float32]]
Value = TypeVar("Value", np.uint8, np.float32)


class Span(NamedTuple):
    """One side: ``length`` pixels of the input around its middle become ``many`` of the output, from ``at`` on."""

    length: float
    at: int
    many: int


def spans(have: Sequence[int], size: tuple[int, int], resize: str = "crop") -> tuple[Span, Span]:
    """Down and across, what a policy does with a picture of ``have`` = (height, width) pixels.

    What ``pad`` keeps is rounded to whole pixels, one at least, and stands in the middle, or half a pixel before it.
    """
    if resize == "stretch":
        down, across = (Span(of, 0, want) for of, want in zip(have, size, strict=True))
    elif resize == "pad":
        scale = min(size[0] / have[0], size[1] / have[1])
        inner = [min(want, max(1, round(of * scale))) for of, want in zip(have, size, strict=True)]
        down, across = (Span(of, (want - many) // 2, many) for of, want, many in zip(have, size, inner, strict=True))
    else:
        # By whole numbers first: a length that is off by a rounding would move what lies on the edge of two pixels.
        down = Span(min(have[0], size[0] * have[1] / size[1]), 0, size[0])
        across = Span(min(have[1], size[1] * have[0] / size[0]), 0, size[1])
    return down, across


def fit(
    pictures: NDArray[Value], size: tuple[int, int], resize: str = "crop", under: float | Sequence[float] = 0
) -> NDArray[Value]:
    """Pictures brought to ``size`` by area.

    Arguments:
        pictures: uint8 or float32 (..., H, W, C); bytes are rounded back to bytes.
        size: (height, width) in pixels.
        resize: the policy where the aspect is another.
        under: what ``pad`` lays them on: a value, or one a channel.
    """
    height, width, channels = pictures.shape[-3:]
    if (height, width) == size:
        return pictures
    (rows_of, columns_of), blocks = _planned(height, width, tuple(size), resize)
    if pictures.dtype == np.uint8 and blocks is not None:
        return _laid(_squares(pictures, *blocks), size, (rows_of, columns_of), under)
    down, across = _shares(height, rows_of), _shares(width, columns_of)
    lead = pictures.shape[:-3]
    rows = _along(down, pictures.reshape(*lead, -1), width * channels).reshape(*lead, rows_of.many, -1)
    out = _along(across, rows, channels).reshape(*lead, rows_of.many, columns_of.many, channels)
    if pictures.dtype == np.uint8:
        out = np.clip(np.rint(out, out=out), 0, 255, out=out)
    return _laid(out.astype(pictures.dtype, order="C"), size, (rows_of, columns_of), under)


def nearest(
    pictures: NDArray[Value], size: tuple[int, int], resize: str = "crop", under: float | Sequence[float] = 0
) -> NDArray[Value]:
    """The same places as in :func:`fit`, every pixel taken from the one in whose area its centre lies: for maps."""
    both = spans(pictures.shape[-3:-1], size, resize)
    down, across = (
        np.floor((have - span.length) / 2 + (np.arange(span.many) + 0.5) * span.length / span.many)
        .astype(np.int64)
        .clip(0, have - 1)
        for have, span in zip(pictures.shape[-3:-1], both, strict=True)
    )
    return _laid(pictures[..., down[:, None], across, :], size, both, under)


def moved(
    points: NDArray[np.float32], have: Sequence[int], size: tuple[int, int], resize: str = "crop"
) -> NDArray[np.float32]:
    """Where points of a picture are once it is brought to ``size`` by :func:`fit`.

    Arguments:
        points: float32 (..., 3): across and down in pixels of the picture as it is, and 2 seen, 1 hidden, 0 not there.
        have: (height, width) of the picture as it is.
        size: (height, width) of the result.
        resize: the policy.

    Returns:
        float32 (..., 3): across and down as shares of the result; zeros where a point is not there, or cut off.
    """
    out = points.copy()
    down, across = spans(have, size, resize)
    for axis, of, span, want in ((0, have[1], across, size[1]), (1, have[0], down, size[0])):
        inside = (points[..., axis].astype(np.float64) - (of - span.length) / 2) * (span.many / span.length)
        out[..., axis] = (inside + span.at) / want
    there = (points[..., 2] > 0) & ((out[..., :2] >= 0) & (out[..., :2] <= 1)).all(-1)
    return np.where(there[..., None], out, np.float32(0))


def check_resize(resize: str) -> None:
    """Refuse a policy that there is not."""
    if resize not in RESIZES:
        raise Refusal(f"there is no resize policy {resize!r}: {closest(str(resize), RESIZES)}")


def check_aspect(what: str, have: Sequence[int], want: Sequence[int], whose: str = "its picture") -> None:
    """Refuse what lies on another and has not its aspect, by more than a pixel.

    Arguments:
        what: what a refusal calls it.
        have: its (height, width).
        want: of what it lies on.
        whose: what that is called.
    """
    if abs(have[0] * want[1] - have[1] * want[0]) > max(*have, *want):
        raise Refusal(
            f"{what} is {have[1]} x {have[0]} pixels and {whose} {want[1]} x {want[0]}, so it does not lie on it; "
            "maps have the aspect of their picture"
        )


def sides(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """A size as (height, width): a number means a square, None stays None."""
    if size is None:
        return None
    pair = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and side >= 1 for side in pair):
        raise Refusal(f"the size is {size!r}, but a size is one number of pixels or (height, width), each at least 1")
    return pair[0], pair[1]


def _laid(
    inner: NDArray[Value], size: tuple[int, int], both: tuple[Span, Span], under: float | Sequence[float]
) -> NDArray[Value]:
    """What was kept (..., h, w, C), in its place on a constant of the whole size."""
    if inner.shape[-3:-1] == size:
        return inner
    out = np.empty((*inner.shape[:-3], *size, inner.shape[-1]), dtype=inner.dtype)
    out[:] = under
    (_, top, high), (_, left, wide) = both
    out[..., top : top + high, left : left + wide, :] = inner
    return out


class _Blocks(NamedTuple):
    """One side of which each pixel of the output is the mean of ``step`` whole ones of the input."""

    first: int
    step: int
    many: int


def _whole(have: int, span: Span) -> _Blocks | None:
    first, step = (have - span.length) / 2, span.length / span.many
    return _Blocks(int(first), int(step), span.many) if first == int(first) and step == int(step) else None


@lru_cache(maxsize=64)
def _planned(
    height: int, width: int, size: tuple[int, int], resize: str
) -> tuple[tuple[Span, Span], tuple[_Blocks, _Blocks] | None]:
    """:func:`spans`, and their blocks where both sides are of whole pixels; kept for the next picture of this size."""
    both = spans((height, width), size, resize)
    down, across = _whole(height, both[0]), _whole(width, both[1])
    return both, (down, across) if down and across and down.step * across.step <= _SUMMED else None


def _squares(pictures: NDArray[Value], down: _Blocks, across: _Blocks) -> NDArray[Value]:
    """Means of whole pixels of bytes: the same as by shares, by sums of whole numbers, several times as fast."""
    (top, high, rows), (left, wide, columns) = down, across
    channels = pictures.shape[-1]
    inside = pictures[..., top : top + high * rows, left : left + wide * columns, :].astype(np.uint16)
    lines = inside[..., ::high, :, :].copy()
    for row in range(1, high):
        lines += inside[..., row::high, :, :]
    beside: NDArray[np.uint16] = lines.reshape(*lines.shape[:-2], columns, wide * channels)
    means = np.empty((*beside.shape[:-1], channels), np.float32)
    for channel in range(channels):  # one at a time: numpy is slow at rows of three
        sums: NDArray[np.uint16] = beside[..., channel].copy()
        for column in range(1, wide):
            sums += beside[..., column * channels + channel]
        means[..., channel] = sums
    means /= high * wide
    return np.rint(means, out=means).astype(pictures.dtype)


def _along(shares: Shares, values: NDArray[Any], each: int) -> NDArray[np.float32]:
    """Means by their shares, term by term and so the same on every machine, of what lies ``each`` together.

    Arguments:
        shares: places and weights, (terms, many).
        values: (..., have * each), where ``each`` numbers lie together.
    """
    places, weights = shares
    lead, many = values.shape[:-1], places.shape[1]
    apart = values.reshape(*lead, -1, each)
    out = np.empty((*lead, many, each), np.float32)
    some = max(1, _AT_ONCE * many // max(1, out.size))
    for at in range(0, many, some):
        # Where few numbers lie together, as many weights as numbers: numpy is slow at rows of three.
        block = out[..., at : at + some, :]
        for term, (place, weight) in enumerate(zip(places[:, at : at + some], weights[:, at : at + some], strict=True)):
            taken = np.take(apart, place, -2)
            if each < _FEW:
                flat = taken.reshape(*lead, -1)
                taken = (flat * np.repeat(weight, each)).reshape(taken.shape)
            else:
                taken = taken * weight[:, None]
            if term:
                block += taken
            else:
                block[...] = taken
    return out


@lru_cache(maxsize=64)
def _shares(have: int, span: Span) -> Shares:
    """:func:`_weights` without their zeros: which pixels count, (terms, many), and how much; kept for the next one."""
    weights = _weights(have, span)
    first, last = (weights > 0).argmax(1), have - (weights[:, ::-1] > 0).argmax(1)
    places = first + np.arange((last - first).max())[:, None]
    inside = places < last
    places = np.where(inside, places, first)
    return places, np.where(inside, np.take_along_axis(weights, places.T, 1).T, np.float32(0))


def _weights(have: int, span: Span) -> NDArray[np.float32]:
    """Shares (many, have) of each input pixel in each output pixel, over the centred interval of a span."""
    pixels = np.arange(have)
    edges = np.linspace((have - span.length) / 2, (have + span.length) / 2, span.many + 1)
    if span.length >= span.many:
        shares = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    else:
        centres = ((edges[1:] + edges[:-1]) / 2 - 0.5).clip(0, have - 1)
        shares = 1 - np.abs(centres[:, None] - pixels)
    shares = shares.clip(0, None)
    normed: NDArray[np.float32] = (shares / shares.sum(1, keepdims=True)).astype(np.float32)
    return normed
