"""What is known of x given a corrupted z, against quadrature, scipy, and Bayes' rule over both at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import JointMixture, Mixture
from mezzotint.operators import BlockMean
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Sampling, UniPC
from mezzotint.testing import check_denoiser
from mezzotint.testing.denoiser import TIMES

PAIRS = [(EDM(), Flow()), (VP(), VP()), (Cosine(), EDM()), (Flow(), Cosine())]
paired = pytest.mark.parametrize(("process", "corruption"), PAIRS, ids=lambda p: type(p).__name__)


def joint(process: Continuous, corruption: Continuous | None, labels: list[int] | None = None) -> JointMixture:
    """Three components over two entries of x and three of z."""
    torch.manual_seed(4)
    roots = torch.randn(3, 5, 5, dtype=torch.float64)
    covariances = roots @ roots.mT / 5 + 0.05 * torch.eye(5)
    return JointMixture(process, 1.5 * torch.randn(3, 5), covariances, (2,), (3,), corruption, [1.0, 2.0, 0.5], labels)


def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of the same."""
    torch.manual_seed(4)
    roots = torch.randn(3, 5, 5, dtype=torch.float64)
    covariances = (roots @ roots.mT / 5 + 0.05 * torch.eye(5)).numpy()
    return np.array([1.0, 2.0, 0.5]) / 3.5, (1.5 * torch.randn(3, 5)).double().numpy(), covariances


def asked(process: Continuous, corruption: Continuous) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x_t, t, z_u, u) at ten pairs of noises, far from and near to both ends."""
    torch.manual_seed(5)
    t = torch.tensor([0.02, 0.3, 0.6, 0.9, 0.999], dtype=torch.float64).repeat(2)
    u = corruption.level(torch.tensor([0.001, 0.4, 0.7, 0.95, 1.0], dtype=torch.float64)).repeat_interleave(2)
    at = corruption.time(u)
    x = process.alpha(t)[:, None] * torch.randn(10, 2) + process.sigma(t)[:, None] * torch.randn(10, 2)
    z = corruption.alpha(at)[:, None] * torch.randn(10, 3) + corruption.sigma(at)[:, None] * torch.randn(10, 3)
    return x, t, z, u


@paired
def test_both_seen_at_once_by_scipy(process: Continuous, corruption: Continuous) -> None:
    """(x_t, z_u) as one Gaussian measurement of (x, z), component by component."""
    x, t, z, u = asked(process, corruption)
    cond = Condition(**{"low": z, "low.level": u})
    model = joint(process, corruption, [0, 1, 0])
    answer = model(x, t, cond, want=("log_density", "responsibilities", "covariance", "classes"))
    of_one = model(x, t, cond | Condition(label=[0] * 10), want=("log_density",))
    weights, means, covariances = truth()
    for row in range(len(x)):
        at = corruption.time(u[row])
        a, s = float(process.alpha(t[row])), float(process.sigma(t[row]))
        b, r = float(corruption.alpha(at)), float(corruption.sigma(at))
        scale, noise = np.diag([a, a, b, b, b]), np.diag([s, s, r, r, r]) ** 2
        seen, both, below, firsts, seconds = np.r_[x[row].numpy(), z[row].numpy()], [], [], [], []
        for w, m, c in zip(weights, means, covariances, strict=True):
            v = scale @ c @ scale + noise
            both.append(w * stats.multivariate_normal(scale @ m, v).pdf(seen))
            below.append(w * stats.multivariate_normal((scale @ m)[2:], v[2:, 2:]).pdf(seen[2:]))
            gain = np.linalg.solve(v, scale @ c)[:, :2].T
            firsts.append(m[:2] + gain @ (seen - scale @ m))
            seconds.append(c[:2, :2] - gain @ (scale @ c)[:, :2])
        share = np.array(both) / sum(both)
        mean = share @ np.array(firsts)
        spread = sum(p * (c + np.outer(f - mean, f - mean)) for p, c, f in zip(share, seconds, firsts, strict=True))
        np.testing.assert_allclose(answer.mean[row], mean, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(answer.aux["covariance"][row], spread, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(answer.aux["responsibilities"][row], share, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(answer.aux["log_density"][row], np.log(sum(both) / sum(below)), rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(answer.aux["classes"][row, 1].exp(), share[1], rtol=1e-6, atol=1e-12)
        told = np.log((both[0] + both[2]) / sum(below))
        np.testing.assert_allclose(of_one.aux["log_density"][row], told, rtol=1e-7, atol=1e-8)
        mean = (both[0] * firsts[0] + both[2] * firsts[2]) / (both[0] + both[2])
        np.testing.assert_allclose(of_one.mean[row], mean, rtol=1e-7, atol=1e-8)


def test_mean_and_covariance_by_quadrature() -> None:
    """Two modes, as on the page of the method: Bayes' rule summed over a grid of (x, z)."""
    process, corruption = EDM(), Cosine()
    cov = ((0.18, 0.09), (0.09, 0.09))  # x = z + noise of as much variance
    model = JointMixture(process, ((-2.0, -2.0), (2.0, 2.0)), (cov, cov), (1,), (1,), corruption, (0.3, 0.7))
    grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    high, low = grid[:, None], grid[None, :]
    prior = sum(
        w * torch.exp(-((low - m) ** 2) / 0.18) * torch.exp(-((high - low) ** 2) / 0.18)
        for w, m in ((0.3, -2.0), (0.7, 2.0))
    )
    for t, u, x, z in ((0.01, 0.5, 0.4, 0.2), (0.05, 0.6, -1.0, 0.6), (0.02, 0.3, 0.3, 0.1), (0.5, 0.8, 9.0, -1.0)):
        at = corruption.time(torch.tensor([u], dtype=torch.float64))
        b, r = float(corruption.alpha(at)), float(corruption.sigma(at))
        weight = prior * torch.exp(-0.5 * ((x - high) / (80 * t)) ** 2 - 0.5 * ((z - b * low) / r) ** 2)
        mean = float((weight * high).sum() / weight.sum())
        variance = float((weight * (high - mean) ** 2).sum() / weight.sum())
        one = torch.ones(1, dtype=torch.float64)
        told = Condition(**{"low": z * one[:, None], "low.level": u * one})
        at_t = torch.tensor([t], dtype=torch.float64)
        answer = model(torch.tensor([[x]], dtype=torch.float64), at_t, told, want=("covariance",))
        assert abs(float(answer.mean) - mean) < 1e-8
        assert abs(float(answer.aux["covariance"]) - variance) < 1e-8


