"""The trees: their moments, their shape as described, and points that follow the law and never change."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mezzotint.core import Refusal
from mezzotint.data import Fractal
from mezzotint.data.fractal import tree

SEVENTH = [0.2428027, 0.3784574]


@pytest.mark.parametrize("depth", [1, 3, 5, 7])
def test_moments_and_counts(depth: int) -> None:
    law = tree(depth)
    count = 16 * (2**depth - 1)
    assert law.means.shape == (count, 2) and law.covariances.shape == (count, 2, 2)
    assert law.means.dtype == law.covariances.dtype == law.weights.dtype == torch.float64
    assert law.labels.bincount().tolist() == [count // 2] * 2
    for label in (0, 1):
        assert law.weights[law.labels == label].sum() == pytest.approx(0.5, abs=1e-12)
    second = law.covariances + law.means[:, :, None] * law.means[:, None, :]
    assert torch.allclose((law.weights[:, None] * law.means).sum(0), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    whole = (law.weights[:, None, None] * second).sum(0)
    assert torch.allclose(whole.diagonal(), torch.full((2,), 0.25, dtype=torch.float64), atol=1e-12)
    assert float(torch.linalg.eigvalsh(law.covariances).min()) > 0


def unstretched(depth: int, seed: int = 0) -> list[dict]:
    """Branches of class A in any units of either axis: foot-to-tip direction, length and Gaussians, level by level."""
    law = tree(depth, seed)
    means = law.means[law.labels == 0].reshape(-1, 8, 2)
    weights = law.weights[law.labels == 0].reshape(-1, 8)
    return [{"means": m, "weight": float(w.sum()), "even": float(w.std())} for m, w in zip(means, weights, strict=True)]


def test_branches_fork_from_the_tips_of_those_below() -> None:
    """The straight line through a branch's Gaussians begins where the line of the one below it ends."""
    branches = unstretched(5)
    assert len(branches) == 31
    for number, branch in enumerate(branches):
        m = branch["means"]
        step = (m[7] - m[0]) / 7
        assert torch.allclose(m, m[0] + torch.arange(8.0, dtype=torch.float64)[:, None] * step, atol=1e-12)
        assert branch["even"] < 1e-12
        spacing = 0.86 / 7  # of the length, so the ends lie 0.07 / spacing further on
        branch["foot"], branch["tip"] = m[0] - 0.07 / spacing * step, m[7] + 0.07 / spacing * step
        if number:
            below = branches[(number - 1) // 2]
            assert torch.allclose(branch["foot"], below["tip"], atol=1e-9)


def test_lengths_angles_and_weights_are_as_described() -> None:
    """Over many trees: levels shorter by a fifth, turns of 45 +- 10 degrees, weights per length halved."""
    ratios, turns, sides = [], [], []
    for seed in range(20):
        law = tree(5, seed)
        means = law.means[law.labels == 0].reshape(-1, 8, 2)
        # Undo the stretch: the trunk points to 45 degrees, and a pure stretch of the axes moved it elsewhere.
        trunk = means[0, 7] - means[0, 0]
        ways = (means[:, 7] - means[:, 0]) / trunk.abs() * math.sqrt(0.5)
        lengths, angles = ways.norm(dim=1), torch.atan2(ways[:, 1], ways[:, 0])
        weights = law.weights[law.labels == 0].reshape(-1, 8).sum(1)
        for number in range(1, 31):
            below, level = (number - 1) // 2, int(math.log2(number + 1))
            turn = float(torch.remainder(angles[number] - angles[below] + math.pi, 2 * math.pi) - math.pi)
            turns.append(abs(turn))
            sides.append(turn > 0)
            ratios.append(float(lengths[number]) / 0.8**level)
            shrunk = float(weights[number] / weights[0]) / float(lengths[number] / lengths[0])
            assert shrunk == pytest.approx(0.5**level, rel=1e-9)
    assert np.mean(turns) == pytest.approx(math.pi / 4, abs=0.02) and np.std(turns) == pytest.approx(0.175, abs=0.02)
    assert 0.45 < np.mean(sides) < 0.55
    assert np.std(ratios) / np.mean(ratios) == pytest.approx(0.28, abs=0.06)  # a fifth, and a fifth of the trunk's


def test_a_deeper_tree_keeps_the_lower_branches() -> None:
    """Up to where the whole is moved and stretched: the affine map from one to the other is the same for all means."""
    shallow, deep = tree(3), tree(5)
    few = torch.cat([deep.means[deep.labels == c][:56] for c in (0, 1)])
    for axis in (0, 1):
        fit = stats.linregress(shallow.means[:, axis], few[:, axis])
        assert fit.rvalue == pytest.approx(1, abs=1e-12)
    assert not torch.equal(tree(3, 1).means, shallow.means)


def test_points_follow_the_law() -> None:
    data = Fractal(depth=3, size=20_000)
    x, cond = data[:]
    law = data.tree
    assert x.dtype == torch.float32 and x.shape == (20_000, 2)
    mine = cond["label"]
    assert stats.binomtest(int(mine.sum()), 20_000).pvalue > 1e-3
    for label in (0, 1):
        own = law.labels == label
        w = law.weights[own] / law.weights[own].sum()
        for axis in (0, 1):
            centres, stds = law.means[own][:, axis].numpy(), law.covariances[own][:, axis, axis].sqrt().numpy()

            def below(v, w=w, centres=centres, stds=stds):  # type: ignore[no-untyped-def]
                return (w.numpy() * stats.norm.cdf((v[:, None] - centres) / stds)).sum(1)

            assert stats.kstest(x[mine == label][:, axis].double().numpy(), below).pvalue > 1e-3
    second = (law.weights * (law.covariances[:, 0, 1] + law.means[:, 0] * law.means[:, 1])).sum()
    assert float((x[:, 0] * x[:, 1]).mean()) == pytest.approx(float(second), abs=5 * 0.3 / 20_000**0.5)


def test_items_never_change_and_splits_never_meet() -> None:
    data = Fractal(size=1_000, held_out_size=300)
    everything = data.sibling("all")
    assert (len(data), len(data.held_out()), len(everything)) == (1_000, 300, 1_300)
    assert torch.equal(everything[:1_000][0], data[:][0]) and torch.equal(everything[1_000:][0], data.held_out()[:][0])
    assert len({tuple(p) for p in everything[:][0].tolist()}) == 1_300
    assert torch.equal(Fractal(size="1M")[[3, 999]][0], data[[3, 999]][0])
    assert data[7][0][0].tolist() == pytest.approx(SEVENTH, abs=1e-6)  # on every machine


def test_nonsense_is_refused() -> None:
    for wrong in (0, 13, 2.5, True):
        with pytest.raises(Refusal, match="1 to 12 levels"):
            tree(wrong)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="a point at least"):
        Fractal(size=0)
    with pytest.raises(Refusal, match="no split"):
        Fractal("test")
