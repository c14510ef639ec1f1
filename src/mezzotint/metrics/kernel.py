"""Kernel distance (KID): how far apart two sets of features lie, by all their moments up to the third, without bias.

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y),    k(x, y) = (x . y / D + 1)^3,

with independent draws x, x' of one law and y, y' of the other, is the squared distance of two laws seen by their means,
covariances and third moments. Each mean is taken over pairs of *different* pictures, so the estimate is unbiased: two
samples of one law give zero on average, a little less as often as a little more, at any count. The Frechet distance is
biased by few pictures; this one is not, and is what small sets should be compared by.

Papers quote the mean and the spread over 100 random subsets of 1,000 pictures of each set. The spread says how much a
single set of 1,000 would vary; it is no error of the mean, whose subsets share their pictures. The intervals here are
of the draw of pictures: those of the first-order expansion of such means (Hoeffding 1948), for the subsets with what
their number leaves uncertain added. Where the laws are equal the first-order terms vanish; what is then measured is
noise of second order, counted twice, so that the interval is somewhat too wide there rather than too short. Cubes have
heavy tails: of some hundred pictures, unlike laws are held less often than said (84 % of 150 against 150 normals, one
set 1.3 times as wide, in place of 95 %).

Source: Binkowski et al. 2018, "Demystifying MMD GANs" (1801.01401, section 4 and appendix D); Gretton et al. 2012, "A
kernel two-sample test" (Journal of Machine Learning Research 13, Eq. 3).
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
from mezzotint.metrics.points import blocks, two

SUBSETS = 100
SIZE = 1000
_WHAT = "the features of a kernel distance"


def kernel_distance(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any], name: str = "kernel distance") -> Estimate:
    """The unbiased MMD^2 with the cubic kernel from all pairs of two tables of features; small is good, zero is equal.

    Two tables of 50,000 rows of 2,048 take 3e13 multiplications and no more memory than the tables.

    Arguments:
        a, b: features (N, D) and (M, D), at least two of each.
    """
    return _estimate(*two(a, b, _WHAT), name)


def kid(
    a: Tensor | NDArray[Any],
    b: Tensor | NDArray[Any],
    subsets: int = SUBSETS,
    size: int = SIZE,
    rng: Rng | None = None,
    name: str = "kid",
) -> Estimate:
    """KID as papers quote it: the mean of the unbiased MMD^2 over random subsets of both tables; small is good.

    Its interval needs all pairs once, so it costs what :func:`kernel_distance` does and the subsets beside it;
    :func:`kid_subsets` alone does not.

    Arguments:
        a, b: features (N, D) and (M, D), at least two of each.
        subsets: how many; their spread is the standard deviation of :func:`kid_subsets`.
        size: rows in each, without repetition; at most as many as there are in the smaller table.
        rng: one key; by default ``Rng([0])``.
    """
    found = kid_subsets(a, b, subsets, size, rng)
    whole = _estimate(*two(a, b, _WHAT), name)
    mean = float(found.mean())
    # The mean of all possible subsets is the estimate from all pairs, and its error; that of some varies around it.
    of_subsets = float(found.var(ddof=1)) / subsets
    half = math.hypot(whole.high - whole.value, Z * math.sqrt(of_subsets))
    return Estimate(name, mean, mean - half, mean + half, whole.count, whole.against)


def kid_subsets(
    a: Tensor | NDArray[Any],
    b: Tensor | NDArray[Any],
    subsets: int = SUBSETS,
    size: int = SIZE,
    rng: Rng | None = None,
) -> NDArray[np.float64]:
    """The unbiased MMD^2 of each subset (subsets,), of which :func:`kid` is the mean.

    Arguments:
        a, b: features (N, D) and (M, D).
        subsets, size, rng: as in :func:`kid`.
    """
    x, y = two(a, b, _WHAT)
    size = min(size, len(x), len(y))
    if subsets < 2 or size < 2:
        raise Refusal(f"a spread over subsets needs two of at least two rows, not {subsets} of {size}")
    keys = (Rng([0]) if rng is None else rng).at("kid").split(subsets)
    found = np.empty(subsets)
    for place in range(subsets):
        poll()
        key = keys[place : place + 1]
        some, others = (z[key.uniform(role, (len(z),))[0].argsort()[:size]] for role, z in (("a", x), ("b", y)))
        found[place] = _estimate(some, others, "").value
    return found


def _estimate(x: Tensor, y: Tensor, name: str) -> Estimate:
    n, m = len(x), len(y)
    within_x, within_y = ((_sums(z, z)[0] - _own(z)) / (len(z) - 1) for z in (x, y))
    across, back = _sums(x, y)
    value = float(within_x.mean() + within_y.mean() - 2 * across.sum() / (n * m))
    # What one picture of either set adds, to first order.
    of_x, of_y = within_x - across / m, within_y - back / n
    half = Z * math.sqrt(4 * float(of_x.var()) / n + 4 * float(of_y.var()) / m)
    return Estimate(name, value, value - half, value + half, n, m)


def _sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of the kernel from each x to all y (N,), and from each y to all x (M,)."""
    rows, columns = torch.zeros(len(x), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    for i, j, some, others in blocks(x, y):
        kernel = (some @ others.T / x.shape[1] + 1) ** 3
        rows[i] += kernel.sum(1)
        columns[j] += kernel.sum(0)
    return rows, columns


def _own(x: Tensor) -> Tensor:
    """The kernel of each x with itself (N,)."""
    return torch.cat([(piece.double().square().sum(1) / x.shape[1] + 1) ** 3 for piece in torch.split(x, 1024)])