@paired
def test_what_is_pure_noise_or_dropped_tells_nothing(process: Continuous, corruption: Continuous) -> None:
    model = joint(process, corruption)
    x, t, z, _ = asked(process, corruption)
    one = torch.ones(10, dtype=torch.float64)
    alone = model.alone(process)(x, t).mean
    cond = Condition(**{"low": z, "low.level": 0.5 * one})
    for told in (Condition(), cond.drop("low"), (cond | Condition(low=z * torch.nan)).drop("low")):
        torch.testing.assert_close(model(x, t, told).mean, alone, rtol=1e-9, atol=1e-11)
    some = torch.arange(10) % 3 == 0
    part = model(x, t, cond.drop("low", rows=some)).mean
    assert torch.equal(part[~some], model(x, t, cond).mean[~some])
    torch.testing.assert_close(part[some], alone[some], rtol=1e-9, atol=1e-11)
    if float(corruption.alpha(one[:1])) == 0:
        torch.testing.assert_close(model(x, t, Condition(**{"low": z, "low.level": one})).mean, alone)


@paired
def test_level_zero_is_z_itself_and_the_limit_of_small_levels(process: Continuous, corruption: Continuous) -> None:
    model = joint(process, corruption)
    x, t, z, _ = asked(process, corruption)
    zero = torch.zeros(10, dtype=torch.float64)
    itself = model(x, t, Condition(low=z)).mean
    assert torch.equal(itself, model(x, t, Condition(**{"low": z, "low.level": zero})).mean)
    assert torch.equal(itself, joint(process, None)(x, t, Condition(low=z)).mean)
    small = model(x, t, Condition(**{"low": z, "low.level": zero + 1e-6})).mean
    torch.testing.assert_close(itself, small, rtol=1e-4, atol=1e-4)


