"""Schedules of symbols: numbers of the papers, derivatives by autograd, and what is left next to both ends."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq

from mezzotint.core import Refusal, build, spec
from mezzotint.processes import Absorbing, Alive, Blockwise, Geometric, Knots, Linear, Multinomial, Sine, perceptual

SCHEDULES = [Linear(), Linear(1e-3), Geometric(), Geometric(1e-2, 5.0), Sine(), Knots(), Knots((1.0, 0.3, 0.01))]
named = pytest.mark.parametrize("schedule", SCHEDULES, ids=str)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_log_linear_noise_is_radd_s() -> None:
    """RADD and SEDD: sbar = -log(1 - (1 - eps) t) with the rate (1 - eps) / (1 - (1 - eps) t), eps = 1e-3."""
    eps, t = 1e-3, np.linspace(0, 1, 11)
    process = Absorbing(5, Linear(eps))
    sbar = -np.log1p(-(1 - eps) * t)
    np.testing.assert_allclose(process.level(torch.tensor(t)).numpy(), -np.expm1(-sbar), rtol=1e-12, atol=1e-15)
    rate = (1 - eps) / (1 - (1 - eps) * t)
    np.testing.assert_allclose(
        (process.rate(torch.tensor(t)) / process.alive(torch.tensor(t))).numpy(), rate, rtol=1e-12
    )
    # lambda(1) = 0.999 and sbar(1) = 6.9078, what their loss files begin from.
    assert float(process.level(f64(1.0))) == pytest.approx(0.999, abs=1e-12)
    assert -math.log(float(process.alive(f64(1.0)))) == pytest.approx(6.907755278982137, rel=1e-12)


def test_geometric_noise_is_sedd_s_less_its_beginning() -> None:
    """SEDD: sbar = low^(1-t) high^t, a straight line in its logarithm; here it is taken from what it is at t = 0."""
    low, high = 1e-4, 20.0
    schedule, t = Geometric(low, high), np.linspace(0, 1, 21)
    lines = np.exp(np.interp(t, [0, 1], [math.log(low), math.log(high)]))
    np.testing.assert_allclose(-np.log(schedule(torch.tensor(t)).numpy()), lines - low, rtol=1e-9, atol=1e-13)
    assert float(schedule(f64(1.0))) == pytest.approx(math.exp(-(20 - 1e-4)), rel=1e-12)
    assert float(schedule(f64(0.5))) == pytest.approx(0.957, abs=2e-3)  # half way the noise is sqrt(1e-4 * 20) = 0.0447


def test_sine_is_maskgit_s_cosine() -> None:
    """MaskGIT's share of masks after r of its iterations is cos(pi r / 2); r = 1 - t."""
    r = np.linspace(0, 1, 13)
    masked = Absorbing(4, Sine()).level(torch.tensor(1 - r)).numpy()
    np.testing.assert_allclose(masked, np.cos(np.pi * r / 2), atol=1e-15)
    # Of 256 tokens in 8 iterations, floor(256 cos(pi r / 2)) are still masked: 251 after the first, 49 before the last.
    counts = np.floor(256 * masked[[0, 12]] + 1e-9).astype(int).tolist()
    eighths = np.floor(256 * Absorbing(4, Sine()).level(1 - torch.arange(1, 8, dtype=torch.float64) / 8).numpy())
    assert counts == [256, 0] and eighths.astype(int).tolist() == [251, 236, 212, 181, 142, 97, 49]


def test_a_list_of_stages_is_imagebart_s() -> None:
    """Its published alpha-bars give its published betas, beta_t = 1 - abar_t / abar_(t-1)."""
    published = {
        (1.0, 0.910, 0.815, 0.702, 0.515, 0.0): (0.090, 0.104, 0.139, 0.266, 1.0),
        (1.0, 0.848, 0.653, 0.0): (0.152, 0.231, 1.0),
        (1.0, 0.636, 0.0): (0.364, 1.0),
    }
    for bars, betas in published.items():
        schedule, steps = Knots(bars), len(betas)
        t = torch.arange(steps + 1, dtype=torch.float64) / steps
        alive = schedule(t)
        torch.testing.assert_close(alive, f64(*bars), rtol=0, atol=1e-15)
        torch.testing.assert_close(1 - alive[1:] / alive[:-1], f64(*betas), rtol=0, atol=1.2e-3)
    assert Knots() == Knots((1.0, 0.848, 0.653, 0.0))


@pytest.mark.parametrize("steps", [1, 2, 4, 5, 100])
def test_equal_stages_are_sohl_dickstein_s(steps: int) -> None:
    """beta_t = 1 / (T - t + 1) leaves 1 - t / T, in exact fractions."""
    left, running = [Fraction(1)], Fraction(1)
    for stage in range(1, steps + 1):
        running *= 1 - Fraction(1, steps - stage + 1)
        left.append(running)
    assert left == [1 - Fraction(k, steps) for k in range(steps + 1)]
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    torch.testing.assert_close(Multinomial(3).alive(t), f64(*map(float, left)), rtol=0, atol=1e-15)


def test_stages_of_equal_distance() -> None:
    """The distance at the shares of :func:`perceptual`, read off the curve, rises in equal steps."""
    for steps in (1, 2, 3, 7):  # a straight curve, wherever it begins and however steep it is
        torch.testing.assert_close(
            f64(*perceptual([0.3 + 0.2 * k for k in range(20)], steps).shares),
            1 - torch.arange(steps + 1, dtype=torch.float64) / steps,
            rtol=0,
            atol=1e-14,
        )
    measured = np.log1p(np.linspace(0, 9, 20))  # as distances do: steep at first
    shares = np.linspace(1, 0, 20)
    for steps in (2, 3, 5, 30):
        found = np.array(perceptual(measured.tolist(), steps).shares)
        assert found[0] == 1 and found[-1] == 0 and (np.diff(found) < 0).all()
        there = [np.interp(1 - share, 1 - shares, measured) for share in found]
        np.testing.assert_allclose(np.diff(there), measured[-1] / steps, rtol=1e-12)


