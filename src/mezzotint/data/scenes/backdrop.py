"""What is behind the objects: the tint of a background, how light it is everywhere, and of which kind it is.

A background is a tint times a light that changes with the place: a plane, a plane with random knots smoothly joined, or
a plane with tiles. Each is linear in what is not known (but for the length of the tiles, which is tried), so each is
fitted to the pixels that show it by least squares, and the one that explains them at the least cost is taken (Schwarz,
"Estimating the dimension of a model", 1978); the fit also says how light it is behind the objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mezzotint.data.scenes.numbers import Array, Doubles, Floats, centres
from mezzotint.data.scenes.plan import NOISE
from mezzotint.data.scenes.segment import blurred
from mezzotint.data.scenes.surfaces import knots
from mezzotint.data.scenes.words import GROUNDS, TINTED

_FLOOR = 0.004  # the least error that is believed in: pictures are held in bytes
_RIDGE = 0.05  # of the knots' heights, over the variance of the noise that is assumed
_FREE = np.array([1e-6, 1e-3, 1e-3])
_PITCHES = np.linspace(0.219, 0.341, 184)


@dataclass(frozen=True)
class Backdrop:
    """A background.

    Arguments:
        tint: number of the word.
        light: (H, W), everywhere.
        ground: number of the word.
        clear: by how much the kind explains the pixels better than the next one, in units of its evidence.
        rest: root mean square of what is not explained.
    """

    tint: int
    light: Doubles
    ground: int
    clear: float
    rest: float


def tint_of(picture: Doubles) -> int:
    """The tint (number of the word) that most pixels of a picture (H, W, 3) are nearest to."""
    tints = TINTED.astype(np.float64)
    tints /= np.sqrt((tints**2).sum(1, keepdims=True))
    along = picture @ tints.T
    away = np.sqrt(np.maximum((picture**2).sum(2)[:, :, None] - along**2, 0.0))
    return int(np.minimum(away, 0.08).mean((0, 1)).argmin())


def backdrop(picture: Doubles, open_: Array, tint: int, sigma: float = 0.0) -> Backdrop:
    """The background of a picture (H, W, 3) in [0, 1], blurred by ``sigma``, seen where ``open_`` (H, W) is true."""
    colour = TINTED[tint].astype(np.float64)
    seen: Doubles = picture @ colour / (colour @ colour)
    inside = open_.reshape(-1)
    if inside.sum() < 24:
        inside = np.ones_like(inside)
    y = seen.reshape(-1)[inside]
    n = len(y)
    sharp, soft = _bases(*open_.shape, 0.0), _bases(*open_.shape, sigma)
    found: list[tuple[float, int, Doubles, float]] = []

    def add(kind: str, ridge: Doubles, *chosen: tuple[int, Array]) -> Doubles:
        A, whole = (np.concatenate([bases[k][:, some] for k, some in chosen], 1) for bases in (soft, sharp))
        A = A[inside]
        squares = A.T @ A
        gram = squares + np.diag(ridge)
        weights = np.linalg.solve(gram, A.T @ y)
        left: Doubles = y - A @ weights
        rest = float((left * left).mean())
        free = float(np.trace(np.linalg.solve(gram, squares)))
        cost = n * np.log(rest + _FLOOR**2) + free * np.log(n)
        found.append((cost, GROUNDS.index(kind), whole @ weights, rest))
        return left

    level, plane, heights = (0, np.arange(1)), (0, np.arange(3)), (1, np.arange(NOISE**2))
    add("plain", _FREE[:1], level)
    left = add("shaded", _FREE, plane)
    add("cloudy", np.concatenate([_FREE, np.full(NOISE**2, _RIDGE)]), plane, heights)
    A, U = soft[0][inside], soft[2][inside]
    U = U - A @ np.linalg.solve(A.T @ A + np.diag(_FREE), A.T @ U)
    gain = U.T @ left
    power = np.maximum((U * U).sum(0), 1e-9)
    best = int((gain * np.abs(gain) / power).argmin())
    if -0.17 < gain[best] / power[best] < -0.05:
        add("tiled", np.append(_FREE, 1e-6), plane, (2, np.array([best])))
    found.sort(key=lambda one: one[0])
    cost, ground, light, rest = found[0]
    others = [one[0] for one in found if one[1] != ground]
    lit = np.clip(light.reshape(open_.shape), 0.1, 1.2)
    return Backdrop(tint, lit, ground, min(others) - cost, float(np.sqrt(rest)))


@lru_cache(maxsize=32)
def _bases(height: int, width: int, sigma: float) -> tuple[Doubles, Doubles, Doubles]:
    """What planes and clouds are sums of, and tiles of every length, (H W, ...) each."""
    if sigma:
        made = [
            blurred(basis.T.reshape(-1, height, width), sigma, True).reshape(basis.shape[1], -1).T
            for basis in _bases(height, width, 0.0)
        ]
        return made[0], made[1], made[2]
    short = min(height, width)
    x: Floats = centres(width, short).astype(np.float32)
    y: Floats = centres(height, short).astype(np.float32)
    ones = np.ones((height, width))
    middle = [line.astype(np.float64) - 0.5 * (float(line[0]) + float(line[-1])) for line in (x, y)]
    plane = np.stack([ones, ones * middle[0], ones * middle[1][:, None]], -1).reshape(-1, 3)
    (left, across), (top, down) = (knots(z.astype(np.float32), full / short) for z, full in ((x, width), (y, height)))
    columns, rows = np.zeros((width, NOISE)), np.zeros((height, NOISE))
    for table, first, share in ((columns, left, across), (rows, top, down)):
        at = np.arange(len(table))
        table[at, first] += 1 - share
        table[at, first + 1] += share
    clouds = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(height * width, -1)
    tiles = []
    for pitch in _PITCHES:
        length = np.float32(pitch)
        odd = [np.floor(line / length).astype(int) & 1 for line in (y, x)]
        tiles.append((odd[0][:, None] ^ odd[1][None, :]).reshape(-1))
    different = list({line.tobytes(): line for line in tiles}.values())
    return plane, clouds.astype(np.float64), np.stack(different, 1).astype(np.float64)
