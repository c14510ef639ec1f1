"""Precision and recall, density and coverage: are samples where real pictures are, and are there samples everywhere?

A set stands for the space it covers: the union of balls around its points, each as wide as the distance to the point's
own k-th neighbour in the set. Then

    precision = share of samples inside the space of the real ones,
    recall    = share of real ones inside the space of the samples,
    density   = mean over samples of the number of real balls they are in, over k,
    coverage  = share of real ones whose own ball holds a sample.

Guidance trades one for the other, which a Frechet distance adds up and hides. All depend on the features, on k and on
the counts (more points have smaller balls), so they compare at equal counts only, and even real pictures do not score
1: set them beside real against real. Outliers have wide balls: one far-off real picture lets every sample inside its
ball count as precise, and one far-off sample recalls every picture around it. Density and coverage use the balls of
real pictures alone, and count how many hold a sample, or whether each does, so they are less easily fooled; of equal
laws, density is 1 on average, and coverage 1 - (N - 1) ... (N - k) / ((2N - 1) ... (2N - k)) of N against N.

The intervals of precision, recall and coverage are Wilson's over the points that are counted, the balls held fixed:
what other balls would have counted is left out, so they are too narrow. Of 200 points of a normal law in 8 dimensions,
those that say 95 % held 87 % of the time for precision, 91 % for recall and 90 % for coverage.

Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models" (1904.06991,
section 2), with k = 3 as there; Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models"
(2002.09797, Eqs. 3 and 4), with k = 5 as there. Balls are closed in the papers and here; the authors' code leaves their
rims out, which matters to exact copies of neighbours only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate, Z, share
from mezzotint.metrics.points import apart

BALLS = {"precision": 3, "recall": 3, "density": 5, "coverage": 5}
"""Which neighbour makes the balls of each measure in the papers."""
_CHUNK = 2**22  # distances at once


def precision(samples: Tensor | NDArray[Any], real: Tensor | NDArray[Any], k: int = 3) -> Estimate:
    """Share of samples within the k-th neighbour's distance of a real one: fidelity, high is good.

    Arguments:
        samples, real: features (N, D) and (M, D), more than k of each.
        k: which neighbour.
    """
    return _covered("precision", *_tables(samples, real, k), k)


def recall(samples: Tensor | NDArray[Any], real: Tensor | NDArray[Any], k: int = 3) -> Estimate:
    """Share of real ones within the k-th neighbour's distance of a sample: diversity, high is good.

    Arguments:
        samples, real: features (N, D) and (M, D), more than k of each.
        k: which neighbour.
    """
    return _covered("recall", *_tables(samples, real, k)[::-1], k)


def density(samples: Tensor | NDArray[Any], real: Tensor | NDArray[Any], k: int = 5) -> Estimate:
    """Mean number of real balls that hold a sample, over k: fidelity, 1 as good as real, above 1 where they crowd.

    The interval is that of the first-order expansion over samples and over real balls, as though each ball were wide by
    itself.

    Arguments:
        samples, real: features (N, D) and (M, D), more than k of each.
        k: which neighbour.
    """
    return _density(*_held(*_tables(samples, real, k), k), k)


def coverage(samples: Tensor | NDArray[Any], real: Tensor | NDArray[Any], k: int = 5) -> Estimate:
    """Share of real pictures whose own ball holds a sample: diversity, high is good.

    Arguments:
        samples, real: features (N, D) and (M, D), more than k of each.
        k: which neighbour.
    """
    points, support = _tables(samples, real, k)
    _, of_ball = _held(points, support, k)
    return share("coverage", int((of_ball > 0).sum()), len(support), len(points))


def covering(real: Tensor | NDArray[Any], *sets: Tensor | NDArray[Any]) -> tuple[dict[str, Estimate], ...]:
    """All four of each set of samples, by name and with the k of :data:`BALLS`, for hardly more than one of them costs.

    Arguments:
        real: features (M, D), more than five.
        sets: samples' features (N, D), more than five each.
    """
    few, many, out = BALLS["precision"], BALLS["density"], list[dict[str, Estimate]]()
    tables = [_tables(samples, real, many) for samples in sets]
    narrow, wide = _radii(_tables(real, real, many)[1], few, many)
    for points, support in tables:
        own, n, m = _radii(points, few)[0], len(points), len(support)
        of_point, of_ball = torch.zeros(n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)
        precise, recalled = 0, torch.zeros(m, dtype=torch.bool)
        for rows, far in _far(points, support):
            precise += int((far <= narrow).any(1).sum())
            recalled |= (far <= own[rows, None]).any(0)
            inside = far <= wide
            of_point[rows] = inside.sum(1, dtype=torch.float64)
            of_ball += inside.sum(0)
        out.append({
            "precision": share("precision", precise, n, m),
            "recall": share("recall", int(recalled.sum()), m, n),
            "density": _density(of_point, of_ball, many),
            "coverage": share("coverage", int((of_ball > 0).sum()), m, n),
        })  # fmt: skip
    return tuple(out)


def _density(of_point: Tensor, of_ball: Tensor, k: int) -> Estimate:
    n, m = len(of_point), len(of_ball)
    value = float(of_point.mean()) / k
    half = Z * math.sqrt(float(of_point.var()) / n + float((of_ball * (m / n)).var()) / m) / k
    return Estimate("density", value, max(value - half, 0.0), value + half, n, m)


def _tables(samples: Any, real: Any, k: int) -> tuple[Tensor, Tensor]:
    a, b = (torch.as_tensor(table).detach().cpu().double() for table in (samples, real))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or k < 1 or min(len(a), len(b)) <= k:
        raise Refusal(
            f"balls of neighbours need two tables (N, D) of more than k = {k} rows, k at least 1, "
            f"not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise Refusal("balls of neighbours need finite features, but some are NaN or infinite")
    return a, b


def _covered(name: str, points: Tensor, support: Tensor, k: int) -> Estimate:
    """The share of points inside a ball of the support."""
    of_point, _ = _held(points, support, k)
    return share(name, int((of_point > 0).sum()), len(points), len(support))


def _held(points: Tensor, support: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """How many balls of the support hold each point (N,), and how many points each ball holds (M,), in float64."""
    (radius,) = _radii(support, k)
    of_point, of_ball = [], torch.zeros(len(support), dtype=torch.float64)
    for _, far in _far(points, support):
        inside = far <= radius
        of_point.append(inside.sum(1, dtype=torch.float64))
        of_ball += inside.sum(0)
    return torch.cat(of_point), of_ball


def _radii(support: Tensor, *which: int) -> tuple[Tensor, ...]:
    """How far each point's k-th neighbour among the others lies (M,), for every k."""
    # A point is its own nearest neighbour at distance 0, so the k-th other one is the (k + 1)-th smallest.
    found = [[far.kthvalue(k + 1, 1).values for k in which] for _, far in _far(support, support)]
    return tuple(torch.cat(some) for some in zip(*found, strict=True))


def _far(points: Tensor, support: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Distances (rows, M) of some points at a time, and where those stand."""
    each = max(1, _CHUNK // len(support))
    for start in range(0, len(points), each):
        poll()
        yield slice(start, start + each), apart(points[start : start + each], support)
