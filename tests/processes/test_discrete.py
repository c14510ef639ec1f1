"""Discrete and tabulated processes: the numbers printed in the papers, and products of betas written out here."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from mezzotint.core import Refusal, build, spec
from mezzotint.denoiser import Preconditioned
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Table, Tabulated

STABLE = DDPM(schedule="scaled_linear", beta_start=8.5e-4, beta_end=0.012)
ONE = torch.ones((), dtype=torch.float64)


def at_indices(process: Continuous, steps: int) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    return process.alpha(t).numpy(), process.sigma(t).numpy(), t


def products(betas: np.ndarray) -> np.ndarray:
    """alpha-bar in exact rational arithmetic."""
    out, running = [], Fraction(1)
    for beta in betas:
        running *= 1 - Fraction(beta)
        out.append(running)
        running = running.limit_denominator(10**40)  # 40 digits are enough and keep the fractions short
    return np.array(out, dtype=object)


@pytest.mark.parametrize(
    ("process", "betas"),
    [
        (DDPM(), np.linspace(1e-4, 0.02, 1000)),
        (DDPM(100, 1e-3, 0.2), np.linspace(1e-3, 0.2, 100)),
        (STABLE, np.linspace(8.5e-4**0.5, 0.012**0.5, 1000) ** 2),
    ],
    ids=["DDPM", "100 steps", "Stable Diffusion"],
)
def test_the_scales_are_the_products_of_betas(process: DDPM, betas: np.ndarray) -> None:
    alpha, sigma, _ = at_indices(process, process.steps)
    bars = products(betas)
    np.testing.assert_allclose(alpha**2, bars.astype(float), rtol=1e-12)
    np.testing.assert_allclose(sigma**2, (1 - bars).astype(float), rtol=1e-12)
    np.testing.assert_allclose(process.betas().numpy(), betas, rtol=1e-13)


def test_numbers_printed_in_papers() -> None:
    # Ho et al. 2020, section 4: alpha-bar_T = 4.04e-5 (KL to the prior of about 1e-5 bits per dimension).
    assert float(DDPM().alpha(ONE) ** 2) == pytest.approx(4.04e-5, rel=2e-3)
    # Lin et al. 2023, table 1: SNR(T) and sqrt(alpha-bar_T) of the linear, cosine and Stable Diffusion schedules.
    for process, snr, alpha in (
        (DDPM(), 4.035993e-05, 0.006353),
        (DDPM(schedule="cosine"), 2.428735e-09, 4.928220e-05),
        (STABLE, 0.004682, 0.068265),
    ):
        assert float(process.log_snr(ONE).exp()) == pytest.approx(snr, rel=2e-4)
        assert float(process.alpha(ONE)) == pytest.approx(alpha, rel=1e-4)
    # Stable Diffusion's range of sigma / alpha as every sampler for it prints it: 0.0292 .. 14.6146.
    alpha, sigma, _ = at_indices(STABLE, 1000)
    assert sigma[0] / alpha[0] == pytest.approx(0.0292, abs=5e-5)
    assert sigma[-1] / alpha[-1] == pytest.approx(14.6146, abs=5e-5)


def test_cosine_is_the_formula_wherever_no_beta_is_clipped() -> None:
    """Nichol and Dhariwal, eq. 17: alpha-bar = f(t) / f(0), f = cos^2((t + s) / (1 + s) pi/2); the last beta is cut."""
    process = DDPM(schedule="cosine")
    alpha, _, t = at_indices(process, 1000)
    f = np.cos((t.numpy() + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(alpha[:-1] ** 2, f[:-1] / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, rtol=1e-9)
    betas = process.betas()
    assert bool((betas[:-1] < 0.999).all()) and betas[-1] == 0.999
    assert alpha[-1] ** 2 / alpha[-2] ** 2 == pytest.approx(1e-3, rel=1e-12)
    early = (0.5, 0.9)  # and it is near the continuous process without the offset
    assert float(process.alpha(ONE * early[0])) == pytest.approx(float(Cosine().alpha(ONE * early[0])), abs=0.01)
    assert float(process.alpha(ONE * early[1])) == pytest.approx(float(Cosine().alpha(ONE * early[1])), abs=0.01)


@pytest.mark.parametrize(
    "plain", [DDPM(), STABLE, DDPM(schedule="cosine"), DDPM(20, 0.01, 0.3)], ids=["DDPM", "SD", "cosine", "20 steps"]
)
def test_zero_terminal_is_algorithm_1_of_lin_et_al(plain: DDPM) -> None:
    """Shifted so that the last alpha is 0, scaled so that the first is what it was; in between a straight line."""
    alpha, _, _ = at_indices(plain, plain.steps)
    scaled, sigma, _ = at_indices(dataclasses.replace(plain, zero_terminal=True), plain.steps)
    assert scaled[-1] == 0 and abs(sigma[-1] - 1) < 1e-14
    assert scaled[0] == pytest.approx(alpha[0], rel=1e-15)
    np.testing.assert_allclose(scaled**2 + sigma**2, 1, rtol=1e-14)
    slope = np.diff(scaled) / np.diff(alpha)
    np.testing.assert_allclose(slope, slope[0], rtol=1e-6)
    exact = 1 - Fraction(float(scaled[1])) ** 2  # sigma keeps its digits where alpha is near 1
    assert sigma[1] ** 2 == pytest.approx(float(exact), rel=1e-11)


def test_vp_is_its_own_equation_integrated() -> None:
    """alpha = exp(-1/2 int beta), by quadrature; with zero_terminal the same line as in discrete time."""
    beta_0, beta_1 = 0.3, 14.0
    plain, scaled = VP(beta_0, beta_1), VP(beta_0, beta_1, zero_terminal=True)
    t = torch.tensor([0.0, 1e-9, 1e-3, 0.2, 0.7, 1 - 1e-9, 1.0], dtype=torch.float64)
    rates = [quad(lambda s: beta_0 + s * (beta_1 - beta_0), 0, float(one))[0] for one in t]
    alpha = np.exp(-0.5 * np.array(rates))
    np.testing.assert_allclose(plain.alpha(t).numpy(), alpha, rtol=1e-12)
    rest = alpha[-1]
    np.testing.assert_allclose(scaled.alpha(t)[:5].numpy(), (alpha[:5] - rest) / (1 - rest), rtol=1e-12)
    # One thousand-millionth before the end the difference above has no digits left: d alpha / dt = -alpha beta_1 / 2.
    assert float(scaled.alpha(t[5])) == pytest.approx(1e-9 * rest * beta_1 / 2 / (1 - rest), rel=1e-6)
    assert scaled.alpha(t[6]) == 0 and scaled.sigma(t[6]) == 1
    assert float(scaled.sigma(t[1]) ** 2) == pytest.approx(1e-9 * beta_0 / (1 - rest), rel=1e-6)


def test_vp_stays_finite_where_nothing_is_left() -> None:
    """With rates so high that alpha underflows, the scales are still numbers and the ends still exact."""
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for zero in (False, True):
        process = VP(0.1, 4000.0, zero_terminal=zero)
        alpha, sigma, u = process.alpha(t), process.sigma(t), process.level(t)
        assert alpha[0] == 1 and alpha[-1] == 0 and sigma[0] == 0 and sigma[-1] == 1
        assert bool(torch.isfinite(process.time(u)).all()) and bool((alpha.diff() <= 0).all())


def test_continuous_vp_is_the_limit_of_ddpm() -> None:
    """T steps of beta(t) / T: the difference halves as T doubles, with and without a rest at the end."""
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    for zero in (False, True):
        gaps = []
        for steps in (500, 1000, 2000):
            discrete = DDPM(steps, 0.1 / steps, 20 / steps, zero_terminal=zero)
            gaps.append(float((discrete.alpha(t) - VP(zero_terminal=zero).alpha(t)).abs().max()))
        assert gaps[0] < 0.02 and abs(gaps[0] / gaps[1] - 2) < 0.1 and abs(gaps[1] / gaps[2] - 2) < 0.1


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_one_index_up_and_down_is_ddpm(schedule: str) -> None:
    """q(x_i | x_i-1) = N(sqrt(1 - beta) x, beta) and the posterior variance of Ho et al., eq. 7."""
    process = DDPM(schedule=schedule)
    betas = process.betas().numpy()
    bars = np.concatenate([[1.0], np.cumprod(1 - betas)])
    index = torch.tensor([1, 10, 500, 998])
    s, t = index.double() / 1000, (index.double() + 1) / 1000
    x = torch.randn(4, 1, dtype=torch.float64)
    up = process.renoise(x, s, t)
    np.testing.assert_allclose(up.mean, np.sqrt(1 - betas[index])[:, None] * x.numpy(), rtol=1e-9)
    np.testing.assert_allclose(up.variance[:, 0], betas[index], rtol=1e-9)
    down = process.bridge(x, torch.zeros_like(x), t, s)
    beta_tilde = (1 - bars[index]) / (1 - bars[index + 1]) * betas[index]
    np.testing.assert_allclose(down.variance[:, 0], beta_tilde, rtol=1e-9)
    of_x = np.sqrt(1 - betas[index]) * (1 - bars[index]) / (1 - bars[index + 1])
    np.testing.assert_allclose(down.mean, of_x[:, None] * x.numpy(), rtol=1e-9)


def sampled(process: Continuous, steps: int) -> Table:
    alpha, sigma, _ = at_indices(process, steps)
    return Table(tuple(alpha), tuple(sigma))


@pytest.mark.parametrize("process", [VP(), Cosine(), Flow(), EDM()], ids=lambda p: type(p).__name__)
def test_a_table_of_a_process_is_that_process(process: Continuous) -> None:
    """At its points to rounding; between them the error falls with the square of the spacing."""
    gaps = []
    between = torch.linspace(0.3, 0.9, 997, dtype=torch.float64)
    for steps in (50, 100, 200):
        table = sampled(process, steps)
        alpha, sigma, t = at_indices(process, steps)
        np.testing.assert_allclose(table.alpha(t).numpy(), alpha, rtol=1e-13)
        np.testing.assert_allclose(table.sigma(t).numpy(), sigma, rtol=1e-13)
        gaps.append(float((table.level(between) - process.level(between)).abs().max()))
    if isinstance(process, Flow):
        assert gaps[0] < 1e-12  # the level of rectified flow is a straight line already
    else:
        assert gaps[2] < 1e-3 and 3 < gaps[0] / gaps[1] < 5 and 3 < gaps[1] / gaps[2] < 5


def test_ddpm_is_its_own_table() -> None:
    t = torch.rand(100, dtype=torch.float64)
    table, process = sampled(DDPM(50, 0.01, 0.2), 50), DDPM(50, 0.01, 0.2)
    torch.testing.assert_close(table.alpha(t), process.alpha(t), rtol=1e-13, atol=0)
    torch.testing.assert_close(table.sigma(t), process.sigma(t), rtol=1e-13, atol=0)


@pytest.mark.parametrize("process", [DDPM(), DDPM(5, 0.1, 0.9, zero_terminal=True), sampled(Cosine(), 9)], ids=str)
def test_unit_variance_is_kept_between_the_points(process: Tabulated) -> None:
    t = torch.cat([torch.rand(2000), torch.logspace(-12, 0, 100)]).double()
    torch.testing.assert_close(process.alpha(t) ** 2 + process.sigma(t) ** 2, torch.ones_like(t), rtol=1e-13, atol=0)
    # and near clean data the noise falls in proportion to t, not faster and not slower
    near = torch.tensor([1e-12, 1e-6], dtype=torch.float64)
    assert float((process.sigma(near) / near).diff().abs() / (process.sigma(near) / near)[0]) < 1e-3


@given(
    st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=12), st.lists(st.floats(0.1, 10.0), min_size=12, max_size=12)
)
def test_any_table_is_inverted(rises: list[float], sizes: list[float]) -> None:
    """Random rising levels and random sizes: time(level(t)) is t, points included, and nothing leaves [0, 1]."""
    u = np.cumsum(rises) / (sum(rises) + 0.05)
    table = Table(
        tuple(s * (1 - v) for s, v in zip(sizes, u, strict=False)), tuple(s * v for s, v in zip(sizes, u, strict=False))
    )
    t = torch.cat([torch.linspace(0, 1, len(u) + 1), torch.linspace(0, 1, 101)]).double()
    torch.testing.assert_close(table.time(table.level(t)), t, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(table.level(torch.linspace(0, 1, len(u) + 1).double())[1:], torch.tensor(u))
    assert float(table.time(ONE)) == 1 and float(table.time(0 * ONE)) == 0


class Ear(torch.nn.Module):
    """A network that remembers how it was told the noise."""

    shape = (2,)

    def forward(self, x, noise, context, want=()):  # type: ignore[no-untyped-def]
        self.heard = noise
        return 0 * x


@pytest.mark.parametrize(
    "process", [DDPM(10), DDPM(), sampled(Cosine(), 10), VP()], ids=["10", "1000", "table", "none"]
)
def test_a_network_is_told_the_index_of_its_own_process(process: Continuous) -> None:
    steps, ear = getattr(process, "steps", 1000), Ear()
    index = torch.tensor([0, 3, steps - 1])
    Preconditioned(ear, process, noise="step", prediction="v")(torch.randn(3, 2), (index.double() + 1) / steps)
    torch.testing.assert_close(ear.heard.flatten(), index.float(), rtol=1e-6, atol=1e-5)


def test_specs_and_refusals() -> None:
    for process in (DDPM(schedule="cosine", zero_terminal=True), sampled(Cosine(), 4), VP(zero_terminal=True)):
        again = build(spec(process))
        assert again == process and hash(again) == hash(process)
        assert again.alpha(ONE * 0.37) == process.alpha(ONE * 0.37)
    assert Table([0.5, 0.1], np.array([0.5, 2.0])) == Table((0.5, 0.1), (0.5, 2.0))  # type: ignore[arg-type]
    for make, says in (
        (lambda: Table((0.9, 0.8, 0.8), (0.1, 0.2, 0.2)), "index 2"),
        (lambda: Table((0.9, 0.95), (0.4, 0.3)), "index 1"),
        (lambda: Table((0.9, 0.0, 0.0), (0.4, 1.0, 2.0)), "index 2"),
        (lambda: Table((0.9, -0.1), (0.4, 1.0)), "index 1"),
        (lambda: Table((0.9, math.nan), (0.4, 1.0)), "index 1"),
        (lambda: Table((1.0,), (0.0,)), "index 0"),
        (lambda: Table((0.9,), (0.1, 0.2)), "as many"),
        (lambda: Table((), ()), "as many"),
        (lambda: DDPM(0), "1 steps or more"),
        (lambda: DDPM(1, zero_terminal=True), "2 steps or more"),
        (lambda: DDPM(True), "steps"),
        (lambda: DDPM(schedule="lineal"), "'linear'"),
        (lambda: DDPM(beta_end=1.0), "betas"),
        (lambda: DDPM(beta_start=0.0), "betas"),
    ):
        with pytest.raises(Refusal, match=says):
            make()
    Preconditioned(Ear(), DDPM(), prediction="noise")
    with pytest.raises(Refusal, match="alpha is 0"):
        Preconditioned(Ear(), DDPM(zero_terminal=True), prediction="noise")
