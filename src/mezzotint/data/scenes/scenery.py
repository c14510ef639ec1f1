"""A picture with the guesses at what is in it: what each is worth with the others where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mezzotint.data.scenes.fit import Frame, R, X, Y, cover, improved, shown
from mezzotint.data.scenes.numbers import Array, Doubles, Floats
from mezzotint.data.scenes.paint import REACH
from mezzotint.data.scenes.segment import blurred
from mezzotint.data.scenes.words import FIGURE, PALETTE


@dataclass(frozen=True)
class Thing:
    """A guess at an object.

    Arguments:
        form, colour, texture: numbers of words.
        at: (6,) or, of a figure, (12,), see :mod:`.fit`.
        worth: by how much it lowers the squared error of the picture.
        rest: the squared error that is left near it, beyond that of the noise.
    """

    form: int
    colour: int
    texture: int
    at: Doubles
    worth: float = 0.0
    rest: float = 0.0

    def frame(self, sigma: float, size: tuple[int, int], more: float = 0.0) -> Frame:
        """All pixels that it may change."""
        reach = self.at[R] * REACH + 1.5 + 2.5 * sigma
        return Frame.about(float(self.at[X]), float(self.at[Y]), reach + more, size)

    def shown(self, frame: Frame) -> tuple[Floats, Floats]:
        covers, lit = shown(np.array([self.form]), np.array([self.texture]), self.at[None], frame)
        return covers[0], lit[0]

    def cover(self, frame: Frame) -> Floats:
        found: Floats = cover(np.array([self.form]), self.at[None], frame)[0]
        return found


@dataclass(frozen=True)
class Scenery:
    """A picture, its background, and how blurred it is.

    Arguments:
        picture: (3, H, W) in [0, 1].
        ground: (3, H, W), the background alone.
        sigma: pixels of the blur of the picture.
        noise: standard deviation of its noise.
    """

    picture: Floats
    ground: Floats
    sigma: float
    noise: float

    @property
    def size(self) -> tuple[int, int]:
        height, width = self.picture.shape[1:]
        return height, width

    @property
    def short(self) -> int:
        return min(self.size)

    def painted(self, things: list[Thing]) -> Floats:
        """The picture of these things, from the farthest to the nearest, before it is blurred."""
        made = self.ground.copy()
        for thing in things:
            frame = thing.frame(self.sigma, self.size)
            covers, lit = thing.shown(frame)
            behind = made[:, *frame.place]
            behind += covers * (lit * PALETTE[thing.colour][:, None, None] - behind)
        return made

    def seen(self, things: list[Thing]) -> Array:
        """The picture of these things."""
        return blurred(self.painted(things), self.sigma, True)

    def refined(
        self, things: list[Thing], number: int, tries: list[Thing], weight: Array | None, steps: int
    ) -> list[Thing]:
        """Of several guesses in the place of one of the things, each improved, what it is worth; the best first.

        Arguments:
            things: what is in the picture, from the farthest to the nearest.
            number: which of them is tried.
            tries: guesses at it.
            weight: (H, W), what is to be explained; None: all.
            steps: of improvement.
        """
        others = things[:number] + things[number + 1 :]
        below = self.painted(things[:number])
        through = np.ones(self.size, dtype=np.float32)
        for thing in things[number + 1 :]:
            frame = thing.frame(self.sigma, self.size)
            through[frame.place] *= 1 - thing.cover(frame)
        missing = self.picture - (self.seen(others) if others else blurred(self.ground, self.sigma, True))
        done = []
        for figures in (False, True):
            mine = [thing for thing in tries if (thing.form == FIGURE) == figures]
            if mine:
                done += self._improved(mine, below, through, missing, weight, steps)
        return sorted(done, key=lambda one: -one.worth)

    def _improved(
        self, tries: list[Thing], below: Floats, through: Floats, missing: Array, weight: Array | None, steps: int
    ) -> list[Thing]:
        frame = max(
            (thing.frame(self.sigma, self.size, 1.0) for thing in tries), key=lambda one: one.height * one.width
        )
        place = frame.place
        root = np.ones((1, 1), dtype=np.float32) if weight is None else np.sqrt(weight[place]).astype(np.float32)
        target = (missing[:, *place] * root).astype(np.float32)
        behind, clear = below[:, *place], through[place]
        form, texture = (np.array([getattr(thing, name) for thing in tries]) for name in ("form", "texture"))
        colour = PALETTE[[thing.colour for thing in tries]][:, :, None, None]

        def left(at: Doubles, which: Array) -> Floats:
            covers, lit = shown(form[which], texture[which], at, frame)
            change = (covers * clear)[:, None] * (lit[:, None] * colour[which] - behind)
            rest: Floats = (blurred(change, self.sigma, False) * root - target).reshape(len(at), -1)
            return rest

        at = np.stack([thing.at for thing in tries])
        at, error = improved(left, at, self.short, at.shape[1], steps)
        before = float((target * target).sum(dtype=np.float64))
        noise = self.noise**2 * 3 * (float((root**2).sum()) if weight is not None else frame.height * frame.width)
        return [
            replace(thing, at=at[n], worth=before - float(error[n]), rest=max(float(error[n]) - noise, 0.0))
            for n, thing in enumerate(tries)
        ]
