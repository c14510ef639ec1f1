"""Arithmetic that gives the same bits on every processor.

Libraries compute sines, powers, sums and matrix products in whatever way is fastest on the processor at hand, and round
differently. A sum, a difference, a product, a quotient and a square root of two numbers are rounded in one way only, by
the standard of floating point; so scenes are made of these, of comparisons and of whole numbers, and of nothing else.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Array = NDArray[Any]

_TERMS = [(-1) ** n / math.factorial(2 * n + 1) for n in range(15)]  # quotients of whole numbers: the same everywhere
_QUARTER = 0.25


def sine(turns: Doubles) -> Doubles:
    """sin(2 pi turns), to 1e-15, by its power series on half a turn to either side."""
    near = turns - np.floor(turns + 0.5)
    x = near * (2 * math.pi)
    square = x * x
    total = np.full_like(x, _TERMS[-1])
    for term in _TERMS[-2::-1]:
        total = total * square + term
    found: Doubles = total * x
    return found


def cosine(turns: Doubles) -> Doubles:
    """cos(2 pi turns)."""
    return sine(turns + _QUARTER)


def centres(size: int, short: int) -> Doubles:
    """Centres of the pixels along a side, in units of the shorter side: (i + 1/2) / short."""
    return (np.arange(size, dtype=np.float64) + 0.5) / short


def among(u: Doubles, count: int | Ints) -> Ints:
    """A whole number below ``count`` for each uniform u in [0, 1)."""
    found: Ints = np.minimum(np.floor(u * count).astype(np.int64), np.asarray(count) - 1)
    return found


def between(u: Doubles, low: float | Doubles, high: float | Doubles) -> Doubles:
    """A number in [low, high) for each uniform u."""
    found: Doubles = low + u * (high - low)
    return found
