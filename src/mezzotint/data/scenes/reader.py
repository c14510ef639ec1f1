"""Readers of scenes: what a picture shows, without a trained network.

Pictures are read by explaining them. Colours say which pixels hang together (:mod:`.segment`), the background is fitted
to the rest (:mod:`.backdrop`), every form is held against every part (:mod:`.bank`), and what fits is painted with the
place, size, turn, light and texture that leave the least of the picture over (:mod:`.fit`), at last with everything
else where it is (:mod:`.draft`). What is said is what the best explanation is made of; where a second one is nearly as
good, or the best one is not good, the reader abstains. Noise is measured, blur is one of what is fitted, so pictures
need not be clean; they need not be scenes either, and of those that are not nothing is said.

A reader is a function of the picture alone: of no seed, and of no other picture of the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part
from mezzotint.data.scenes.captions import place_of
from mezzotint.data.scenes.draft import Draft, draft
from mezzotint.data.scenes.fit import POSE, TURN, Frame, R, X, Y
from mezzotint.data.scenes.numbers import Array, Doubles
from mezzotint.data.scenes.plan import RADII, TALL
from mezzotint.data.scenes.reading import ABSTAINS, UNSURE, Reading, Seen
from mezzotint.data.scenes.scenery import Thing
from mezzotint.data.scenes.segment import blurred, noise_of
from mezzotint.data.scenes.words import FIGURE

_WORKING = 32
"""Pixels of the shorter side that are enough to read by; larger pictures are read by means of pixels."""
_SMALLEST = 12
_SQUINT = 0.8
"""Pixels of the blur through which a picture is looked at again."""
_BETWEEN = 0.012
"""How near to the middle between small and large, in units of the shorter side, the reader abstains."""
_DOUBT = 0.2
"""The share of what an object covers that may be left unexplained; nothing is said of one with more."""
_LOST = 0.35
"""The share of a picture that may be left unexplained; nothing is said of objects in one with more."""
_LINE = 0.004
"""How near to a line between thirds it abstains."""


@dataclass(frozen=True)
class Reader(Part):
    """Reads scenes.

    Arguments:
        margin: by how much the second best form (or texture) must be worse, in units of the variance of what the best
            one does not explain; the reader abstains below. Twice the logarithm of the odds, were all of that noise.
        explained: the share that an object has to explain of what it changes; nothing is said of one below.
        residue: root mean square error, on pictures in [-1, 1], beyond the noise, above which a place is not explained.
    """

    margin: float = 6.0
    explained: float = 0.75
    residue: float = 0.16

    def read(self, x: Tensor) -> list[Reading]:
        """What is in pictures (B, 3, H, W) in [-1, 1] of the style ``photo``.

        Values a little beyond, as noise has them, are taken as they are.

        Raises:
            Refusal: they are no colour pictures, or smaller than 12 pixels, or hold a NaN.
        """
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < _SMALLEST:
            raise Refusal(
                f"scenes are read from pictures (B, 3, H, W) of at least {_SMALLEST} pixels, not {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(x).all()):
            raise Refusal("a picture that is to be read holds a NaN or an infinity")
        pictures = x.detach().to("cpu", torch.float64).numpy()
        return [self._reading((picture.transpose(1, 2, 0) + 1) / 2) for picture in pictures]

    def segment(self, x: Tensor) -> Tensor:
        """Which colour every pixel shows, uint8 (B, H, W): 0 background, then the colour + 1, 255 where unsure."""
        return torch.stack([reading.layout for reading in self.read(x)])

    def _reading(self, picture: Doubles) -> Reading:
        """What is read at first sight, or, where that leaves a doubt, through a blur that leaves none.

        A sharp edge pulls at a fit only from within a pixel, so now and then none of the starts finds its way there; a
        blurred one pulls from further away.
        """
        first = self._read_once(picture)
        if first.count != ABSTAINS:
            return first
        factor = max(1, min(picture.shape[:2]) // _WORKING)
        again = self._read_once(blurred(picture.transpose(2, 0, 1), _SQUINT * factor, True).transpose(1, 2, 0))
        return again if again.count != ABSTAINS else first

    def _read_once(self, picture: Doubles) -> Reading:
        size = (picture.shape[0], picture.shape[1])
        factor = max(1, min(size) // _WORKING)
        height, width = (side // factor for side in size)
        small = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean((1, 3))
        made = draft(small)
        if made is None:
            none = torch.zeros(size, dtype=torch.uint8)
            return Reading((), ABSTAINS, ABSTAINS, ABSTAINS, 2 * noise_of(small), 0.0, none + UNSURE, none)
        left = made.scenery.picture - made.scenery.seen([tries[0] for tries in made.things])
        bad = _error(left, made.noise) > self.residue / 2
        instances = _instances([tries[0] for tries in made.things], size, factor)
        objects = tuple(
            replace(self._seen(made, left, bad, tries, size, factor), share=_share(tries[0], k, instances, factor))
            for k, tries in enumerate(made.things)
        )
        sure = all(one.colour != ABSTAINS for one in objects) and not bad.any()
        plain = not bad.any() and made.behind.rest < 1.3 * made.noise + 0.03
        table = np.array([0, *(UNSURE if one.colour == ABSTAINS else one.colour + 1 for one in objects)])
        layout = np.where(_enlarged(bad, factor, size), UNSURE, table[instances]).astype(np.uint8)
        return Reading(
            objects=objects,
            count=len(objects) if objects and sure else ABSTAINS,
            ground=made.behind.ground if plain and made.behind.clear > self.margin else ABSTAINS,
            tint=made.behind.tint if plain else ABSTAINS,
            noise=2 * made.noise,
            blur=made.scenery.sigma * factor,
            layout=torch.from_numpy(layout),
            instances=torch.from_numpy(instances),
        )

    def _seen(
        self, made: Draft, left: Array, bad: Array, tries: list[Thing], size: tuple[int, int], factor: int
    ) -> Seen:
        best, short = tries[0], min(size) / factor
        frame = best.frame(made.scenery.sigma, made.scenery.size)
        near = blurred(best.cover(frame), made.scenery.sigma, False) > 0.1
        squares = (left[:, *frame.place] ** 2).mean(0)[near]
        rest = 3 * float(np.maximum(squares.sum() - squares.size * 1.15 * made.noise**2, 0.0))
        explained = best.worth / max(best.worth + rest, 1e-9)
        bends = tuple(float(value) for value in best.at[POSE]) if best.form == FIGURE else ()
        x, y, r = (float(best.at[k]) / short for k in (X, Y, R))
        no = ABSTAINS
        said = Seen(no, no, no, no, no, x, y, r, float(best.at[TURN]), bends, 0.0, round(float(explained), 6))
        if explained < self.explained or bad[frame.place][near].mean() > _DOUBT or bad.mean() > _LOST:
            return said
        variance = max(made.level, float(squares.mean()))
        rivals = [one for one in tries if best.worth - one.worth < self.margin * variance]
        width, height = size[1] / min(size), size[0] / min(size)
        lines = [abs(at - full * third / 3) for at, full in ((x, width), (y, height)) for third in (1, 2)]
        return replace(
            said,
            colour=best.colour,
            form=best.form if all(one.form == best.form for one in rivals) else ABSTAINS,
            texture=best.texture if all(one.texture == best.texture for one in rivals) else ABSTAINS,
            size=_size(best, short) if all(_size(one, short) == _size(best, short) for one in rivals) else ABSTAINS,
            place=place_of(x / width, y / height) if min(lines) > _LINE else ABSTAINS,
        )


def _size(thing: Thing, short: float) -> int:
    (_, small), (large, _) = TALL if thing.form == FIGURE else RADII
    beyond = float(thing.at[R]) / short - (small + large) / 2
    return ABSTAINS if abs(beyond) < _BETWEEN else int(beyond > 0)


def _error(left: Array, noise: float) -> Array:
    """Root mean square (H, W), over colours and near pixels, of what is not explained (3, H, W), beyond the noise."""
    found: Array = np.sqrt(np.maximum(blurred((left**2).mean(0), 1.2, True) - 1.5 * noise**2, 0.0))
    return found


def _enlarged(mask: Array, factor: int, size: tuple[int, int]) -> Array:
    whole = np.repeat(np.repeat(mask, factor, 0), factor, 1)
    found: Array = np.pad(whole, ((0, size[0] - whole.shape[0]), (0, size[1] - whole.shape[1])), mode="edge")
    return found


def _instances(things: list[Thing], size: tuple[int, int], factor: int) -> Array:
    """Which thing the centre of each pixel shows, uint8 (H, W)."""
    found = np.zeros(size, dtype=np.uint8)
    whole = Frame(0, 0, *size)
    for k, thing in enumerate(things):
        found[_scaled(thing, factor).cover(whole) > 0.5] = k + 1
    return found


def _scaled(thing: Thing, factor: int) -> Thing:
    at = thing.at.copy()
    at[: R + 1] *= factor
    return replace(thing, at=at)


def _share(thing: Thing, k: int, instances: Array, factor: int) -> float:
    height, width = instances.shape
    whole = int((_scaled(thing, factor).cover(Frame(0, 0, height, width)) > 0.5).sum())
    return float((instances == k + 1).sum()) / max(whole, 1)
