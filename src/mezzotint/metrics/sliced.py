"""Sliced Wasserstein distance: two sets of points compared along many random lines, on each of which it is exact.

On a line the optimal way to move one set into the other is to sort both. The mean over directions u on the sphere of
the squared 2-Wasserstein distances of the two projected sets,

    SW^2 = E_u W^2(u . X, u . Y),    W^2 = integral over q of (F^(-1)(q) - G^(-1)(q))^2,

with the quantile functions of either set, is zero where the laws are equal and only there. Two Gaussians N(m, s^2) and
N(n, t^2) in D dimensions lie |m - n|^2 / D + (s - t)^2 apart. It looks at whole laws rather than at moments, costs a
sort a direction, and like the Frechet distance is reported squared.

Finite sets of one law lie apart as well, by about 1/N, so distances compare at equal counts only, beside real against
real. The interval covers the draw of directions and of points, not that bias: the spread over directions, and what each
point adds to first order, which is the Kantorovich potential at its place (del Barrio and Loubes 2019, "Central limit
theorems for empirical transportation cost in general dimension", 1705.01299).

Source: Rabin et al. 2011, "Wasserstein barycenter and its application to texture mixing"; Bonneel et al. 2015, "Sliced
and Radon Wasserstein barycenters of measures".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate, Z
from mezzotint.metrics.points import two

DIRECTIONS = 512
_CHUNK = 2**22  # projections at once


def sliced_wasserstein(
    a: Tensor | NDArray[Any],
    b: Tensor | NDArray[Any],
    directions: int = DIRECTIONS,
    rng: Rng | None = None,
    name: str = "sliced wasserstein",
) -> Estimate:
    """The squared sliced 2-Wasserstein distance of two sets of points, in their unit squared; small is good.

    Arguments:
        a, b: points (N, *shape) and (M, *shape), at least two of each; the counts may differ.
        directions: lines looked along.
        rng: one key; by default ``Rng([0])``. Direction k is the same however many there are.
    """
    x, y = two(a, b, "the points of a sliced distance")
    return along(x, y, 1, 1, directions, rng, name)


def along(x: Tensor, y: Tensor, of_x: int, of_y: int, directions: int, rng: Rng | None, name: str) -> Estimate:
    """The same of rows (N of_x, D) and (M of_y, D) that come in groups, of which only different ones are independent.

    Arguments:
        x, y: checked points; group k of x is its rows k of_x to (k + 1) of_x.
        of_x, of_y: points in a group.
        directions, rng, name: as in :func:`sliced_wasserstein`.
    """
    if directions < 2:
        raise Refusal(f"a sliced distance needs at least two directions to know its error, not {directions}")
    keys = (Rng([0]) if rng is None else rng).at("directions").split(directions)
    lines = keys.normal("direction", (x.shape[1],)).double()
    lines = lines / lines.norm(dim=1, keepdim=True)
    plan = _plan(len(x), len(y))
    found, adds_x, adds_y = [], torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    for some in torch.split(lines, max(1, _CHUNK // (len(x) + len(y)))):
        poll()
        (u, order_x), (v, order_y) = (torch.sort(_project(z, some), 1) for z in (x, y))
        found.append(_squared(u, v, plan))
        adds_x += torch.zeros_like(u).scatter(1, order_x, _potential(u, _partner(v, plan, 1, len(x)))).sum(0)
        adds_y += torch.zeros_like(v).scatter(1, order_y, _potential(v, _partner(u, plan, 0, len(y)))).sum(0)
    squared = torch.cat(found)
    value, n, m = float(squared.mean()), len(x) // of_x, len(y) // of_y
    of_n, of_m = (adds.reshape(-1, group).mean(1) / directions for adds, group in ((adds_x, of_x), (adds_y, of_y)))
    spread = float(squared.var()) / directions + float(of_n.var()) / n + float(of_m.var()) / m
    half = Z * math.sqrt(spread)
    return Estimate(name, value, max(value - half, 0.0), value + half, n, m)


Plan = tuple[Tensor, Tensor, Tensor]


def _plan(n: int, m: int) -> Plan:
    """Which of n sorted points meets which of m, and how much mass moves: exact, in units of 1 / (n m)."""
    edges = np.union1d(np.arange(1, n + 1, dtype=np.int64) * m, np.arange(1, m + 1, dtype=np.int64) * n)
    mass = np.diff(edges, prepend=0)
    first, second = (edges - 1) // m, (edges - 1) // n
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(mass / (n * m))


def _project(z: Tensor, lines: Tensor) -> Tensor:
    """Places (L, N) of points (N, D) along unit directions (L, D), in float64."""
    rows = max(1, _CHUNK // z.shape[1])
    return torch.cat([lines @ piece.double().T for piece in torch.split(z, rows)], 1)


def _squared(u: Tensor, v: Tensor, plan: Plan) -> Tensor:
    """Squared distances (L,) of sorted places (L, N) and (L, M)."""
    first, second, mass = plan
    return (u[:, first] - v[:, second]).square() @ mass


def _partner(other: Tensor, plan: Plan, side: int, count: int) -> Tensor:
    """The mean place (L, count) to which each point's mass goes, in the sorted places of the other set."""
    own, there, mass = plan[1 - side], plan[side], plan[2]
    return other.new_zeros(len(other), count).index_add(1, own, other[:, there] * mass) * count


def _potential(u: Tensor, partner: Tensor) -> Tensor:
    """What a point at each sorted place adds to W^2 to first order: the integral of 2 (u - T(u)), by trapezoids.

    For equal counts this is the middle of all potentials that the dual problem allows.
    """
    away = u - partner
    steps = u.diff(dim=1) * (away[:, 1:] + away[:, :-1])
    return torch.cat([torch.zeros_like(u[:, :1]), steps.cumsum(1)], 1)
