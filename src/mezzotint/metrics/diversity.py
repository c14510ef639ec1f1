"""Diversity: how far apart do two pictures of the same class lie?

A model that has collapsed paints one picture per class, or per caption, whatever the seed. The mean distance of two
different pictures of one class says so,

    V = mean over classes c of  1 / (n_c (n_c - 1)) sum over i != j of |x_i - x_j|,

and is set beside that of real pictures: less is collapse, more is noise. Classes weigh the same, however many pictures
each has, so that two sets of different balance compare. In pixels, distance is mostly layout and colour; in features,
what the features say. Within captions the same number is the variety a caption leaves, which strong guidance takes.

Each class's mean is a U-statistic. Its error is the jackknife's, with d_i the mean distance of picture i to its class,

    (4 (n - 1) / (n (n - 2)^2)) sum_i (d_i - V_c)^2,

which is too large on average rather than too small (Arvesen 1969, "Jackknifing U-statistics"; Efron and Stein 1981,
"The jackknife estimate of variance"), and needs three pictures of a class. Classes are taken as given, not as drawn.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, Z
from mezzotint.metrics.points import apart, blocks, points

LEAST = 3


def pairwise_distance(
    a: Tensor | NDArray[Any], labels: Tensor | NDArray[Any] | None = None, name: str = "pairwise distance"
) -> Estimate:
    """The mean Euclidean distance of two different points of one class; as large as real pictures' is good.

    Arguments:
        a: points (N, *shape), pictures or features.
        labels: whole numbers (N,): classes, or which condition each was made for; None for one class. Classes of fewer
            than three points are left out, and out of ``count``.
    """
    x = points(a, "the points of a pairwise distance", LEAST)
    classes = torch.zeros(len(x), dtype=torch.int64) if labels is None else torch.as_tensor(labels).detach().cpu()
    if classes.shape != (len(x),) or classes.is_floating_point():
        raise Refusal(
            f"{len(x)} points need as many whole numbers as labels, not {classes.dtype} of {tuple(classes.shape)}"
        )
    means, spread, count = [], 0.0, 0
    for label in torch.unique(classes):
        members = x[classes == label]
        n = len(members)
        if n < LEAST:
            continue
        sums = torch.zeros(n, dtype=torch.float64)
        for rows, _, some, others in blocks(members, members):
            sums[rows] += apart(some, others).sum(1)
        to_others = sums / (n - 1)
        means.append(float(to_others.mean()))
        spread += 4 * (n - 1) / (n * (n - 2) ** 2) * float((to_others - means[-1]).square().sum())
        count += n
    if not means:
        raise Refusal(f"no class has the {LEAST} points a pairwise distance needs; sample more of each")
    value, half = sum(means) / len(means), Z * math.sqrt(spread) / len(means)
    return Estimate(name, value, value - half, value + half, count)
