"""Damped least squares, many guesses at a time: how readers improve what they take a picture to be.

What a guess a leaves over is a vector e(a); its slopes J are differences over small moves. A step is

    a <- held(a - (J J^T + d diag(J J^T))^-1 J e),

the damping d smaller after a step that left less over, and larger, from the best guess so far, after one that did not.

Source: Levenberg, "A method for the solution of certain non-linear problems in least squares", 1944; with Marquardt's
diagonal, "An algorithm for least-squares estimation of nonlinear parameters", 1963.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mezzotint.data.scenes.numbers import Doubles, Floats, Ints

Left = Callable[[Doubles, Ints], Floats]
"""From guesses (M, P), and the numbers of the hypotheses they belong to, to what they leave over, (M, N)."""
_FIRST, _AT_LEAST = 0.02, 1e-4
"""The damping of the first step, and what is always added to it."""
_BETTER, _WORSE = 0.3, 10
_FARTHEST = 30
"""Moves that a step goes at most."""


def improved(
    left: Left,
    at: Doubles,
    moves: Doubles,
    held: Callable[[Doubles], Doubles],
    steps: int,
    settled: tuple[float, float] = (0.0, 0.0),
    slopes: bool = False,
) -> tuple[Doubles, Doubles, Doubles]:
    """Guesses (M, P) that leave less over, the squares (M,) they leave, and J J^T (M, F, F) there, if asked for.

    Arguments:
        left: what guesses leave over.
        at: guesses.
        moves: (F,), by how much the first F of their numbers are moved for the slopes; the others stay.
        held: keeps guesses to what can be; it may change what it is given.
        steps: of improvement.
        settled: all are good enough where no step gains more than this much, and this share of what is left.
        slopes: measure J J^T at the last guesses too; else it is that of earlier ones.
    """
    M, P = at.shape
    free = len(moves)
    damping = np.full(M, _FIRST)
    best, error = at, np.full(M, np.inf)
    gram, slope = np.zeros((M, free, free)), np.zeros((M, free))
    new, which = at, np.repeat(np.arange(M), 1 + free)
    diagonal = np.arange(free)
    for step in range(steps + 1):
        last = step == steps
        measured = slopes or not last
        if not measured:
            rest = left(new, np.arange(M))[:, None]
        else:
            tried = np.repeat(new[:, None], 1 + free, 1)
            tried[:, 1 + diagonal, diagonal] += moves
            rest = left(tried.reshape(-1, P), which).reshape(M, 1 + free, -1)
        after = (rest[:, 0] * rest[:, 0]).sum(1, dtype=np.float64)
        better = after < error
        best = np.where(better[:, None], new, best)
        still = np.where(better, error - after > settled[0] + settled[1] * after, damping < 1)
        error = np.where(better, after, error)
        if measured:
            J = (rest[:, 1:] - rest[:, :1]) / moves[:, None].astype(np.float32)
            gram = np.where(better[:, None, None], J @ J.transpose(0, 2, 1), gram)
            slope = np.where(better[:, None], (J @ rest[:, 0, :, None])[..., 0], slope)
        if last or not still.any():
            break
        damping = np.where(better, damping * _BETTER, damping * _WORSE)
        damped = gram.copy()
        damped[:, diagonal, diagonal] += (damping + _AT_LEAST)[:, None] * gram[:, diagonal, diagonal] + 1e-6 / moves**2
        way = np.linalg.solve(damped, slope[..., None])[..., 0]
        new = best.copy()
        new[:, :free] -= np.clip(way, -_FARTHEST * moves, _FARTHEST * moves)
        new = held(new)
    return best, error, gram
