"""Where a form may lie, roughly: every form, at some sizes and turns, held against what a colour covers.

What a template T leaves over of a cover c, sum of w (c - T)^2 = sum of w c^2 - 2 sum of w c T + sum of w T^2, is a
product of matrices for all templates and all places at once.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mezzotint.data.scenes.fit import Frame, cover
from mezzotint.data.scenes.numbers import Array, Doubles
from mezzotint.data.scenes.plan import bends
from mezzotint.data.scenes.segment import blurred
from mezzotint.data.scenes.words import FIGURE, FORMS

_SIZES = (0.145, 0.16, 0.23, 0.248)
_TALLS = (0.288, 0.303, 0.38, 0.40)
_ROUND = (FORMS.index("circle"), FORMS.index("ring"))
_POSES = 14


@lru_cache(maxsize=16)
def templates(short: int, sigma: float, figures: bool) -> tuple[list[tuple[int, Doubles]], Array, int]:
    """Forms with guesses about (0, 0), their covers (K, n n), and n."""
    at: list[tuple[int, Doubles]] = []
    if figures:
        u = np.random.Generator(np.random.PCG64(6)).random((_POSES, 8))
        for size in _TALLS:
            for turn in (-0.012, 0.012):
                for limbs in bends(u):
                    at.append((FIGURE, np.array([0.0, 0.0, size * short, turn, *limbs])))
    else:
        for form in range(len(FORMS)):
            if form != FIGURE:
                for size in _SIZES:
                    for turn in (0.0,) if form in _ROUND else (-0.027, 0.0, 0.027):
                        at.append((form, np.array([0.0, 0.0, size * short, turn, 0.0, 0.0])))
    reach = int(np.ceil((1.1 * _TALLS[-1] if figures else 1.03 * _SIZES[-1]) * short + 1.5 * sigma))
    n = 2 * reach + 1
    frame = Frame(-reach, -reach, n, n)
    moved = np.stack([guess for _, guess in at])
    moved[:, :2] = 0.5
    made = cover(np.array([form for form, _ in at]), moved, frame)
    found = blurred(made, sigma, False)
    return at, found.reshape(len(at), -1).astype(np.float32), n


def matches(
    covered: Doubles, weight: Doubles, middle: tuple[float, float], away: int, sigma: float, figures: bool
) -> tuple[list[tuple[int, Doubles]], Array]:
    """Guesses, one a template at its best place, and what each leaves over of a cover.

    Arguments:
        covered: (H, W), the share of every pixel that is covered.
        weight: (H, W), how much each matters.
        middle: x and y about which to look.
        away: pixels that the centre may be away from there.
        sigma: pixels of the blur.
        figures: whether figures are looked for, or all else.
    """
    short = min(covered.shape)
    at, made, n = templates(short, sigma, figures)
    reach = n // 2 + away
    held = [np.pad(z, reach).astype(np.float32) for z in (weight, weight * covered)]
    column, row = int(np.clip(middle[0], 0, covered.shape[1] - 1)), int(np.clip(middle[1], 0, covered.shape[0] - 1))
    windows = [
        np.lib.stride_tricks.sliding_window_view(
            z[row : row + 2 * reach + 1, column : column + 2 * reach + 1], (n, n)
        ).reshape(-1, n * n)
        for z in held
    ]
    cost = (made * made) @ windows[0].T - 2 * (made @ windows[1].T)  # (K, places)
    best = cost.argmin(1)
    guesses = []
    for (form, guess), place in zip(at, best, strict=True):
        down, across = divmod(int(place), 2 * away + 1)
        moved = guess.copy()
        moved[0] = column + across - away + 0.5
        moved[1] = row + down - away + 0.5
        guesses.append((form, moved))
    left = cost[np.arange(len(at)), best] + float((weight * covered**2).sum())
    return guesses, left
