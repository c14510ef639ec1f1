"""Readers of scenes: what is in a picture, without a trained network.

See :func:`read`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mezzotint.data.scenes import segment as pixels
from mezzotint.data.scenes.backdrop import Backdrop, backdrop, tint_of
from mezzotint.data.scenes.bank import matches
from mezzotint.data.scenes.fit import POSE, R, TURN, X, Y, Frame, Scenery, Thing, cover, improved, shown
from mezzotint.data.scenes.numbers import Array, Doubles
from mezzotint.data.scenes.words import FIGURE, PALETTE, TEXTURES

_SIGMAS = (0.0, 0.6, 1.0, 1.4)


@dataclass
class Draft:
    """What is found of one picture, on the way."""

    scenery: Scenery
    behind: Backdrop
    noise: float
    things: list[list[Thing]]
    parts: list[pixels.Part]


def grown(mask: Array, times: int) -> Array:
    for _ in range(times):
        bigger = mask.copy()
        bigger[1:] |= mask[:-1]
        bigger[:-1] |= mask[1:]
        mask = bigger.copy()
        mask[:, 1:] |= bigger[:, :-1]
        mask[:, :-1] |= bigger[:, 1:]
    return mask


def draft(picture: Doubles) -> Draft:
    noise = pixels.noise_of(picture)
    smooth = pixels.smoothed(picture, 0.7) if noise > 0.02 else picture
    tint = tint_of(smooth)
    found, share = pixels.parts(smooth, tint)
    held = share > 0.3
    for part in found:
        held |= part.mask
    behind = backdrop(picture, ~grown(held, 1 if noise < 0.02 else 2), tint)
    from mezzotint.data.scenes.words import TINTED

    scenery = Scenery(picture, behind.light[..., None] * TINTED[tint], 0.0)
    made = Draft(scenery, behind, noise, [], found)
    if not found:
        return made
    first = [begun(made, 0, sigma) for sigma in _SIGMAS]
    best = min(range(len(_SIGMAS)), key=lambda k: first[k][0][1])
    sigma = _SIGMAS[best]
    made.scenery = replace(scenery, sigma=sigma)
    k = 0
    while k < len(made.parts):
        starts = first[best] if k == 0 else begun(made, k, sigma)
        tries = coloured(made, k, starts)
        merged = [
            j
            for j in range(len(made.parts))
            if j != k and made.parts[j].colour == made.parts[k].colour and holds(made, tries[0], made.parts[j].mask)
        ]
        if merged:
            mask = made.parts[k].mask.copy()
            for j in merged:
                mask |= made.parts[j].mask
            made.parts[k] = replace(made.parts[k], mask=mask, area=int(mask.sum()))
            for j in sorted(merged, reverse=True):
                del made.parts[j]
                if j < len(made.things):
                    del made.things[j]
                if j < k:
                    k -= 1
            tries = coloured(made, k, begun(made, k, sigma))
        made.things.append(tries)
        k += 1
    joined(made)
    return made


def holds(made: Draft, thing: Thing, mask: Array) -> bool:
    whole = Frame(0, 0, *made.scenery.size)
    covers = cover(thing.form, thing.at[None], whole)[0]
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


def begun(made: Draft, k: int, sigma: float) -> list[tuple[Thing, float]]:
    """Guesses by cover alone, one or two a form, with what each leaves over; the best first."""
    part = made.parts[k]
    light = made.behind.light
    _, g = pixels.unmixed(made.scenery.picture, part.colour, made.behind.tint)
    covered = np.clip(1 - g / light, -0.3, 1.3)
    weight = weights(made, k) * np.minimum(1.0, (light / 0.6) ** 2)
    rows, columns = np.nonzero(part.mask)
    middle = (0.5 * (columns.min() + columns.max() + 1), 0.5 * (rows.min() + rows.max() + 1))
    short = made.scenery.short
    away = max(4, round(0.16 * short))
    tall = rows.max() - rows.min() + 1 > 0.40 * short
    scenery = replace(made.scenery, sigma=sigma)
    found: list[tuple[Thing, float]] = []
    for figures in (False, True) if tall else (False,):
        guesses, left = matches(covered, weight, middle, away, sigma, figures)
        forms = sorted({form for form, _ in guesses})
        bests = {form: min((left[n], n) for n, (f, _) in enumerate(guesses) if f == form) for form in forms}
        least = min(one[0] for one in bests.values())
        slack = 0.35 * least + 6.0
        for form in forms:
            if bests[form][0] > least + slack:
                continue
            order = sorted((left[n], n) for n, (f, _) in enumerate(guesses) if f == form)[:2 if form != FIGURE else 2]
            at = np.stack([guesses[n][1] for _, n in order])
            frame = Frame.about(*middle, (0.26 if form != FIGURE else 0.5) * short + away + 2, scenery.size)
            target = (covered[frame.place]).astype(np.float32)
            root = np.sqrt(weight[frame.place]).astype(np.float32)

            def rest(at: Doubles, form: int = form, frame: Frame = frame, target=target, root=root) -> Doubles:
                return ((scenery.blurred(cover(form, at, frame), frame) - target) * root).reshape(len(at), -1)

            free = at.shape[1] if form == FIGURE else 4
            at, error = improved(rest, at, form, short, free, 6 if form == FIGURE else 4)
            best = int(error.argmin())
            outside = float((weight * covered**2).sum() - ((target * root) ** 2).sum())
            found.append((Thing(form, part.colour, 0, at[best]), float(error[best]) + outside))
    return sorted(found, key=lambda one: one[1])


def coloured(made: Draft, k: int, starts: list[tuple[Thing, float]]) -> list[Thing]:
    """Guesses with textures and light, the best first."""
    tries = []
    least = starts[0][1]
    for thing, error in starts:
        if error > 1.35 * least + 4.0:
            continue
        if thing.form == FIGURE:
            tries.append(thing)
        else:
            tries += [replace(thing, texture=texture) for texture in range(len(TEXTURES))]
    weight = weights(made, k)
    reach = max(made.scenery.frame(0, 0, t.at[R], t.form).width for t in tries)
    reach = 0.27 * made.scenery.short + 4 if not any(t.form == FIGURE for t in tries) else 0.55 * made.scenery.short
    first = made.scenery.refined([tries[0]], 0, tries, weight, 2, reach)
    most = first[0].worth
    kept = first[:4]
    return made.scenery.refined([kept[0]], 0, kept, weight, 4, reach)


def joined(made: Draft) -> None:
    """All together: who is before whom, and every thing again with the others where they are."""
    ordered(made)
    for step in range(2):
        for k in range(len(made.things)):
            now = [tries[0] for tries in made.things]
            tries = made.things[k][: 4 if step == 0 else 3]
            reach = (0.55 if any(t.form == FIGURE for t in tries) else 0.27) * made.scenery.short + 4
            made.things[k] = made.scenery.refined(now, k, tries, None, 3, reach)
        pruned(made)
        ordered(made)


def pruned(made: Draft) -> None:
    k = 0
    while k < len(made.things):
        thing = made.things[k][0]
        frame = made.scenery.frame(thing.at[X], thing.at[Y], thing.at[R], thing.form)
        covers, _ = shown(thing.form, thing.texture, thing.at[None], frame)
        floor = 3 * frame.height * frame.width * made.noise**2
        if thing.worth < 0.15 * 3 * float(covers.sum()) * 0.3:
            del made.things[k]
            del made.parts[k]
        else:
            k += 1


def ordered(made: Draft) -> None:
    """Put the nearer of two that overlap behind in the list: the order that explains the picture better."""
    count = len(made.things)
    now = [tries[0] for tries in made.things]
    whole = Frame(0, 0, *made.scenery.size)
    covers = [cover(t.form, t.at[None], whole)[0] for t in now]
    above = np.zeros((count, count), dtype=bool)
    for i in range(count):
        for j in range(i):
            if np.minimum(covers[i], covers[j]).sum() < 0.5:
                continue
            place = np.minimum(covers[i], covers[j]) > 0.05
            errors = []
            for pair in ((j, i), (i, j)):
                seen = made.scenery.soft(made.scenery.painted([now[n] for n in pair]))
                errors.append(float(((seen - made.scenery.picture)[place] ** 2).sum()))
            above[i, j], above[j, i] = errors[0] <= errors[1], errors[0] > errors[1]
    left, order = list(range(count)), []
    while left:
        n = next((n for n in left if not any(above[n, m] for m in left)), left[0])
        order.append(n)
        left.remove(n)
    made.things = [made.things[n] for n in order]
    made.parts = [made.parts[n] for n in order]


def instances(made: Draft, size: tuple[int, int], factor: int = 1) -> Array:
    """Which thing each pixel shows."""
    found = np.zeros(size, dtype=np.uint8)
    whole = Frame(0, 0, *size)
    for k, tries in enumerate(made.things):
        at = tries[0].at.copy()
        at[:3] *= factor
        found[cover(tries[0].form, at[None], whole)[0] > 0.5] = k + 1
    return found
