"""Where the joints of figures are in a picture, read without a trained network; what cannot be read is not guessed.

A figure is plain, so its colour tells how much of each pixel it covers; and it is built to a plan of which only the
place, the height, the turn and eight angles are not known (:mod:`.plan`). Heads with trunks are looked for first, then
the angles of each limb along its bones, and then everything is improved together until the figure, painted with these
numbers and blurred as much as the picture is, covers what is seen to be covered (:mod:`.squares`). What other objects
hide counts neither way.

Around the best numbers the same squares say how well each joint is known: if noise of the size of what is left over may
have moved it by a twentieth of the figure's height, or if another posture is as good and puts it elsewhere, it is
abstained from. The reader knows one picture at a time and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.scenes import forms
from mezzotint.data.scenes.numbers import Array, Doubles, Floats, Ints
from mezzotint.data.scenes.paint import LIGHT_OF, REACH
from mezzotint.data.scenes.plan import HEAD_AT, HIP_AT, NECK_AT, posed
from mezzotint.data.scenes.segment import noise_of
from mezzotint.data.scenes.squares import improved
from mezzotint.data.scenes.words import JOINTS, PALETTE

READ, ABSTAINED = 2, 0
"""The third number of a joint."""
_SIDE = 32  # pixels of the shorter side at which pictures are read; larger ones are averaged
_COLOURED = 0.4  # the share of the light of a pixel that makes it some object's
_PART = 0.34  # pixels of a figure that is partly hidden are at least so far apart, over the shorter side
_HEIGHTS = (0.285, 0.305, 0.375, 0.40)
_STARTS, _KEPT, _STEPS = 16, 2, 10
_X, _Y, _R, _TURN, _BENDS, _BLUR = 0, 1, 2, 3, slice(4, 12), 12
_MOVES = np.array([0.05, 0.05, 0.05, 0.002, *[0.004] * 8, 0.05])
_EXPLAINED = 0.93
"""The share of what is seen that a figure explains, or it is none."""
_SEEN = 0.5
"""The share of a figure that is to be seen."""
_KNOWN = 0.025
"""The standard deviation, as a share of the height, beyond which a joint is not known."""
_RIVAL = 1.25
"""Another posture is as good if it leaves this many times as much over."""


@dataclass(frozen=True)
class Posture:
    """A figure as it is read.

    Arguments:
        colour: number of the word.
        joints: (11, 2), across and down as shares of the width and of the height, in the order of ``JOINTS``.
        spread: (11,), how far from there each may be, a standard deviation, as a share of the figure's height.
        height: of the figure, from the top of its head to its feet, as a share of the shorter side.
        explained: the share of what is seen of it that it explains.
    """

    colour: int
    joints: Tensor
    spread: Tensor
    height: float
    explained: float

    @property
    def read(self) -> Tensor:
        """Which joints are read, bool (11,); of the others it abstains."""
        return self.spread < _KNOWN


def postures(x: Tensor) -> list[list[Posture]]:
    """The figures of pictures (B, 3, H, W) in [-1, 1], from left to right.

    Raises:
        Refusal: they are no colour pictures, smaller than 16 pixels, or not finite.
    """
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 16:
        raise Refusal(f"postures are read from pictures (B, 3, H, W) of at least 16 pixels, not {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        raise Refusal("a picture that is to be read holds a NaN or an infinity")
    pictures = x.detach().to("cpu", torch.float64).numpy() / 2 + 0.5
    return [_read(picture.clip(0, 1)) for picture in pictures]


def keypoints(found: list[list[Posture]], most: int) -> Tensor:
    """Postures as conditions have them, float32 (B, most, 11, 3): across, down, and 2 read or 0 abstained from."""
    told = torch.zeros(len(found), most, len(JOINTS), 3)
    for row, figures in zip(told, found, strict=True):
        for slot, one in zip(row, figures, strict=False):
            slot[one.read, :2] = one.joints[one.read]
            slot[one.read, 2] = READ
    return told


def _read(picture: Doubles) -> list[Posture]:
    factor = max(1, min(picture.shape[1:]) // _SIDE)
    height, width = (side // factor for side in picture.shape[1:])
    cut = picture[:, : height * factor, : width * factor]
    small = cut.reshape(3, height, factor, width, factor).mean((2, 4))
    full = np.array([picture.shape[2], picture.shape[1]]) / factor
    found = []
    for colour, seen, known, noise, top, left in _candidates(small):
        made = _fitted(seen, known, noise, min(height, width))
        if made is None:
            continue
        at, spread, explained = made
        at[_X], at[_Y] = at[_X] + left, at[_Y] + top
        tall = 2 * at[_R]
        found.append(
            Posture(
                colour,
                torch.from_numpy((_places(at[None])[0] / full).astype(np.float32)),
                torch.from_numpy((spread / tall).astype(np.float32)),
                float(tall / min(height, width)),
                explained,
            )
        )
    return sorted(found, key=lambda one: float(one.joints[2, 0]))


def _candidates(picture: Doubles) -> list[tuple[int, Doubles, Array, float, int, int]]:
    """Parts of one colour that may be figures.

    Of each: the colour, how much of it there is (h, w) about the part, where that counts, the variance of its noise,
    and the first row and column of that window.
    """
    from scipy.ndimage import binary_dilation, label  # loaded when needed

    grey = picture.mean(0)
    pale = (np.ptp(picture, axis=0) < 0.25 * np.maximum(picture.max(0), 0.1)).reshape(-1)
    tint = np.median((picture / np.maximum(grey, 0.05)).reshape(3, -1)[:, pale], 1) if pale.any() else np.ones(3)
    amounts, rest = [], []
    for shade in PALETTE.astype(np.float64):
        basis = np.stack([shade, tint], 1)
        a, g = np.einsum("kc,chw->khw", np.linalg.pinv(basis), picture)
        left = picture - a * shade[:, None, None] - g * tint[:, None, None]
        amounts.append(np.stack([a, a / np.maximum(np.abs(a) + np.abs(g), 0.1)]))
        rest.append(np.where(a > 0, (left * left).sum(0), np.inf))
    best, every = np.argmin(rest, 0), np.stack(amounts)
    share = np.take_along_axis(every[:, 1], best[None], 0)[0]
    short = min(picture.shape[1:])
    found = []
    for colour in range(len(PALETTE)):
        mine, others = (best == colour) & (share > _COLOURED), (best != colour) & (share > _COLOURED)
        # Only what is large hides anything: single pixels of other colours are noise or edges.
        numbered, many = label(others)
        sizes = np.bincount(numbered.reshape(-1), minlength=many + 1)
        others &= sizes[numbered] > 0.006 * short**2
        groups, many = label(mine | others, np.ones((3, 3)))
        hiding = binary_dilation(others, np.ones((3, 3))) & ~mine
        for group in range(1, many + 1):
            part = mine & (groups == group)
            (rows, columns) = (np.flatnonzero(part.any(axis)) for axis in (1, 0))
            if part.sum() < 0.012 * short**2 or max(np.ptp(rows), np.ptp(columns)) < _PART * short:
                continue
            elsewhere = binary_dilation(mine & (groups != group), np.ones((3, 3)), 2)
            more = round(0.1 * short)
            top, left = max(0, rows[0] - more), max(0, columns[0] - more)
            window = slice(top, rows[-1] + more + 1), slice(left, columns[-1] + more + 1)
            known = ~hiding & ~(elsewhere & ~part)
            found.append(
                (colour, every[colour, 0][window], known[window], noise_of(every[colour, 0]) ** 2, int(top), int(left))
            )
    return found


def _fitted(seen: Doubles, known: Array, noise: float, short: int) -> tuple[Doubles, Doubles, float] | None:
    """Numbers (13,) of the figure that best explains what is seen (H, W), the spread of its joints, and how well."""
    value = np.where(known, np.clip(seen / 0.92, 0, 1), 0.5)
    starts = _limbs(value, _trunks(value, short))
    if not len(starts):
        return None
    target, weight = seen.astype(np.float32), known.astype(np.float32)
    at = starts[np.argsort(_squares(starts, target, weight), kind="stable")[:_KEPT]]
    at, error, gram = _improved(at, target, weight, short, _STEPS // 2)
    if _explained(at[error.argmin()], target, weight, noise) < _EXPLAINED / 2:
        return None
    tried, other, slopes = _improved(_limbs(value, at), target, weight, short, _STEPS)
    at, error, gram = (np.concatenate(pair) for pair in ((at, tried), (error, other), (gram, slopes)))
    best = int(error.argmin())
    explained = _explained(at[best], target, weight, noise)
    if explained < _EXPLAINED or _share(at[best], weight) < _SEEN:
        return None
    # What is left over hangs together over some pixels, as noise would not: it counts twice.
    variance = 2 * float(error[best]) / max(float(weight.sum()), 1.0) + 1e-5
    moves = _MOVES[:, None]
    places = _places(np.concatenate([at[best : best + 1], at[best] + np.diag(_MOVES)]))
    slope = (places[1:] - places[:1]).reshape(len(_MOVES), -1) / moves
    prior = np.array([short, short, short, 0.02, *[0.1] * 8, 1.0])  # nothing is known worse than before it is looked at
    covariance = np.linalg.inv(gram[best] / variance + np.diag(1 / prior**2))
    spread = np.sqrt(np.einsum("pj,pq,qj->j", slope, covariance, slope).reshape(-1, 2).sum(1))
    for rival in np.flatnonzero(error < _RIVAL * error[best] + 4 * variance):
        apart = np.sqrt(((_places(at[rival][None])[0] - places[0]) ** 2).sum(1))
        spread = np.maximum(spread, apart / 2)
    return at[best], spread, explained


def _explained(at: Doubles, target: Array, weight: Array, variance: float) -> float:
    """The share that a figure (13,) explains of what is seen about it, beyond noise."""
    i, j = np.mgrid[: target.shape[0], : target.shape[1]] + 0.5
    near = weight * ((j - at[_X]) ** 2 + (i - at[_Y]) ** 2 < (at[_R] * REACH + 2) ** 2)
    energy = float((target * target * near).sum() - variance * near.sum())
    left = float(_squares(at[None], target, near)[0] - variance * near.sum())
    return 1 - max(left, 0.0) / max(energy, 1e-6)


def _share(at: Doubles, weight: Array) -> float:
    """The share of a figure (13,) that lies where something is known."""
    alone = at.copy()
    alone[_X] = alone[_Y] = at[_R] * REACH + 1
    side = int(np.ceil(2 * alone[_X]))
    return float((_painted(at[None], weight.shape)[0] * weight).sum() / _painted(alone[None], (side, side)).sum())


def _turned(points: Doubles, at: Doubles) -> Doubles:
    """Places (M, ..., 2) in the frames of figures (M, 13), in pixels."""
    ones = (slice(None), *(None,) * (points.ndim - 2))
    c, s = np.cos(2 * np.pi * at[:, _TURN])[ones], np.sin(2 * np.pi * at[:, _TURN])[ones]
    a, b = points[..., 0], points[..., 1]
    x, y, r = (at[:, k][ones] for k in (_X, _Y, _R))
    return np.stack([x + r * (c * a - s * b), y + r * (s * a + c * b)], -1)


def _places(at: Doubles) -> Doubles:
    """Joints (M, 11, 2) in pixels."""
    return _turned(posed(at[:, _BENDS]), at)


def _looked(value: Doubles, places: Doubles) -> Doubles:
    """What there is at places (..., 2), nothing beyond the picture."""
    height, width = value.shape
    column, row = (np.floor(places[..., k]).astype(np.int64) for k in (0, 1))
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found: Doubles = np.where(inside, value[row.clip(0, height - 1), column.clip(0, width - 1)], 0.0)
    return found


def _trunks(value: Doubles, short: int) -> Doubles:
    """Where heads with trunks may be, (M, 13), the best first and not too near one another."""
    height, width = value.shape
    step = short / 32
    grid = np.meshgrid(
        np.arange(0, width, step), np.arange(0, height, step), np.array(_HEIGHTS) * short, (-0.015, 0.0, 0.015)
    )
    x, y, r, turn = (part.reshape(-1) for part in grid)
    at = np.zeros((len(x), 13))
    at[:, _X], at[:, _Y], at[:, _R], at[:, _TURN], at[:, _BLUR] = x, y, r, turn, 0.4
    around = np.arange(6) / 6 * 2 * np.pi
    head = np.stack([0.62 * forms.HEAD * np.sin(around), HEAD_AT - 0.62 * forms.HEAD * np.cos(around)], -1)
    trunk = [(a, b) for a in (-0.07, 0.0, 0.07) for b in np.linspace(NECK_AT, HIP_AT, 5)]
    inside = np.concatenate([head, [[0.0, HEAD_AT]], trunk])
    above = np.array([-1 / 8, 0.0, 1 / 8]) * 2 * np.pi
    beyond = np.stack([1.6 * forms.HEAD * np.sin(above), HEAD_AT - 1.6 * forms.HEAD * np.cos(above)], -1)
    at = at[_looked(value, np.stack([x, y], -1)) > 0.3]
    every = np.concatenate([inside, beyond])
    seen = _looked(value, _turned(np.broadcast_to(every, (len(at), *every.shape)), at))
    score = seen[:, : len(inside)].mean(1) - 0.5 * seen[:, len(inside) :].mean(1)
    kept: list[Doubles] = []
    while len(kept) < _STARTS and score.size and score.max() > 0:
        best = int(score.argmax())
        kept.append(at[best])
        score[np.abs(at[:, : _R + 1] - at[best, : _R + 1]).max(1) <= short / 24] = 0
    return np.array(kept).reshape(-1, 13)


def _limbs(value: Doubles, at: Doubles) -> Doubles:
    """The same figures (M, 13) with the limbs along which most is seen."""
    arms = [(a, a + b) for a in np.linspace(0.08, 0.34, 14) for b in np.linspace(-0.05, 0.12, 7)]
    legs = [(a, a - b) for a in np.linspace(0.015, 0.09, 7) for b in np.linspace(0.0, 0.09, 7)]
    along = np.linspace(0.25, 1.0, 5)
    at = at.copy()
    for limb, choices in enumerate((arms, legs, arms, legs)):
        tried = np.tile(np.array([0.1, 0.1, 0.05, 0.0] * 2), (len(choices), 1))
        tried[:, 2 * limb : 2 * limb + 2] = choices
        joints = posed(tried)
        root, first = (1, 2)[limb % 2], 3 + 2 * (limb // 2) + 4 * (limb % 2)
        points = [joints[:, root] + (joints[:, first] - joints[:, root]) * share for share in along]
        points += [joints[:, first] + (joints[:, first + 1] - joints[:, first]) * share for share in along]
        points += [joints[:, first + 1] + (joints[:, first + 1] - joints[:, first]) * 0.55]  # beyond the hand or foot
        places = np.broadcast_to(np.stack(points, 1).reshape(-1, 2), (len(at), len(choices) * 11, 2))
        seen = _looked(value, _turned(places, at)).reshape(len(at), len(choices), 11)
        score = seen[:, :, :10].mean(2) - 0.15 * seen[:, :, 10]
        at[:, 4 + 2 * limb : 6 + 2 * limb] = np.array(choices)[score.argmax(1)]
    return at


def _painted(at: Doubles, size: tuple[int, ...]) -> Array:
    """How much of the colour of figures (M, 13) is seen, float32 (M, H, W)."""
    x, y, r, turn = (at[:, k, None] for k in (_X, _Y, _R, _TURN))
    c, s = np.cos(2 * np.pi * turn), np.sin(2 * np.pi * turn)
    dx, dy = (np.arange(size[1]) + 0.5 - x) / r, (np.arange(size[0]) + 0.5 - y) / r
    a = ((c * dx)[:, None, :] + (s * dy)[:, :, None]).astype(np.float32)
    b = ((c * dy)[:, :, None] - (s * dx)[:, None, :]).astype(np.float32)
    away, bone = forms.figure(a, b, posed(at[:, _BENDS]).astype(np.float32))
    cover = np.clip(0.5 - away * r[:, :, None].astype(np.float32), 0, 1) * LIGHT_OF[bone]
    down, across = (_blur(at[:, _BLUR], side) for side in size)
    found: Array = down @ cover @ across
    return found


def _blur(sigma: Doubles, size: int) -> Array:
    """Gaussian blurs along a side as matrices (M, size, size)."""
    away = np.arange(size)[:, None] - np.arange(size)
    made = np.exp(-0.5 * (away / np.maximum(sigma, 0.05)[:, None, None]) ** 2)
    reach = np.exp(-0.5 * (np.arange(-16, 17) / np.maximum(sigma, 0.05)[:, None]) ** 2).sum(1)
    found: Array = (made / reach[:, None, None]).astype(np.float32)
    return found


def _squares(at: Doubles, target: Array, weight: Array) -> Doubles:
    rest = (_painted(at, target.shape) - target) * weight
    found: Doubles = (rest * rest).sum((1, 2), dtype=np.float64)
    return found


def _held(at: Doubles, short: int) -> Doubles:
    """Figures (M, 13), kept to what figures can be."""
    at[:, _R] = at[:, _R].clip(0.26 * short, 0.43 * short)
    at[:, _TURN] = at[:, _TURN].clip(-0.03, 0.03)
    at[:, _BLUR] = at[:, _BLUR].clip(0.05, 3.0)
    bends = at[:, _BENDS]
    bends[:, 0::4] = bends[:, 0::4].clip(0.07, 0.35)
    bends[:, 1::4] = bends[:, 1::4].clip(bends[:, 0::4] - 0.06, bends[:, 0::4] + 0.13)
    bends[:, 2::4] = bends[:, 2::4].clip(0.005, 0.10)
    bends[:, 3::4] = bends[:, 3::4].clip(bends[:, 2::4] - 0.10, bends[:, 2::4] + 0.01)
    return at


def _improved(at: Doubles, target: Array, weight: Array, short: int, steps: int) -> tuple[Doubles, Doubles, Doubles]:
    """Figures (M, 13) that explain more, the squares (M,) they leave, and the products (M, 13, 13) of their slopes."""

    def left(at: Doubles, which: Ints) -> Floats:
        rest: Floats = ((_painted(at, target.shape) - target) * weight).reshape(len(at), -1)
        return rest

    return improved(left, at, _MOVES, lambda new: _held(new, short), steps, slopes=True)
