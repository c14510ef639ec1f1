"""Pairwise distance within classes: scipy's, normals in closed form, collapse, and the jackknife's interval."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import pairwise_distance


def test_is_the_mean_over_classes_of_every_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = Rng(range(40)).normal("x", (2, 3, 3)), torch.tensor([0] * 25 + [4] * 3 + [9] * 10 + [7] * 2)
    rows = x.flatten(1).double().numpy()
    want = np.mean([pdist(rows[labels.numpy() == c]).mean() for c in (0, 4, 9)])
    mixed = Rng([5]).uniform("mix", (40,))[0].argsort()
    for _ in range(2):
        found = pairwise_distance(x[mixed], labels[mixed])
        assert found.value == pytest.approx(want, rel=1e-12)
        assert found.count == 38  # the class of two has no interval, and is left out
        assert pairwise_distance(x).value == pytest.approx(pdist(rows).mean(), rel=1e-12)
        monkeypatch.setattr("mezzotint.metrics.points._CHUNK", 90)
    assert pairwise_distance(3 * x + 1, labels).value == pytest.approx(3 * want, rel=1e-6)


def test_interval_is_the_jackknife() -> None:
    """Left out one at a time, which is what the closed form stands for."""
    x = Rng(range(12)).normal("x", (3,)).double().numpy()
    left = np.array([pdist(np.delete(x, i, 0)).mean() for i in range(12)])
    variance = 11 / 12 * ((left - pdist(x).mean()) ** 2).sum()
    found = pairwise_distance(x)
    assert found.high - found.value == pytest.approx(1.959964 * variance**0.5, rel=1e-6)


def test_normals_in_closed_form_are_held_by_the_interval() -> None:
    """E|x - x'| of N(0, s^2) is 2 s / sqrt(pi); three classes of unlike spread and count."""
    spread, counts = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([12, 30, 20])
    labels = torch.arange(3).repeat_interleave(counts)
    truth = 2 / np.pi**0.5 * spread.mean().item()
    found = []
    for trial in range(300):
        noise = Rng([trial]).normal("x", (len(labels), 1))[0]
        found.append(pairwise_distance(spread[labels][:, None] * noise + 5 * labels[:, None], labels))
    values = np.array([one.value for one in found])
    assert abs(values.mean() - truth) < 3 * values.std() / len(values) ** 0.5
    assert 0.9 < np.mean([one.low <= truth <= one.high for one in found]) < 0.985


def test_collapse_scores_nothing_and_hides_without_labels() -> None:
    one_each = 10 * torch.eye(3).repeat(8, 1)
    labels = torch.arange(3).repeat(8)
    assert pairwise_distance(one_each, labels).value == 0 and pairwise_distance(one_each).value > 5


def test_unfit_points_are_refused() -> None:
    x = torch.randn(6, 2)
    with pytest.raises(Refusal, match="sample more"):
        pairwise_distance(x, torch.arange(6) // 2)
    with pytest.raises(Refusal, match="as many whole numbers"):
        pairwise_distance(x, torch.arange(5))
    with pytest.raises(Refusal, match="as many whole numbers"):
        pairwise_distance(x, torch.zeros(6))
    with pytest.raises(Refusal, match="at least 3 points"):
        pairwise_distance(x[:2])
