"""Copying, tested: scipy's Mann-Whitney, a level that is kept, cells, and copies of digits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kstest, mannwhitneyu, norm

from mezzotint.core import Refusal
from mezzotint.metrics import cells_of, copying, nearest


@pytest.mark.parametrize("step", [0.0, 0.5])
def test_one_cell_is_scipys_test_with_and_without_ties(step: float) -> None:
    rng = np.random.default_rng(0)
    q, p = rng.exponential(0.8, 70), rng.exponential(1, 50)
    if step:
        q, p = np.round(q / step) * step, np.round(p / step) * step
    found, chance = copying(q, p)
    want = mannwhitneyu(q, p, alternative="less", method="asymptotic", use_continuity=False)
    assert chance == pytest.approx(want.pvalue, rel=1e-10)
    pairs = np.sign(q[:, None] - p).sum() / 2  # U less its mean
    assert np.sign(found.value) == np.sign(pairs) and (found.count, found.against) == (70, 50)
    back, other = copying(p, q)
    assert back.value == pytest.approx(-found.value, rel=1e-10) and other == pytest.approx(1 - chance, rel=1e-9)


def test_level_is_kept_over_cells() -> None:
    """Fresh samples give p-values that are uniform, although cells differ in size and in scale."""
    rng = np.random.default_rng(1)
    chances = []
    for _ in range(300):
        of_q, of_p = rng.choice(4, 300, p=[0.5, 0.3, 0.15, 0.05]), rng.choice(4, 240, p=[0.5, 0.3, 0.15, 0.05])
        q, p = 3.0 * of_q + rng.exponential(1, 300), 3.0 * of_p + rng.exponential(1, 240)
        chances.append(copying(q, p, (of_q, of_p))[1])
    assert kstest(chances, "uniform").pvalue > 0.01 and np.mean(np.array(chances) < 0.05) < 0.09


def test_score_is_the_mean_over_cells_and_small_ones_are_passed_over() -> None:
    rng = np.random.default_rng(2)
    of_q, of_p = np.repeat([0, 1, 2], [60, 40, 5]), np.repeat([0, 1, 2], [90, 30, 50])
    q, p = rng.exponential(0.7, 105), rng.exponential(1, 170)
    found, chance = copying(q, p, (of_q, of_p))
    single = [copying(q[of_q == c], p[of_p == c])[0] for c in (0, 1)]
    assert found.value == pytest.approx(0.75 * single[0].value + 0.25 * single[1].value, rel=1e-12)
    half = [one.high - one.value for one in single]
    assert found.high - found.value == pytest.approx(np.hypot(0.75 * half[0], 0.25 * half[1]), rel=1e-12)
    assert chance == pytest.approx(norm.cdf(found.value / np.hypot(0.75, 0.25)), rel=1e-12)


def test_interval_holds_what_as_many_pictures_score() -> None:
    """Of exponentials of rates a and 1, P(q > p) = 1 / (1 + a)."""
    rng, n, m = np.random.default_rng(3), 80, 60
    truth = (1 / (1 + 1.6) - 0.5) / np.sqrt((n + m + 1) / (12 * n * m))
    found = [copying(rng.exponential(1 / 1.6, n), rng.exponential(1, m))[0] for _ in range(300)]
    assert 0.91 < np.mean([one.low <= truth <= one.high for one in found]) < 0.985


def test_copies_hide_behind_failures_unless_cells_are_looked_at() -> None:
    """Meehan et al., Figure 1: half copied, half far off, fair on the whole."""
    rng = np.random.default_rng(4)
    of_q, of_p = np.arange(200) % 2, np.arange(200) % 2
    p = rng.exponential(1, 200)
    q = np.where(of_q == 0, 0.2, 5.0) * rng.exponential(1, 200)
    one, chance = copying(q, p)
    assert abs(one.value) < 2 and chance > 0.01
    worst = min(copying(q[of_q == c], p[of_p == c])[0].value for c in (0, 1))
    assert worst < -5


def test_copies_of_digits_are_caught_and_fresh_ones_are_not(real: SimpleNamespace) -> None:
    apart = nearest(real.z, real.x)
    fresh, held = real.z[::2], real.z[1::2]
    cells = cells_of(real.x, fresh, held, count=4)
    _, chance = copying(apart[::2], apart[1::2], cells)
    assert 0.01 < chance < 0.99
    some = torch.cat([real.x[: len(fresh) // 2], fresh[len(fresh) // 2 :]])  # half of them copied
    found, chance = copying(nearest(some, real.x), apart[1::2], cells_of(real.x, some, held, count=4))
    assert chance < 1e-5 and found.value < -3 and found.high < 0
    # Half-way to noise nothing is copied, and nothing is good either.
    noisy = (real.x[:180] + torch.randn_like(real.x[:180])).clamp(-1, 1)
    worse, chance = copying(nearest(noisy, real.x), apart)
    assert worse.value > 5 and chance > 0.999


def test_cells_are_those_of_the_nearest_mean() -> None:
    train = torch.cat([torch.randn(50, 2) + 20 * corner for corner in torch.eye(2)])
    a, b = cells_of(train, torch.tensor([[21.0, 1.0], [0.0, 19.0]]), torch.tensor([[18.0, -1.0]]), count=2)
    assert a[0] == b[0] != a[1]
    assert cells_of(train, train, count=1)[0].max() == 0


def test_unfit_distances_are_refused() -> None:
    d = np.ones(30)
    assert copying(d, d) == copying(d, d) and copying(d, d)[0].value == 0 and copying(d, d)[1] == 0.5
    with pytest.raises(Refusal, match="cell for each"):
        copying(d, d, (np.zeros(29), np.zeros(30)))
    with pytest.raises(Refusal, match="no cell holds 20"):
        copying(d, d[:19])
    with pytest.raises(Refusal, match="finite"):
        copying(d, d * np.nan)


def test_sets_that_lie_wholly_apart_are_not_certain() -> None:
    near, far = np.arange(40.0), 100 + np.arange(30.0)
    found, chance = copying(far, near)
    # All 1,200 pairs are won: z = 600 / sqrt(1200 * 71 / 12), and of equal laws z has the standard deviation 1.
    assert found.value == pytest.approx(600 / (1200 * 71 / 12) ** 0.5) and chance > 0.999999
    assert (found.low, found.high) == pytest.approx((found.value - 1.959964, found.value + 1.959964), abs=1e-6)
