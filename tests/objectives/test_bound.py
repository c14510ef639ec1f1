"""The variational bound against closed forms: Gaussian data, the papers' printed weights, scipy's probabilities.

All that a term depends on is quadratic in the noise of x_t, so expectations are taken exactly, by Gauss-Hermite nodes.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mezzotint.core import NONE, Condition, Distribution, Gaussian, Refusal, Rng
from mezzotint.denoiser import Denoiser, Mixture
from mezzotint.objectives import Bound, Importance, LogNormal, UniformTimes, bits
from mezzotint.objectives.base import Levels
from mezzotint.objectives.bound import term
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Karras, Level, Restart, Uniform

PROCESSES: dict[str, Continuous] = {
    "EDM": EDM(),
    "EDM 3": EDM(3.0),
    "VP": VP(),
    "VP zero terminal": VP(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
    "DDPM 40": DDPM(40, 0.01, 0.3),
}
named = pytest.mark.parametrize("name", PROCESSES)
MU, C = 0.7, 0.4
NODES, SHARES = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(6))
SHARES = SHARES / SHARES.sum()


class Exact(Denoiser):
    """The exact law of x_0 given x_t for entries N(MU, C^2), its variance times ``factor``."""

    process: Continuous

    def __init__(self, process: Continuous, shape: tuple[int, ...] = (1,), factor: float = 1.0) -> None:
        super().__init__()
        self.process, self.shape, self.factor = process, shape, factor

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Distribution:
        a, s = self.process.scales(t, x)
        total = a**2 * C**2 + s**2
        mean = MU + a * C**2 / total * (x - a * MU)
        return Gaussian(mean.to(x), (self.factor * s**2 * C**2 / total).to(x))


def chain(bound: Bound, model: Denoiser, x0: float) -> float:
    """The whole bound for one number x_0: the prior's share and every interval, x_t integrated out."""
    process, times = model.process, bound.times(model.process)
    t, s = times[1:].repeat_interleave(6), times[:-1].repeat_interleave(6)
    clean = torch.full((len(t), 1), x0, dtype=torch.float64)
    a, sigma = process.scales(t, clean)
    x_t = a * clean + sigma * NODES.repeat(bound.steps)[:, None]
    nats = term(process, clean, x_t, model(x_t, t), t, s, bound.shades)
    return float(bound.prior(process, clean[:1])) + float((nats * SHARES.repeat(bound.steps)).sum())


def mismatch(process: Continuous, x0: float) -> float:
    """E over q(x_1 | x_0) of log q(x_1) / p(x_1): what the prior costs, as it is not quite where the data end."""
    one = torch.ones((), dtype=torch.float64)
    a, s = float(process.alpha(one)), float(process.sigma(one))
    x = a * x0 + s * NODES.numpy()
    inside = stats.norm(a * MU, (a**2 * C**2 + s**2) ** 0.5).logpdf(x) - stats.norm(0, s).logpdf(x)
    return float((inside * SHARES.numpy()).sum())


@named
@pytest.mark.parametrize("grid", [None, Karras(), Level()], ids=["clock", "Karras", "Level"])
def test_an_exact_gaussian_answer_loses_nothing(name: str, grid: object) -> None:
    """At any number of steps on any grid the bound is -log p(x_0), and what the prior costs."""
    process = PROCESSES[name]
    for steps in (1, 2, 3, 7, 50):
        bound = Bound(steps, grid)  # type: ignore[arg-type]
        for x0 in (-0.6, 0.9):
            due = -stats.norm(MU, C).logpdf(x0) + mismatch(process, x0)
            assert abs(chain(bound, Exact(process), x0) - due) < 1e-7


@named
def test_it_is_a_bound_and_tight_at_the_truth_only(name: str) -> None:
    """A wrong variance costs nats at every number of steps, on average over the data."""
    process = PROCESSES[name]
    for steps in (2, 9):
        for factor in (0.5, 2.0):
            over = [
                chain(Bound(steps), Exact(process, factor=factor), MU + C * float(z))
                - chain(Bound(steps), Exact(process), MU + C * float(z))
                for z in NODES
            ]
            assert float((torch.tensor(over) * SHARES).sum()) > 0.01


