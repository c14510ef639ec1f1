"""Orders of convergence against a reference that shares no code with the samplers: scipy's DOP853 on dy/du.

The target is an exact mixture with full, unequal covariances and a centre away from 0. Level is run to the clean end;
Karras ends with one fixed interval (sigma_min to 0) that no number of steps makes smaller, so it is judged where that
interval begins. The multistep methods, whose polynomials live in the log-SNR, are judged between two finite ones: the
interval that comes from pure noise and the one that ends at clean data are of first order for everybody.
``pytest -s tests/samplers/test_orders.py`` prints the tables.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from mezzotint.core import Rng
from mezzotint.denoiser import Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Churn, Euler, Heun, Karras, Level, Multistep, Sampler, UniPC

PROCESSES = {"EDM": EDM(), "VP": VP(), "Cosine": Cosine(), "Flow": Flow()}
GRIDS = {"Level": Level(), "Karras": Karras()}
SAMPLERS: dict[str, tuple[type[Sampler], dict[str, float], int]] = {
    "Euler": (Euler, {}, 1),
    "Ancestral eta=0": (Ancestral, {"eta": 0.0}, 1),
    "Heun": (Heun, {}, 2),
}
STEPS = (20, 40, 80, 160)
STARTS = 16
D = 3


def mixture(process: Continuous) -> Mixture:
    """Three components in three dimensions, each with its own axes and spreads from 0.25 to 1."""
    draw = np.random.default_rng(7)
    means = draw.normal(size=(3, D)) + np.array([1.5, -1.0, 0.5])
    covariances = []
    for _ in range(3):
        axes, _ = np.linalg.qr(draw.normal(size=(D, D)))
        covariances.append(axes @ np.diag(draw.uniform(0.25, 1.0, D) ** 2) @ axes.T)
    return Mixture(process, torch.tensor(means), torch.tensor(np.array(covariances)), weights=[0.5, 0.3, 0.2])


def start(process: Continuous) -> torch.Tensor:
    sigma = float(process.sigma(torch.ones((), dtype=torch.float64)))
    return sigma * Rng(range(STARTS)).normal("order", (D,)).double()


def scales(process: Continuous, t: float) -> tuple[float, float]:
    at = torch.tensor(t, dtype=torch.float64)
    return float(process.alpha(at)), float(process.sigma(at))


@cache
def reference(name: str, end: float) -> torch.Tensor:
    """x at time ``end``, by an adaptive method of order 8 on the score of the mixture, written out here."""
    process = PROCESSES[name]
    model = mixture(process)
    means = model.means.numpy()
    spread = np.einsum("kad,ka,kae->kde", model.axes.numpy(), model.spreads.numpy(), model.axes.numpy())
    log_weights = model.log_weights.numpy()

    def slope(u: float, flat: np.ndarray) -> np.ndarray:
        alpha, sigma = u_scales(process, u)
        x = flat.reshape(STARTS, D) * (alpha + sigma)
        logs, scores, guesses = [], [], []
        for mean, cov, log_weight in zip(means, spread, log_weights, strict=True):
            total = alpha**2 * cov + sigma**2 * np.eye(D)
            pulled = np.linalg.solve(total, (x - alpha * mean).T).T
            logs.append(log_weight - 0.5 * ((x - alpha * mean) * pulled).sum(1) - 0.5 * np.linalg.slogdet(total)[1])
            scores.append(-pulled)
            guesses.append(mean + alpha * pulled @ cov)
        logged = np.array(logs)
        share = np.exp(logged - logged.max(0))
        share /= share.sum(0)
        score = (share[..., None] * np.array(scores)).sum(0)
        x0 = (share[..., None] * np.array(guesses)).sum(0)
        return (-sigma * score - x0).reshape(-1)

    one, at = scales(process, 1.0), scales(process, end)
    top, low = one[1] / sum(one), at[1] / sum(at)
    y = (start(process).numpy() / sum(one)).reshape(-1)
    found = solve_ivp(slope, (top, low), y, method="DOP853", rtol=1e-12, atol=1e-13)
    assert found.success
    return torch.from_numpy(found.y[:, -1].reshape(STARTS, D) * sum(at))


def u_scales(process: Continuous, u: float) -> tuple[float, float]:
    """(alpha, sigma) at level u, written out: flow, variance exploding, or on the unit circle."""
    if isinstance(process, Flow):
        return 1 - u, u
    if isinstance(process, EDM):
        return 1.0, u / (1 - u)
    size = math.hypot(u, 1 - u)  # alpha^2 + sigma^2 = 1
    return (1 - u) / size, u / size


def errors(sampler: str, process: str, grid: str) -> tuple[list[float], float]:
    """Median error over the starts at each number of steps, and the order between the first and the last."""
    kind, own, _ = SAMPLERS[sampler]
    model = mixture(PROCESSES[process])
    out = []
    for steps in STEPS:
        times = GRIDS[grid](PROCESSES[process], steps)
        times = times if grid == "Level" else times[:-1]
        end = float(times[-1]) if grid == "Level" else float(GRIDS[grid](PROCESSES[process], STEPS[0])[-2])
        assert abs(end - float(times[-1])) < 1e-12
        x = kind(steps, grid=GRIDS[grid], **own)(
            model, rng=Rng(range(STARTS)), times=times, start=start(PROCESSES[process])
        )
        out.append(float((x - reference(process, end)).norm(dim=1).median()))
    return out, math.log(out[0] / out[-1], STEPS[-1] / STEPS[0])


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(
    ("sampler", "grid"),
    [("Euler", "Level"), ("Euler", "Karras"), ("Ancestral eta=0", "Level"), ("Heun", "Level"), ("Heun", "Karras")],
)
def test_order(sampler: str, process: str, grid: str) -> None:
    found, order = errors(sampler, process, grid)
    row = "  ".join(f"{error:.2e}" for error in found)
    print(f"\n{sampler:16} {process:7} {grid:7} N = {STEPS}: {row}   order {order:.3f}", end="")
    assert abs(order - SAMPLERS[sampler][2]) < 0.25
    assert found[-1] < {1: 0.03, 2: 2e-4}[SAMPLERS[sampler][2]]  # towards the truth, not towards something else


FINE = (80, 320)
HIGH, LOW = 80.0, 0.002  # sigma / alpha at both ends
EVERY = {
    **PROCESSES,
    "DDPM": DDPM(),
    "DDPM cosine": DDPM(schedule="cosine"),
    "DDPM zero terminal": DDPM(zero_terminal=True),
    "VP zero terminal": VP(zero_terminal=True),
}
HIGHER: dict[str, tuple[Callable[[int], Sampler], float, float]] = {
    "Euler": (Euler, 1, 1),
    "DDIM": (lambda n: Ancestral(n, eta=0.0), 1, 1),
    "Heun": (Heun, 2, 2),
    "Churn": (Churn, 2, 2),
    "2M": (Multistep, 2, 2),
    "3M": (lambda n: Multistep(n, order=3), 3, 3),
    "3M reference": (lambda n: Multistep(n, order=3, compat="reference"), 2, 2),
    "UniPC-1": (lambda n: UniPC(n, order=1), 2, 2),
    "UniPC-2": (UniPC, 3, 3),
    "UniPC-2 bh1": (lambda n: UniPC(n, variant="bh1"), 3, 3),
    "UniPC-3": (lambda n: UniPC(n, order=3), 3.75, 4),
    "UniPC-3 bh1": (lambda n: UniPC(n, order=3, variant="bh1"), 3.75, 4),
}


@cache
def between() -> torch.Tensor:
    """x / alpha at the ratio LOW from HIGH times standard noise: one path for every process."""
    edm = EDM(sigma_max=HIGH)
    PROCESSES["between"] = edm
    try:
        return reference("between", LOW / HIGH)
    finally:
        del PROCESSES["between"]


SOON = ("EDM", "DDPM zero terminal")  # one without an end in noise and one with; the others take minutes
ALL = [pytest.param(p, marks=() if p in SOON else pytest.mark.long) for p in EVERY]


@pytest.mark.parametrize("name", HIGHER)
@pytest.mark.parametrize("process", ALL)
def test_order_between_two_log_snrs(process: str, name: str) -> None:
    make, least, most = HIGHER[name]
    law = EVERY[process]
    model, found = mixture(law), []
    for steps in FINE:
        ratio = torch.exp(torch.linspace(math.log(HIGH), math.log(LOW), steps + 1, dtype=torch.float64))
        times = law.time(ratio / (1 + ratio))
        x = HIGH * law.alpha(times[0]) * Rng(range(STARTS)).normal("order", (D,)).double()
        end = make(steps)(model, rng=Rng(range(STARTS)), times=times, start=x) / law.alpha(times[-1])
        found.append(float((end - between()).norm(dim=1).median()))
    order = math.log(found[0] / found[1], FINE[1] / FINE[0])
    print(f"\n{name:14} {process:18} N = {FINE}: {found[0]:.2e}  {found[1]:.2e}   order {order:.2f}", end="")
    assert least - 0.25 < order < most + 0.25


def test_exact_heun_is_fast() -> None:
    begin = time.perf_counter()
    Heun(320)(mixture(EDM()), rng=Rng(range(STARTS)))
    assert time.perf_counter() - begin < 3.0
