"""Precision and recall: are samples where real pictures are, and are there samples wherever real ones are?

A set stands for the space it covers: the union of balls around its points, each as wide as the distance to the point's
own k-th neighbour in the set. Then

    precision = share of samples inside the space of the real ones,
    recall    = share of real ones inside the space of the samples.

Guidance trades one for the other, which a Frechet distance adds up and hides. Both depend on the features, on k and on
the counts (more points have smaller balls), so they compare at equal counts only, and even real pictures do not score
1: set them beside real against real. Outliers have wide balls, which a far-off sample may fall into; the density and
coverage of Naeem et al. 2020 (2002.09797) are less easily fooled.

Source: Kynkaanniemi et al. 2019, "Improved precision and recall metric for assessing generative models" (1904.06991,
section 2), with k = 3 as there.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.metrics.estimate import Estimate, share

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


def _tables(samples: Any, real: Any, k: int) -> tuple[Tensor, Tensor]:
    a, b = (torch.as_tensor(table).detach().cpu().double() for table in (samples, real))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or k < 1 or min(len(a), len(b)) <= k:
        raise Refusal(
            f"precision and recall need two tables (N, D) of more than k = {k} rows, k at least 1, "
            f"not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise Refusal("precision and recall need finite features, but some are NaN or infinite")
    return a, b


def _covered(name: str, points: Tensor, support: Tensor, k: int) -> Estimate:
    """The share of points inside a ball of the support."""
    rows = max(1, _CHUNK // len(support))
    # A point is its own nearest neighbour at distance 0, so the k-th other one is the (k + 1)-th smallest.
    radius = torch.cat([_apart(piece, support).kthvalue(k + 1, 1).values for piece in torch.split(support, rows)])
    hits = [int((_apart(piece, support) <= radius).any(1).sum()) for piece in torch.split(points, rows)]
    return share(name, sum(hits), len(points), len(support))


def _apart(a: Tensor, b: Tensor) -> Tensor:
    # By matrix products a point would lie off itself by the rounding of its squared length.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
