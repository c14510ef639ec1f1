"""What light does on a surface: the textures of objects, their shading, and what is behind them.

Textures and shading change how much light there is and never the colour, so the colour of every place says which
object it belongs to. A texture lies in the frame of its object and has the length of the object, so that it looks the
same on all of its size, at any number of pixels; its edges are one pixel wide.
"""

from __future__ import annotations

import numpy as np

from mezzotint.data.scenes.numbers import Array, Doubles, Floats, Ints
from mezzotint.data.scenes.plan import CELLS, NOISE
from mezzotint.data.scenes.words import GROUNDS, PRIVATE, TEXTURES, TINTED

DARK = 0.5
"""How much less light comes from the dark parts of a texture."""
STRIPE, CHECK, DOT, SPOT = 0.92, 1.36, 0.90, 0.30
"""Lengths after which stripes, checks and dots repeat, and the radius of a dot over its length."""
SHADE, BULGE = 0.10, 0.16
"""How much light changes along the direction it comes from, and towards the rim."""
_HALF, _ONE = np.float32(0.5), np.float32(1.0)


def texture(kind: int, x: Floats, y: Floats, pixel: Floats, own: Ints) -> Floats:
    """How much of a place is in the dark part of a texture, in [0, 1].

    Arguments:
        kind: number of the texture, ``PRIVATE`` for a subject's own.
        x, y: places (M, ...) in units of the radius.
        pixel: (M, 1, 1), the size of a pixel in the same units.
        own: the subject's patches.
    """
    if kind == TEXTURES.index("striped"):
        return _wave(y, STRIPE, pixel)
    if kind == TEXTURES.index("checked"):
        a, b = _wave(x, CHECK, pixel), _wave(y, CHECK, pixel)
        found: Floats = a + b - np.float32(2.0) * a * b
        return found
    if kind == TEXTURES.index("dotted"):
        a, b = (np.abs(_folded(z, DOT)) for z in (x, y))
        return _edge(np.float32(SPOT * DOT) - np.sqrt(a * a + b * b), pixel)
    if kind == PRIVATE:
        return _patches(x, y, own)
    return np.zeros_like(x)


def _folded(x: Floats, length: float) -> Floats:
    """Where a place is in its period, from -length / 2 to length / 2, 0 at the middle of the object."""
    turns = x * np.float32(1 / length)
    found: Floats = (turns - np.floor(turns + _HALF)) * np.float32(length)
    return found


def _wave(x: Floats, length: float, pixel: Floats) -> Floats:
    """Dark for half of every length, around the middle."""
    return _edge(np.float32(length / 4) - np.abs(_folded(x, length)), pixel)


def _edge(inside: Floats, pixel: Floats) -> Floats:
    """1 inside, 0 outside, linear over a pixel."""
    found: Floats = np.minimum(np.maximum(inside / pixel + _HALF, np.float32(0.0)), _ONE)
    return found


def _patches(x: Floats, y: Floats, own: Ints) -> Floats:
    """The patch of a place; the square about the unit disc is cut into CELLS x CELLS."""
    column, row = (
        np.minimum(np.maximum((z + _ONE) * np.float32(CELLS / 2), np.float32(0)), np.float32(CELLS - 0.5)).astype(
            np.int64
        )
        for z in (x, y)
    )
    found: Floats = own.astype(np.float32)[row, column]
    return found


def shading(x: Floats, y: Floats, light: Floats) -> Floats:
    """How much light reaches a place, at most 1, of light (M, 2) in the frame of the object."""
    towards = light[:, 0, None, None] * x + light[:, 1, None, None] * y
    found: Array = np.float32(0.95) + np.float32(SHADE) * towards - np.float32(BULGE) * (x * x + y * y)
    return np.minimum(np.maximum(found, np.float32(0.6)), _ONE)


def ground(
    kind: Ints,
    tint: Ints,
    bright: Doubles,
    tilt: Doubles,
    pitch: Doubles,
    noise: Doubles,
    x: Floats,
    y: Floats,
    aspect: tuple[float, float],
) -> Floats:
    """The background, (3, B, H, W) in [0, 1].

    Arguments:
        kind, tint: (B,), numbers of words.
        bright, tilt, pitch, noise: as in a plan.
        x, y: places that the columns (B, W) and rows (B, H) of pixels show, in units of the shorter side.
        aspect: as in a plan; the background goes on beyond it.
    """
    lit = np.broadcast_to(bright.astype(np.float32)[:, None, None], (len(kind), y.shape[1], x.shape[1])).copy()
    rows = np.flatnonzero(kind != GROUNDS.index("plain"))
    a, b = tilt[rows].astype(np.float32).T[:, :, None, None]
    across, down = (z[rows] - np.float32(full / 2) for z, full in ((x, aspect[1]), (y, aspect[0])))
    lit[rows] += a * across[:, None, :] + b * down[:, :, None]
    rows = np.flatnonzero(kind == GROUNDS.index("cloudy"))
    lit[rows] += (_clouds(noise[rows].astype(np.float32), x[rows], y[rows], aspect) - _HALF) * np.float32(0.40)
    rows = np.flatnonzero(kind == GROUNDS.index("tiled"))
    length = pitch[rows].astype(np.float32)[:, None]
    a, b = ((np.floor(z[rows] / length).astype(np.int64) & 1) for z in (x, y))
    lit[rows] -= (a[:, None, :] ^ b[:, :, None]).astype(np.float32) * np.float32(0.11)
    lit = np.minimum(np.maximum(lit, np.float32(0.2)), _ONE)
    return np.stack([lit * TINTED[tint, channel][:, None, None] for channel in range(3)])


def _clouds(noise: Floats, x: Floats, y: Floats, aspect: tuple[float, float]) -> Floats:
    """Random knots (M, NOISE, NOISE), smoothly joined, and mirrored at the first and the last."""
    (left, across), (top, down) = (knots(z, full) for z, full in ((x, aspect[1]), (y, aspect[0])))
    down = down[:, :, None]
    each = np.arange(len(noise))[:, None]
    rows = noise[each, top] * (_ONE - down) + noise[each, top + 1] * down  # (M, H, NOISE)
    line = np.arange(rows.shape[0] * rows.shape[1]).reshape(*rows.shape[:2], 1) * NOISE
    place, across = line + left[:, None, :], across[:, None, :]
    flat = rows.reshape(-1)
    found: Floats = flat.take(place) * (_ONE - across) + flat.take(place + 1) * across
    return found


def knots(z: Floats, full: float) -> tuple[Ints, Floats]:
    """The knot before each place, and a smooth way from it to the next."""
    last = np.float32(NOISE - 1)
    reach = z * (last / np.float32(max(1.0, full)))
    reach = reach - np.float32(2) * last * np.floor(reach / (np.float32(2) * last))
    reach = np.where(reach > last, np.float32(2) * last - reach, reach)
    before = np.minimum(np.floor(reach).astype(np.int64), NOISE - 2)
    share = reach - before.astype(np.float32)
    smooth: Floats = share * share * (np.float32(3.0) - np.float32(2.0) * share)
    return before, smooth
