"""Frechet distance: closed forms, another square root, invariances, missing rank, and honest intervals."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from mezzotint.core import Refusal
from mezzotint.metrics import frechet, frechet_infinity, gaussian_frechet
from mezzotint.metrics.frechet import expanded


def covariance(seed: int, size: int, rank: int | None = None) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(size, rank or 2 * size))
    return root @ root.T / size


def test_diagonal_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    for size in (1, 3, 40):
        m, n, s, t = rng.normal(size=(4, size))
        want = ((m - n) ** 2).sum() + ((abs(s) - abs(t)) ** 2).sum()
        assert gaussian_frechet(m, np.diag(s**2), n, np.diag(t**2)) == pytest.approx(want, rel=1e-12)


def test_missing_rank_in_closed_form() -> None:
    rng = np.random.default_rng(1)
    turn = ortho_group.rvs(50, random_state=2)
    s, t = np.zeros((2, 50))
    s[:10], t[5:25] = rng.uniform(0.5, 2, 10), rng.uniform(0.5, 2, 20)
    zero = np.zeros(50)
    got = gaussian_frechet(zero, turn @ np.diag(s**2) @ turn.T, zero, turn @ np.diag(t**2) @ turn.T)
    assert got == pytest.approx(((s - t) ** 2).sum(), abs=1e-6)
    a = rng.normal(size=(20, 200))
    assert frechet(a, a, draws=0).value < 1e-6
    assert frechet(a, a + 0.1, draws=0).value == pytest.approx(200 * 0.01, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_the_general_square_root(seed: int) -> None:
    a, b = covariance(seed, 24), covariance(seed + 10, 24)
    m, n = np.random.default_rng(seed).normal(size=(2, 24))
    want = ((m - n) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert gaussian_frechet(m, a, n, b) == pytest.approx(want, rel=1e-9)
    assert gaussian_frechet(n, b, m, a) == pytest.approx(want, rel=1e-9)


def test_tables_are_fitted_as_the_field_does() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(300, 8)) @ rng.normal(size=(8, 8)), rng.gamma(2.0, size=(200, 8))
    product = np.linalg.eigvals(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))  # as torchmetrics takes its trace
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    want -= 2 * np.sqrt(product.real).sum()
    found = frechet(a.astype(np.float32), b, draws=3)
    assert found.value == pytest.approx(want, rel=1e-5) and (found.count, found.against) == (300, 200)
    turn, shift = ortho_group.rvs(8, random_state=0), rng.normal(size=8)
    assert frechet(a @ turn + shift, b @ turn + shift, draws=0).value == pytest.approx(want, rel=1e-9)
    assert frechet(3 * a, 3 * b, draws=0).value == pytest.approx(9 * want, rel=1e-9)


def test_bias_halves_when_pictures_double() -> None:
    # Equal distributions: what is measured is all bias.
    rng = np.random.default_rng(4)
    few, many = (np.mean([frechet(*rng.normal(size=(2, n, 6)), draws=0).value for _ in range(60)]) for n in (150, 300))
    assert few / many == pytest.approx(2, rel=0.15)


def test_interval_has_the_width_of_the_real_spread() -> None:
    rng = np.random.default_rng(5)

    def drawn() -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(size=(200, 4)), 0.5 + rng.normal(size=(200, 4)) * np.array([1, 1.5, 0.7, 1])

    spread = np.std([frechet(*drawn(), draws=0).value for _ in range(200)])
    widths = [(lambda e: e.high - e.low)(frechet(*drawn(), draws=100)) for _ in range(8)]
    assert np.mean(widths) / (2 * 1.96 * spread) == pytest.approx(1, abs=0.2)


def through_matrices(a: np.ndarray, b: np.ndarray) -> float:
    """The distance by the covariances themselves, whatever their rank."""
    return gaussian_frechet(a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False))


@pytest.mark.parametrize(
    ("n", "m", "size"), [(40, 70, 300), (90, 30, 300), (20, 500, 120), (30, 30, 31), (400, 330, 300)]
)
def test_few_rows_of_many_features_are_the_same_distance(n: int, m: int, size: int) -> None:
    rng = np.random.default_rng(n)
    scale = 1 / np.sqrt(1 + np.arange(size))
    a, b = rng.normal(size=(n, size)) * scale, 0.1 + 1.2 * rng.normal(size=(m, size)) * scale
    want = through_matrices(a, b)
    assert frechet(a, b, draws=0).value == pytest.approx(want, rel=1e-6)
    assert frechet(a, b, draws=1).value == pytest.approx(want, rel=1e-6)
    assert expanded(a, b)[0] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(("n", "m", "size"), [(60, 40, 8), (12, 15, 30)])
def test_what_a_row_adds_is_the_derivative_by_its_weight(n: int, m: int, size: int) -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(n, size)), 0.3 + 1.3 * rng.normal(size=(m, size))

    def weighted(u: np.ndarray, v: np.ndarray) -> float:
        moments = []
        for table, w in ((a, u), (b, v)):
            mean = w @ table / w.sum()
            moments += [mean, (table - mean).T * w @ (table - mean) / w.sum() * len(w) / (len(w) - 1)]
        return gaussian_frechet(*moments)

    def slopes(count: int, ask: Callable[[np.ndarray], float]) -> np.ndarray:
        step = 1e-4 * np.eye(count)
        return count * np.array([(ask(1 + row) - ask(1 - row)) / 2e-4 for row in step])

    of_a = slopes(n, lambda w: weighted(w, np.ones(m)))
    of_b = slopes(m, lambda w: weighted(np.ones(n), w))
    want = 1.959963984540054 * np.sqrt(of_a.var() / n + of_b.var() / m)
    assert expanded(a, b)[1] == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("wider", [1.0, 1.3])
def test_the_interval_of_many_features_holds_the_mean_of_many_draws(wider: float) -> None:
    rng = np.random.default_rng(8)
    scale = 1 / np.sqrt(1 + np.arange(300))
    found = [
        frechet(wider * rng.normal(size=(80, 300)) * scale, rng.normal(size=(150, 300)) * scale) for _ in range(120)
    ]
    values, halves = np.array([(e.value, e.high - e.value) for e in found]).T
    assert np.mean(abs(values - values.mean()) < halves) >= 0.92
    assert 0.9 < halves.mean() / (1.96 * values.std()) < 1.8


def test_unfit_tables_are_refused() -> None:
    ones = np.ones((4, 3))
    for a, b in ((ones, np.ones((4, 2))), (ones[0], ones), (ones[:1], ones)):
        with pytest.raises(Refusal, match="two tables"):
            frechet(a, b)
    with pytest.raises(Refusal, match="NaN"):
        frechet(ones, ones * np.nan)


def test_at_infinity_the_bias_is_gone() -> None:
    rng = np.random.default_rng(6)
    scales = np.array([1, 1.5, 0.7, 1, 1, 2])
    want = gaussian_frechet(np.zeros(6), np.eye(6), np.full(6, 0.2), np.diag(scales**2))
    plain, end, paper = [], [], []
    for _ in range(24):
        a, b = rng.normal(size=(300, 6)), 0.2 + rng.normal(size=(300, 6)) * scales
        plain.append(frechet(a, b, draws=0).value)
        end.append(frechet_infinity(a, b, draws=0).value)
        paper.append(frechet_infinity(a, b, draws=0, both=False).value)
    noise = np.std(end) / np.sqrt(24)
    bias = np.mean(plain) - want
    assert bias > 0.05 and abs(np.mean(end) - want) < min(2.5 * noise, bias / 3)
    assert np.mean(end) + 0.01 < np.mean(paper) < np.mean(plain) - 0.01  # the reference's own bias stays in the paper's
    # Equal laws: all of the distance is bias, and the end of the line is zero.
    ends = [frechet_infinity(*rng.normal(size=(2, 300, 6)), draws=0).value for _ in range(24)]
    assert abs(np.mean(ends)) < 3 * np.std(ends) / np.sqrt(24) + 0.003
    assert np.mean([frechet(*rng.normal(size=(2, 300, 6)), draws=0).value for _ in range(9)]) > 0.05


def test_the_interval_at_infinity_covers_the_truth() -> None:
    rng = np.random.default_rng(7)
    want = gaussian_frechet(np.zeros(4), np.eye(4), np.full(4, 0.3), np.diag([1.0, 2.0, 0.5, 1.0]) ** 2)
    hits, off = 0, 0
    for _ in range(20):
        a, b = rng.normal(size=(200, 4)), 0.3 + rng.normal(size=(200, 4)) * np.array([1, 2, 0.5, 1])
        found = frechet_infinity(a, b, draws=12, points=5)
        hits += found.low <= want <= found.high
        off += found.high < want - 1 or found.low > want + 1
    assert hits >= 17 and off == 0
    with pytest.raises(Refusal, match="3 counts at least"):
        frechet_infinity(a, b, points=2)
    with pytest.raises(Refusal, match="2 rows or more"):
        frechet_infinity(a[:5], b)
