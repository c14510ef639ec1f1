"""One method under several names: Euler, DDIM and flow Euler; every process after rescaling; a closed-form run."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import NONE, Gaussian, Refusal, Rng, spec
from mezzotint.denoiser import Denoiser, Mixture
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Heun, Karras, Level, Sampling, Uniform

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
ONE = torch.ones(1, dtype=torch.float64)


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(5)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    return Mixture(process, 2 * torch.randn(4, 3) + 1, factors @ factors.transpose(1, 2) / 3 + 0.1 * torch.eye(3))


@named
@pytest.mark.parametrize("grid", [Karras(), Level(), Uniform()], ids=str)
def test_euler_is_ddim(process: Continuous, grid: object) -> None:
    model, rng = mixture(process), Rng(range(6))
    start = process.sigma(ONE) * rng.normal("x", (3,)).double()
    euler = Euler(25, grid=grid)(model, rng=rng, start=start)  # type: ignore[arg-type]
    ddim = Ancestral(25, eta=0.0, grid=grid)(model, rng=rng, start=start)  # type: ignore[arg-type]
    torch.testing.assert_close(euler, ddim, rtol=1e-12, atol=1e-12)


def test_euler_on_flow_is_flow_euler() -> None:
    """x_s = x_t + (s - t) velocity, with the velocity (x - x_0) / t of rectified flow."""
    model, rng = mixture(Flow()), Rng(range(6))
    times = Karras()(Flow(), 25)
    x = rng.normal("x", (3,)).double()
    ours = Euler(25)(model, rng=rng, start=x)
    for t, s in zip(times[:-1], times[1:], strict=True):
        x = x + (s - t) * (x - model(x, t.expand(6)).mean) / t
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


def test_heun_on_flow_is_the_trapezium_of_flow() -> None:
    model, rng = mixture(Flow()), Rng(range(6))
    times = Level()(Flow(), 12)
    x = rng.normal("x", (3,)).double()
    ours = Heun(12, grid=Level())(model, rng=rng, start=x)

    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return (x - model(x, t.expand(6)).mean) / t

    for t, s in zip(times[:-1], times[1:], strict=True):
        first = velocity(x, t)
        there = x + (s - t) * first
        x = there if s == 0 else x + (s - t) * 0.5 * (first + velocity(there, s))
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [Euler, Heun, Ancestral])
@pytest.mark.parametrize("other", [VP(), VP(0.5, 12.0)], ids=str)
def test_every_process_is_edm_after_rescaling(sampler: type, other: VP) -> None:
    """On the same ratios sigma / alpha, x / alpha is one and the same path, fresh noise included."""
    ratio = float(other.sigma(ONE) / other.alpha(ONE))
    edm = EDM(sigma_max=ratio)
    kappa = torch.cat([torch.logspace(math.log10(ratio), -2, 30, dtype=torch.float64), torch.zeros(1)])
    times = other.time(kappa / (1 + kappa))
    times[0] = 1.0
    rng = Rng(range(5))
    x = ratio * rng.normal("x", (3,)).double()
    one = list(sampler(30).trajectory(mixture(edm), rng=rng, times=kappa / ratio, start=x))
    two = list(sampler(30).trajectory(mixture(other), rng=rng, times=times, start=x * other.alpha(ONE)))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(b.x / other.alpha(b.t)[:, None], a.x, rtol=1e-10, atol=1e-10)


@named
def test_a_single_gaussian_has_a_closed_form(process: Continuous) -> None:
    """(x_t - alpha mu) / sqrt(alpha^2 c^2 + sigma^2) is constant along the exact path."""
    mu, c = torch.tensor([2.0, -1.0], dtype=torch.float64), 0.7
    model = Mixture(process, mu[None], (c**2 * torch.eye(2))[None])
    x = process.sigma(ONE) * Rng(range(8)).normal("x", (2,)).double()
    states = list(Heun(120, grid=Level()).trajectory(model, rng=Rng(range(8)), start=x))
    alpha, sigma = process.alpha(ONE), process.sigma(ONE)
    constant = (x - alpha * mu) / (alpha**2 * c**2 + sigma**2).sqrt()
    for state in states[20::20]:
        alpha, sigma = process.alpha(state.t)[:, None], process.sigma(state.t)[:, None]
        exact = alpha * mu + (alpha**2 * c**2 + sigma**2).sqrt() * constant
        torch.testing.assert_close(state.x, exact, rtol=0, atol=1e-3 * float(alpha[0] + sigma[0]))


class Told(Denoiser):
    """The exact law of x_0 of entries N(mu, c^2), spread included: a perfectly learnt variance."""

    def __init__(self, process: Continuous) -> None:
        super().__init__()
        self.process, self.shape = process, (SIZE,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        alpha, sigma = self.process.scales(t, x)
        precision = alpha**2 / sigma**2 + 1 / C**2
        return Gaussian((alpha * x / sigma**2 + MU / C**2) / precision, 1 / precision)


MU, C, ROWS, SIZE = 1.5, 0.6, 1200, 16
ERROR = 5 / math.sqrt(2 * ROWS * SIZE)  # five standard errors of a standard deviation, over 19,200 entries


def spreads(sampler: Ancestral, model: Denoiser) -> list[float]:
    """Standard deviations over their true value at three times of a run begun in the exact law; checks the means."""
    process, rng, out = model.process, Rng(range(ROWS)), []
    alpha, sigma = process.alpha(ONE), process.sigma(ONE)
    start = alpha * MU + (alpha**2 * C**2 + sigma**2).sqrt() * rng.normal("exact", (SIZE,)).double()
    for step, state in enumerate(sampler.trajectory(model, rng=rng, start=start)):
        if step in (sampler.steps // 2, sampler.steps * 3 // 4, sampler.steps):
            alpha, sigma = process.alpha(state.t[:1]), process.sigma(state.t[:1])
            spread = float((alpha**2 * C**2 + sigma**2).sqrt())
            assert abs(float(state.x.mean() - alpha * MU)) < 5 * spread / math.sqrt(ROWS * SIZE)
            out.append(float(state.x.std()) / spread)
    return out


@named
@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_ancestral_keeps_mean_and_spread(process: Continuous, eta: float) -> None:
    """With the whole law of x_0 the marginal is exact at any number of steps, whatever eta: here 5."""
    assert max(abs(ratio - 1) for ratio in spreads(Ancestral(5, eta=eta), Told(process))) < ERROR


@named
def test_ancestral_with_a_mean_alone_loses_spread_like_one_over_n(process: Continuous) -> None:
    """The posterior mean alone (DDPM's smaller variance) is of first order: twice the steps halve the lost spread."""
    model = Mixture(process, torch.full((1, SIZE), MU), (C**2 * torch.eye(SIZE))[None])
    few, many = (spreads(Ancestral(steps), model)[-1] for steps in (30, 60))
    assert 0.06 < 1 - few < 0.25 and abs((1 - few) / (1 - many) - 2) < 0.4


@named
@pytest.mark.parametrize("grid", [Karras(), Level(), Uniform()], ids=str)
@pytest.mark.parametrize("steps", [1, 2, 18])
def test_grids_fall_from_the_prior_to_clean_data(process: Continuous, grid: Uniform, steps: int) -> None:
    times = grid(process, steps)
    assert times.dtype == torch.float64 and times.shape == (steps + 1,)
    assert times[0] == 1 and times[-1] == 0
    assert bool((times.diff() < 0).all())


def test_karras_is_the_paper_s() -> None:
    """EDM's 18 sigmas from 80 to 0.002 with rho = 7, and on every process the same ratios at low noise."""
    sigma = EDM().sigma(Karras()(EDM(), 18))
    printed = [80.0, 57.586, 40.786, 28.375, 19.353]  # eq. 5 at i = 0 .. 4
    torch.testing.assert_close(sigma[:5], torch.tensor(printed, dtype=torch.float64), rtol=1e-4, atol=0)
    assert abs(float(sigma[17]) - 0.002) < 1e-12
    for process in (Cosine(), Flow()):
        t = Karras()(process, 18)[10:18]
        ratio = process.sigma(t) / process.alpha(t)
        edm = sigma[10:18]
        torch.testing.assert_close(ratio, edm / (1 - edm / 80), rtol=1e-9, atol=0)


def test_level_grid_has_equal_shares_of_noise() -> None:
    for process in PROCESSES:
        gaps = process.level(Level()(process, 10)).diff()
        torch.testing.assert_close(gaps, gaps[:1].expand(10), rtol=1e-9, atol=1e-12)


def test_one_step_answers_what_the_denoiser_says_of_the_prior() -> None:
    model, rng = mixture(EDM()), Rng(range(3))
    x = 80 * rng.normal("x", (3,)).double()
    answer = model(x, torch.ones(3, dtype=torch.float64)).mean
    for sampler in (Euler(1), Heun(1), Ancestral(1)):
        torch.testing.assert_close(sampler(model, rng=rng, start=x), answer, rtol=1e-12, atol=1e-12)


def test_refusals_and_gradients() -> None:
    model, rng = mixture(EDM()), Rng(range(2))
    for steps in (0, -3, 2.5, True):
        with pytest.raises(Refusal):
            Euler(steps)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="start"):
        Euler(3)(model, rng=rng, times=torch.tensor([0.5, 0.0]))
    with pytest.raises(Refusal, match="eta"):
        Ancestral(3, eta=1.5)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    times = torch.tensor([0.01, 0.004, 0.0], dtype=torch.float64)
    end = [s.x for s in Heun(2).trajectory(model, rng=rng, times=times, start=x)][-1]
    (slope,) = torch.autograd.grad(end.sum(), x)
    bumped = [s.x for s in Heun(2).trajectory(model, rng=rng, times=times, start=x.detach() + 1e-6)][-1]
    torch.testing.assert_close((bumped - end).detach().sum(1) / 1e-6, slope.sum(1), rtol=1e-3, atol=1e-5)
    assert not Heun(2)(model, rng=rng, times=times, start=x).requires_grad


def test_sampling_is_a_pipeline() -> None:
    model, rng = mixture(Flow()), Rng(range(4))
    half = Sampling(Heun(4), model, times=torch.tensor([1.0, 0.5], dtype=torch.float64))
    rest = Sampling(
        Heun(4),
        model,
        times=torch.tensor([0.5, 0.0], dtype=torch.float64),
        start=lambda cond, keys: half(cond, rng),
        decode=lambda x, cond: 2 * x,
    )
    whole = Heun(4)(model, rng=rng, times=torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64))
    assert half.ends == 0.5 and rest.ends == 0.0
    torch.testing.assert_close(rest(rng=rng), 2 * whole, rtol=0, atol=0)
    assert spec(Heun(4))["grid"]["part"] == "samplers.Karras"
