"""Kernel distance: every pair by hand, normals in closed form, subsets, and intervals that hold the truth."""

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import kernel_distance, kid, kid_subsets


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """Every pair of different rows, one at a time."""

    def kernel(p: np.ndarray, q: np.ndarray) -> float:
        return (sum(a * b for a, b in zip(p, q, strict=True)) / len(p) + 1) ** 3

    within = [np.mean([kernel(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j]) for z in (x, y)]
    return sum(within) - 2 * np.mean([kernel(p, q) for p in x for q in y])


def normals(trial: int, count: int, mean: float = 0.4, std: float = 0.6) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = Rng([trial]).normal("points", (2, count, 1))[0]
    return x, mean + std * y


def truth(mean: float = 0.4, std: float = 0.6) -> float:
    """On the line the kernel sees the first three moments: MMD^2 = 3 (dm1)^2 + 3 (dm2)^2 + (dm3)^2."""
    return 3 * mean**2 + 3 * (mean**2 + std**2 - 1) ** 2 + (mean**3 + 3 * mean * std**2) ** 2


def test_every_pair_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = Rng(range(23)).normal("x", (5,)).double().numpy(), 0.3 + Rng(range(31)).normal("y", (5,)).double().numpy()
    whole = kernel_distance(x, y)
    assert whole.value == pytest.approx(by_hand(x, y), rel=1e-10) and (whole.count, whole.against) == (23, 31)
    assert kernel_distance(y, x).value == pytest.approx(whole.value, rel=1e-10)
    turn = ortho_group.rvs(5, random_state=0)
    assert kernel_distance(x @ turn, y @ turn).value == pytest.approx(whole.value, rel=1e-9)
    monkeypatch.setattr("mezzotint.metrics.points._CHUNK", 60)  # pieces of seven rows
    cut = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert (cut.value, cut.low) == (pytest.approx(whole.value, rel=1e-12), pytest.approx(whole.low, rel=1e-12))


def test_normals_in_closed_form_are_hit_without_bias_and_held_by_the_interval() -> None:
    found = [kernel_distance(*normals(trial, 150)) for trial in range(200)]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth()) < 3 * values.std() / len(values) ** 0.5
    # Cubes have heavy tails, so few pictures cover a little less than they say.
    assert 0.88 < np.mean([one.low <= truth() <= one.high for one in found]) < 0.985


def test_equal_laws_score_nothing_on_average_and_their_interval_is_not_too_short() -> None:
    found = [kernel_distance(*(0.5 * z for z in normals(trial, 60, 0.0, 1.0))) for trial in range(200)]
    values = np.array([one.value for one in found])
    assert abs(values.mean()) < 3 * values.std() / len(values) ** 0.5
    assert 0.2 < np.mean(values < 0) < 0.8
    assert np.mean([one.low <= 0 <= one.high for one in found]) > 0.93


def test_subsets_are_of_distinct_rows_and_stand_around_all_pairs() -> None:
    x, y = Rng(range(90)).normal("x", (4,)), 0.5 + Rng(range(70)).normal("y", (4,))
    whole, spread = kernel_distance(x, y), kid_subsets(x, y, 200, 40)
    assert spread.std() > 0.02 and abs(spread.mean() - whole.value) < 3 * spread.std() / 200**0.5
    found = kid(x, y, 200, 40)
    assert found.value == pytest.approx(spread.mean(), rel=1e-12)
    # Two errors that do not hang together: that of the pictures, and that of the subsets.
    half = np.hypot(whole.high - whole.value, 1.959964 * spread.std(ddof=1) / 200**0.5)
    assert found.high - found.value == pytest.approx(half, rel=1e-6)
    # A subset of all rows, none twice, is the whole; more rows than there are cannot be asked for.
    x, y = x[:70], y[torch.arange(69, -1, -1)]
    assert np.allclose(kid_subsets(x, y, 3, 1000), kernel_distance(x, y).value, rtol=1e-10)
    assert kid(x, y, 5, 20, Rng([1])) == kid(x, y, 5, 20, Rng([1])) != kid(x, y, 5, 20, Rng([2]))


def test_subsets_are_those_of_the_paper_unless_told() -> None:
    """100 of 1,000 (Binkowski et al., section 4)."""
    x, y = Rng(range(1100)).normal("x", (1,)), Rng(range(1100)).normal("y", (1,))
    assert len(kid_subsets(x[:4], y[:4])) == 100
    assert np.array_equal(kid_subsets(x, y, 2), kid_subsets(x, y, 2, 1000))


def test_the_mean_over_subsets_holds_the_truth() -> None:
    found = [kid(*normals(trial, 100), subsets=4, size=25) for trial in range(100)]
    held = np.mean([one.low <= truth() <= one.high for one in found])
    assert held > 0.86
    # Without what four subsets leave uncertain it would not.
    halves = [kernel_distance(*normals(trial, 100)) for trial in range(100)]
    short = [abs(one.value - truth()) <= half.high - half.value for one, half in zip(found, halves, strict=True)]
    assert np.mean(short) < held - 0.04


def test_unfit_tables_are_refused() -> None:
    x = torch.randn(9, 3)
    with pytest.raises(Refusal, match="at least 2 points"):
        kernel_distance(x[:1], x)
    with pytest.raises(Refusal, match="one length"):
        kernel_distance(x, x[:, :2])
    with pytest.raises(Refusal, match="NaN"):
        kid(x, x.log())
    with pytest.raises(Refusal, match="subsets"):
        kid(x, x, subsets=1)
