"""From a plan to pixels and to every map that is known of them.

Objects are painted over the background from the farthest to the nearest. A pixel at the edge of a form is mixed by the
share of it that the form covers; a map says for each pixel what its centre shows.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from mezzotint.data.scenes import forms, surfaces
from mezzotint.data.scenes.numbers import Array, Floats, Ints, centres, cosine, sine
from mezzotint.data.scenes.plan import Plan, posed
from mezzotint.data.scenes.words import FIGURE, PALETTE

_MARGIN = 1.0  # pixels beyond the radius that a form may touch
REACH = 1.1
"""How far a form, with the raised hand of a figure, goes out from its centre, over its radius."""
_HALF, _ONE = np.float32(0.5), np.float32(1.0)
_EDGES = (0.0, 0.2, 0.32, np.inf)  # of the radii that share boxes of one size
LIGHT_OF = np.array([0.80, *[0.92] * 8, 1.0], dtype=np.float32)
"""How light each bone of a figure is, its trunk first and its head last."""


@dataclass(frozen=True)
class Painting:
    """Pictures and what is known of them.

    Arguments:
        image: float32 (B, 3, H, W) in [0, 1].
        instances: uint8 (B, H, W): 0 background, k + 1 object k of the plan.
        depth: float32 (B, H, W): 0 nearest, 1 the background.
        visible: (B, K), pixels of each object that are seen.
        whole: (B, K), pixels it would have alone.
    """

    image: Floats
    instances: Array
    depth: Floats
    visible: Ints
    whole: Ints

    def __getitem__(self, rows: slice) -> Painting:
        return Painting(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Boxes:
    """Where M objects of about one size lie: boxes of one size.

    Arguments:
        row, slot: (M,), which scene and which object of it.
        down, across: (M, n) and (M, m), the rows and columns of pixels of each box.
    """

    row: Ints
    slot: Ints
    down: Ints
    across: Ints

    def pixels(self, held: Array, size: tuple[int, int]) -> Pixels:
        """The pixels of each object that count.

        Arguments:
            held: bool (M, n, m), which do.
            size: of the pictures.
        """
        here = np.flatnonzero(held)
        which, place = np.divmod(here, held[0].size if len(held) else 1)
        i, j = np.divmod(place, held.shape[2])
        there = (self.row[which] * size[0] + self.down[which, i]) * size[1] + self.across[which, j]
        return Pixels(which, here, there, np.searchsorted(self.slot[which], np.arange(int(self.slot.max()) + 2)))


@dataclass(frozen=True)
class Pixels:
    """P pixels of the boxes of M objects.

    Arguments:
        which: (P,), the object.
        here: (P,), their numbers in (M, n, m).
        there: (P,), their numbers in the pictures (B, H, W).
        ends: where those of each object of a scene begin and end.
    """

    which: Ints
    here: Ints
    there: Ints
    ends: Ints

    def of(self, slot: int) -> slice:
        """Those of object ``slot`` of every scene."""
        return slice(self.ends[slot], self.ends[slot + 1]) if slot + 1 < len(self.ends) else slice(0, 0)


def seen(plan: Plan, size: tuple[int, int]) -> tuple[Ints, Ints]:
    """Pixels (B, K) of each object that are seen, and that it would have alone."""
    B, K = plan.form.shape
    instances = np.zeros((B, *size), dtype=np.uint8)
    whole = np.zeros((B, K), dtype=np.int64)
    held = [(where, where.pixels(away < 0, size)) for where, _, _, away, _ in _cut(plan, size)]
    for k in range(K):
        for where, pixels in held:
            mine = pixels.of(k)
            instances.reshape(-1)[pixels.there[mine]] = k + 1
            whole[:, k] += np.bincount(where.row[pixels.which[mine]], minlength=B)
    return _counted(instances, K), whole


def paint(plan: Plan, size: tuple[int, int]) -> Painting:
    """Pictures of so many pixels, (height, width)."""
    short = min(size)
    B, K = plan.form.shape
    image = surfaces.ground(
        plan.ground, plan.tint, plan.bright, plan.tilt, plan.pitch, plan.noise,
        *_behind(plan, size), plan.aspect,
    )  # fmt: skip
    planes = image.reshape(3, -1)
    instances = np.zeros(B * size[0] * size[1], dtype=np.uint8)
    depth = np.ones(instances.shape, dtype=np.float32)
    whole = np.zeros((B, K), dtype=np.int64)
    painted = []
    for where, a, b, away, bone in _cut(plan, size):
        pixel = _pixel(plan, where, short)
        cover = np.minimum(np.maximum(_HALF - away / pixel, np.float32(0.0)), _ONE)
        pixels = where.pixels(cover > 0, size)
        share, light, inside, near = (
            value.reshape(-1)[pixels.here]
            for value in (cover, _lit(plan, where, a, b, pixel, bone), away < 0, _near(where, a, b, K))
        )
        colours = PALETTE[plan.colour[where.row, where.slot]].T[:, pixels.which] * light
        painted.append((where.row[pixels.which], pixels, share, colours, inside, near))
    for k in range(K):
        for row, pixels, share, colours, inside, near in painted:
            mine = pixels.of(k)
            there, held = pixels.there[mine], inside[mine]
            behind = planes[:, there]
            planes[:, there] = behind + share[mine] * (colours[:, mine] - behind)
            shown = there[held]
            instances[shown] = k + 1
            depth[shown] = near[mine][held]
            whole[:, k] += np.bincount(row[mine][held], minlength=B)
    maps = instances.reshape(B, *size), depth.reshape(B, *size)
    return Painting(image.transpose(1, 0, 2, 3), *maps, _counted(maps[0], K), whole)


def _behind(plan: Plan, size: tuple[int, int]) -> tuple[Floats, Floats]:
    """The places of the background that pixels show, across (B, W) and down (B, H)."""
    left, top, zoom = plan.view.T[:, :, None]
    short = min(size)
    across, down = left + centres(size[1], short) / zoom, top + centres(size[0], short) / zoom
    return across.astype(np.float32), down.astype(np.float32)


def _counted(instances: Array, most: int) -> Ints:
    counted: Ints = np.stack([(instances == k + 1).sum((1, 2)) for k in range(most)], 1)
    return counted


def _cut(plan: Plan, size: tuple[int, int]) -> list[tuple[Boxes, Floats, Floats, Floats, Ints]]:
    """The objects of all scenes, those of about one size together.

    Of each: where they lie, the places of their pixels in the frame of each object in units of its radius, x and y, how
    far these are from its edge, and which bone of a figure they are nearest to.
    """
    slot, row = np.nonzero(plan.there.T)  # by their slot, in which they are painted
    r = plan.r[row, slot]
    made = []
    for low, high in zip(_EDGES[:-1], _EDGES[1:], strict=True):
        chosen = np.flatnonzero((r >= low) & (r < high))
        if len(chosen):
            made.append(_placed(plan, row[chosen], slot[chosen], size))
    return made


def _placed(plan: Plan, row: Ints, slot: Ints, size: tuple[int, int]) -> tuple[Boxes, Floats, Floats, Floats, Ints]:
    short = min(size)
    x, y, r, angle, form = (getattr(plan, name)[row, slot] for name in ("x", "y", "r", "angle", "form"))
    n = int(np.ceil(2 * (float(r.max()) * short * REACH + _MARGIN)))
    down, across = _span(y * short, n, size[0]), _span(x * short, n, size[1])
    c, s = cosine(angle)[:, None], sine(angle)[:, None]
    away_x = ((across + 0.5) / short - x[:, None]) / r[:, None]
    away_y = ((down + 0.5) / short - y[:, None]) / r[:, None]
    a = ((c * away_x)[:, None, :] + (s * away_y)[:, :, None]).astype(np.float32)
    b = ((c * away_y)[:, :, None] - (s * away_x)[:, None, :]).astype(np.float32)
    return Boxes(row, slot, down, across), a, b, *edge(plan, row, slot, a, b)


def edge(plan: Plan, row: Ints, slot: Ints, a: Floats, b: Floats) -> tuple[Floats, Ints]:
    """How far places are from the edge of an object, negative inside, and the bone of a figure they are nearest to.

    Arguments:
        row, slot: (M,), the objects.
        a, b: (M, ...), places in the frame of each object, in units of its radius.
    """
    form = plan.form[row, slot]
    away, bone = np.empty_like(a), np.zeros(a.shape, dtype=np.int64)
    for which in np.unique(form):
        mine = np.flatnonzero(form == which)
        if which == FIGURE:
            joints = posed(plan.bends[row[mine], slot[mine]]).astype(np.float32)
            away[mine], bone[mine] = forms.figure(a[mine], b[mine], joints)
        else:
            away[mine] = forms.PLAIN[int(which)](a[mine], b[mine])
    return away, bone


def _pixel(plan: Plan, where: Boxes, short: int) -> Floats:
    """The size of a pixel in units of each radius, (M, 1, 1)."""
    pixel: Floats = (1 / (plan.r[where.row, where.slot] * short)).astype(np.float32)[:, None, None]
    return pixel


def _lit(plan: Plan, where: Boxes, a: Floats, b: Floats, pixel: Floats, bone: Ints) -> Floats:
    """How much light comes from each place."""
    row, slot = where.row, where.slot
    form, kind, angle = (getattr(plan, name)[row, slot] for name in ("form", "texture", "angle"))
    light, c, s = plan.light[row], cosine(angle), sine(angle)
    turned = np.stack([c * light[:, 0] + s * light[:, 1], c * light[:, 1] - s * light[:, 0]], -1).astype(np.float32)
    lit = LIGHT_OF[bone]
    for which in np.unique(kind):
        mine = np.flatnonzero((kind == which) & (form != FIGURE))
        if len(mine):
            dark = surfaces.texture(int(which), a[mine], b[mine], pixel[mine], plan.own)
            lit[mine] = surfaces.shading(a[mine], b[mine], turned[mine]) * (_ONE - np.float32(surfaces.DARK) * dark)
    return lit


def _near(where: Boxes, a: Floats, b: Floats, most: int) -> Floats:
    """Depth: every object has a layer of its own, and within it bulges towards whoever looks."""
    base = (1 - (where.slot + 1) / (most + 1)).astype(np.float32)[:, None, None]
    near: Array = base + np.minimum(a * a + b * b, _ONE) * np.float32(0.8 / (most + 1))
    return near


def _span(middle: Array, n: int, full: int) -> Ints:
    """Pixels (M, n) around a place, inside of a side of ``full`` pixels."""
    n = min(n, full)
    first = np.clip(np.floor(middle - n / 2 + 0.5).astype(np.int64), 0, full - n)
    return first[:, None] + np.arange(n)
