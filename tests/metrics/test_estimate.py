"""Intervals: published numbers, exact coverage, and the spread they claim."""

from math import comb

import numpy as np
import pytest

from mezzotint.core import Refusal, Rng
from mezzotint.metrics.estimate import bootstrap, share


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(hits: int, count: int, low: float, high: float) -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", Table I, method 3.
    found = share("share", hits, count)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
    assert bootstrap("mean", lambda a: float(a.mean()), np.ones(3), draws=0).plain()["low"] is None


def test_wilson_covers_at_its_level() -> None:
    n = 60
    covered = []
    for p in np.linspace(0.02, 0.98, 97):
        mass = [comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        covered.append(sum(m for k, m in enumerate(mass) if share("", k, n).low <= p <= share("", k, n).high))
    assert abs(np.mean(covered) - 0.95) < 0.01 and min(covered) > 0.88


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (3, 2), (-1, 4)])
def test_impossible_shares_are_refused(hits: int, count: int) -> None:
    with pytest.raises(Refusal):
        share("share", hits, count)


def test_bootstrap_of_a_mean_is_the_textbook_interval() -> None:
    x = np.random.default_rng(0).normal(3, 2, 400)
    found = bootstrap("mean", lambda a: float(a.mean()), x, draws=1000)
    half = 1.96 * x.std() / 20
    assert found.value == pytest.approx(x.mean()) and found.count == 400 and found.against is None
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_bootstrap_resamples_tables_apart_and_by_key_only() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 300))

    def gap(a: np.ndarray, b: np.ndarray) -> float:
        return float(a.mean() - b.mean())

    found = bootstrap("gap", gap, a, b, rng=Rng([5]), draws=500)
    # Picked rows shared between the tables would leave the covariance of a and b in the spread.
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt((a.var() + b.var()) / 300), rel=0.12)
    assert found == bootstrap("gap", gap, a, b, rng=Rng([5]), draws=500)
    assert found != bootstrap("gap", gap, a, b, rng=Rng([6]), draws=500)
    same = bootstrap("gap", gap, a, a, draws=200)
    assert same.high - same.low > 0.1