def gap(process: Continuous, grid: object, steps: int) -> float:
    """What a point loses against the exact Gaussian, in nats, on average over the data."""
    bound, point = Bound(steps, grid), Mixture(process, [[MU]], [[[C**2]]])  # type: ignore[arg-type]
    data = [MU + C * float(z) for z in NODES]
    return float(
        (torch.tensor([chain(bound, point, x) - chain(bound, Exact(process), x) for x in data]) * SHARES).sum()
    )


@named
def test_a_point_is_a_bound_that_closes_as_steps_grow(name: str) -> None:
    """Above the truth, and by 1 / T, where all intervals shrink in log-SNR."""
    gaps = [gap(PROCESSES[name], Karras(sigma_min=0.01), steps) for steps in (16, 64, 256, 1024)]
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3] > 0
    assert 3.5 < gaps[2] / gaps[3] < 4.5 and gaps[3] < 0.06


def test_on_equal_intervals_of_the_level_it_does_not_close() -> None:
    """The ones before 0 have the ratios 1/2, 2/3, 3/4, .. at any T: a point has lost 1.4 nats an entry."""
    for name in ("Flow", "VP"):
        assert abs(gap(PROCESSES[name], Level(), 512) - 1.41) < 0.02


def test_ddpm_s_printed_weights() -> None:
    """Ho et al., eq. 12: beta^2 / (2 sigma^2 alpha (1 - abar)) |noise error|^2, sigma^2 their smaller variance."""
    steps, data = 40, 5
    beta = np.linspace(0.01, 0.3, steps)
    alpha, abar = 1 - beta, np.cumprod(1 - beta)
    process, rng = DDPM(steps, 0.01, 0.3), np.random.default_rng(0)
    x0, noise, wrong = rng.normal(size=(3, steps, data))
    x_t = np.sqrt(abar)[:, None] * x0 + np.sqrt(1 - abar)[:, None] * noise
    said = noise + 0.3 * wrong
    answer = (x_t - np.sqrt(1 - abar)[:, None] * said) / np.sqrt(abar)[:, None]
    k = torch.arange(1, steps + 1, dtype=torch.float64)
    point = Mixture(process, [[0.0] * data], [torch.eye(data).tolist()])
    law = type(point(torch.zeros(1, data), k[:1] / steps))(torch.from_numpy(answer))
    found = term(process, torch.from_numpy(x0), torch.from_numpy(x_t), law, k / steps, (k - 1) / steps).numpy()
    before = np.concatenate([[1.0], abar[:-1]])
    smaller = (1 - before) / (1 - abar) * beta
    with np.errstate(divide="ignore"):
        weight = beta**2 / (2 * smaller * alpha * (1 - abar))
    error = ((said - noise) ** 2).sum(1)
    np.testing.assert_allclose(found[1:], (weight * error)[1:], rtol=1e-7)
    # The last interval: mean (x_1 - beta_1 / sqrt(1 - abar_1) noise) / sqrt(alpha_1), variance beta_1.
    mean = (x_t[0] - beta[0] / np.sqrt(1 - abar[0]) * said[0]) / np.sqrt(alpha[0])
    np.testing.assert_allclose(found[0], -stats.norm(mean, beta[0] ** 0.5).logpdf(x0[0]).sum(), rtol=1e-7)


@named
def test_a_point_costs_half_the_drop_of_the_snr(name: str) -> None:
    """Kingma et al. 2021, eq. 13: (SNR(s) - SNR(t)) |x_0 - answer|^2 / 2, on every process."""
    process = PROCESSES[name]
    levels = torch.tensor([0.02, 0.1, 0.4, 0.8, 0.95], dtype=torch.float64)
    t, s = process.time(levels), process.time(0.7 * levels)
    x0, x_t, said = (Rng(range(5)).normal(n, (3,)).double() for n in ("x0", "x_t", "said"))
    point = Mixture(process, [[0.0] * 3], [torch.eye(3).tolist()])(x_t, t)
    found = term(process, x0, x_t, type(point)(said), t, s)
    snr = [process.alpha(v) ** 2 / process.sigma(v) ** 2 for v in (s, t)]
    torch.testing.assert_close(found, 0.5 * (snr[0] - snr[1]) * ((x0 - said) ** 2).sum(1), rtol=1e-7, atol=1e-12)


