"""Exact denoisers against things that know nothing of them: autograd, quadrature, scipy, Monte Carlo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad

from mezzotint.core import Condition, Refusal
from mezzotint.denoiser import Counted, Empirical, Mixture
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
T = torch.tensor([0.02, 0.1, 0.3, 0.6, 0.9], dtype=torch.float64)


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(1)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    covariances = factors @ factors.transpose(1, 2) / 3 + 0.02 * torch.eye(3)
    return Mixture(process, torch.randn(4, 3) + 1, covariances, weights=[1.0, 2.0, 3.0, 0.5], labels=[0, 1, 0, 2])


def empirical(process: Continuous) -> Empirical:
    torch.manual_seed(2)
    return Empirical(process, torch.randn(9, 3), labels=[0, 1, 2] * 3)


def at(process: Continuous, t: torch.Tensor = T) -> torch.Tensor:
    torch.manual_seed(3)
    return process.alpha(t)[:, None] * torch.randn(len(t), 3) + process.sigma(t)[:, None] * torch.randn(len(t), 3)


@named
@pytest.mark.parametrize("make", [mixture, empirical])
@pytest.mark.parametrize("cond", [Condition(), Condition(label=[0, 1, 2, 0, 1])], ids=["free", "labelled"])
def test_tweedie(process: Continuous, make: object, cond: Condition) -> None:
    """E[x_0 | x_t] = (x_t + sigma^2 grad log p(x_t)) / alpha, the gradient by autograd of the reported density."""
    model = make(process)  # type: ignore[operator]
    x = at(process).requires_grad_()
    answer = model(x, T, cond, want=("log_density",))
    (score,) = torch.autograd.grad(answer.aux["log_density"].sum(), x)
    alpha, sigma = process.alpha(T)[:, None], process.sigma(T)[:, None]
    torch.testing.assert_close(answer.mean.detach(), (x.detach() + sigma**2 * score) / alpha, rtol=1e-8, atol=1e-8)


@named
def test_density_and_responsibilities_are_scipy_s(process: Continuous) -> None:
    model, x = mixture(process), at(process)
    answer = model(x, T, want=("log_density", "responsibilities", "classes"))
    torch.manual_seed(1)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    covariances = (factors @ factors.transpose(1, 2) / 3 + 0.02 * torch.eye(3)).numpy()
    means, weights = (torch.randn(4, 3) + 1).double().numpy(), np.array([1.0, 2.0, 3.0, 0.5]) / 6.5
    for row in range(len(T)):
        a, s = float(process.alpha(T[row])), float(process.sigma(T[row]))
        joint = np.array(
            [
                weights[k]
                * stats.multivariate_normal(a * means[k], a**2 * covariances[k] + s**2 * np.eye(3)).pdf(x[row])
                for k in range(4)
            ]
        )
        np.testing.assert_allclose(answer.aux["log_density"][row], np.log(joint.sum()), rtol=1e-8)
        np.testing.assert_allclose(answer.aux["responsibilities"][row], joint / joint.sum(), rtol=1e-6, atol=1e-12)
        by_class = np.array([joint[0] + joint[2], joint[1], joint[3]]) / joint.sum()
        np.testing.assert_allclose(answer.aux["classes"][row].exp(), by_class, rtol=1e-6, atol=1e-12)


@named
def test_mean_and_covariance_by_quadrature(process: Continuous) -> None:
    """One dimension, Bayes' rule integrated numerically."""
    means, variances, weights = [-1.0, 0.8], [0.09, 0.25], [0.3, 0.7]
    model = Mixture(process, [[-1.0], [0.8]], [[[0.09]], [[0.25]]], weights=weights)
    for t in (0.004, 0.2, 0.7):
        at_t = torch.tensor([t], dtype=torch.float64)
        a, s = float(process.alpha(at_t)), float(process.sigma(at_t))
        x = 0.4 * a + 0.3 * s

        def joint(x0: float, power: int, a: float = a, s: float = s, x: float = x) -> float:
            prior = sum(w * stats.norm.pdf(x0, m, v**0.5) for w, m, v in zip(weights, means, variances, strict=True))
            return x0**power * prior * np.exp(-0.5 * ((x - a * x0) / s) ** 2)

        zero, one, two = (
            quad(joint, -5, 5, args=(k,), epsabs=1e-14, epsrel=1e-10, limit=400, points=[-1, 0.4, 0.8])[0]
            for k in range(3)
        )
        answer = model(torch.tensor([[x]], dtype=torch.float64), at_t, want=("covariance",))
        assert abs(float(answer.mean) - one / zero) < 1e-7
        assert abs(float(answer.aux["covariance"]) - (two / zero - (one / zero) ** 2)) < 1e-7