def pictures(process: Continuous, corruption: Continuous) -> JointMixture:
    """Pictures (1, 4, 6) that are one of three, nearly; z is their mean over cells, (1, 2, 2)."""
    torch.manual_seed(6)
    roots = 0.2 * torch.randn(3, 24, 3, dtype=torch.float64)
    covariances = roots @ roots.mT  # of rank three, so that z knows x but for a few axes, and some axes of z are flat
    return JointMixture.of(process, torch.randn(3, 24), covariances, (1, 4, 6), BlockMean((2, 3)), corruption)


def test_a_low_resolution_is_what_the_operator_sees() -> None:
    """At level 0 every picture in doubt still has that low resolution, also with covariances of low rank."""
    model = pictures(Flow(), Cosine())
    x0 = Sampling(UniPC(12), model.alone(Flow()))(rng=Rng(range(6)))
    low = BlockMean((2, 3)).forward(x0)
    noise = torch.randn(6, 1, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for t in (1.0, 0.9, 0.3):
        at = torch.full((6,), t, dtype=torch.float64)
        mean = model((1 - t) * x0 + t * noise, at, Condition(low=low)).mean
        torch.testing.assert_close(BlockMean((2, 3)).forward(mean), low, rtol=1e-5, atol=1e-5)
        rough = model((1 - t) * x0 + t * noise, at, Condition(low=low.float())).mean  # as data are held
        torch.testing.assert_close(rough, mean, rtol=1e-3, atol=1e-3)


def test_pictures_are_drawn_with_the_low_resolution_they_are_told() -> None:
    model = pictures(EDM(), Cosine())
    low = BlockMean((2, 3)).forward(model.means[[0, 1, 2, 1]].reshape(4, 1, 4, 6))
    drawn = Sampling(UniPC(20), model)(Condition(low=low), Rng(range(4)))
    torch.testing.assert_close(BlockMean((2, 3)).forward(drawn), low, rtol=2e-4, atol=2e-4)


def test_stages_before_and_alone() -> None:
    """Both marginals, by their own denoisers."""
    weights, means, covariances = (torch.from_numpy(each) for each in truth())
    model = joint(EDM(), Flow())
    torch.manual_seed(7)
    t, x, z = torch.tensor([0.001, 0.03], dtype=torch.float64), torch.randn(2, 2), torch.randn(2, 3)
    low = Mixture(Flow(), means[:, 2:], covariances[:, 2:, 2:], weights)
    high = Mixture(EDM(), means[:, :2], covariances[:, :2, :2], weights)
    torch.testing.assert_close(model.before(Flow())(z, t).mean, low(z, t).mean)
    torch.testing.assert_close(model.alone(EDM())(x, t).mean, high(x, t).mean)


@paired
def test_the_contract(process: Continuous, corruption: Continuous) -> None:
    """Finite from the prior to clean data at every level; rows alone and in a crowd are the same to the bit."""
    u = torch.tensor([0.0, 1.0, 0.5, 0.2, 0.0, 0.9, 1.0], dtype=torch.float64)
    torch.manual_seed(8)
    told = Condition(**{"low": torch.randn(64, 3), "low.level": u.repeat(10)[:64]})
    check_denoiser(joint(process, corruption), told[: len(TIMES)])


def test_what_is_refused() -> None:
    model, x, t = joint(EDM(), Flow()), torch.zeros(2, 2), torch.full((2,), 0.1).double()
    z = torch.zeros(2, 3)
    for told, why in (
        (Condition(low=torch.zeros(2, 4)), "each 'low' is"),
        (Condition(**{"low.level": torch.zeros(2)}), "how 'low' was corrupted"),
        (Condition(**{"low": z, "low.level": torch.full((2,), 1.1)}), "in \\[0, 1\\]"),
        (Condition(**{"low": z, "low.level": torch.full((2,), torch.nan)}), "in \\[0, 1\\]"),
        (Condition(**{"low": z, "low.sigma": torch.zeros(2)}), "not 'low.sigma'"),
        (Condition(label=[0, 1]), "'label'"),
    ):
        with pytest.raises(Refusal, match=why):
            model(x, t, told)
    with pytest.raises(Refusal, match="how 'low' was corrupted"):
        joint(EDM(), None)(x, t, Condition(**{"low": z, "low.level": torch.zeros(2)}))
    with pytest.raises(Refusal, match="the entries of x"):
        JointMixture(EDM(), torch.zeros(1, 4), torch.eye(4)[None], (2,), (3,))
