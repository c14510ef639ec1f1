"""Grids: where the intervals lie, on every process, for any number of steps; and the lists printed in the papers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mezzotint.core import Refusal, Rng, build, spec
from mezzotint.denoiser import Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Table
from mezzotint.samplers import (
    Ancestral,
    Euler,
    Grid,
    Heun,
    Karras,
    Level,
    LogSNR,
    Quadratic,
    Recurrence,
    RePaint,
    Respaced,
    Restart,
    Sampler,
    Shift,
    Uniform,
)

PROCESSES: list[Continuous] = [
    EDM(),
    EDM(1e5),
    VP(),
    VP(zero_terminal=True),
    VP(0.1, 60.0),  # alpha is 3e-7 at t = 1: all but infinite
    Cosine(),
    Flow(),
    DDPM(),
    DDPM(zero_terminal=True),
    DDPM(schedule="cosine"),
    Table((0.9, 0.5, 0.0), (0.3, 0.8, 1.1)),
]
FALLING: list[Grid] = [
    Uniform(),
    Quadratic(),
    Level(),
    Karras(),
    Karras(rho=1.0, sigma_min=0.01, sigma_max=20.0),
    LogSNR(),
    Respaced("trailing", 1000),
    Respaced("linspace", 1000),
    Shift(),
    Shift(Karras(), 0.2),
]
RISING: list[Grid] = [Recurrence(), RePaint(jump=3, times=2), Restart(), Shift(Restart(Level(), 0.1, 0.5))]
STEPS = (1, 2, 3, 7, 10, 13, 1000)
ONE = torch.ones(1, dtype=torch.float64)
named = pytest.mark.parametrize("process", PROCESSES, ids=str)


def ratios(process: Continuous, times: torch.Tensor) -> torch.Tensor:
    return process.sigma(times) / process.alpha(times)


def fits(process: Continuous, grid: Grid) -> bool:
    return not (isinstance(grid, Respaced) and isinstance(process, Table))  # a table of three indices has no thousand


@named
@pytest.mark.parametrize("grid", FALLING + RISING, ids=str)
def test_every_grid_goes_from_the_prior_to_clean_data(process: Continuous, grid: Grid) -> None:
    for steps in STEPS if fits(process, grid) else ():
        times = grid(process, steps)
        assert times.dtype == torch.float64 and times.ndim == 1 and bool(torch.isfinite(times).all())
        assert times[0] == 1 and times[-1] == 0 and bool((times >= 0).all()) and bool((times <= 1).all())
        assert bool((times.diff() != 0).all())
        if grid in FALLING:
            assert len(times) == steps + 1 and bool((times.diff() < 0).all())
            assert bool((process.level(times).diff() < 0).all())
        else:
            assert int((times.diff() < 0).sum()) >= steps


@st.composite
def processes(draw: st.DrawFn) -> Continuous:
    kind = draw(st.sampled_from(["edm", "vp", "ddpm", "table", "flow", "cosine"]))
    if kind == "edm":
        return EDM(draw(st.floats(1.0, 1e4)))
    if kind == "vp":
        low = draw(st.floats(0.01, 2.0))
        return VP(low, low + draw(st.floats(5.0, 60.0)), zero_terminal=draw(st.booleans()))
    if kind == "ddpm":
        end = draw(st.floats(0.01, 0.1))
        return DDPM(draw(st.integers(500, 1200)), end / 50, end, zero_terminal=draw(st.booleans()))
    if kind == "table":
        u = np.linspace(0.0, draw(st.floats(0.7, 1.0)), draw(st.integers(2, 9)))[1:]
        return Table(tuple(1 - u), tuple(u))
    return Flow() if kind == "flow" else Cosine()


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    low = draw(st.floats(1e-4, 0.1))
    inner = draw(
        st.sampled_from(
            [
                Uniform(),
                Quadratic(),
                Level(),
                Karras(draw(st.floats(0.5, 15.0)), low, draw(st.floats(10.0, 1e3))),
                LogSNR(low, draw(st.floats(10.0, 1e5))),
            ]
        )
    )
    return Shift(inner, draw(st.floats(0.05, 20.0))) if draw(st.booleans()) else inner


@given(processes(), grids(), st.integers(1, 60))
@settings(max_examples=300)
def test_falling_grids_fall_whatever_their_settings(process: Continuous, grid: Grid, steps: int) -> None:
    times = grid(process, steps)
    assert times.shape == (steps + 1,) and times[0] == 1 and times[-1] == 0
    assert bool((times.diff() < 0).all()) and bool(torch.isfinite(times).all())


@given(
    processes(),
    grids(),
    st.integers(1, 25),
    st.integers(1, 4),
    st.integers(1, 6),
    st.floats(0.0, 0.4),
    st.floats(0.01, 0.5),
)
@settings(max_examples=150)
def test_rising_grids_walk_on_their_inner_grid(
    process: Continuous, inner: Grid, steps: int, times: int, jump: int, low: float, up: float
) -> None:
    """Recurrence and RePaint visit the inner points in order and no others; Restart is put in between two of them."""
    points = inner(process, steps)
    for grid in (Recurrence(inner, times), RePaint(inner, jump, times), Restart(inner, low, low + up, times, jump)):
        walk = grid(process, steps)
        assert walk[0] == 1 and walk[-1] == 0 and bool((walk.diff() != 0).all()) and bool((walk <= 1).all())
        if isinstance(grid, Restart):
            falling = [i for i in range(len(points)) if torch.equal(walk[: i + 1], points[: i + 1])]
            assert torch.equal(walk[len(walk) - (len(points) - falling[-1]) :], points[falling[-1] :])
        else:
            firsts = [int((walk == p).nonzero()[0, 0]) for p in points]
            lasts = [int((walk == p).nonzero()[-1, 0]) for p in points]
            assert firsts == sorted(firsts) and lasts == sorted(lasts)
            assert bool(torch.isin(walk, points).all())
        if times == 1:
            assert torch.equal(walk, points)


def test_logsnr_has_equal_intervals_and_its_ends() -> None:
    for process, top in ((EDM(), 80.0), (VP(), None), (DDPM(), None)):
        times = LogSNR()(process, 30)
        found = ratios(process, times[:-1]).log()
        torch.testing.assert_close(found.diff(), found.diff().mean().expand(29), rtol=1e-7, atol=0)
        assert float(found[-1].exp()) == pytest.approx(0.002, rel=1e-9)
        assert float(found[0].exp()) == pytest.approx(top or float(ratios(process, ONE)), rel=1e-12)
    # Song et al.'s geometric clock of the variance-exploding process, sigma_min (sigma_max / sigma_min)^t
    clock = 0.01 * (50 / 0.01) ** np.linspace(1, 0, 20)
    np.testing.assert_allclose(EDM(50.0).sigma(LogSNR(sigma_min=0.01)(EDM(50.0), 20))[:-1].numpy(), clock, rtol=1e-9)
    for process in (Flow(), Cosine(), VP(zero_terminal=True), DDPM(zero_terminal=True), VP(0.1, 60.0)):
        found = ratios(process, LogSNR()(process, 30)[1:-1]).log()
        assert float(found[0].exp()) == pytest.approx(500, rel=1e-9)
        assert float(found[-1].exp()) == pytest.approx(0.002, rel=1e-9)
        torch.testing.assert_close(found.diff(), found.diff().mean().expand(28), rtol=1e-7, atol=0)


@pytest.mark.parametrize("process", [Flow(), Cosine(), VP(zero_terminal=True)], ids=lambda p: type(p).__name__)
def test_the_interval_from_infinity_costs_less_than_1e_5(process: Continuous) -> None:
    """One Euler step from pure noise against the closed form of a Gaussian of unit spread, relative to the noise."""
    model = Mixture(process, [[3.0, -2.0]], torch.eye(2)[None])
    x = Rng(range(64)).normal("x", (2,)).double()
    first = LogSNR()(process, 20)[:2]
    alpha, sigma = process.alpha(first[1]), process.sigma(first[1])
    exact = alpha * model.means + (alpha**2 + sigma**2).sqrt() * x
    found = Euler(1)(model, rng=Rng(range(64)), times=first, start=x)
    error = float(((found - exact) / (sigma * x)).abs().max())
    assert 1e-6 < error < 1e-5 and error == pytest.approx(0.5 / 500**2, rel=0.01)


def test_quadratic_has_equal_intervals_of_the_root() -> None:
    gaps = Quadratic()(Cosine(), 12).sqrt().diff()
    torch.testing.assert_close(gaps, torch.full((12,), -1 / 12, dtype=torch.float64))


def indices(grid: Grid, steps: int, total: int = 1000) -> list[int]:
    times = grid(DDPM(total), steps)
    assert times[-1] == 0
    found = times[:-1] * total - 1
    assert float((found - found.round()).abs().max()) < 1e-9
    return found.round().int().tolist()


def test_respacing_as_printed() -> None:
    """Lin et al. 2023, table 2: 10 of 1,000 steps, counted from 1."""
    printed = {
        "leading": [1, 101, 201, 301, 401, 501, 601, 701, 801, 901],
        "linspace": [1, 112, 223, 334, 445, 556, 667, 778, 889, 1000],
        "trailing": [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000],
    }
    for spacing, expected in printed.items():
        assert [i + 1 for i in reversed(indices(Respaced(spacing), 10))] == expected
    assert indices(Respaced("leading", offset=1), 4) == [751, 501, 251, 1]
    assert indices(Respaced(), 3) == [999, 666, 332]
    assert indices(Respaced("linspace"), 1) == [999]  # numpy's linspace of one point would be index 0, clean data
    assert indices(Respaced(), 7, total=10) == [9, 8, 6, 5, 3, 2, 0]


def test_respacing_is_the_published_lists_for_any_number_of_steps() -> None:
    """Against numpy as the widespread implementations write it, halves included; now and then theirs runs over."""
    over = []
    for total, steps in itertools.product((1000, 250, 77), (*range(1, 78), 100, 125, 200, 250, 333, 999, 1000)):
        if steps > total:
            with pytest.raises(Refusal, match="fit"):
                Respaced()(DDPM(total), steps)
            continue
        for spacing in ("trailing", "linspace", "leading"):
            found = indices(Respaced(spacing), steps, total)
            assert len(set(found)) == len(found) == steps and found == sorted(found, reverse=True)
            assert min(found) >= 0 and (found[0] == total - 1 or spacing == "leading")
            if spacing == "trailing":
                theirs = np.arange(total, 0, -total / steps).round() - 1
            elif spacing == "linspace":
                theirs = np.linspace(0, total - 1, steps).round()[::-1] if steps > 1 else np.array([total - 1])
            else:
                theirs = (np.arange(0, steps) * (total // steps))[::-1]
            assert found == theirs[:steps].astype(int).tolist()
            if len(theirs) > steps:
                assert theirs[steps:] == [-1]
                over.append((total, steps))
    assert (1000, 61) in over


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("steps", [7, 10, 30])
def test_a_respaced_run_is_ddim_between_the_listed_indices(spacing: str, steps: int) -> None:
    """DDIM written with products of betas, from each listed index to the next one and at last to alpha-bar = 1."""
    process = DDPM()
    bars = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    torch.manual_seed(2)
    model = Mixture(process, torch.randn(3, 2), 0.1 * torch.eye(2).expand(3, 2, 2))
    x = Rng(range(5)).normal("x", (2,)).double()
    found = Ancestral(steps, eta=0.0, grid=Respaced(spacing))(model, rng=Rng(range(5)), start=x)
    listed = indices(Respaced(spacing), steps)
    for now, then in itertools.pairwise([*listed, None]):
        a, b = bars[now], 1.0 if then is None else bars[then]
        x0 = model(x, torch.full((5,), (now + 1) / 1000, dtype=torch.float64)).mean
        x = b**0.5 * x0 + (1 - b) ** 0.5 * (x - a**0.5 * x0) / (1 - a) ** 0.5
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_leading_begins_below_the_prior_and_needs_a_start() -> None:
    process = DDPM()
    model = Mixture(process, [[0.0]], [[[1.0]]])
    sampler = Euler(10, grid=Respaced("leading"))
    with pytest.raises(Refusal, match="start"):
        sampler(model, rng=Rng(range(3)))
    start = process.prior((1,)).repeat(3).sample(Rng(range(3)))
    assert sampler(model, rng=Rng(range(3)), start=start).shape == (3, 1)


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.15, 3.0, 12.0])
def test_shift_is_the_published_one_on_rectified_flow(factor: float) -> None:
    for inner in (Uniform(), Karras(), Recurrence(Uniform(), 2)):
        t = inner(Flow(), 13)
        expected = factor * t / (1 + (factor - 1) * t)
        torch.testing.assert_close(Shift(inner, factor)(Flow(), 13), expected, rtol=1e-14, atol=0)


@named
def test_shift_multiplies_the_ratio_keeps_its_ends_and_is_undone(process: Continuous) -> None:
    inner = Level()
    plain, moved = inner(process, 9), Shift(inner, 2.5)(process, 9)
    assert moved[0] == 1 and moved[-1] == 0 and bool((moved[1:-1] > plain[1:-1]).all())
    top = process.level(ONE)

    def odds(times: torch.Tensor) -> torch.Tensor:
        share = process.level(times[1:-1]) / top
        return share / (1 - share)

    torch.testing.assert_close(odds(moved), 2.5 * odds(plain), rtol=1e-9, atol=0)
    if process.alpha(ONE) == 0:
        torch.testing.assert_close(ratios(process, moved[1:-1]), 2.5 * ratios(process, plain[1:-1]), rtol=1e-9, atol=0)
    back = Shift(Shift(inner, 2.5), 1 / 2.5)(process, 9)
    torch.testing.assert_close(back, plain, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(Shift(inner, 1.0)(process, 9), plain, rtol=1e-12, atol=0)


@pytest.mark.parametrize("sampler", [Euler, Heun, Ancestral])
@pytest.mark.parametrize("grid", [LogSNR(), Karras(), Recurrence(LogSNR(), 2), Restart(Karras(), 0.1, 0.5)], ids=str)
def test_grids_in_ratios_make_every_process_the_same_run(sampler: type[Sampler], grid: Grid) -> None:
    """On DDPM, a table and EDM that end at one ratio, x / alpha is one path, fresh noise and rises included."""
    torch.manual_seed(5)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    means, spreads = 2 * torch.randn(4, 3) + 1, factors @ factors.transpose(1, 2) / 3 + 0.1 * torch.eye(3)
    discrete = DDPM()
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    end = float(ratios(discrete, ONE))
    scaled = Table(tuple(3 * discrete.alpha(t)), tuple(3 * discrete.sigma(t)))  # the same ratios at another scale
    x = Rng(range(4)).normal("x", (3,)).double()
    paths = []
    for process in (EDM(end), discrete, scaled):
        run = sampler(12, grid=grid).trajectory(  # type: ignore[call-arg]
            Mixture(process, means, spreads), rng=Rng(range(4)), start=x * end * process.alpha(ONE)
        )
        paths.append(torch.stack([state.x / process.alpha(state.t)[:, None] for state in run]))
    for other in paths[1:]:
        torch.testing.assert_close(other, paths[0], rtol=1e-8, atol=1e-8)


def test_specs_and_refusals() -> None:
    for grid in (*FALLING, *RISING, Respaced("leading", 250, 1)):
        again = build(spec(grid))
        assert again == grid
    for make, says in (
        (lambda: LogSNR(0.0), "sigma_min"),
        (lambda: LogSNR(2.0, 1.0), "sigma_min"),
        (lambda: Karras(rho=0.0), "rho"),
        (lambda: LogSNR()(EDM(0.001), 3), "lower sigma_min"),
        (lambda: Karras()(EDM(0.001), 3), "lower sigma_min"),
        (lambda: Respaced("trailling"), "'trailing'"),
        (lambda: Respaced(total=0), "at least one"),
        (lambda: Respaced(offset=1), "only for 'leading'"),
        (lambda: Respaced("leading", offset=1)(DDPM(), 1000), "take fewer"),
        (lambda: Respaced(total=500)(DDPM(), 10), "1000 steps"),
        (lambda: Respaced()(DDPM(10), 11), "take fewer"),
        (lambda: Shift(factor=0.0), "factor"),
        (lambda: Shift(factor=math.inf), "factor"),
        (lambda: Recurrence(times=0), "times"),
        (lambda: RePaint(jump=0), "jump"),
        (lambda: RePaint(Recurrence())(Flow(), 20), "only falls"),
        (lambda: Restart(low=0.5, high=0.4), "low < high"),
        (lambda: Restart(high=1.0), "low < high"),
        (lambda: Restart(rho=0.0), "rho"),
        (lambda: Restart(steps=0), "steps"),
        (lambda: Restart(lambda process, steps: torch.tensor([1.0, 0.5]).double())(Flow(), 1), "never goes below"),
        (lambda: Restart(lambda process, steps: torch.ones(3, 2).double())(Flow(), 2), "one time at each point"),
    ):
        with pytest.raises(Refusal, match=says):
            make()
