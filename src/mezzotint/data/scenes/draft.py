"""What a picture is made of, by explaining it: a first guess at every part, then all together.

See :mod:`.reader`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mezzotint.data.scenes import segment as pixels
from mezzotint.data.scenes.backdrop import Backdrop, backdrop, tint_of
from mezzotint.data.scenes.bank import matches
from mezzotint.data.scenes.fit import POSE, Frame, R, X, Y, cover, improved
from mezzotint.data.scenes.numbers import Array, Doubles, Floats, Ints
from mezzotint.data.scenes.paint import REACH
from mezzotint.data.scenes.scenery import Scenery, Thing
from mezzotint.data.scenes.words import FIGURE, TEXTURES, TINTED

_ARMS = [(raised, bend) for raised in (0.10, 0.16, 0.22, 0.28, 0.33) for bend in (-0.03, 0.035, 0.10)]
_LEGS = [(spread, -folded) for spread in (0.02, 0.045, 0.075) for folded in (0.01, 0.045, 0.08)]
"""Turns of an upper limb, and of the lower one from it, that are tried."""
NOISIEST, MOST = 0.12, 14
"""The strongest noise, on pictures in [0, 1], and the most parts of a picture that is read."""
_BEYOND = 14
"""Pixels of a part, at 32 pixels a side, that its object does not explain and that are looked at by themselves."""
_WORTH = 0.3
"""The least that an object lowers the squared error of a picture in [0, 1] by."""
_SIGMAS = (0.0, 0.6, 0.8, 1.0, 1.25, 1.5)


@dataclass
class Draft:
    """What is found of one picture, on the way.

    Arguments:
        scenery: the picture, its background and its blur.
        behind: what the background is.
        noise: standard deviation of the noise.
        things: guesses at every object, the best of each first, from the farthest to the nearest.
        parts: the pixels of each.
        planes: the picture, (H, W, 3).
    """

    scenery: Scenery
    behind: Backdrop
    noise: float
    things: list[list[Thing]]
    parts: list[pixels.Part]
    picture: Doubles

    @property
    def level(self) -> float:
        """The variance of what is not to be explained."""
        return max(self.noise, 0.012) ** 2


def grown(mask: Array, times: int) -> Array:
    """A mask (H, W) and the pixels around it."""
    for _ in range(times):
        bigger = mask.copy()
        bigger[1:] |= mask[:-1]
        bigger[:-1] |= mask[1:]
        mask = bigger.copy()
        mask[:, 1:] |= bigger[:, :-1]
        mask[:, :-1] |= bigger[:, 1:]
    return mask


def draft(picture: Doubles) -> Draft | None:
    """What a picture (H, W, 3) in [0, 1] is made of; None: it is nothing that could be."""
    noise = pixels.noise_of(picture)
    if noise > NOISIEST:
        return None
    planes = picture.transpose(2, 0, 1)
    smooth = pixels.blurred(planes, 0.7, True).transpose(1, 2, 0) if noise > 0.02 else picture
    tint = tint_of(smooth)
    found, share = pixels.parts(smooth, tint)
    if len(found) > MOST:
        return None
    held = share > 0.3
    for part in found:
        held |= part.mask
    behind = backdrop(picture, ~grown(held, 1 if noise < 0.02 else 2), tint)
    ground = (behind.light * TINTED[tint][:, None, None]).astype(np.float32)
    scenery = Scenery(planes.astype(np.float32), ground, 0.6, noise)
    made = Draft(scenery, behind, noise, [], found, picture)
    if not found:
        return made
    again = 2  # what is looked at by itself may be joined again: not for ever
    while len(made.things) < len(made.parts):
        k = len(made.things)
        starts = begun(made, k, k == 0)
        tries = coloured(made, k, starts)
        pieces = [
            j
            for j, part in enumerate(made.parts)
            if j != k and part.colour == made.parts[k].colour and holds(made, tries[0], part.mask)
        ]
        if pieces:  # something else is before it
            mask = np.logical_or.reduce([made.parts[j].mask for j in (k, *pieces)])
            made.parts[k] = replace(made.parts[k], mask=mask, area=int(mask.sum()))
            made.things = [one for j, one in enumerate(made.things) if j not in pieces]
            made.parts = [one for j, one in enumerate(made.parts) if j not in pieces]
            k = len(made.things)
            tries = coloured(made, k, begun(made, k))
        made.things.append(tries)
        beyond = made.parts[k].mask & ~grown(tries[0].cover(Frame(0, 0, *scenery.size)) > 0.1, 1)
        if beyond.sum() > _BEYOND * (scenery.short / 32) ** 2 and again:
            again -= 1
            made.parts.append(pixels.Part(made.parts[k].colour, beyond, int(beyond.sum())))
    joined(made)
    return made


def holds(made: Draft, thing: Thing, mask: Array) -> bool:
    """Whether a thing covers most of a part."""
    covers = thing.cover(Frame(0, 0, *made.scenery.size))
    return bool((covers[mask] > 0.5).mean() > 0.6)


def weights(made: Draft, k: int) -> Doubles:
    """1 where part k is to be explained or denied, 0 where something else is seen."""
    weight = np.ones(made.scenery.size)
    others = np.zeros(made.scenery.size, dtype=bool)
    for j, part in enumerate(made.parts):
        if j != k:
            others |= part.mask
    weight[grown(others, 1) & ~made.parts[k].mask] = 0.0
    weight[others] = 0.0
    return weight


def begun(made: Draft, k: int, blur: bool = False) -> list[tuple[Thing, float]]:
    """Guesses at part k by what it covers alone, one a form, with what each leaves over; the best first.

    Arguments:
        made: the picture.
        k: the part.
        blur: whether to find out how blurred the picture is, too.
    """
    part, light = made.parts[k], made.behind.light
    _, behind = pixels.unmixed(made.picture, part.colour, made.behind.tint)
    covered = np.clip(1 - behind / light, -0.3, 1.3)
    weight = weights(made, k) * np.minimum(1.0, (light / 0.6) ** 2)
    found = _covering(made, part, covered, weight, False, blur)
    rows = np.flatnonzero(part.mask.any(1))
    high = (int(rows[-1]) - int(rows[0]) + 1) / made.scenery.short
    noise = 0.5 * float(weight.sum()) * (made.noise / 0.6) ** 2
    misfit = (min(error for _, error in found) - noise) / part.area
    if misfit > 0.03 and high > (0.2 if misfit > 0.15 else 0.27):  # what a plain form explains is no figure
        found += _covering(made, part, covered, weight, True, blur)
    return sorted(found, key=lambda one: one[1])


def _covering(
    made: Draft, part: pixels.Part, covered: Doubles, weight: Doubles, figures: bool, blur: bool
) -> list[tuple[Thing, float]]:
    """Guesses, one for every form that may be, or at figures, of what covers (H, W) of a picture."""
    sigma, short = made.scenery.sigma, made.scenery.short
    rows, columns = np.nonzero(part.mask)
    middle = (0.5 * float(columns.min() + columns.max() + 1), 0.5 * float(rows.min() + rows.max() + 1))
    guesses, cost = matches(covered, weight, middle, max(4, round(0.16 * short)), sigma, figures)
    names = np.array([form for form, _ in guesses])
    picked: list[int] = []
    for which in sorted(set(names.tolist())):
        mine = np.flatnonzero(names == which)
        best = mine[np.argsort(cost[mine], kind="stable")[:2]]
        picked += [int(n) for n in best if cost[n] < 1.6 * cost.min() + 3.0]
    at, forms = np.stack([guesses[n][1] for n in picked]), names[picked]
    reach = float(at[:, R].max()) * REACH + 3 + 2 * sigma
    frame = Frame.about(float(at[:, X].mean()), float(at[:, Y].mean()), reach, made.scenery.size)
    root = np.sqrt(weight[frame.place]).astype(np.float32)
    target = covered[frame.place].astype(np.float32) * root

    def left(at: Doubles, which: Ints) -> Floats:
        rest: Floats = pixels.blurred(cover(forms[which], at, frame), sigma, False) * root - target
        return rest.reshape(len(at), -1)

    at, error = improved(left, at, short, at.shape[1] if figures else 4, 4)
    if blur:
        sharp = cover(forms, at, frame)
        errors = [((pixels.blurred(sharp, some, False) * root - target) ** 2).sum((1, 2)) for some in _SIGMAS]
        least = int(np.argmin([one.min() for one in errors]))
        error = errors[least]
        if not figures:
            made.scenery = replace(made.scenery, sigma=_SIGMAS[least])
    outside = float((weight * covered**2).sum() - (target**2).sum())
    chosen = [min((error[n], n) for n in np.flatnonzero(forms == which))[1] for which in sorted(set(forms.tolist()))]
    return [(Thing(int(forms[n]), part.colour, 0, at[n]), float(error[n]) + outside) for n in chosen]


def coloured(made: Draft, k: int, starts: list[tuple[Thing, float]]) -> list[Thing]:
    """Guesses with textures and light, the best first."""
    tries = []
    weight = weights(made, k)
    variance = 0.5 * (made.noise / 0.6) ** 2
    least = starts[0][1]
    for thing, error in starts:
        if error - least > 0.8 * max(least - variance * float(weight.sum()), 0.0) + 80 * variance + 0.5:
            continue
        if thing.form == FIGURE:
            tries.append(thing)
        else:
            tries += [replace(thing, texture=texture) for texture in range(len(TEXTURES))]
    first = close(made.scenery.refined([tries[0]], 0, tries, weight, 1), 0.8, 60 * made.level)
    first = [bent(made.scenery, [one], 0, weight) if one.form == FIGURE else one for one in first]
    return close(made.scenery.refined([tries[0]], 0, first[:5], weight, 4), 0.5, 60 * made.level)


def bent(scenery: Scenery, things: list[Thing], k: int, weight: Array | None) -> Thing:
    """A figure with each limb where it explains most, of several places that a limb may be in."""
    for limb in range(4):
        upper, lower = POSE.start + 2 * limb, POSE.start + 2 * limb + 1
        tries = [things[k]]
        for raised, bend in _LEGS if limb % 2 else _ARMS:
            at = things[k].at.copy()
            at[upper], at[lower] = raised, raised + bend
            tries.append(replace(things[k], at=at))
        things = [*things[:k], scenery.refined(things, k, tries, weight, 0)[0], *things[k + 1 :]]
    return things[k]


def close(tries: list[Thing], share: float, more: float) -> list[Thing]:
    """Those of the guesses, the best first, that are not much worse than the best."""
    return [one for one in tries if tries[0].worth - one.worth <= share * tries[0].rest + more]


def joined(made: Draft) -> None:
    """All together: who is before whom, and every thing again with the others where they are."""
    ordered(made)
    before = made.scenery.sigma
    sharpened(made)
    uncovered(made)
    for step in range(2):
        for k in range(len(made.things)):
            now = [tries[0] for tries in made.things]
            if made.scenery.sigma == before and alone(made, k) and (step or len(made.things[k]) == 1):
                continue
            if made.things[k][0].form == FIGURE:
                made.things[k][0] = bent(made.scenery, now, k, None)
            again = made.scenery.refined(now, k, made.things[k][: 4 if step == 0 else 3], None, 3 - step)
            made.things[k] = close(again, 0.3, 40 * made.level)
        pruned(made)
        ordered(made)
        before = made.scenery.sigma
        if step == 0:
            sharpened(made)
            if made.scenery.sigma != before:
                uncovered(made)


def alone(made: Draft, k: int) -> bool:
    """Whether no other thing changes a pixel that this one does."""
    frames = [tries[0].frame(made.scenery.sigma, made.scenery.size) for tries in made.things]
    a = frames[k]
    return not any(
        a.top < b.top + b.height
        and b.top < a.top + a.height
        and a.left < b.left + b.width
        and b.left < a.left + a.width
        for j, b in enumerate(frames)
        if j != k
    )


def uncovered(made: Draft) -> None:
    """Fit the background again, where nothing that was found covers it."""
    sigma = made.scenery.sigma
    whole = np.ones(made.scenery.size, dtype=np.float32)
    for tries in made.things:
        whole *= 1 - tries[0].cover(Frame(0, 0, *made.scenery.size))
    made.behind = backdrop(made.picture, pixels.blurred(whole, sigma, True) > 0.98, made.behind.tint, sigma)
    ground = (made.behind.light * TINTED[made.behind.tint][:, None, None]).astype(np.float32)
    made.scenery = replace(made.scenery, ground=ground)


def sharpened(made: Draft) -> None:
    """Take the blur that explains the picture best."""
    now = [tries[0] for tries in made.things]
    if not now:
        return
    sharp = made.scenery.painted(now)
    near = np.zeros(made.scenery.size, dtype=bool)
    for thing in now:
        near[thing.frame(0.0, made.scenery.size).place] = True
    errors = [
        float(((pixels.blurred(sharp, sigma, True) - made.scenery.picture)[:, near] ** 2).sum()) for sigma in _SIGMAS
    ]
    made.scenery = replace(made.scenery, sigma=_SIGMAS[int(np.argmin(errors))])


def pruned(made: Draft) -> None:
    """Leave out what explains nothing that others do not, and the lesser of two in one place that share a colour."""
    whole = Frame(0, 0, *made.scenery.size)
    best = [tries[0] for tries in made.things]
    covers = [thing.cover(whole) for thing in best]
    for k in reversed(range(len(best))):
        same = any(
            one.colour == best[k].colour and one.worth > best[k].worth and np.minimum(covers[j], covers[k]).sum() > 1
            for j, one in enumerate(best)
        )
        if same or best[k].worth < max(60 * made.level, _WORTH):
            del made.things[k]
            del made.parts[k]


def ordered(made: Draft) -> None:
    """Put the nearer of two that overlap behind in the list: the order that explains the picture better."""
    count = len(made.things)
    now = [tries[0] for tries in made.things]
    covers = [t.cover(Frame(0, 0, *made.scenery.size)) for t in now]
    above = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(i):
            both = np.minimum(covers[i], covers[j])
            if both.sum() < 0.5:
                continue
            errors = [
                float((((made.scenery.seen([now[n] for n in pair]) - made.scenery.picture) ** 2) * both).sum())
                for pair in ((j, i), (i, j))
            ]
            above[i, j], above[j, i] = errors[0] <= errors[1], errors[0] > errors[1]
    left, order = list(range(count)), []
    while left:
        n = next((n for n in left if not any(above[n, m] for m in left)), left[0])
        order.append(n)
        left.remove(n)
    made.things = [made.things[n] for n in order]
    made.parts = [made.parts[n] for n in order]