def shade(values: Tensor, mean: float, std: float, shades: int) -> Tensor:
    """-log P of single values, as the last interval counts them."""
    x = values.double()[:, None]
    law = Gaussian(torch.full_like(x, mean), torch.full_like(x, std**2))
    t = torch.full((len(x),), 0.5, dtype=torch.float64)
    return term(Flow(), x, x, law, t, torch.zeros_like(t), shades)


@pytest.mark.parametrize("shades", [2, 3, 256])
def test_shades_are_scipy_s_probabilities_and_sum_to_one(shades: int) -> None:
    values, half = torch.linspace(-1, 1, shades, dtype=torch.float64), 1 / (shades - 1)
    for mean, std in ((0.1, 0.3), (-0.98, 0.02), (1.4, 0.2), (0.0, 5.0), (0.3, 1e-3)):
        found = shade(values, mean, std, shades)
        assert abs(float((-found).exp().sum()) - 1) < 1e-9
        edges = np.concatenate([[-np.inf], values.numpy()[:-1] + half, [np.inf]])
        upper = np.diff(stats.norm(mean, std).cdf(edges))
        lower = -np.diff(stats.norm(mean, std).sf(edges))  # of the two, the one that has digits
        due = np.where(values.numpy() > mean, lower, upper)
        there = due > 1e-250
        np.testing.assert_allclose(found.numpy()[there], -np.log(due[there]), rtol=1e-7, atol=1e-10)


def test_shades_far_away_keep_value_and_gradient() -> None:
    values = torch.tensor([-1.0, -0.5, 0.5, 1.0])
    for mean, std in ((0.0, 1e-6), (30.0, 1e-3), (-30.0, 1e-3), (0.0, 1e3)):
        at = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
        spread = torch.tensor(std**2, dtype=torch.float64, requires_grad=True)
        x = values.double()[:, None]
        t = torch.full((4,), 0.5, dtype=torch.float64)
        found = term(Flow(), x, x, Gaussian(at.expand_as(x), spread.expand_as(x)), t, torch.zeros_like(t), 256)
        assert bool(torch.isfinite(found).all()) and bool((found >= 0).all())
        assert all(bool(torch.isfinite(g)) for g in torch.autograd.grad(found.sum(), (at, spread)))


class Everywhere(Levels):
    """Row k in the middle of the k-th interval, over and over; it writes down what it hears."""

    unbiased = True

    def __init__(self, steps: int, weight: float = 1.0) -> None:
        super().__init__()
        self.steps, self.weight = steps, weight

    def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
        t = (torch.arange(len(rng), dtype=torch.float64) % self.steps + 0.5) / self.steps
        return t, torch.full_like(t, self.weight)

    def update(self, t: Tensor, value: Tensor) -> None:
        self.heard = t, value


