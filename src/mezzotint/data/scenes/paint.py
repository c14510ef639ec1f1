"""From a plan to pixels and to every map that is known of them.

Objects are painted over the background from the farthest to the nearest. A pixel at the edge of a form is mixed by the
share of it that the form covers; a map says for each pixel what its centre shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mezzotint.data.scenes import forms, surfaces
from mezzotint.data.scenes.numbers import Array, Floats, Ints, centres, cosine, sine
from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.words import FIGURE, PALETTE

_MARGIN = 1.0  # pixels beyond the radius that a form may touch
_REACH = (1.05, 1.30)  # how far forms, and the raised hands of figures, go out across or down, over their radius
_HALF, _ONE = np.float32(0.5), np.float32(1.0)
_EDGES = (0.0, 0.2, 0.32, np.inf)  # of the radii that share boxes of one size
_PARTS = np.array([0.80, *[0.92] * 8, 1.0], dtype=np.float32)
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

    def of(self, slot: int) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
        """Which of them are object ``slot`` of their scene, and an index of their pixels in arrays (B, H, W)."""
        mine = np.flatnonzero(self.slot == slot)
        return mine, (self.row[mine][:, None, None], self.down[mine][:, :, None], self.across[mine][:, None, :])


def seen(plan: Plan, size: tuple[int, int]) -> tuple[Ints, Ints]:
    """Pixels (B, K) of each object that are seen, and that it would have alone."""
    instances = np.zeros((len(plan), *size), dtype=np.uint8)
    whole = np.zeros(plan.form.shape, dtype=np.int64)
    boxes = [(where, away < 0) for where, _, _, away, _ in _cut(plan, size)]
    for k in range(plan.form.shape[1]):
        for where, inside in boxes:
            mine, box = where.of(k)
            instances[box] = np.where(inside[mine], np.uint8(k + 1), instances[box])
            whole[where.row[mine], k] = inside[mine].sum((1, 2))
    return _counted(instances, plan.form.shape[1]), whole


def paint(plan: Plan, size: tuple[int, int]) -> Painting:
    """Pictures of so many pixels, (height, width)."""
    short = min(size)
    B, K = plan.form.shape
    image = surfaces.ground(
        plan.ground, plan.tint, plan.bright, plan.tilt, plan.pitch, plan.noise,
        centres(size[1], short), centres(size[0], short),
    )  # fmt: skip
    instances = np.zeros((B, *size), dtype=np.uint8)
    depth = np.ones((B, *size), dtype=np.float32)
    whole = np.zeros((B, K), dtype=np.int64)
    painted = []
    for where, a, b, away, bone in _cut(plan, size):
        pixel = _pixel(plan, where, short)
        cover = np.minimum(np.maximum(_HALF - away / pixel, np.float32(0.0)), _ONE)
        painted.append((where, cover, _lit(plan, where, a, b, pixel, bone), away < 0, _near(where, a, b, K)))
    for k in range(K):
        for where, cover, lit, inside, near in painted:
            mine, box = where.of(k)
            if not len(mine):
                continue
            row, held = where.row[mine], inside[mine]
            colour = PALETTE[plan.colour[row, k]][:, :, None, None]
            for channel in range(3):
                place = box[0], channel, *box[1:]
                behind = image[place]
                image[place] = behind + cover[mine] * (lit[mine] * colour[:, channel] - behind)
            instances[box] = np.where(held, np.uint8(k + 1), instances[box])
            depth[box] = np.where(held, near[mine], depth[box])
            whole[row, k] = held.sum((1, 2))
    return Painting(image, instances, depth, _counted(instances, K), whole)


def _counted(instances: Array, most: int) -> Ints:
    counted: Ints = np.stack([(instances == k + 1).sum((1, 2)) for k in range(most)], 1)
    return counted


def _cut(plan: Plan, size: tuple[int, int]) -> list[tuple[Boxes, Floats, Floats, Floats, Ints]]:
    """The objects of all scenes, those of about one size together.

    Of each: where they lie, the places of their pixels in the frame of each object in units of its radius, x and y, how
    far these are from its edge, and which bone of a figure they are nearest to.
    """
    row, slot = np.nonzero(plan.there)
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
    reach = float((r * np.array(_REACH)[(form == FIGURE).astype(np.int64)]).max())
    n = int(np.ceil(2 * (reach * short + _MARGIN)))
    down, across = _span(y * short, n, size[0]), _span(x * short, n, size[1])
    c, s = cosine(angle)[:, None], sine(angle)[:, None]
    away_x = ((across + 0.5) / short - x[:, None]) / r[:, None]
    away_y = ((down + 0.5) / short - y[:, None]) / r[:, None]
    a = ((c * away_x)[:, None, :] + (s * away_y)[:, :, None]).astype(np.float32)
    b = ((c * away_y)[:, :, None] - (s * away_x)[:, None, :]).astype(np.float32)
    away, bone = np.empty_like(a), np.zeros(a.shape, dtype=np.int64)
    for which in np.unique(form):
        mine = np.flatnonzero(form == which)
        if which == FIGURE:
            joints = plan.joints[row[mine], slot[mine]].astype(np.float32)
            away[mine], bone[mine] = forms.figure(a[mine], b[mine], joints)
        else:
            away[mine] = forms.PLAIN[int(which)](a[mine], b[mine])
    return Boxes(row, slot, down, across), a, b, away, bone


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
    lit = _PARTS[bone]
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
