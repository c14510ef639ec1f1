"""How far a place is from the edge of a form: negative inside, in units of its radius.

Near an edge the distance is exact to first order, which is all that an edge one pixel wide asks for; at tips it is the
distance to the nearer side drawn on. Forms fit the unit disc and are about their middle, y downwards.

The star is folded onto one of its ten halves of an arm, so that one straight side is all that is left of it (the idea,
for distances to polygons, is Inigo Quilez's).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mezzotint.data.scenes.numbers import Floats, Ints, cosine, sine
from mezzotint.data.scenes.words import FORMS

DISC, SIDE, RIDGE, ARM = 0.92, 0.78, 0.50, (0.33, 0.96)
HOOP = (0.66, 0.27)  # radius of the middle of the ring, half its breadth
_WAIST = 0.44  # of the star: where its sides meet, over the length of its tips
HEAD, TRUNK, LIMB = 0.19, 0.14, 0.085
"""Radii of a figure's head, trunk and limbs, in units of half its height."""
BONES = ((1, 2), (1, 3), (3, 4), (1, 5), (5, 6), (2, 7), (7, 8), (2, 9), (9, 10))
"""Joints that a figure's bones lead from and to; the first is its trunk."""


def _turns(value: float) -> tuple[float, float]:
    angle = np.array([value])
    return float(cosine(angle)[0]), float(sine(angle)[0])


def _unit(value: float) -> np.float32:
    return np.float32(value)


def _side() -> tuple[np.float32, np.float32]:
    """The normal, outwards, of the side that leads from the tip of the star (0, 1) to its waist, a tenth turn on."""
    along, across = _turns(0.1)
    x, y = _WAIST * across, _WAIST * along - 1.0
    length = float(np.sqrt(np.float64(x * x + y * y)))
    return _unit(-y / length), _unit(x / length)


# Normals of the mirrors three and one tenths of a turn from the tip: they fold everything to within a tenth of it.
_MIRRORS = [(_unit(_turns(turns)[0]), _unit(-_turns(turns)[1])) for turns in (0.3, 0.1)]
_OUT = _side()
_SLANT = [_unit(value) for value in _turns(1 / 12)]  # 30 degrees


def circle(x: Floats, y: Floats) -> Floats:
    found: Floats = np.sqrt(x * x + y * y) - _unit(DISC)
    return found


def square(x: Floats, y: Floats) -> Floats:
    found: Floats = np.maximum(np.abs(x), np.abs(y)) - _unit(SIDE)
    return found


def triangle(x: Floats, y: Floats) -> Floats:
    found: Floats = np.maximum(y, _SLANT[0] * np.abs(x) - _SLANT[1] * y) - _unit(RIDGE)
    return found


def star(x: Floats, y: Floats) -> Floats:
    x, y = np.abs(x), -y  # upwards is positive here: the first tip points up
    for normal_x, normal_y in _MIRRORS:
        beyond = np.maximum(normal_x * x + normal_y * y, _unit(0.0)) * _unit(2.0)
        x, y = x - beyond * normal_x, y - beyond * normal_y
    found: Floats = _OUT[0] * np.abs(x) + _OUT[1] * (y - _unit(1.0))
    return found


def cross(x: Floats, y: Floats) -> Floats:
    a, b = np.abs(x), np.abs(y)
    found: Floats = np.maximum(np.minimum(a, b) - _unit(ARM[0]), np.maximum(a, b) - _unit(ARM[1]))
    return found


def ring(x: Floats, y: Floats) -> Floats:
    found: Floats = np.abs(np.sqrt(x * x + y * y) - _unit(HOOP[0])) - _unit(HOOP[1])
    return found


PLAIN: dict[int, Callable[[Floats, Floats], Floats]] = {
    FORMS.index(name): form
    for name, form in (
        ("circle", circle),
        ("square", square),
        ("triangle", triangle),
        ("star", star),
        ("cross", cross),
        ("ring", ring),
    )
}


def figure(x: Floats, y: Floats, joints: Floats) -> tuple[Floats, Ints]:
    """A head, a trunk and eight limbs: the distance to it, and which bone of ``BONES`` is nearest, -1 the head."""
    ones = (slice(None), *(None,) * (x.ndim - 1))
    across, down = x - joints[:, 0, 0][ones], y - joints[:, 0, 1][ones]
    nearest = np.sqrt(across * across + down * down) - _unit(HEAD)
    which = np.full(x.shape, -1)
    for number, (start, end) in enumerate(BONES):
        ax, ay = joints[:, start, 0][ones], joints[:, start, 1][ones]
        bx, by = joints[:, end, 0][ones] - ax, joints[:, end, 1][ones] - ay
        px, py = x - ax, y - ay
        share = (px * bx + py * by) / (bx * bx + by * by)
        share = np.minimum(np.maximum(share, _unit(0.0)), _unit(1.0))
        across, down = px - share * bx, py - share * by
        found = np.sqrt(across * across + down * down) - _unit(TRUNK if number == 0 else LIMB)
        which = np.where(found < nearest, number, which)
        nearest = np.minimum(found, nearest)
    return nearest, which
