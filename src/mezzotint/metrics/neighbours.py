"""Copying: do samples lie nearer to the training pictures than new real pictures do?

A model that has learnt the distribution lies as far from its training set as held-out pictures do; one that repeats it
lies nearer. The ratio of the two *mean* nearest-neighbour distances is 1 for fresh pictures and 0 for copies. The mean,
not the median: a share p of copies lowers the mean by p, the median hardly at all until p nears a half. What a mean can
hide, some copies beside some far-off failures, the share of samples that lie conspicuously near shows: ``close_share``
is 0.05 for fresh pictures by construction.

Neither sees through noise: copies with enough noise added lie as far away as anything. They leave the distribution
while they do, and Frechet distance in pixels says so; only the measures together are a judgement. Distances are
Euclidean in pixels. The family of such tests: Meehan et al. 2020, "A non-parametric test to detect data-copying in
generative models", 2004.05675; Alaa et al. 2021, "How faithful is your synthetic data?", 2102.08921.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate, bootstrap
from mezzotint.metrics.pictures import shrink

SIDE = 32
CLOSE = 0.05
Distances = NDArray[np.float64]


def nearest(images: Tensor, train: Tensor, side: int = SIDE) -> Distances:
    """Euclidean distance in pixels of each picture (N, C, H, W) to the nearest training picture (M, C, H, W): (N,)."""
    from sklearn.neighbors import NearestNeighbors

    # Brute force: trees do not prune in hundreds of dimensions. Squares are differenced, |a|^2 + |b|^2 - 2ab, so
    # an exact copy comes out at about 1e-7 of a picture's norm instead of 0.
    here, there = (shrink(pictures, side).flatten(1).double().numpy() for pictures in (images, train))
    found: Any = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(there)
    distances: Distances = found.kneighbors(here)[0][:, 0]
    return distances


def neighbour_ratio(samples: Distances, held_out: Distances, rng: Rng | None = None, draws: int = 400) -> Estimate:
    """Mean distance of samples to their nearest training picture over that of held-out pictures: 1 fresh, 0 copies.

    Arguments:
        samples, held_out: distances (N,) and (M,) to one training set, from :func:`nearest`.
        rng: one key for the bootstrap over both.
    """
    return bootstrap("neighbour ratio", _ratio, samples, held_out, rng=rng, draws=draws)


def close_share(samples: Distances, held_out: Distances, rng: Rng | None = None, draws: int = 400) -> Estimate:
    """Share of samples nearer to a training picture than all but the nearest 5 % of held-out pictures are.

    The interval is a bootstrap over both, because the bar is measured as well.
    """
    return bootstrap("close share", _close, samples, held_out, rng=rng, draws=draws)


def _ratio(samples: Distances, held_out: Distances) -> float:
    return float(samples.mean() / held_out.mean())


def _close(samples: Distances, held_out: Distances) -> float:
    return float((samples < np.quantile(held_out, CLOSE)).mean())