@named
def test_one_interval_a_sample_estimates_the_whole(name: str) -> None:
    """Enumerated over intervals and averaged over noise, in the units of the whole bound."""
    process, steps, rows = PROCESSES[name], 5, 5000
    x0 = torch.tensor([0.9, -0.2], dtype=torch.float64).expand(rows, 2)
    model = Exact(process, (2,), factor=1.5)
    loss = Bound(steps, levels=Everywhere(steps))(model, x0, NONE, Rng(range(rows)))
    due = chain(Bound(steps), model, 0.9) + chain(Bound(steps), model, -0.2)
    error = max(float(loss.value[k::steps].var() / (rows / steps)) for k in range(steps)) ** 0.5
    assert abs(float(loss.value.mean()) - due) < 4 * error + 1e-9
    torch.testing.assert_close(loss.parts["bits"], loss.value / (2 * math.log(2)))
    assert torch.equal(bits(loss.value, (2,)), loss.parts["bits"])
    mean, _ = process.scales(torch.ones(rows, dtype=torch.float64), x0)
    sigma = process.sigma(torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(loss.parts["prior"], 0.5 * ((mean * x0 / sigma) ** 2).sum(1), rtol=1e-6, atol=1e-9)


def test_random_intervals_have_the_same_mean_however_they_are_drawn() -> None:
    """Drawn alike, and drawn by importance after it has learnt: the same bound, the second with less noise."""
    process, rows, steps = VP(), 6000, 20
    model, data = Exact(process, factor=2.0), MU + C * Rng(range(rows)).normal("data", (1,)).double()
    points = [float(chain(Bound(steps), model, MU + C * float(z))) for z in NODES]
    due = float((torch.tensor(points) * SHARES).sum())
    wise = Bound(steps, levels=Importance(20, uniform=0.05))
    for turn in range(10):
        wise.update(model, wise(model, data, NONE, Rng(range(rows)).at("before", turn)))
    errors = []
    for bound in (Bound(steps), wise):
        value = bound(model, data, NONE, Rng(range(rows))).value
        errors.append(float(value.std()) / rows**0.5)
        assert abs(float(value.mean()) - due) < 4 * errors[-1]
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("grid", [None, Karras()], ids=["clock", "Karras"])
def test_levels_hear_of_their_own_intervals_unweighted(grid: object) -> None:
    process, steps = VP(), 8
    x0 = Rng(range(16)).normal("x", (3,)).double()
    levels = Everywhere(steps, weight=0.25)
    bound = Bound(steps, grid, levels)  # type: ignore[arg-type]
    loss = bound(Exact(process, (3,)), x0, NONE, Rng(range(16)))
    bound.update(Exact(process, (3,)), loss)
    place, value = levels.heard
    torch.testing.assert_close(place, levels(process, (3,), Rng(range(16)))[0])
    plain = Bound(steps, grid, Everywhere(steps))(Exact(process, (3,)), x0, NONE, Rng(range(16)))  # type: ignore[arg-type]
    torch.testing.assert_close(value, plain.value - plain.parts["prior"])


@named
def test_float32_rows_alone_and_both_ends(name: str) -> None:
    process = PROCESSES[name]
    x0 = Rng(range(10)).normal("x", (1, 2, 2))
    for shades, steps in ((None, 1), (None, 1000), (256, 5)):
        bound = Bound(steps, levels=Everywhere(10), shades=shades)
        spread = torch.ones(1, requires_grad=True)

        class Learnt(Exact):
            def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
                law = super().forward(x, t)
                return Gaussian(law.mean * spread, law.variance * spread)  # noqa: B023

        model = Learnt(process, (1, 2, 2))
        loss = bound(model, x0, NONE, Rng(range(10)))
        assert loss.value.dtype == torch.float32 and bool(torch.isfinite(loss.value).all())
        (slope,) = torch.autograd.grad(loss.value.sum(), spread)
        assert bool(torch.isfinite(slope).all())
        wide = bound(Exact(process, (1, 2, 2)), x0.double(), NONE, Rng(range(10)))
        torch.testing.assert_close(loss.value.double(), wide.value, rtol=2e-3, atol=2e-3)
        alone = bound(model, x0[:1], NONE, Rng([0]))
        torch.testing.assert_close(alone.value, loss.value[:1])


def test_refusals() -> None:
    with pytest.raises(Refusal, match="interval"):
        Bound(0)
    with pytest.raises(Refusal, match="shades"):
        Bound(3, shades=1)
    with pytest.raises(Refusal, match="probability"):
        Bound(3, dropout=1.0)
    with pytest.raises(Refusal, match="fall from 1 to 0"):
        Bound(6, Restart(Uniform()))(Exact(VP()), torch.zeros(2, 1), NONE, Rng(range(2)))
    short = Bound(3, lambda process, steps: torch.linspace(0.9, 0, steps + 1))
    with pytest.raises(Refusal, match="fall from 1 to 0"):
        short(Exact(VP()), torch.zeros(2, 1), NONE, Rng([0, 1]))


def test_levels_that_do_not_weigh_their_choice_are_refused() -> None:
    """Their mean is no bound: with draws by a log-normal the exact model of a Gaussian seems to need twice the nats."""
    for levels in (LogNormal(), UniformTimes(low=0.1)):
        with pytest.raises(Refusal, match="more often"):
            Bound(20, levels=levels)
    for levels in (Importance(20), UniformTimes(low=0.0)):
        Bound(20, levels=levels)
