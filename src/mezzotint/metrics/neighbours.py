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
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate, bootstrap, share
from mezzotint.metrics.pictures import Source, shown, shrink, subset
from mezzotint.metrics.seen import pieces

SIDE = 32
CLOSE = 0.05
Distances = NDArray[np.float64]
Rows = NDArray[np.int64]


def nearest(images: Tensor, train: Tensor, side: int = SIDE) -> Distances:
    """Euclidean distance in pixels of each picture (N, C, H, W) to the nearest training picture (M, C, H, W): (N,)."""
    from sklearn.neighbors import NearestNeighbors

    # Brute force: trees do not prune in hundreds of dimensions. Squares are differenced, |a|^2 + |b|^2 - 2ab, so
    # an exact copy comes out at about 1e-7 of a picture's norm instead of 0.
    here, there = (shrink(pictures, side).flatten(1).double().numpy() for pictures in (images, train))
    found: Any = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(there)
    distances: Distances = found.kneighbors(here)[0][:, 0]
    return distances


def neighbours(
    images: Tensor, train: Source, count: int = 1, side: int = SIDE, limit: int | None = None
) -> tuple[Distances, Rows]:
    """The nearest training pictures of each picture, nearest first: their distances and their rows, both (N, count).

    The distances are those of :func:`nearest`. The training set is read a piece at a time, so it may be larger than
    memory; where it has fewer than ``count`` pictures, there are as many columns.

    Arguments:
        images: pictures (N, C, H, W) in [-1, 1].
        train: any data set of pictures of their shape.
        count: how many neighbours.
        side: larger pictures are shrunk by area to at most so many pixels a side.
        limit: of more training pictures than that, a fixed random subset.
    """
    if count < 1:
        raise Refusal(f"at least one neighbour is asked for, not {count}")
    here = shrink(shown(images, "the pictures"), side).flatten(1).double()
    rows = torch.from_numpy(subset(len(train), limit))
    apart, found, start = here.new_empty(len(here), 0), rows.new_empty(len(here), 0), 0
    for pictures, _ in pieces(train, "the training pictures", limit):
        if pictures.shape[1:] != images.shape[1:]:
            raise Refusal(
                f"pictures of shape {tuple(images.shape[1:])} have no neighbours among those of shape "
                f"{tuple(pictures.shape[1:])}"
            )
        there = shrink(pictures, side).flatten(1).double()
        near, place = torch.cdist(here, there).topk(min(count, len(there)), largest=False)
        apart, found = torch.cat([apart, near], 1), torch.cat([found, rows[start + place]], 1)
        order = apart.argsort(dim=1, stable=True)[:, :count]
        apart, found = apart.gather(1, order), found.gather(1, order)
        start += len(pictures)
    return apart.numpy(), found.numpy()


def neighbour_ratio(samples: Distances, held_out: Distances, rng: Rng | None = None, draws: int = 400) -> Estimate:
    """Mean distance of samples to their nearest training picture over that of held-out pictures: 1 fresh, 0 copies.

    Arguments:
        samples, held_out: distances (N,) and (M,) to one training set, from :func:`nearest`.
        rng: one key for the bootstrap over both.
    """
    return bootstrap("neighbour ratio", _ratio, samples, held_out, rng=rng, draws=draws)


def close_share(samples: Distances, held_out: Distances, rng: Rng | None = None, draws: int = 400) -> Estimate:
    """Share of samples nearer to a training picture than all but the nearest 5 % of held-out pictures are.

    The interval is a bootstrap over both, because the bar is measured as well. Where no sample is near, or all are,
    every resampling says the same, which is no certainty: then it is Wilson's, of the samples alone.
    """
    name, hits = "close share", int((samples < _bar(held_out)).sum())
    if draws and hits in (0, len(samples)):
        return share(name, hits, len(samples), len(held_out))
    return bootstrap(name, _close, samples, held_out, rng=rng, draws=draws)


def _ratio(samples: Distances, held_out: Distances) -> float:
    return float(samples.mean() / held_out.mean())


def _close(samples: Distances, held_out: Distances) -> float:
    return float((samples < _bar(held_out)).mean())


def _bar(held_out: Distances) -> float:
    return float(np.quantile(held_out, CLOSE))
