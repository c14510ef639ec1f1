"""Energy distance: how far apart two sets of points lie, with no features, bins or bandwidth to choose.

    d^2 = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

with Euclidean distances between independent draws X, X' of one law and Y, Y' of the other. It is zero where the laws
are equal and only there, in any number of dimensions; in one it is twice the integral of the squared difference of the
two cumulative distributions. Like the Frechet distance it is reported squared.

Each mean is taken over pairs of different points, so the estimate is unbiased: two samples of one law give zero on
average, often a little less, whatever their counts. The interval is that of the first-order expansion of such means
(Hoeffding 1948), which is right where the laws differ; where they are equal, its terms vanish and it is too short.

Source: Székely and Rizzo 2013, "Energy statistics: A class of statistics based on distances" (Journal of Statistical
Planning and Inference 143).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, Z

_CHUNK = 2**22  # distances at once


def energy_distance(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any], name: str = "energy distance") -> Estimate:
    """The squared energy distance of two sets of points, unbiased, in the unit of the points.

    Every pair is looked at, in pieces and in float64: a second for 10,000 points of either in the plane.

    Arguments:
        a, b: points (N, *shape) and (M, *shape), at least two of each.
    """
    x, y = (torch.as_tensor(points).detach().cpu().double().flatten(1) for points in (a, b))
    if min(len(x), len(y)) < 2 or x.shape[1] != y.shape[1]:
        raise Refusal(
            "an energy distance needs two sets of at least 2 points of one shape, "
            f"not {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not (x.isfinite().all() and y.isfinite().all()):
        raise Refusal("an energy distance needs finite points, but some are NaN or infinite")
    n, m = len(x), len(y)
    across, back = _sums(x, y)
    within_x, within_y = _sums(x, x)[0], _sums(y, y)[0]
    value = 2 * across.sum() / (n * m) - within_x.sum() / (n * (n - 1)) - within_y.sum() / (m * (m - 1))
    # What one point of either set adds, to first order.
    of_x, of_y = across / m - within_x / (n - 1), back / n - within_y / (m - 1)
    half = Z * math.sqrt(4 * float(of_x.var()) / n + 4 * float(of_y.var()) / m)
    return Estimate(name, float(value), float(value) - half, float(value) + half, n, m)


def _sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of distances from each x to all y (N,), and from each y to all x (M,)."""
    rows, columns = [], torch.zeros(len(y), dtype=torch.float64)
    for piece in torch.split(x, max(1, _CHUNK // len(y))):
        # By matrix products a small distance would be the difference of two large squares.
        apart = torch.cdist(piece, y, compute_mode="donot_use_mm_for_euclid_dist")
        rows.append(apart.sum(1))
        columns += apart.sum(0)
    return torch.cat(rows), columns