@named
def test_covariance_is_the_slope_of_the_mean(process: Continuous) -> None:
    """Cov[x_0 | x_t] = sigma^2 / alpha dE[x_0 | x_t] / dx_t, the slope by autograd."""
    model = mixture(process)
    for t in (0.02, 0.5):
        at_t = torch.tensor([t], dtype=torch.float64)
        x = at(process, at_t)
        slope = torch.autograd.functional.jacobian(lambda y: model(y[None], at_t).mean[0], x[0])  # noqa: B023
        expected = process.sigma(at_t) ** 2 / process.alpha(at_t) * slope
        found = model(x, at_t, want=("covariance",)).aux["covariance"][0]
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@named
def test_data_are_the_limit_of_narrow_components(process: Continuous) -> None:
    data = empirical(process)
    narrow = Mixture(process, data.data, torch.zeros(9, 3, 3), labels=[0, 1, 2] * 3)
    x = at(process)
    want = ("log_density", "responsibilities", "classes")
    one, two = data(x, T, want=want), narrow(x, T, want=want)
    torch.testing.assert_close(one.mean, two.mean, rtol=1e-8, atol=1e-8)
    for name in want:
        torch.testing.assert_close(one.aux[name], two.aux[name], rtol=1e-7, atol=1e-7)


@named
@pytest.mark.parametrize("make", [mixture, empirical])
def test_both_ends(process: Continuous, make: object) -> None:
    """Clean data answer themselves; where nothing of the data is left, their mean is all there is to say."""
    model = make(process)  # type: ignore[operator]
    x = at(process, torch.tensor([0.0, 1.0], dtype=torch.float64))
    answer = model(x, torch.tensor([0.0, 1.0], dtype=torch.float64)).mean
    assert bool(torch.isfinite(answer).all())
    assert torch.equal(answer[0], x[0])
    if isinstance(process, Cosine | Flow):
        mean = (
            model.data.mean(0)
            if isinstance(model, Empirical)
            else (model.log_weights.exp()[:, None] * model.means).sum(0)
        )
        torch.testing.assert_close(answer[1], mean, rtol=1e-6, atol=1e-6)


def test_labels_restrict_and_dropped_labels_do_not() -> None:
    model, x = mixture(VP()), at(VP())
    cond = Condition(label=[1, 1, 1, 1, 1])
    alone = Mixture(VP(), model.means[1:2], (model.axes[1].T * model.spreads[1] @ model.axes[1])[None])
    torch.testing.assert_close(model(x, T, cond).mean, alone(x, T).mean, rtol=1e-9, atol=1e-9)
    assert torch.equal(model(x, T, cond.drop("label")).mean, model(x, T).mean)
    with pytest.raises(Refusal, match="out of range"):
        model(x, T, Condition(label=[0, 1, 2, 3, 0]))
    with pytest.raises(Refusal, match="text"):
        model(x, T, Condition(text=[0, 1, 2, 3, 0]))
    with pytest.raises(Refusal, match="log_density"):
        model(x, T, want=("density",))


def test_memory_order_does_not_change_a_bit() -> None:
    for model in (mixture(EDM()), empirical(EDM())):
        x = at(EDM())
        assert torch.equal(model(x, T).mean, model(x.t().contiguous().t(), T).mean)


def test_bad_components_are_refused() -> None:
    eye = torch.eye(2)[None]
    with pytest.raises(Refusal, match="negative"):
        Mixture(EDM(), [[0.0, 0.0]], -eye)
    with pytest.raises(Refusal, match="positive weights"):
        Mixture(EDM(), [[0.0, 0.0]], eye, weights=[0.0])
    with pytest.raises(Refusal, match="labels"):
        Mixture(EDM(), [[0.0, 0.0]], eye, labels=[0, 1])
    with pytest.raises(Refusal, match="shape"):
        Mixture(EDM(), [[0.0, 0.0]], eye, shape=(3,))


def test_counted() -> None:
    model = Counted(mixture(EDM()))
    model(at(EDM()), T)
    model(at(EDM())[:2], T[:2])
    assert (model.calls, model.rows) == (2, 7)
    model.reset()
    assert (model.calls, model.rows) == (0, 0)
