"""Memorisation, tested: would fresh pictures lie as near to the training pictures as the samples do?

If samples are draws of the same law as held-out pictures, then the distance d(q) of a sample q to its nearest training
picture and that of a held-out picture p are draws of one law, and P(d(q) > d(p)) = 1/2. Copies lie nearer. Over all
pairs of a sample and a held-out picture that is the test of Mann and Whitney,

    z = (U - n m / 2) / sd(U),    U = number of pairs with d(q) > d(p), ties counted half,

standard normal where nothing is memorised, far below 0 where samples copy, far above 0 where they lie further off than
real pictures do (the model underfits). One score for the whole space can be fooled: copies of one kind are outweighed
by poor samples of another. So the space is cut into cells, each with its own test, and

    C_T = sum over cells of  (share of held-out pictures in the cell) z,

over the cells with enough of both. Its p-value is that of independent cells: C_T / sqrt(sum of squared shares) is
standard normal. Meehan et al. call C_T below -3 clear copying.

It is a test, so its score grows with the number of pictures for one and the same flaw: how *much* is copied, the
neighbour ratio and the close share say. It is as blind as they are to copies under noise.

Source: Meehan et al. 2020, "A non-parametric test to detect data-copying in generative models" (2004.05675, section 3);
the spread of U where the laws differ: DeLong et al. 1988, "Comparing the areas under two or more correlated receiver
operating characteristic curves" (Biometrics 44).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, Z
from mezzotint.metrics.neighbours import Distances
from mezzotint.metrics.points import points

LEAST = 20
Cells = NDArray[np.int64]


def copying(
    samples: Distances,
    held_out: Distances,
    cells: tuple[Cells, Cells] | None = None,
    least: int = LEAST,
) -> tuple[Estimate, float]:
    """The C_T score, about 0 for fresh samples and far below for copies, and the one-sided p-value of "no copying".

    A small p-value says that some samples copy; the interval of the score is of what as many pictures would score.

    Arguments:
        samples, held_out: distances (N,) and (M,) to one training set, from :func:`mezzotint.metrics.nearest`.
        cells: in which cell each lies (N,) and (M,), from :func:`cells_of`; by default all in one.
        least: cells with fewer samples or fewer held-out pictures are passed over.
    """
    from scipy.stats import norm  # loaded when needed

    q, p = (np.asarray(distances, dtype=np.float64) for distances in (samples, held_out))
    of_q, of_p = (np.zeros(len(q)), np.zeros(len(p))) if cells is None else (np.asarray(some) for some in cells)
    if q.ndim != 1 or p.ndim != 1 or of_q.shape != q.shape or of_p.shape != p.shape:
        raise Refusal(
            f"a test of copying needs distances (N,) and (M,) with a cell for each, not {q.shape} and {p.shape} with "
            f"cells {of_q.shape} and {of_p.shape}"
        )
    if not (np.isfinite(q).all() and np.isfinite(p).all()):
        raise Refusal("a test of copying needs finite distances, but some are NaN or infinite")
    least = max(least, 2)
    judged = [c for c in np.unique(of_p) if min((of_q == c).sum(), (of_p == c).sum()) >= least]
    if not judged:
        raise Refusal(f"no cell holds {least} samples and {least} held-out pictures; use fewer cells or more pictures")
    sizes = np.array([(of_p == c).sum() for c in judged])
    shares = sizes / sizes.sum()
    tests = [_mann_whitney(q[of_q == c], p[of_p == c]) for c in judged]
    value = float(sum(w * z for w, (z, _) in zip(shares, tests, strict=True)))
    half = Z * math.sqrt(sum(w * w * spread for w, (_, spread) in zip(shares, tests, strict=True)))
    chance = float(norm.cdf(value / math.sqrt(np.square(shares).sum())))
    return Estimate("copying", value, value - half, value + half, len(q), len(p)), chance


def cells_of(
    train: Tensor | NDArray[Any], *sets: Tensor | NDArray[Any], count: int = 10, seed: int = 0
) -> tuple[Cells, ...]:
    """The cell of each point of the sets: the nearest of ``count`` means of the training set.

    Arguments:
        train: points (N, *shape), such as features or small pictures, at least ``count``.
        sets: points (M, *shape) of which the cells are asked, such as samples and held-out pictures.
        count: cells, fitted to the training set by k-means.
        seed: of the fit.
    """
    from sklearn.cluster import KMeans

    if count < 1:
        raise Refusal(f"at least one cell is needed, not {count}")
    here = points(train, "the training points of cells", count).double().numpy()
    fitted: Any = KMeans(count, n_init=1, random_state=seed).fit(here)
    found: Sequence[Cells] = [
        fitted.predict(points(some, "the points of cells", 1).double().numpy()).astype(np.int64) for some in sets
    ]
    return tuple(found)


def _mann_whitney(q: Distances, p: Distances) -> tuple[float, float]:
    """The z-score of U, and the variance of that score where the laws differ."""
    from scipy.stats import rankdata

    n, m = len(q), len(p)
    ranks = rankdata(np.concatenate([q, p]))
    # Of each distance, the share of the other set's below it.
    below = (ranks[:n] - rankdata(q)) / m
    over = (ranks[n:] - rankdata(p)) / n
    _, ties = np.unique(ranks, return_counts=True)
    null = (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1))) / (12 * n * m)
    if null == 0:  # all distances are one number, and nothing can be said
        return 0.0, 1.0
    spread = below.var(ddof=1) / n + over.var(ddof=1) / m
    # Sets that lie wholly apart show no spread, which is no certainty: that of equal laws stands in for it.
    return (below.mean() - 0.5) / math.sqrt(null), spread / null or 1.0
