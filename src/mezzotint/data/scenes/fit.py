"""Analysis by synthesis: which form, where, how large and how turned explains what a part of a picture shows.

An object is painted as scenes are (:mod:`.paint`) with guessed places, radius, turn and light, blurred as the picture
is, and compared with it; the guesses are improved by damped Gauss-Newton steps (Levenberg and Marquardt), many guesses
at a time. Whatever is not to be explained has no weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mezzotint.data.scenes import forms, surfaces
from mezzotint.data.scenes.numbers import Array, Doubles, Floats
from mezzotint.data.scenes.paint import _PARTS
from mezzotint.data.scenes.plan import RADII, TALL
from mezzotint.data.scenes.segment import kernel
from mezzotint.data.scenes.words import FIGURE, PALETTE

X, Y, R, TURN, LIGHT = 0, 1, 2, 3, slice(4, 6)
"""Where the guesses lie: centre and radius in pixels, turns clockwise, light in the frame of the object."""
POSE = slice(4, 12)
"""Turns of the limbs of figures, which have no light."""
_MOVES = {
    "plain": np.array([0.05, 0.05, 0.05, 0.002, 0.05, 0.05]),
    "figure": np.array([0.05, 0.05, 0.05, 0.002, *[0.004] * 8]),
}
_LEANS = 0.05  # turns: how far objects are turned, and a little


@dataclass(frozen=True)
class Thing:
    """A guess at an object.

    Arguments:
        form, colour, texture: numbers of words.
        at: (6,) or, of a figure, (12,).
        worth: by how much it lowers the squared error of the picture.
        rest: what is left of the error where it is.
    """

    form: int
    colour: int
    texture: int
    at: Doubles
    worth: float = 0.0


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
        """The pixels within reach of a place."""
        top, left = max(0, int(np.floor(y - reach))), max(0, int(np.floor(x - reach)))
        bottom, right = min(size[0], int(np.ceil(y + reach))), min(size[1], int(np.ceil(x + reach)))
        top, left = min(top, size[0] - 1), min(left, size[1] - 1)
        return Frame(top, left, max(1, bottom - top), max(1, right - left))


def drawn(form: int, at: Doubles, frame: Frame) -> tuple[Floats, Floats, Floats, Floats, Array]:
    """Of guesses (M, 6 or 12): places in the frame of each (M, h, w), the distance, the size of a pixel, the bone."""
    x, y, r, turn = (at[:, k, None] for k in (X, Y, R, TURN))
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    dx = (np.arange(frame.left, frame.left + frame.width) + 0.5 - x) / r
    dy = (np.arange(frame.top, frame.top + frame.height) + 0.5 - y) / r
    a = ((c * dx)[:, None, :] + (s * dy)[:, :, None]).astype(np.float32)
    b = ((c * dy)[:, :, None] - (s * dx)[:, None, :]).astype(np.float32)
    pixel = (1 / r).astype(np.float32)[:, :, None]
    if form == FIGURE:
        away, bone = forms.figure(a, b, joints(at[:, POSE]).astype(np.float32))
        return a, b, away, pixel, bone
    return a, b, forms.PLAIN[form](a, b), pixel, np.zeros(0)


def cover(form: int, at: Doubles, frame: Frame) -> Floats:
    """The share (M, h, w) of every pixel that guesses cover."""
    _, _, away, pixel, _ = drawn(form, at, frame)
    found: Floats = np.clip(np.float32(0.5) - away / pixel, np.float32(0), np.float32(1))
    return found


def shown(form: int, texture: int, at: Doubles, frame: Frame) -> tuple[Floats, Floats]:
    """The share of every pixel that guesses cover, and how light they are there, (M, h, w) each."""
    a, b, away, pixel, bone = drawn(form, at, frame)
    covers: Floats = np.clip(np.float32(0.5) - away / pixel, np.float32(0), np.float32(1))
    if form == FIGURE:
        return covers, _PARTS[bone]
    lit = surfaces.shading(a, b, at[:, LIGHT].astype(np.float32))
    if texture:
        dark = surfaces.texture(texture, a, b, pixel, np.zeros((1, 1), dtype=np.int64))
        lit = lit * (np.float32(1) - np.float32(surfaces.DARK) * dark)
    return covers, lit


def joints(turns: Doubles) -> Doubles:
    """Joints (M, 11, 2) of figures from the turns of their limbs (M, 8), as :mod:`.plan` makes them."""
    from mezzotint.data.scenes.plan import FOREARM, HEAD_AT, HIP_AT, NECK_AT, SHIN, THIGH, UPPER_ARM

    made = np.zeros((len(turns), 11, 2))
    made[:, 0, 1], made[:, 1, 1], made[:, 2, 1] = HEAD_AT, NECK_AT, HIP_AT
    for limb, (first, start, upper, lower) in enumerate(
        ((3, NECK_AT, UPPER_ARM, FOREARM), (5, NECK_AT, UPPER_ARM, FOREARM), (7, HIP_AT, THIGH, SHIN), (9, HIP_AT, THIGH, SHIN))
    ):
        sign = -1.0 if limb % 2 == 0 else 1.0
        alpha, beta = (2 * np.pi * turns[:, 2 * limb + k] for k in (0, 1))
        x, y = sign * upper * np.sin(alpha), start + upper * np.cos(alpha)
        made[:, first] = np.stack([x, y], 1)
        made[:, first + 1] = np.stack([x + sign * lower * np.sin(beta), y + lower * np.cos(beta)], 1)
    return made


def held(form: int, at: Doubles, short: int) -> Doubles:
    """Guesses, kept to what objects can be."""
    table = (TALL if form == FIGURE else RADII)
    at = at.copy()
    at[:, R] = np.clip(at[:, R], 0.9 * table[0][0] * short, 1.08 * table[1][1] * short)
    at[:, TURN] = np.clip(at[:, TURN], -_LEANS, _LEANS)
    if form == FIGURE:
        low = np.array([0.07, 0.02, 0.07, 0.02, 0.01, -0.08, 0.01, -0.08])
        high = np.array([0.41, 0.55, 0.41, 0.55, 0.10, 0.10, 0.10, 0.10])
        at[:, POSE] = np.clip(at[:, POSE], low, high)
    else:
        length = np.sqrt((at[:, LIGHT] ** 2).sum(1, keepdims=True))
        at[:, LIGHT] /= np.maximum(length / 1.1, 1.0)
    return at


Left = Callable[[Doubles], Doubles]
"""From guesses (M, P) to what they leave over, (M, N)."""


def improved(left: Left, at: Doubles, form: int, short: int, free: int, steps: int) -> tuple[Doubles, Doubles]:
    """Guesses (M, P), the first ``free`` of their numbers improved, and the squared error that each leaves."""
    moves = _MOVES["figure" if form == FIGURE else "plain"][:free]
    damping = np.full(len(at), 1e-2)
    scale = 1.0 / moves**2
    error = None
    M, P = at.shape
    for _ in range(steps):
        tried = np.repeat(at[:, None], 1 + free, 1)
        tried[:, np.arange(1, 1 + free), np.arange(free)] += moves
        rest = left(tried.reshape(-1, P)).reshape(M, 1 + free, -1)
        base = rest[:, 0]
        error = (base * base).sum(1)
        J = (rest[:, 1:] - base[:, None]) / moves[None, :, None].astype(rest.dtype)
        gram = (J @ J.transpose(0, 2, 1)).astype(np.float64)
        slope = (J @ base[:, :, None])[..., 0].astype(np.float64)
        ridge = damping[:, None] * np.trace(gram, axis1=1, axis2=2)[:, None] / free
        spread = np.maximum(np.einsum("mii->mi", gram), 1e-9)
        gram[:, np.arange(free), np.arange(free)] += damping[:, None] * spread + 1e-6 * scale + 0 * ridge
        step = np.linalg.solve(gram, slope[..., None])[..., 0]
        step = np.clip(step, -30 * moves, 30 * moves)
        new = at.copy()
        new[:, :free] -= step
        new = held(form, new, short)
        after = (left(new) ** 2).sum(1)
        better = after < error
        at = np.where(better[:, None], new, at)
        error = np.where(better, after, error)
        damping = np.where(better, damping * 0.3, damping * 8)
    assert error is not None
    return at, error


@dataclass(frozen=True)
class Scenery:
    """A picture with the guesses at what is in it.

    Arguments:
        picture: (H, W, 3) in [0, 1].
        ground: (H, W, 3), the background alone.
        sigma: pixels of the blur of the picture.
    """

    picture: Doubles
    ground: Doubles
    sigma: float

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.picture.shape[:2]
        return height, width

    @property
    def short(self) -> int:
        return min(self.size)

    def blurred(self, sharp: Array, frame: Frame, own: bool = True) -> Array:
        """Maps (..., h, w) of a window as the blur of the picture leaves them; nothing is beyond the window."""
        if self.sigma < 0.05:
            return sharp
        down = kernel(frame.height, self.sigma, not own).astype(sharp.dtype)
        across = kernel(frame.width, self.sigma, not own).astype(sharp.dtype)
        found: Array = down @ sharp @ across.T
        return found

    def frame(self, x: float, y: float, r: float, form: int) -> Frame:
        return Frame.about(x, y, r * (1.27 if form == FIGURE else 1.12) + 1.5 + 2.5 * self.sigma, self.size)

    def layers(self, things: list[Thing]) -> list[tuple[Frame, Floats, Floats]]:
        made = []
        for thing in things:
            frame = self.frame(thing.at[X], thing.at[Y], thing.at[R], thing.form)
            covers, lit = shown(thing.form, thing.texture, thing.at[None], frame)
            made.append((frame, covers[0], lit[0]))
        return made

    def painted(self, things: list[Thing]) -> Doubles:
        """The picture of these things, from the farthest to the nearest, before it is blurred."""
        made = self.ground.copy()
        for thing, (frame, covers, lit) in zip(things, self.layers(things), strict=True):
            behind = made[frame.place]
            made[frame.place] = behind + covers[..., None] * (lit[..., None] * PALETTE[thing.colour] - behind)
        return made

    def soft(self, sharp: Doubles) -> Doubles:
        whole = Frame(0, 0, *self.size)
        found: Doubles = self.blurred(sharp.transpose(2, 0, 1), whole, own=False).transpose(1, 2, 0)
        return found

    def refined(
        self, things: list[Thing], number: int, tries: list[Thing], weight: Doubles | None, steps: int, reach: float
    ) -> list[Thing]:
        """Of several guesses in the place of one of the things, each improved, what it is worth; the best first.

        Arguments:
            things: what is in the picture, from the farthest to the nearest.
            number: which of them is tried.
            tries: guesses at it.
            weight: (H, W), what is to be explained, or all.
            steps: of improvement.
            reach: pixels about the first guess's centre that matter.
        """
        below = self.painted(things[:number])
        through = np.ones(self.size, dtype=np.float32)
        for frame, covers, _ in self.layers(things[number + 1 :]):
            through[frame.place] *= 1 - covers
        empty = self.soft(self.painted(things[:number] + things[number + 1 :]))
        frame = Frame.about(tries[0].at[X], tries[0].at[Y], reach, self.size)
        place = frame.place
        importance = np.ones(self.size) if weight is None else weight
        root = np.sqrt(importance[place]).astype(np.float32)
        target = ((self.picture - empty)[place] * root[..., None]).transpose(2, 0, 1).astype(np.float32)
        before = float((target * target).sum())
        behind = below[place].transpose(2, 0, 1).astype(np.float32)
        through = through[place]
        done = []
        for thing in tries:
            colour = PALETTE[thing.colour][:, None, None]

            def left(at: Doubles, thing: Thing = thing, colour: Floats = colour) -> Doubles:
                covers, lit = shown(thing.form, thing.texture, at, frame)
                change = (covers * through)[:, None] * (lit[:, None] * colour - behind)
                rest: Doubles = (self.blurred(change, frame) * root - target).reshape(len(at), -1)
                return rest

            free = thing.at.shape[0]
            at, error = improved(left, thing.at[None], thing.form, self.short, free, steps)
            done.append(replace(thing, at=at[0], worth=before - float(error[0])))
        return sorted(done, key=lambda one: -one.worth)
