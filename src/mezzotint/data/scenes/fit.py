"""Analysis by synthesis: which form, where, how large and how turned explains what a part of a picture shows.

An object is painted as scenes are (:mod:`.paint`) with guessed places, radius, turn and light, blurred as the picture
is, and compared with it; the guesses are improved by damped least squares (:mod:`.squares`), many at a time. What is
not to be explained has no weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mezzotint.data.scenes import forms, squares, surfaces
from mezzotint.data.scenes.numbers import Doubles, Floats, Ints
from mezzotint.data.scenes.paint import LIGHT_OF
from mezzotint.data.scenes.plan import RADII, TALL, posed
from mezzotint.data.scenes.squares import Left
from mezzotint.data.scenes.words import FIGURE

X, Y, R, TURN, LIGHT, POSE = 0, 1, 2, 3, slice(4, 6), slice(4, 12)
"""Where a guess's numbers lie: centre and radius in pixels, turns clockwise, and then light in the frame of the object
or, of figures, the turns of the limbs."""
PLAIN_MOVES = np.array([0.05, 0.05, 0.05, 0.002, 0.05, 0.05])
FIGURE_MOVES = np.array([0.05, 0.05, 0.05, 0.002, *[0.004] * 8])
_LEANS = 0.05
"""Turns that objects are turned at most, and a little."""
_LOW, _HIGH = np.array([0.07, 0.02, 0.005, -0.08] * 2), np.array([0.35, 0.48, 0.10, 0.10] * 2)
_SETTLED, _SETTLED_SHARE = 1e-4, 2e-3
"""Guesses are good enough where a step gains less."""
_ZERO, _HALF, _ONE = (np.float32(value) for value in (0, 0.5, 1))


@dataclass(frozen=True)
class Frame:
    """A window of a picture.

    Arguments:
        top, left: its first row and column.
        height, width: its size.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def place(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @staticmethod
    def about(x: float, y: float, reach: float, size: tuple[int, int]) -> Frame:
        """The pixels of a picture within reach of a place."""
        top, left = (min(max(0, int(np.floor(z - reach))), full - 1) for z, full in ((y, size[0]), (x, size[1])))
        bottom, right = (min(full, int(np.ceil(z + reach))) for z, full in ((y, size[0]), (x, size[1])))
        return Frame(top, left, max(1, bottom - top), max(1, right - left))


def drawn(form: Ints, at: Doubles, frame: Frame) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Of guesses (M, P): places in the frame of each (M, h, w) twice, the distance, a pixel, a figure's light."""
    x, y, r, turn = (at[:, k, None] for k in (X, Y, R, TURN))
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    dx = (np.arange(frame.left, frame.left + frame.width) + 0.5 - x) / r
    dy = (np.arange(frame.top, frame.top + frame.height) + 0.5 - y) / r
    cx, sx, cy, sy = ((one * other).astype(np.float32) for other in (dx, dy) for one in (c, s))
    a = cx[:, None, :] + sy[:, :, None]
    b = cy[:, :, None] - sx[:, None, :]
    pixel = (1 / r).astype(np.float32)[:, :, None]
    if form[0] == FIGURE:
        away, bone = forms.figure(a, b, posed(at[:, POSE]).astype(np.float32))
        return a, b, away, pixel, LIGHT_OF[bone]
    away = np.empty_like(a)
    for which in set(form.tolist()):
        mine = np.flatnonzero(form == which)
        away[mine] = forms.PLAIN[which](a[mine], b[mine])
    return a, b, away, pixel, away


def cover(form: Ints, at: Doubles, frame: Frame) -> Floats:
    """The share (M, h, w) of every pixel that guesses (M, P) at these forms cover; figures not among others."""
    _, _, away, pixel, _ = drawn(form, at, frame)
    found: Floats = np.minimum(np.maximum(_HALF - away / pixel, _ZERO), _ONE)
    return found


def shown(form: Ints, texture: Ints, at: Doubles, frame: Frame) -> tuple[Floats, Floats]:
    """The share of every pixel that guesses cover, and how light they are there, (M, h, w) each."""
    a, b, away, pixel, parts = drawn(form, at, frame)
    covers: Floats = np.minimum(np.maximum(_HALF - away / pixel, _ZERO), _ONE)
    if form[0] == FIGURE:
        return covers, parts
    lit = surfaces.shading(a, b, at[:, LIGHT].astype(np.float32))
    none = np.zeros((1, 1), dtype=np.int64)
    for which in set(texture.tolist()) - {0}:
        mine = np.flatnonzero(texture == which)
        dark = surfaces.texture(which, a[mine], b[mine], pixel[mine], none)
        lit[mine] *= _ONE - np.float32(surfaces.DARK) * dark
    return covers, lit


def held(at: Doubles, short: int) -> Doubles:
    """Guesses, kept to what objects can be."""
    figures = at.shape[1] > 6
    table = TALL if figures else RADII
    at[:, R] = np.clip(at[:, R], 0.93 * table[0][0] * short, 1.06 * table[1][1] * short)
    at[:, TURN] = np.clip(at[:, TURN], -_LEANS, _LEANS)
    if figures:
        at[:, POSE] = np.clip(at[:, POSE], _LOW, _HIGH)
    else:
        length = np.sqrt((at[:, LIGHT] ** 2).sum(1, keepdims=True))
        at[:, LIGHT] /= np.maximum(length / 1.1, 1.0)
    return at


def improved(left: Left, at: Doubles, short: int, free: int, steps: int) -> tuple[Doubles, Doubles]:
    """Guesses (M, P), the first ``free`` of their numbers improved, and the squared error that each leaves."""
    moves = (FIGURE_MOVES if at.shape[1] > 6 else PLAIN_MOVES)[:free]
    return squares.improved(left, at, moves, lambda new: held(new, short), steps, (_SETTLED, _SETTLED_SHARE))[:2]
