"""Where what a pixel shows is in another frame, and whether it is seen there: exact, since both frames are planned.

The background and every object but a figure move as one piece. A figure is a bundle of ten pieces, its head and nine
bones, each of which moves as one; a place belongs to the piece whose edge it is deepest within. So a piece that slides
under another, as a forearm does at the elbow when it bends, is hidden by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mezzotint.data.scenes.forms import BONES
from mezzotint.data.scenes.numbers import Array, Doubles, Floats, Ints, centres, cosine, sine
from mezzotint.data.scenes.paint import REACH, edge
from mezzotint.data.scenes.plan import Plan, posed
from mezzotint.data.scenes.words import FIGURE


@dataclass(frozen=True)
class Flow:
    """Where everything goes.

    Arguments:
        way: float32 (N, 2, H, W), across and down, in pixels.
        hidden: bool (N, H, W), what is not seen there: it is behind something, or outside of the picture.
    """

    way: Floats
    hidden: Array


def flow(plan: Plan, instances: Array, here: Ints, there: Ints) -> Flow:
    """From the frames ``here`` to the frames ``there``.

    Arguments:
        plan: frames, of which both are some.
        instances: uint8 (N, H, W), what each pixel shows in the frames ``here``.
        here, there: (N,), rows of the plan.
    """
    N, H, W = instances.shape
    short = min(H, W)
    x, y = centres(W, short), centres(H, short)
    at_x, at_y = _behind(plan, here, there, x, y)
    at_x, at_y = np.broadcast_to(at_x, instances.shape).copy(), np.broadcast_to(at_y, instances.shape).copy()
    hidden = np.zeros(instances.shape, dtype=bool)
    n, i, j = np.nonzero(instances)
    slot = instances[n, i, j].astype(np.int64) - 1
    p, q = _within(plan, here[n], slot, x[j], y[i])
    body = np.flatnonzero(plan.form[here[n], slot] == FIGURE)
    if len(body):
        p[body], q[body], hidden[n[body], i[body], j[body]] = _bent(
            plan, here[n[body]], there[n[body]], slot[body], p[body], q[body]
        )
    at_x[n, i, j], at_y[n, i, j] = _without(plan, there[n], slot, p, q)
    hidden |= (at_x < 0) | (at_x >= plan.aspect[1]) | (at_y < 0) | (at_y >= plan.aspect[0])
    for k in range(plan.form.shape[1]):
        hidden |= _under(plan, there, k, at_x, at_y, (instances <= k) & ~hidden)
    way = np.stack([at_x - x, at_y - y[:, None]], 1) * short
    return Flow(way.astype(np.float32), hidden)


def _behind(plan: Plan, here: Ints, there: Ints, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Where the background goes, across (N, 1, W) and down (N, H, 1)."""
    left, top, zoom = plan.view[here].T[:, :, None]
    to_left, to_top, to_zoom = plan.view[there].T[:, :, None]
    at_x: Doubles = (left + x / zoom - to_left) * to_zoom
    at_y: Doubles = (top + y / zoom - to_top) * to_zoom
    return at_x[:, None, :], at_y[:, :, None]


def _within(plan: Plan, row: Ints, slot: Ints, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles]:
    """Places (M,) of the picture in the frames of objects, as they are painted."""
    centre_x, centre_y, r, angle = (getattr(plan, name)[row, slot] for name in ("x", "y", "r", "angle"))
    c, s = cosine(angle), sine(angle)
    away_x, away_y = (x - centre_x) / r, (y - centre_y) / r
    return c * away_x + s * away_y, c * away_y - s * away_x


def _without(plan: Plan, row: Ints, slot: Ints, p: Doubles, q: Doubles) -> tuple[Doubles, Doubles]:
    """Places (M,) in the frames of objects as places of the picture."""
    centre_x, centre_y, r, angle = (getattr(plan, name)[row, slot] for name in ("x", "y", "r", "angle"))
    c, s = cosine(angle), sine(angle)
    return centre_x + r * (c * p - s * q), centre_y + r * (s * p + c * q)


def _bent(plan: Plan, here: Ints, there: Ints, slot: Ints, p: Doubles, q: Doubles) -> tuple[Doubles, Doubles, Array]:
    """Where places (M,) of figures go, in the frame of the figure, and which are then under another of its pieces."""
    piece = _piece(plan, here, slot, p, q)
    bone = np.flatnonzero(piece >= 2)  # neither the head nor the trunk, which keep still
    start, end = np.array(BONES).T[:, piece[bone] - 1]
    before, after = (posed(plan.bends[row[bone], slot[bone]]) for row in (here, there))
    each = np.arange(len(bone))
    (a, b), (c, d) = ((joints[each, end] - joints[each, start]).T for joints in (before, after))
    square = a * a + b * b
    across, down = p[bone] - before[each, start, 0], q[bone] - before[each, start, 1]
    along, aside = (across * a + down * b) / square, (down * a - across * b) / square
    p, q = p.copy(), q.copy()
    p[bone] = after[each, start, 0] + along * c - aside * d
    q[bone] = after[each, start, 1] + along * d + aside * c
    return p, q, _piece(plan, there, slot, p, q) != piece


def _piece(plan: Plan, row: Ints, slot: Ints, p: Doubles, q: Doubles) -> Ints:
    """The piece of a figure that a place (M,) belongs to: 0 its head, then its bones."""
    bone: Ints = edge(plan, row, slot, p.astype(np.float32), q.astype(np.float32))[1] + 1
    return bone


def _under(plan: Plan, row: Ints, k: int, x: Doubles, y: Doubles, open_: Array) -> Array:
    """Which places (N, H, W) lie under object k, of those that are open."""
    reach = np.where(plan.form[row, k] >= 0, plan.r[row, k] * REACH, 0.0)[:, None, None]
    away_x, away_y = x - plan.x[row, k, None, None], y - plan.y[row, k, None, None]
    near = np.nonzero(open_ & (away_x * away_x + away_y * away_y < reach * reach))
    slot = np.full(len(near[0]), k)
    p, q = _within(plan, row[near[0]], slot, x[near], y[near])
    found = np.zeros(x.shape, dtype=bool)
    found[near] = edge(plan, row[near[0]], slot, p.astype(np.float32), q.astype(np.float32))[0] < 0
    return found
