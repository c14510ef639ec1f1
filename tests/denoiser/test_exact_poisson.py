"""The exact denoiser of a data set under Poisson flow: fields of charges, scipy's densities, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Empirical
from mezzotint.denoiser.exact import DataSet
from mezzotint.denoiser.exact_poisson import EmpiricalPoisson
from mezzotint.processes import EDM, VP
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.samplers import Churn, Euler, Heun, Multistep, UniPC

T = torch.tensor([0.004, 0.02, 0.1, 0.5, 1.0], dtype=torch.float64)


def points(count: int, *shape: int) -> Tensor:
    return Rng(range(count)).normal("data", shape).double()


def around(model: DataSet, t: Tensor) -> Tensor:
    data = model.data[: len(t)].reshape(len(t), *model.shape)
    return model.process.corrupt(data, t).sample(Rng(range(len(t))))


@pytest.mark.parametrize("size", [2, 3])
def test_one_extra_dimension_is_a_field_of_charges(size: int) -> None:
    """D = 1: the weights are 1 / |x~ - y~|^(N + 1) between points of N + 1 dimensions, the data in the plane."""
    model = EmpiricalPoisson(PoissonFlow(1.0), points(6, size))
    x = around(model, T)
    answer = model(x, T, want=("responsibilities",))
    for row, sigma in enumerate(80 * T):
        lifted = torch.cat([x[row], sigma[None]])
        charges = torch.cat([model.data, torch.zeros(6, 1).double()], 1)
        weights = 1 / (lifted - charges).norm(dim=1) ** (size + 1)
        weights = weights / weights.sum()
        torch.testing.assert_close(answer.aux["responsibilities"][row], weights, rtol=1e-10, atol=0)
        field = ((lifted - charges) / (lifted - charges).norm(dim=1, keepdim=True) ** (size + 1)).sum(0)
        torch.testing.assert_close((x[row] - answer.mean[row]) / sigma, field[:-1] / field[-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dimensions", [1.0, 3.0, 10.5, 400.0])
def test_steps_follow_the_gradient_of_the_potential(dimensions: float) -> None:
    """dx/dr = E_x / E_r = (x - E[y | x, r]) / r, the field by autograd of the potential of N + D dimensions."""
    model = EmpiricalPoisson(PoissonFlow(dimensions), points(7, 3))
    x = around(model, T).requires_grad_()
    r = (80 * T * dimensions**0.5).requires_grad_()
    squared = ((x[:, None] - model.data) ** 2).sum(-1) + r[:, None] ** 2
    # The logarithm of sum_j |.|^-(N + D - 2): both components are divided by the same potential.
    potential = (-(3 + dimensions - 2) / 2 * squared.log()).logsumexp(1)
    of_x, of_r = torch.autograd.grad(potential.sum(), (x, r))
    slope = (x - model(x, T).mean) / r[:, None]
    torch.testing.assert_close(slope.detach(), of_x / of_r[:, None], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dimensions", [0.5, 1.0, 16.0, 3000.0])
def test_densities_are_scipy_s(dimensions: float) -> None:
    data, labels = points(5, 2, 2), [0, 1, 1, 2, 0]
    model = EmpiricalPoisson(PoissonFlow(dimensions), data, labels)
    x = around(model, T)
    answer = model(x, T, want=("log_density", "responsibilities", "classes"))
    for row, sigma in enumerate((80 * T).tolist()):
        joint = np.array(
            [
                stats.multivariate_t(y.numpy(), sigma**2 * np.eye(4), df=dimensions).pdf(x[row].flatten().numpy()) / 5
                for y in data.flatten(1)
            ]
        )
        share = joint / joint.sum()
        np.testing.assert_allclose(answer.aux["log_density"][row], np.log(joint.sum()), rtol=1e-9)
        np.testing.assert_allclose(answer.aux["responsibilities"][row], share, rtol=1e-7, atol=1e-12)
        by_class = [share[0] + share[4], share[1] + share[2], share[3]]
        np.testing.assert_allclose(answer.aux["classes"][row].exp(), by_class, rtol=1e-7, atol=1e-12)
        mean = (share[:, None] * data.flatten(1).numpy()).sum(0)
        np.testing.assert_allclose(answer.mean[row].flatten(), mean, rtol=1e-7, atol=1e-9)


def test_a_label_leaves_its_own_items() -> None:
    data, labels = points(9, 4), torch.arange(9) % 3
    process = PoissonFlow(7.0)
    model, x = EmpiricalPoisson(process, data, labels), around(EmpiricalPoisson(process, data), T)
    told = model(x, T, Condition(label=[2] * 5), want=("log_density",))
    alone = EmpiricalPoisson(process, data[2::3])(x, T, want=("log_density",))
    torch.testing.assert_close(told.mean, alone.mean)
    torch.testing.assert_close(told.aux["log_density"], alone.aux["log_density"] - np.log(3))


def test_many_dimensions_are_the_edm_denoiser() -> None:
    data = points(40, 8)
    edm, t = Empirical(EDM(), data), torch.linspace(0.001, 0.2, 40).double()
    x = around(edm, t)
    gaps = [float((EmpiricalPoisson(PoissonFlow(d), data)(x, t).mean - edm(x, t).mean).abs().max()) for d in (1e3, 1e7)]
    assert gaps[1] < 1e-3 < gaps[0]
    densities = [
        m(x, t, want=("log_density",)).aux["log_density"] for m in (edm, EmpiricalPoisson(PoissonFlow(1e9), data))
    ]
    torch.testing.assert_close(densities[1], densities[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", [Heun(18), Churn(18), Euler(18), Multistep(18), UniPC(18)], ids=repr)
def test_one_charge_has_straight_field_lines(sampler: Heun) -> None:
    """|x_sigma - y| / sigma never changes, in any number of steps."""
    y = points(1, 5)
    model = EmpiricalPoisson(PoissonFlow(4.0), y)
    states = list(sampler.trajectory(model, rng=Rng(range(6))))
    first = (states[0].x - y) / 80
    for state in states[1:-1]:
        torch.testing.assert_close((state.x - y) / (80 * state.t[:, None]), first, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(states[-1].x, y.expand(6, 5))


def test_the_flow_leads_the_prior_to_the_data() -> None:
    """Three of four charges at one place: so many samples end there, and every one at a charge."""
    data = torch.tensor([[1.0, 0.5], [1.0, 0.5], [1.0, 0.5], [-1.0, 0.0]]).double()
    end = Heun(30)(EmpiricalPoisson(PoissonFlow(2.5), data), rng=Rng(range(1000)))
    away = (end[:, None] - data[[0, 3]]).norm(dim=-1)
    assert float(away.amin(1).max()) < 1e-3
    assert stats.binomtest(int((away[:, 0] < 1e-3).sum()), 1000, 0.75).pvalue > 0.01


@pytest.mark.parametrize("model", [Empirical(VP(), points(300, 6)), EmpiricalPoisson(PoissonFlow(9.0), points(300, 6))])
def test_rows_are_their_own(model: DataSet) -> None:
    t = torch.linspace(0, 1, 150, dtype=torch.float64)
    x = around(model, t)
    whole = model(x, t).mean
    for seed in range(20):
        few = torch.randperm(150, generator=torch.Generator().manual_seed(seed))[: 1 + 7 * seed]
        assert torch.equal(model(x[few], t[few]).mean, whole[few])


@pytest.mark.parametrize("offset", [0.0, 1e5])
@pytest.mark.parametrize("process", [EDM(), VP(), PoissonFlow(3.0), PoissonFlow(500.0)], ids=str)
def test_low_noise_far_from_the_origin(process: EDM | VP | PoissonFlow, offset: float) -> None:
    """Against distances measured one by one; two items lie close together, on both sides of what is asked about."""
    t = process.time(torch.tensor([1e-7, 1e-5, 1e-4, 1e-3, 0.02, 0.5, 0.9]).double())
    a, s = process.alpha(t)[:, None], process.sigma(t)[:, None]
    data = offset + points(60, 10)
    data[1] = data[0] + 3e-5
    make = EmpiricalPoisson if isinstance(process, PoissonFlow) else Empirical
    model = make(process, data)
    x = a * (data[0] + 1.4e-5) + s * Rng(range(7)).normal("noise", (10,)).double() / 3
    share = model(x, t, want=("responsibilities",)).aux["responsibilities"]
    squared = ((x[:, None] - a[:, :, None] * data) ** 2).sum(-1) / s**2
    if isinstance(process, PoissonFlow):
        d = process.dimensions
        expected = (-(10 + d) / 2 * (1 + squared / d).log()).softmax(1)
    else:
        expected = (-squared / 2).softmax(1)
    torch.testing.assert_close(share, expected, rtol=1e-6, atol=1e-9)
    assert 0.01 < float(share[2:5, 0].min()) and float(share[2:5, 0].max()) < 0.99 or s.min() < 1e-6


def test_gradients() -> None:
    model = EmpiricalPoisson(PoissonFlow(2.0), points(12, 3))
    t = torch.tensor([0.0005, 0.01, 0.4]).double()
    x = around(model, t).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model(x, t).mean, x)


def test_each_for_its_own_noise() -> None:
    with pytest.raises(Refusal, match="exact for PoissonFlow, not for EDM"):
        EmpiricalPoisson(EDM(), points(3, 2))  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="Empirical is exact for normal noise, but PoissonFlow has another"):
        Empirical(PoissonFlow(5.0), points(3, 2))
    with pytest.raises(Refusal, match="one time per sample"):
        EmpiricalPoisson(PoissonFlow(5.0), points(3, 2))(points(1, 2), torch.tensor([[0.1, 0.2]]).double())
