"""Frechet distance: how far apart two sets of pictures lie, seen as two Gaussians in some feature space.

    d^2 = |m_a - m_b|^2 + tr(C_a) + tr(C_b) - 2 tr((C_a^(1/2) C_b C_a^(1/2))^(1/2))

is the squared 2-Wasserstein distance of N(m_a, C_a) and N(m_b, C_b) (Dowson and Landau 1982); in Inception features it
is FID (Heusel et al. 2017, "GANs trained by a two time-scale update rule", 1706.08500, Eq. 6). Like everyone, we report
d^2. Zero means equal means and covariances, not equal sets.

The estimate is biased upwards, by about c/N for N pictures with a constant that depends on the model (Chong and Forsyth
2020, "Effectively unbiased FID and Inception score", 1911.07023), so two distances compare only at equal counts: set
every one beside real pictures against real pictures of the same counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate, bootstrap

Table = NDArray[np.float64]


def frechet(
    a: NDArray[Any], b: NDArray[Any], rng: Rng | None = None, draws: int = 100, name: str = "frechet"
) -> Estimate:
    """The squared Frechet distance between Gaussians fitted to two tables of features.

    Arguments:
        a, b: features (N, D) and (M, D), computed on in float64; covariances divide by N - 1.
        rng: one key for the bootstrap over rows of both tables; its interval covers the draw of pictures, not the bias.
        draws: resamplings; 0 for no interval.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise Refusal(f"a Frechet distance needs two tables (N, D) of at least 2 rows, not {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise Refusal("a Frechet distance needs finite features, but some are NaN or infinite")
    found = bootstrap(name, _distance, a, b, rng=rng, draws=draws)
    return replace(found, low=max(found.low, 0.0)) if draws else found


def gaussian_frechet(mean_a: Table, cov_a: Table, mean_b: Table, cov_b: Table) -> float:
    """The squared Frechet distance of two Gaussians from their means (D,) and covariances (D, D).

    Both square roots are of symmetric matrices, by eigenvalues, which stays exact to rounding when a covariance has no
    full rank; a general matrix square root of C_a C_b does not (it may not even exist).
    """
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(_positive(values))) @ vectors.T
    inner = root @ cov_b @ root
    cross = np.sqrt(_positive(np.linalg.eigvalsh((inner + inner.T) / 2))).sum()
    gap = np.square(mean_a - mean_b).sum()
    return float(max(gap + np.trace(cov_a) + np.trace(cov_b) - 2 * cross, 0.0))


def _positive(values: Table) -> Table:
    # What is zero in truth comes out as +-eps times the largest, and its root would be 1e-8 of the result each.
    return np.where(values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0), values, 0.0)


def _distance(a: Table, b: Table) -> float:
    return gaussian_frechet(*_moments(a), *_moments(b))


def _moments(table: Table) -> tuple[Table, Table]:
    mean = table.mean(0)
    centred = table - mean
    return mean, centred.T @ centred / (len(table) - 1)
