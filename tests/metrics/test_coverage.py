"""Precision, recall, density, coverage: every ball by hand, layouts whose answer is plain, and a mode left out."""

import sys

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import coverage, density, precision, recall


def inside(points: np.ndarray, support: np.ndarray, k: int) -> float:
    """Point by point and ball by ball, with scikit-learn's neighbours for the radii."""
    radii = NearestNeighbors(n_neighbors=k + 1).fit(support).kneighbors(support)[0][:, k]
    return float(
        np.mean([any(np.linalg.norm(p - s) <= r for s, r in zip(support, radii, strict=True)) for p in points])
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_every_ball_by_hand(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Rng(range(80)).normal("real", (4,)).double().numpy()
    samples = 0.6 * Rng(range(50)).normal("samples", (4,)).double().numpy() + 0.3
    for _ in range(2):
        assert precision(samples, real, k).value == pytest.approx(inside(samples, real, k), abs=1e-12)
        assert recall(samples, real, k).value == pytest.approx(inside(real, samples, k), abs=1e-12)
        radii = NearestNeighbors(n_neighbors=k + 1).fit(real).kneighbors(real)[0][:, k]
        held = [[np.linalg.norm(p - s) <= r for p in samples] for s, r in zip(real, radii, strict=True)]
        assert density(samples, real, k).value == pytest.approx(np.sum(held) / (k * len(samples)), rel=1e-12)
        assert coverage(samples, real, k).value == pytest.approx(np.mean(np.any(held, 1)), rel=1e-12)
        monkeypatch.setattr(sys.modules["mezzotint.metrics.coverage"], "_CHUNK", 300)


def test_on_a_line() -> None:
    """Points at 0 .. 9 reach 1 to either side with k = 1: samples at 4.5 and 4.7 are inside, those at 12 are not."""
    real = torch.arange(10.0)[:, None]
    samples = torch.tensor([[4.5], [4.7], [12.0], [12.1]])
    assert precision(samples, real, k=1).value == 0.5
    # Each sample reaches 0.2 or 0.1: no whole number lies so near but 12, which is not real.
    assert recall(samples, real, k=1).value == 0.0
    # The third neighbours of 4.5 and 4.7 lie at 12.1: their balls hold every real point.
    assert recall(samples, real, k=3).value == 1.0


def test_a_mode_left_out_costs_recall_and_a_mode_made_up_costs_precision() -> None:
    rng = Rng(range(400))
    noise, more = 0.1 * rng.normal("noise", (2,)), 0.1 * rng.normal("more", (2,))
    corner = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0], [5.0, 5.0]])
    real = corner[torch.arange(400) % 4] + noise
    few, strange = corner[torch.arange(400) % 3] + more, 3 * corner[torch.arange(400) % 4] + more
    same = corner[torch.arange(400) % 4] + more
    assert recall(few, real).value == pytest.approx(0.75, abs=0.05) and precision(few, real).value > 0.9
    assert precision(strange, real).value == pytest.approx(0.25, abs=0.05)
    assert recall(same, real).value > 0.9 and precision(same, real).value > 0.9


def test_density_and_coverage_on_a_line() -> None:
    """With k = 1 the balls around 0 .. 9 reach 1: 4.5 is in two of them, 4 in three, rims and all, 12 in none."""
    real = torch.arange(10.0)[:, None]
    samples = torch.tensor([[4.5], [4.0], [12.0], [13.0]])
    assert density(samples, real, k=1).value == (2 + 3) / 4
    assert coverage(samples, real, k=1).value == 3 / 10  # 3, 4 and 5
    assert (coverage(samples, real, k=1).count, density(samples, real, k=1).count) == (10, 4)


def test_one_outlier_fools_precision_and_not_density() -> None:
    """Naeem et al., Figure 1: a far-off real picture has a wide ball, and strange samples fall into it."""
    rng = Rng(range(200))
    real = torch.cat([rng.normal("real", (2,)), torch.tensor([[40.0, 0.0]])])
    strange = torch.tensor([20.0, 0.0]) + rng.normal("strange", (2,))
    assert precision(strange, real).value == 1.0
    assert density(strange, real).value < 0.25 and coverage(strange, real).value < 0.01


def test_equal_laws_score_what_the_theory_says_and_intervals_are_as_wide_as_the_spread() -> None:
    """The share of a law in the ball of the k-th of M - 1 others is Beta(k, M - k): Naeem et al., section 3.3."""
    k, n, m = 5, 50, 40
    missed = np.prod([(m - i) / (m + n - i) for i in range(1, k + 1)])
    found = []
    for trial in range(300):
        x, y = (Rng([trial]).normal(str(c), (c, 2))[0] for c in (n, m))
        found.append((density(x, y, k), coverage(x, y, k)))
    for place, truth in enumerate((1.0, 1 - missed)):
        values = np.array([one[place].value for one in found])
        assert abs(values.mean() - truth) < 3 * values.std() / 300**0.5
        held = np.mean([one[place].low <= truth <= one[place].high for one in found])
        assert 0.88 < held < 0.99


def test_a_set_covers_itself_and_counts_are_kept() -> None:
    table = torch.randn(30, 6)
    found = recall(table, torch.cat([table, 100 + table]))
    assert precision(table, table).value == 1.0 and found.value == 0.5 and (found.count, found.against) == (60, 30)
    assert found.low < 0.5 < found.high
    with pytest.raises(Refusal, match="more than k = 3 rows"):
        precision(table[:3], table)
    with pytest.raises(Refusal, match="finite"):
        recall(table.log(), table)
