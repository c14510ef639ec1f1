"""Poisson flow's noise against scipy, the paper's own way of drawing it, and the limits it must have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from mezzotint import data, load, testing, training
from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Gaussian, Refusal, Rng, build, cat, config, spec
from mezzotint.denoiser import Empirical, Mixture, Preconditioned, Recast
from mezzotint.denoiser.exact_poisson import EmpiricalPoisson
from mezzotint.guidance import AtNoise
from mezzotint.networks import UNet
from mezzotint.objectives import Bound, Denoising
from mezzotint.objectives.base import Levels
from mezzotint.processes import EDM, Process
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.processes.student import StudentT, chi_squared
from mezzotint.samplers import Analytic, Ancestral, Churn, Heun, Multistep, Recurrence
from mezzotint.samplers.perturbed import Perturbed

T = torch.tensor([0.01, 0.2, 1.0], dtype=torch.float64)


def draws(dimensions: float, size: int, count: int = 4000, t: float = 0.3) -> Tensor:
    """Noise (count, size) at time t."""
    x0 = torch.zeros(count, size, dtype=torch.float64)
    return PoissonFlow(dimensions).corrupt(x0, torch.full((count,), t).double()).sample(Rng(range(count)))


@pytest.mark.parametrize("degrees", [0.1, 0.5, 1.0, 2.0, 3.7, 16.0, 64.0, 401.0, 2048.0, 1e5, 1e7])
def test_chi_squared_is_scipy_s_quantile(degrees: float) -> None:
    """Also in both far tails, as far as a uniform reaches."""
    tail = 10.0 ** torch.linspace(-15.9, -1, 120, dtype=torch.float64)
    u = torch.cat([tail, torch.linspace(0.1, 0.9, 201, dtype=torch.float64), 1 - tail.flip(0)])
    half, v = degrees / 2, u.numpy()
    expected = 2 * np.where(v < 0.5, special.gammaincinv(half, v), special.gammainccinv(half, 1 - v))
    found = chi_squared(u, torch.full_like(u, degrees))
    np.testing.assert_allclose(found, expected, rtol=2e-9)
    assert bool((found.diff() >= 0).all())
    few = torch.tensor([7, 300, 0, 150])
    assert torch.equal(chi_squared(u[few], torch.full((4,), degrees, dtype=torch.float64)), found[few])
    ends = chi_squared(torch.tensor([0.0, 1 - 2.0**-53]).double(), torch.full((2,), degrees, dtype=torch.float64))
    assert bool(torch.isfinite(ends).all()) and float(ends[0]) < float(ends[1])


@pytest.mark.parametrize(("size", "dimensions"), [(3, 1.0), (5, 2.5), (64, 16.0), (2, 300.0), (196, 2048.0)])
def test_drawn_as_the_paper_draws(size: int, dimensions: float) -> None:
    """|n|^2 / (r^2 + |n|^2) ~ Beta(N / 2, D / 2) with r = sigma sqrt(D), in a direction that prefers none."""
    noise = draws(dimensions, size)
    squared = noise.square().sum(1)
    share = squared / (squared + (0.3 * 80) ** 2 * dimensions)
    assert stats.kstest(share.numpy(), stats.beta(size / 2, dimensions / 2).cdf).pvalue > 0.01
    first = (1 + noise[:, 0] / squared.sqrt()) / 2  # one coordinate of a uniform direction
    assert stats.kstest(first.numpy(), stats.beta((size - 1) / 2, (size - 1) / 2).cdf).pvalue > 0.01
    # The paper's sampler, number by number from another generator.
    other = np.random.default_rng(0)
    b, g = other.beta(size / 2, dimensions / 2, 4000), other.standard_normal((4000, size))
    theirs = 24 * np.sqrt(dimensions * b / (1 - b)) * g[:, -1] / np.linalg.norm(g, axis=1)
    assert stats.ks_2samp(noise[:, -1].numpy(), theirs).pvalue > 0.01


def test_the_prior_is_student_s_too() -> None:
    x = PoissonFlow(3.0, 10.0).prior((2, 2)).repeat(4000).sample(Rng(range(4000))).double()
    squared = x.square().flatten(1).sum(1)
    assert stats.kstest((squared / (squared + 300)).numpy(), stats.beta(2, 1.5).cdf).pvalue > 0.01
    assert stats.kstest(x[:, 0, 1].numpy() / 10, stats.t(3).cdf).pvalue > 0.01


def test_many_dimensions_are_diffusion() -> None:
    noise = draws(1e6, 4)
    for column in noise.T:
        assert stats.kstest(column.numpy() / 24, "norm").pvalue > 0.01
    x0, keys = torch.randn(5, 2, 3).double(), Rng(range(5))
    t = torch.full((5,), 0.3).double()
    ours, edm = (process.corrupt(x0, t).sample(keys) for process in (PoissonFlow(1e12), EDM()))
    torch.testing.assert_close(ours, edm, rtol=1e-5, atol=1e-4)  # the same noise under the same keys


def test_second_moment() -> None:
    """E|n|^2 = N sigma^2 D / (D - 2); there is none for D <= 2."""
    noise = draws(9.0, 4, 20_000).square().sum(1)
    error = float(noise.std()) / 20_000**0.5
    assert abs(float(noise.mean()) - 4 * 24**2 * 9 / 7) < 4 * error
    law = PoissonFlow(9.0).corrupt(torch.zeros(3, 4).double(), T)
    torch.testing.assert_close(law.variance[:, 0], (80 * T) ** 2 * 9 / 7)
    wide = PoissonFlow(2.0).corrupt(torch.zeros(3, 4), T * torch.tensor([0.0, 1.0, 1.0]))
    assert wide.variance[:, 0].tolist() == [0.0, np.inf, np.inf]


@pytest.mark.parametrize("degrees", [0.7, 1.0, 4.0, 250.0])
def test_log_prob_is_scipy_s(degrees: float) -> None:
    mean, x = torch.randn(3, 2, 2).double(), torch.randn(3, 2, 2).double()
    scale = torch.tensor([[0.5, 1.0], [2.0, 0.1]]).double().expand(3, 2, 2)
    law = StudentT(mean, scale, torch.full((3,), degrees, dtype=torch.float64))
    shape = np.diag(scale[0].flatten().numpy() ** 2)
    expected = [
        stats.multivariate_t(m.flatten().numpy(), shape, df=degrees).logpdf(v.flatten().numpy())
        for m, v in zip(mean, x, strict=True)
    ]
    np.testing.assert_allclose(law.log_prob(x), expected, rtol=1e-10)
    large = StudentT(mean, scale, torch.full((3,), 1e9)).log_prob(x)
    torch.testing.assert_close(large, Gaussian(mean, scale**2).log_prob(x), rtol=1e-6, atol=1e-6)


def test_known_entries() -> None:
    """p(rest | known) p(known) = p(all), and what is known comes through bit for bit."""
    mean, x = torch.randn(4, 5).double(), 3 * torch.randn(4, 5).double()
    law = StudentT(mean, torch.full((4, 1), 0.7).double(), torch.tensor([0.5, 1.0, 3.0, 40.0]).double())
    mask = torch.tensor([True, False, True, False, False])
    rest = law.given(x, mask)
    assert torch.equal(rest.sample(Rng(range(4)))[:, mask], x[:, mask])
    known, open_ = (
        law.log_prob(x),
        StudentT(rest.mean[:, ~mask], rest.scale[:, ~mask], rest.degrees).log_prob(x[:, ~mask]),
    )
    marginal = StudentT(mean[:, mask], law.scale, law.degrees).log_prob(x[:, mask])
    torch.testing.assert_close(open_ + marginal, known)
    assert rest.log_prob(x).tolist() == [np.inf] * 4 and rest.log_prob(x + 1).tolist() == [-np.inf] * 4


def test_rows_are_their_own() -> None:
    law = PoissonFlow(3.0).corrupt(torch.randn(40, 2, 3), torch.linspace(0, 1, 40).double())
    x, few = law.sample(Rng(range(40))), [31, 0, 5]
    assert torch.equal(law[few].sample(Rng(few)), x[few]) and torch.equal(x[0], law.mean[0])
    both = cat([law[:7], PoissonFlow(800.0).corrupt(torch.zeros(3, 2, 3), T)])
    assert torch.equal(both.sample(Rng(range(10)))[:7], x[:7]) and both.degrees.tolist() == [3.0] * 7 + [800.0] * 3


class At(Levels):
    def __init__(self, t: float) -> None:
        super().__init__()
        self.t = t

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        return torch.full((len(rng),), self.t).double(), torch.ones(len(rng)).double()


class Silent(torch.nn.Module):
    shape = (64,)

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        self.size = x.square().mean()
        return torch.zeros_like(x)


@pytest.mark.parametrize("process", [PoissonFlow(5.0), PoissonFlow(20.0), EDM()], ids=str)
def test_the_loss_of_a_silent_network(process: EDM | PoissonFlow) -> None:
    """(sigma^2 + k d^2) / (sigma^2 + d^2) with k = D / (D - 2): 1 for EDM only, and its input is of unit size there."""
    d, sigma, count = 0.5, 0.4, 8000
    k = 1 if isinstance(process, EDM) else process.dimensions / (process.dimensions - 2)
    model = Preconditioned(Silent(), process, sigma_data=d)
    x = d * Rng(range(count)).normal("data", (64,))
    loss = Denoising(At(sigma / 80), dropout=0.0)(model, x, NONE, Rng(range(count))).value.detach()
    error = float(loss.std()) / count**0.5
    assert abs(float(loss.mean()) - (sigma**2 + k * d**2) / (sigma**2 + d**2)) < 4 * error
    assert float(model.network.size) == pytest.approx((d**2 + k * sigma**2) / (d**2 + sigma**2), rel=0.1)


def test_a_network_is_trained_saved_and_sampled(tmp_path: Path) -> None:
    """Objective, preconditioning, trainer, store and samplers as they are."""
    digits = data.Digits()
    network = UNet(digits.shape, width=8, multipliers=(1,), vector=8)
    model = Preconditioned(network, PoissonFlow(64.0), Encoder(label=Classes(10, 8)), sigma_data=0.7)
    trainer = training.Trainer(Denoising(dropout=0.0), images=128, batch=32, sampler=Heun(2))
    trainer.fit(model, digits, tmp_path / "run")
    again = load(tmp_path / "run")
    assert again.process == PoissonFlow(64.0)
    for sampler in (Heun(3), Multistep(4), Churn(3), Ancestral(4, eta=0.0)):
        assert bool(torch.isfinite(sampler(again, Condition(label=[3, 4]), rng=Rng(range(2)))).all())


def test_what_it_has_no_law_for_is_refused() -> None:
    process = PoissonFlow(64.0)
    x, t, keys = torch.zeros(2, 3), torch.full((2,), 0.5).double(), Rng(range(2))
    exact = Preconditioned(Silent(), process)
    assert torch.equal(process.bridge(x + 1, x, t, t / 2, eta=0).mean, x + 0.5)
    for refused in (
        lambda: process.bridge(x, x, t, t / 2),
        lambda: process.renoise(x, t / 2, t),
        lambda: Ancestral(4)(exact, rng=keys),
        lambda: Multistep(4, eta=0.5)(exact, rng=keys),
        lambda: Churn(4, churn=1.0)(exact, rng=keys),
        lambda: Heun(4, grid=Recurrence())(exact, rng=keys),
        lambda: Bound(4)(exact, torch.zeros(2, 64), Condition(), keys),
    ):
        with pytest.raises(Refusal, match="how two noise levels of one sample go together"):
            refused()
    law = process.corrupt(x, t)
    with pytest.raises(TypeError, match="no natural parameters"):
        law.lerp(law, 0.5)
    with pytest.raises(TypeError, match="no closed form for KL"):
        law.kl(law)


@pytest.mark.parametrize("sampler", [Heun(6), Churn(6), Multistep(6), Perturbed(Heun(6), 0.01)], ids=repr)
def test_samplers_keep_their_contract(sampler: Heun) -> None:
    """Every promise but those about rising; a sampler that draws refuses this one."""
    testing.check_sampler(sampler, processes=[PoissonFlow(5.0)])
    with pytest.raises(Refusal):
        Ancestral(6)(EmpiricalPoisson(PoissonFlow(5.0), torch.zeros(2, 3)), rng=Rng([0]))


class OneWay(PoissonFlow):
    """Claims a posterior without the law that it would be made from."""

    def bridge(self, x: Tensor, x0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Gaussian:  # type: ignore[override]
        return EDM(self.sigma_max).bridge(x, x0, t, s, eta)  # type: ignore[return-value]


class Lighter(PoissonFlow):
    """Its prior is not where corruption ends."""

    def prior(self, shape: tuple[int, ...]) -> StudentT:
        law = super().prior(shape)
        return StudentT(law.mean, 0.9 * law.scale, law.degrees)


@pytest.mark.parametrize(
    ("process", "why"),
    [(OneWay(5.0), "corrupt then bridge|should know renoise"), (Lighter(5.0), "prior and of corrupt at t = 1")],
    ids=["one way", "lighter"],
)
def test_its_contract_has_teeth(process: PoissonFlow, why: str) -> None:
    testing.check_process(PoissonFlow(5.0))
    with pytest.raises(testing.Broken, match=why):
        testing.check_process(process)


def test_what_is_for_normal_noise_refuses_it() -> None:
    process, points = PoissonFlow(64.0), torch.randn(4, 3)
    edm = Mixture(EDM(), [[0.0, 1.0]], [[[0.5, 0.2], [0.2, 0.3]]])
    for refused in (
        lambda: Empirical(process, points),
        lambda: Mixture(process, [[0.0, 1.0]], [[[0.5, 0.2], [0.2, 0.3]]]),
        lambda: Recast(edm, process),
        lambda: Analytic(process, 0.5, 0.0, 1.0, (3,)),
        lambda: AtNoise(EmpiricalPoisson(process, points), lambda x, cond, t=None: x.sum(1), 1.0),
    ):
        with pytest.raises(Refusal, match="normal"):
            refused()
    assert EDM().gaussian and not process.gaussian


def test_spec_and_settings() -> None:
    process = PoissonFlow(128.0, sigma_max=20.0)
    tree = spec(process)
    assert tree == {"part": "processes.poisson.PoissonFlow", "dimensions": 128.0, "sigma_max": 20.0}
    assert build(config.loads(config.dumps(tree))) == process
    u = torch.tensor([0.0, 0.3, 0.9, 1.0]).double()
    assert torch.equal(process.time(u), EDM(20.0).time(u)) and torch.equal(process.level(u), EDM(20.0).level(u))
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(Refusal, match="extra dimensions"):
            PoissonFlow(wrong)
    with pytest.raises(Refusal, match="sigma_max"):
        PoissonFlow(3.0, -1.0)
