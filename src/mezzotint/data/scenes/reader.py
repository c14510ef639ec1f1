"""Readers of scenes: what a picture shows, without a trained network.

Pictures are read by explaining them. Colours say which pixels hang together (:mod:`.segment`), the background is fitted
to the rest (:mod:`.backdrop`), every form is held against every part (:mod:`.bank`), and what fits is painted with the
place, size, turn, light and texture that leave the least of the picture over (:mod:`.fit`), at last with everything
else where it is (:mod:`.draft`). What is said is what the best explanation is made of; where a second one is nearly as
good, or the best one is not good, the reader abstains; of a part that no form explains it may say the colour and the
place, if the rest of the picture is clear. Noise is measured, blur is one of what is fitted, so pictures
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
from mezzotint.data.scenes.draft import Draft, draft, grown
from mezzotint.data.scenes.fit import POSE, TURN, Frame, R, X, Y
from mezzotint.data.scenes.numbers import Array, Doubles
from mezzotint.data.scenes.plan import RADII, TALL
from mezzotint.data.scenes.reading import ABSTAINS, UNSURE, Reading, Seen
from mezzotint.data.scenes.scenery import Thing
from mezzotint.data.scenes.segment import Part as Pixels
from mezzotint.data.scenes.segment import blurred, noise_of, unmixed
from mezzotint.data.scenes.words import FIGURE, PALETTE, TINTED

_WORKING = 32
"""Pixels of the shorter side that are enough to read by; larger pictures are read by means of pixels."""
_SMALLEST, _BEYOND = 12, 4.0
"""Pixels of the shorter side, and the largest value, noise counted, of a picture that is read."""
_SQUINT, _HOPELESS = 0.8, 6
"""Pixels of the blur through which a picture is looked at again, unless it has more parts than this that no form
explains: then it is no scene."""
_FINE, _BLURRED, _NOISY = 24, 0.7, 0.02
"""Pixels of the shorter side below which nothing is said of objects in a picture that is so blurred, in pixels, or as
noisy, on pictures in [0, 1]: they have too few pixels to tell one form from another."""
_BETWEEN = 0.012
"""How near to the middle between small and large, in units of the shorter side, the reader abstains."""
_DOUBT = 0.2
"""The share of what an object covers that may be left unexplained; of one with more, no form is said."""
_LOST = 0.35
"""The share of a picture that may be left unexplained; of objects in one with more, no form is said."""
_LINE, _LINE_OF_PARTS = 0.004, 0.02
"""How near to a line between thirds it abstains: where a form is known, and where only a part is."""
_AROUND = 3
"""Pixels around a part, at 32 a side, that what is wrong with the part may reach."""
_OPEN, _OFF = 0.3, 0.05
"""Of a picture with parts that no form explains: the least share that has to be background, and how far, as a share of
its light, that may be from its tint."""
_LIGHT, _PURE, _STRAY, _RIVAL = (0.5, 1.15), 0.75, 0.1, 0.3
"""Of such a part: how much there may be of its colour, the least share of that in its light, how much of the light may
be of no colour, and how much less, as a factor, than by the second best colour. Measured on scenes of all styles: those
of ``photo`` lie within, those of the others without."""


@dataclass(frozen=True)
class Reader(Part):
    """Reads scenes.

    Arguments:
        margin: by how much the second best form (or texture) must be worse, in units of the variance of what the best
            one does not explain; the reader abstains below. Twice the logarithm of the odds, were all of that noise.
        explained: the share that an object has to explain of what it changes; of one below, no form is said.
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
        if x.is_floating_point() and not bool(torch.isfinite(x).all()):
            raise Refusal("a picture that is to be read holds a NaN or an infinity")
        if not x.is_floating_point() or bool((x.abs() > _BEYOND).any()):
            kind = str(x.dtype).removeprefix("torch.")
            raise Refusal(
                f"scenes are read from floats in [-1, 1], not from {kind} beyond them; of bytes take x / 127.5 - 1"
            )
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
        if first.count != ABSTAINS or sum(not one.whole for one in first.objects) > _HOPELESS:
            return first
        factor = max(1, min(picture.shape[:2]) // _WORKING)
        again = self._read_once(blurred(picture.transpose(2, 0, 1), _SQUINT * factor, True).transpose(1, 2, 0), _SQUINT)
        return again if again.count != ABSTAINS else first

    def _read_once(self, picture: Doubles, squint: float = 0.0) -> Reading:
        size = (picture.shape[0], picture.shape[1])
        factor = max(1, min(size) // _WORKING)
        height, width = (side // factor for side in size)
        small = picture[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean((1, 3))
        made = draft(small)
        if made is None:
            none = torch.zeros(size, dtype=torch.uint8)
            return Reading((), ABSTAINS, ABSTAINS, ABSTAINS, 2 * noise_of(small), 0.0, none + UNSURE, none)
        things = [tries[0] for tries in made.things]
        left = made.scenery.picture - made.scenery.seen(things)
        bad = _error(left, made.noise) > self.residue / 2
        fine = made.scenery.short >= _FINE or (made.scenery.sigma**2 < _BLURRED**2 + squint**2 and made.noise < _NOISY)
        clear = fine and _clear(made, bad)
        explained = (self._explained(made, left, bad, k) for k in range(len(things)))
        known = [(share, sure and fine) for share, sure in explained]
        instances = _instances(made, [sure for _, sure in known], size, factor)
        objects = tuple(
            replace(
                self._seen(made, left, k, size, factor) if sure else self._part(made, k, size, factor, clear),
                share=_share(things[k], k, instances, factor) if sure else 1.0,
                explained=round(share, 6),
            )
            for k, (share, sure) in enumerate(known)
        )
        plain = not bad.any() and made.behind.rest < 1.3 * made.noise + 0.03
        shown = [one.colour + 1 if sure else UNSURE for one, (_, sure) in zip(objects, known, strict=True)]
        layout = np.where(_enlarged(bad, factor, size), UNSURE, np.array([0, *shown])[instances]).astype(np.uint8)
        return Reading(
            objects=objects,
            count=len(objects) if objects and all(sure for _, sure in known) and not bad.any() else ABSTAINS,
            ground=made.behind.ground if plain and made.behind.clear > self.margin else ABSTAINS,
            tint=made.behind.tint if plain else ABSTAINS,
            noise=2 * made.noise,
            blur=made.scenery.sigma * factor,
            layout=torch.from_numpy(layout),
            instances=torch.from_numpy(instances),
        )

    def _explained(self, made: Draft, left: Array, bad: Array, k: int) -> tuple[float, bool]:
        """The share that a thing explains of what the picture would differ by without it; whether that is enough."""
        best = made.things[k][0]
        frame, near = _near(made, best)
        squares = (left[:, *frame.place] ** 2).mean(0)[near]
        rest = 3 * float(np.maximum(squares.sum() - squares.size * 1.15 * made.noise**2, 0.0))
        explained = float(best.worth / max(best.worth + rest, 1e-9))
        odd = bad[frame.place][near].mean() > _DOUBT or bad.mean() > _LOST
        return explained, bool(explained >= self.explained and not odd)

    def _seen(self, made: Draft, left: Array, k: int, size: tuple[int, int], factor: int) -> Seen:
        """What a thing is that explains its part."""
        best, short = made.things[k][0], min(size) / factor
        frame, near = _near(made, best)
        variance = max(made.level, float((left[:, *frame.place] ** 2).mean(0)[near].mean()))
        rivals = [one for one in made.things[k] if best.worth - one.worth < self.margin * variance]
        x, y, r = (float(best.at[k]) / short for k in (X, Y, R))
        return Seen(
            form=best.form if all(one.form == best.form for one in rivals) else ABSTAINS,
            colour=best.colour,
            size=_size(best, short) if all(_size(one, short) == _size(best, short) for one in rivals) else ABSTAINS,
            texture=best.texture if all(one.texture == best.texture for one in rivals) else ABSTAINS,
            place=_place(x, y, size, _LINE),
            x=x,
            y=y,
            r=r,
            turn=float(best.at[TURN]),
            bends=tuple(float(value) for value in best.at[POSE]) if best.form == FIGURE else (),
        )

    def _part(self, made: Draft, k: int, size: tuple[int, int], factor: int, clear: bool) -> Seen:
        """What a part is that no form explains: no more than its colour and place, if the rest is clear."""
        part, short = made.parts[k], min(size) / factor
        rows, columns = np.nonzero(part.mask)
        x, y = (float(at.mean() + 0.5) / short for at in (columns, rows))
        r = float(np.sqrt(part.area / np.pi)) / short
        sure = clear and _coloured(made, part)
        return Seen(
            form=ABSTAINS,
            colour=part.colour if sure else ABSTAINS,
            size=ABSTAINS,
            texture=ABSTAINS,
            place=_place(x, y, size, _LINE_OF_PARTS) if sure else ABSTAINS,
            x=x,
            y=y,
            r=r,
            turn=0.0,
            whole=False,
        )


def _near(made: Draft, thing: Thing) -> tuple[Frame, Array]:
    """Where a thing may change pixels, and those of them that it covers."""
    frame = thing.frame(made.scenery.sigma, made.scenery.size)
    return frame, blurred(thing.cover(frame), made.scenery.sigma, False) > 0.1


def _clear(made: Draft, bad: Array) -> bool:
    """Whether what is not of the parts is a background: enough of it, all explained, and of one tint."""
    masks = [part.mask for part in made.parts]
    covered = np.logical_or.reduce([np.zeros(made.scenery.size, dtype=bool), *masks])
    open_ = ~grown(covered, max(1, round(_AROUND * made.scenery.short / 32)))
    if open_.mean() < _OPEN or (bad & open_).any():
        return False
    tint = TINTED[made.behind.tint].astype(np.float64)
    shown = made.picture[open_]
    light = shown @ tint / (tint @ tint)
    off = float(((shown - light[:, None] * tint) ** 2).mean()) - made.noise**2 * 2 / 3
    return bool(off < (_OFF * max(float(light.mean()), 0.1)) ** 2)


def _coloured(made: Draft, part: Pixels) -> bool:
    """Whether the colour of a part is one of the palette's, as light as things are, and not nearly another one."""
    shown, tint = made.picture[part.mask][None], made.behind.tint
    amounts, pure, errors = [], [], []
    for colour, rgb in enumerate(PALETTE):
        amount, light = (np.maximum(one, 0.0) for one in unmixed(shown, colour, tint))
        pure.append(float(np.median(amount / np.maximum(amount + light, 0.05))))
        left = shown - amount[..., None] * rgb - light[..., None] * TINTED[tint]
        amounts.append(float(np.quantile(amount, 0.8)))
        errors.append(float(np.sqrt(max((left**2).mean() - made.noise**2 / 3, 0.0))))
    own, second = errors.pop(part.colour), min(errors)
    (low, high), full = _LIGHT, pure[part.colour] > _PURE
    lit = low < amounts[part.colour] < high
    return full and lit and own < _STRAY * float(shown.mean()) and own < _RIVAL * second


def _place(x: float, y: float, size: tuple[int, int], doubt: float) -> int:
    """The place of a centre, in units of the shorter side of a picture (H, W)."""
    width, height = size[1] / min(size), size[0] / min(size)
    lines = [abs(at - full * third / 3) for at, full in ((x, width), (y, height)) for third in (1, 2)]
    return place_of(x / width, y / height) if min(lines) > doubt else ABSTAINS


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


def _instances(made: Draft, known: list[bool], size: tuple[int, int], factor: int) -> Array:
    """Which object the centre of each pixel shows, uint8 (H, W): what a form covers, or the pixels of a part."""
    found = np.zeros(size, dtype=np.uint8)
    whole = Frame(0, 0, *size)
    for k, tries in enumerate(made.things):
        if known[k]:
            mine = _scaled(tries[0], factor).cover(whole) > 0.5
        else:
            mine = _enlarged(made.parts[k].mask, factor, size)
        found[mine] = k + 1
    return found


def _scaled(thing: Thing, factor: int) -> Thing:
    at = thing.at.copy()
    at[: R + 1] *= factor
    return replace(thing, at=at)


def _share(thing: Thing, k: int, instances: Array, factor: int) -> float:
    height, width = instances.shape
    whole = int((_scaled(thing, factor).cover(Frame(0, 0, height, width)) > 0.5).sum())
    return float((instances == k + 1).sum()) / max(whole, 1)
