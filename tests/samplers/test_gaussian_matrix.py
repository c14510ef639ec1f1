"""One Gaussian through everything: every process, prediction, grid and deterministic sampler, at 1 to 1,000 steps.

The exact answer enters *as a network* that says noise, x_0, v, velocity or EDM's output, so the path from network to
sample is the one a trained model takes. For data N(mu, c^2) that path has a closed form:
(x_t - alpha mu) / sqrt(alpha^2 c^2 + sigma^2) never changes.

Two intervals are of first order for everybody and belong to the grid, not to the method: the one that ends at clean
data and the one that leaves pure noise. Their own error has a closed form too (``floor``), and what a method is held to
is what it adds: 1e-2 at first order and 1e-4 above, at 1,000 steps. Where the floor alone is beyond the bar - uniform
steps of EDM's sigma, which end with 0.08 - the printed table says so.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from exact_network import PREDICTIONS, ExactNetwork, sayable
from mezzotint.core import Rng
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import (
    Ancestral,
    Churn,
    Euler,
    Grid,
    Heun,
    Karras,
    Level,
    LogSNR,
    Multistep,
    Quadratic,
    Respaced,
    Sampler,
    Shift,
    Uniform,
    UniPC,
)

MU, C = torch.tensor([1.5, -0.4, 0.1], dtype=torch.float64), 0.5
ROWS = 6
COUNTS = (1, 2, 3, 7, 10, 13, 1000)
PROCESSES: dict[str, Continuous] = {
    "EDM": EDM(),
    "VP": VP(),
    "VP zero": VP(zero_terminal=True),
    "DDPM": DDPM(),
    "DDPM cosine": DDPM(schedule="cosine"),
    "DDPM zero": DDPM(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
}
SAMPLERS: dict[str, tuple[Callable[..., Sampler], int]] = {
    "Euler": (Euler, 1),
    "DDIM": (lambda n, grid: Ancestral(n, eta=0.0, grid=grid), 1),
    "Heun": (Heun, 2),
    "Churn": (Churn, 2),
    "2M": (Multistep, 2),
    "3M": (lambda n, grid: Multistep(n, order=3, grid=grid), 3),
    "UniPC-1": (lambda n, grid: UniPC(n, order=1, grid=grid), 2),
    "UniPC-2": (UniPC, 3),
    "UniPC-3": (lambda n, grid: UniPC(n, order=3, grid=grid), 4),
}
GRIDS: dict[str, Grid] = {
    "Karras": Karras(),
    "LogSNR": LogSNR(),
    "Level": Level(),
    "Shift": Shift(Level(), 3.0),
    "Uniform": Uniform(),
    "Quadratic": Quadratic(),
    "Respaced": Respaced(),
}


def truth(process: Continuous) -> Mixture:
    return Mixture(process, MU[None], (C**2 * torch.eye(len(MU)).double())[None])


def model(process: Continuous, prediction: str) -> Preconditioned:
    network = ExactNetwork(truth(process), prediction, sigma_data=C)
    return Preconditioned(network, process, None, C, prediction, noise="time")


def start(process: Continuous) -> Tensor:
    sigma = process.sigma(torch.ones(1, dtype=torch.float64))
    return sigma * Rng(range(ROWS)).normal("start", (len(MU),)).double()


def path(process: Continuous, t: Tensor) -> Tensor:
    """Where the exact path from ``start`` stands at t (a number)."""
    one = torch.ones(1, dtype=torch.float64)
    a1, s1, a, s = process.alpha(one), process.sigma(one), process.alpha(t), process.sigma(t)
    return a * MU + ((a**2 * C**2 + s**2) / (a1**2 * C**2 + s1**2)).sqrt() * (start(process) - a1 * MU)


def floor(process: Continuous, times: Tensor) -> float:
    """The largest error of the two intervals that nobody walks better than Euler, each begun on the exact path."""
    exact, last = truth(process), times[-2:-1]
    off = exact(path(process, last), last.expand(ROWS)).mean - path(process, times[-1:])
    worst = float(off.abs().max())
    one, second = times[:1], times[1:2]
    if float(process.alpha(one)) < 1e-6 and len(times) > 2:
        guess = exact(start(process), one.expand(ROWS)).mean
        noise = start(process) / process.sigma(one)
        missed = process.alpha(second) * guess + process.sigma(second) * noise - path(process, second)
        a, s = process.alpha(second), process.sigma(second)
        worst += float((missed * C / (a**2 * C**2 + s**2).sqrt()).abs().max())
    return worst


def error(sampler: Sampler, process: Continuous, prediction: str) -> float:
    x = sampler(model(process, prediction), rng=Rng(range(ROWS)), start=start(process))
    assert bool(torch.isfinite(x).all())
    return float((x - path(process, torch.zeros(1, dtype=torch.float64))).abs().max())


def held_to(name: str, grid: str, process: str, prediction: str, counts: tuple[int, ...]) -> list[float]:
    make, order = SAMPLERS[name]
    law, found = PROCESSES[process], []
    for count in counts:
        sampler = make(count, grid=GRIDS[grid])
        found.append(error(sampler, law, prediction))
    rest = floor(law, GRIDS[grid](law, counts[-1]))
    row = "  ".join(f"{e:.1e}" for e in found)
    print(f"\n{process:12} {prediction:8} {grid:9} {name:8} N = {counts}: {row}   (floor {rest:.1e})", end="")
    # The error of one Gaussian is one signed number: on other grids three steps may happen to lie near its zero.
    falls = found if grid == "Karras" else found[1:]
    assert all(later <= 1.02 * earlier + 1e-9 for earlier, later in zip(falls, falls[1:], strict=False))
    # Does not hold for equal steps of EDM's sigma: 0.08 is coarse against the data's 0.5 on all of the last intervals.
    if counts[-1] == 1000 and not (process == "EDM" and grid in ("Uniform", "Respaced")):
        # On the grids made for it the bar holds as it stands; elsewhere it is what a method may add to the grid's own.
        assert found[-1] <= (1e-2 if order == 1 else 1e-4) + (0 if grid in ("Karras", "LogSNR") else 1.1 * rest)
    return found


@pytest.mark.parametrize("process", PROCESSES)
def test_one_step_returns_the_posterior_mean(process: str) -> None:
    """From anywhere, in one deterministic step to t = 0, whatever the network says and whichever the sampler."""
    law, t = PROCESSES[process], torch.tensor([1.0, 0.7, 0.2, 0.01, 0.5, 0.9], dtype=torch.float64)
    a, s = law.alpha(t)[:, None], law.sigma(t)[:, None]
    x = a * MU + (a**2 * C**2 + s**2).sqrt() * Rng(range(ROWS)).normal("x", (3,)).double()
    mean = MU + a * C**2 / (a**2 * C**2 + s**2) * (x - a * MU)
    for prediction in (p for p in PREDICTIONS if sayable(law, p)):
        for make, _ in SAMPLERS.values():
            times = torch.stack([t, torch.zeros_like(t)])
            end = make(1, grid=Level())(model(law, prediction), rng=Rng(range(ROWS)), times=times, start=x)
            torch.testing.assert_close(end, mean, rtol=0, atol=2e-6 if prediction == "noise" else 1e-11)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("process", ["EDM", "DDPM zero"])
def test_every_count_on_every_grid(process: str, grid: str) -> None:
    law = PROCESSES[process]
    for make, _ in SAMPLERS.values():
        for count in COUNTS[:-1]:
            error(make(count, grid=GRIDS[grid]), law, "v")


@pytest.mark.parametrize("process", PROCESSES)
def test_predictions_make_no_difference(process: str) -> None:
    law = PROCESSES[process]
    for make, _ in SAMPLERS.values():
        sampler = make(10, grid=Karras())
        ends = [sampler(model(law, p), rng=Rng(range(ROWS)), start=start(law)) for p in PREDICTIONS if sayable(law, p)]
        for end in ends[1:]:
            torch.testing.assert_close(end, ends[0], rtol=0, atol=1e-6)


ONCE = [("VP", "DDIM"), ("DDPM cosine", "2M"), ("DDPM zero", "3M"), ("Flow", "UniPC-2"), ("EDM", "UniPC-3")]


@pytest.mark.slow
@pytest.mark.parametrize(("process", "name"), ONCE)
def test_a_thousand_steps(process: str, name: str) -> None:
    held_to(name, "Karras", process, "v", (3, 10, 1000))


@pytest.mark.long
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("process", PROCESSES)
def test_the_whole_matrix(process: str, name: str, grid: str) -> None:
    """The predictions take turns, as they make no difference beyond rounding (above)."""
    turn = list(PROCESSES).index(process) + list(SAMPLERS).index(name) + list(GRIDS).index(grid)
    said = [p for p in PREDICTIONS if sayable(PROCESSES[process], p)]
    held_to(name, grid, process, said[turn % len(said)], (3, 10, 1000))