@named
def test_the_rate_is_the_slope(schedule: Alive) -> None:
    """By autograd at any time, and by quadrature: what is lost is the rate added up."""
    t = (torch.arange(50, dtype=torch.float64) + 0.37) / 50
    t.requires_grad_()
    (slope,) = torch.autograd.grad(schedule(t).sum(), t)
    torch.testing.assert_close(schedule.rate(t.detach()), -slope, rtol=1e-9, atol=1e-12)
    edges = np.linspace(0, 1, 13)
    lost = sum(
        quad(lambda s: float(schedule.rate(f64(s))), a, b, epsabs=1e-13)[0]
        for a, b in zip(edges, edges[1:], strict=False)
    )
    assert lost == pytest.approx(1 - float(schedule(f64(1.0))), abs=1e-10)


@named
def test_the_time_is_found_again(schedule: Alive) -> None:
    t = torch.linspace(0, 1, 4001, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule(t)), t, rtol=0, atol=1e-9)
    for share in (0.999, 0.5, 0.02):  # and by bisection, which knows no formula of it
        root = brentq(lambda s, share=share: float(schedule(f64(s))) - share, 0, 1, xtol=1e-14)
        assert float(schedule.time(f64(share))) == pytest.approx(root, abs=1e-10)
    end = float(schedule(f64(1.0)))
    assert schedule.time(f64(1.0, end, end / 2, 0.0, 2.0, -1.0)).tolist() == [0.0, 1.0, 1.0, 1.0, 0.0, 1.0]


@named
def test_next_to_both_ends(schedule: Alive) -> None:
    """Exact at 0, falling all the way to t = 1, and lost in proportion to the time there is."""
    assert float(schedule(f64(0.0))) == 1 and float(1 - schedule(f64(0.0))) == 0
    near = f64(0.0, 1e-12, 1e-9, 1e-6, 1e-3)
    falls = -schedule(near).diff()
    assert bool((falls[1:] > 0).all())
    for t in (1e-6, 1e-9):
        lost, due = 1 - schedule(f64(t)), t * schedule.rate(f64(0.0))
        torch.testing.assert_close(lost, due, rtol=2e-5, atol=3e-16)
    late = 1 - f64(1e-3, 1e-6, 1e-9, 0.0)
    left = schedule(late)
    assert bool((left.diff() < 0).all()) and bool((schedule.rate(late) >= 0).all())
    if isinstance(schedule, Sine):  # 1 - sin(pi t / 2) has a square there, which a difference from 1 would not keep
        torch.testing.assert_close(left[:3], (math.pi * (1 - late[:3]) / 2) ** 2 / 2, rtol=1e-5, atol=0)


def test_specs_and_refusals() -> None:
    for schedule in SCHEDULES:
        for process in (Absorbing(3, schedule), Blockwise(Multinomial(3, schedule), 2)):
            again = build(spec(process))
            assert again == process and hash(again) == hash(process)
    assert Knots([1, 0.5, 0]) == Knots((1.0, 0.5, 0.0))  # type: ignore[arg-type]
    for make, says in (
        (lambda: Linear(1.0), "left at t = 1"),
        (lambda: Linear(-0.1), "left at t = 1"),
        (lambda: Linear(math.nan), "left at t = 1"),
        (lambda: Geometric(0.0, 1.0), "low to high"),
        (lambda: Geometric(2.0, 1.0), "low to high"),
        (lambda: Knots((0.9, 0.5)), "begin at 1"),
        (lambda: Knots((1.0,)), "begin at 1"),
        (lambda: Knots((1.0, 0.5, 0.5)), "begin at 1"),
        (lambda: Knots((1.0, -0.1)), "begin at 1"),
        (lambda: Knots((1.0, math.nan, 0.0)), "begin at 1"),
        (lambda: perceptual([0.0, 1.0, 1.0], 3), "rise"),
        (lambda: perceptual([0.0, math.nan, 1.0], 3), "rise"),
        (lambda: perceptual([0.0], 3), "rise"),
        (lambda: perceptual([0.0, 1.0], 0), "at least one stage"),
        (lambda: Absorbing(1), "at least two symbols"),
        (lambda: Absorbing(True), "at least two symbols"),
        (lambda: Multinomial(3.0), "at least two symbols"),  # type: ignore[arg-type]
        (lambda: Absorbing(3, "linear"), "processes.alive"),  # type: ignore[arg-type]
        (lambda: Multinomial(3, 0.5), "processes.alive"),  # type: ignore[arg-type]
        (lambda: Blockwise(Absorbing(3), 0), "at least one block"),
        (lambda: Blockwise(Absorbing(3), True), "at least one block"),
        (lambda: Blockwise(Blockwise(Absorbing(3), 2), 2), "without blocks"),
        (lambda: Blockwise(Linear(), 2), "process of symbols"),  # type: ignore[arg-type]
    ):
        with pytest.raises(Refusal, match=says):
            make()
    with pytest.raises(Refusal, match="2 blocks do not share 3 entries"):
        Blockwise(Absorbing(3), 2).corrupt(torch.zeros(1, 3, dtype=torch.int64), f64(0.5))
