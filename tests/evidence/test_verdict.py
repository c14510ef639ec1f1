"""Verdicts: intervals that cover as often as they say, signs by enumeration, and the rules about seeds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mezzotint.core import Refusal
from mezzotint.evidence import Seen, at, ratio
from mezzotint.evidence.verdict import by_chance, interval


def seen(*values: float) -> Seen:
    return Seen({seed: {"arm": {"x": value}} for seed, value in enumerate(values)})


X = at("arm", "x")


def test_the_interval_is_students() -> None:
    values = [1.2, 0.7, 1.9, 1.1]
    theirs = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx((np.mean(values), *theirs), rel=1e-12)


@pytest.mark.parametrize("count", [3, 5])
def test_the_interval_covers_the_truth_at_its_rate(count: int) -> None:
    draws = np.random.default_rng(0).normal(2.0, 3.0, (4_000, count))
    hits = sum(low <= 2.0 <= high for _, low, high in (interval(list(row)) for row in draws))
    assert abs(hits / 4_000 - 0.95) < 0.011  # three standard errors


def test_a_threshold_inside_the_interval_is_undecided() -> None:
    low, high = interval([0.9, 1.0, 1.1])[1:]
    for threshold, outcome in ((high + 1e-9, "holds"), (1.0, "undecided"), (low - 1e-9, "does not hold")):
        assert seen(0.9, 1.0, 1.1).at_most("x", X, threshold).outcome == outcome
    for threshold, outcome in ((high + 1e-9, "does not hold"), (1.0, "undecided"), (low - 1e-9, "holds")):
        assert seen(0.9, 1.0, 1.1).at_least("x", X, threshold).outcome == outcome


def test_within_needs_the_whole_interval_on_both_sides() -> None:
    few = seen(0.99, 1.0, 1.01)
    assert few.within("x", X, 1.0, 0.1).outcome == "holds"
    assert few.within("x", X, 1.0, 0.02).outcome == "undecided"
    assert few.within("x", X, 2.0, 0.1).outcome == "does not hold"


def test_lying_on_the_threshold_at_every_seed_decides_nothing() -> None:
    assert seen(1.0, 1.0, 1.0).at_most("x", X, 1.0).outcome == "undecided"
    assert seen(1.0, 1.0, 1.0).at_least("x", X, 1.0).outcome == "undecided"


def test_one_seed_decides_nothing() -> None:
    found = seen(0.1).at_most("x", X, 1e9)
    assert found.outcome == "undecided"
    assert "one seed" in found.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_is_not_dropped(bad: float) -> None:
    found = Seen({7: {"arm": {"x": 0.0}}, 8: {"arm": {"x": bad}}, 9: {"arm": {"x": 0.0}}})
    for criterion in (found.at_most("x", X, 1.0), found.more_often("x", X)):
        assert criterion.outcome == "undecided"
        assert len(criterion.values) == 3
    assert "seed 8" in found.at_most("x", X, 1.0).reason
    assert found.at_most("x", X, 1.0).plain()["values"] == [0.0, None, 0.0]


def test_a_quotient_by_zero_is_a_number_that_is_none() -> None:
    assert seen(1.0, 2.0).at_most("x", ratio(X, lambda n: 0.0), 1.0).outcome == "undecided"


def test_signs_count_from_5_of_5_and_7_of_8() -> None:
    held = {(n, k) for n in range(1, 9) for k in range(n + 1) if _signs(k, n) == "holds"}
    assert held == {(5, 5), (6, 6), (7, 7), (8, 7), (8, 8)}
    assert {(n, k) for n in range(1, 9) for k in range(n + 1) if _signs(k, n) == "does not hold"} == {
        (n, n - k) for n, k in held
    }


def _signs(up: int, of: int) -> str:
    return seen(*([1.0] * up + [-1.0] * (of - up))).more_often("x", X).outcome


def test_chance_is_counted_by_throwing_every_coin() -> None:
    for of in range(1, 9):
        throws = list(itertools.product((0, 1), repeat=of))
        for hits in range(of + 1):
            assert by_chance(hits, of) == sum(sum(throw) >= hits for throw in throws) / len(throws)


def test_identities_hold_at_every_seed_or_not_at_all() -> None:
    assert seen(1e-9, 2e-9).always("x", X, 1e-8).outcome == "holds"
    assert seen(1e-9, 2e-7, 1e-9).always("x", X, 1e-8).outcome == "does not hold"
    assert seen(1e-9, math.nan).always("x", X, 1e-8).outcome == "undecided"


def test_the_whole_is_as_good_as_its_worst() -> None:
    few = seen(0.99, 1.0, 1.01)
    good, open_, bad = few.at_most("a", X, 2.0), few.at_most("b", X, 1.0), few.at_most("c", X, 0.5)
    assert few.all(good, good).outcome == "holds"
    assert few.all(good, open_).outcome == "undecided"
    assert few.all(open_, bad, good).outcome == "does not hold"
    assert few.all(open_, bad).reason == bad.reason
    assert few.all(good, good).reason == f"{good.reason}; {good.reason}"
    assert few.all(*[good] * 9).reason == "each of the 9 criteria holds"  # a wall of clauses is not read
    assert few.all(*[good] * 9, bad).reason == bad.reason
    with pytest.raises(Refusal, match="at least one"):
        few.all()
