"""Energy distance against scipy, every pair counted by hand, and normals in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import energy_distance


def test_every_pair_by_hand() -> None:
    x, y = Rng(range(37)).normal("x", (3,)).double().numpy(), 0.3 + Rng(range(53)).normal("y", (3,)).double().numpy()
    across = cdist(x, y).mean()
    within = [cdist(z, z)[~np.eye(len(z), dtype=bool)].mean() for z in (x, y)]
    assert energy_distance(x, y).value == pytest.approx(2 * across - sum(within), abs=1e-12)
    assert energy_distance(x, y).value == pytest.approx(energy_distance(y, x).value, abs=1e-12)


def test_one_dimension_is_scipy_less_its_bias() -> None:
    """scipy counts each point with itself; what that adds is E|X - X'| / n and E|Y - Y'| / m."""
    x, y = Rng(range(40)).normal("x", (1,)).double().numpy(), 0.5 * Rng(range(60)).normal("y", (1,)).double().numpy()
    bias = sum(np.abs(z - z.T).sum() / (len(z) ** 2 * (len(z) - 1)) for z in (x, y))
    assert energy_distance(x, y).value == pytest.approx(stats.energy_distance(x[:, 0], y[:, 0]) ** 2 - bias, abs=1e-12)


def test_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = torch.randn(101, 2), torch.randn(67, 2)
    whole = energy_distance(x, y)
    monkeypatch.setattr("mezzotint.metrics.energy._CHUNK", 200)
    cut = energy_distance(x, y)
    assert cut.value == pytest.approx(whole.value, abs=1e-13) and cut.low == pytest.approx(whole.low, abs=1e-13)


def absolute(mean: float, std: float) -> float:
    """E|N(mean, std^2)|, the folded normal's mean."""
    return std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * std**2)) + mean * (
        1 - 2 * stats.norm.cdf(-mean / std)
    )


def test_two_normals_and_their_interval() -> None:
    """The interval holds the truth about as often as it says, and the estimate is unbiased."""
    mean, std, count = 0.7, 0.5, 60
    truth = 2 * absolute(mean, math.hypot(1, std)) - absolute(0, math.sqrt(2)) - absolute(0, std * math.sqrt(2))
    found = []
    for trial in range(300):
        rng = Rng([trial]).repeat(count).at(torch.arange(count))
        found.append(energy_distance(rng.normal("x", (1,)), mean + std * rng.normal("y", (1,))))
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / len(values) ** 0.5
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.9 < held < 0.985


def test_equal_laws_score_nothing_on_average() -> None:
    """Below zero as well: the estimate with each point beside itself would never be."""
    values = []
    for trial in range(200):
        rng = Rng([trial]).repeat(30).at(torch.arange(30))
        values.append(energy_distance(rng.normal("x", (2,)), rng.normal("y", (2,))).value)
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5
    assert 0.2 < np.mean(np.array(values) < 0) < 0.8


def test_pictures_are_points_too_and_nonsense_is_refused() -> None:
    x = torch.randn(9, 1, 2, 3)
    assert energy_distance(x, x + 1).value == pytest.approx(
        energy_distance(x.flatten(1), x.flatten(1) + 1).value, abs=1e-12
    )
    with pytest.raises(Refusal, match="at least 2 points"):
        energy_distance(x[:1], x)
    with pytest.raises(Refusal, match="one shape"):
        energy_distance(x, x[..., :2])
    with pytest.raises(Refusal, match="finite"):
        energy_distance(x, x.log())
