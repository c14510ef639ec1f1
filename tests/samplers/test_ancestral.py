"""DDPM's three variances against the true one: of normal data p(x_s | x_t) is a joint normal, conditioned by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mezzotint.core import NONE, Dirac, Gaussian, Refusal, Rng, build, spec
from mezzotint.denoiser import Denoiser, Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Level, State

VARIANCE_PRESERVING = [VP(), Cosine(), DDPM()]
PROCESSES = [EDM(), Flow(), *VARIANCE_PRESERVING]
D = 3


def normals(process: Continuous, spread: float, size: int = D) -> Mixture:
    return Mixture(process, torch.zeros(1, size), (spread**2 * torch.eye(size))[None])


def step(process: Continuous, spread: float, variance: str, t: float, s: float) -> Gaussian:
    x = Rng(range(2)).normal("x", (D,)).double()
    times = torch.full((2,), t, dtype=torch.float64), torch.full((2,), s, dtype=torch.float64)
    sampler = Ancestral(4, variance=variance)
    law = sampler.transition(normals(process, spread), State(x, times[0], Rng(range(2))), times[1], NONE)
    assert isinstance(law, Gaussian)
    return law


def true_variance(process: Continuous, spread: float, t: float, s: float) -> float:
    """Var(x_s | x_t) of x_0 ~ N(0, spread^2): both are normal, and x_t is x_s scaled plus noise of its own."""
    alpha_t, alpha_s = (float(process.alpha(torch.tensor(at, dtype=torch.float64))) for at in (t, s))
    sigma_t, sigma_s = (float(process.sigma(torch.tensor(at, dtype=torch.float64))) for at in (t, s))
    total_t, total_s = (alpha_t * spread) ** 2 + sigma_t**2, (alpha_s * spread) ** 2 + sigma_s**2
    shared = alpha_t / alpha_s * total_s
    return total_s - shared**2 / total_t


PAIRS = [(0.9, 0.7), (0.5, 0.45), (0.1, 0.02)]


@pytest.mark.parametrize(("t", "s"), PAIRS)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_small_is_exact_for_one_point_and_large_bounds_the_rest(process: Continuous, t: float, s: float) -> None:
    small, medium, large = (float(step(process, 1.0, v, t, s).variance[0, 0]) for v in ("small", "medium", "large"))
    assert abs(small / true_variance(process, 0.0, t, s) - 1) < 1e-9
    assert abs(math.log(medium) - 0.5 * (math.log(small) + math.log(large))) < 1e-9
    if process in VARIANCE_PRESERVING:
        assert abs(large / true_variance(process, 1.0, t, s) - 1) < 1e-9
        for spread in (0.1, 0.5, 0.9):
            assert small < true_variance(process, spread, t, s) < large
    # Of x_0 nothing is known (wide data): x_s is x_t less its noise, scaled back by alpha_s / alpha_t.
    alpha_t, alpha_s = (float(process.alpha(torch.tensor(at, dtype=torch.float64))) for at in (t, s))
    assert abs(large / (true_variance(process, 1e4, t, s) * (alpha_t / alpha_s) ** 2) - 1) < 1e-3


def test_they_are_ddpm_s() -> None:
    """beta_i and (1 - abar_(i-1)) / (1 - abar_i) beta_i of the linear schedule of 1000 steps."""
    betas = np.linspace(1e-4, 0.02, 1000)
    abar = np.cumprod(1 - betas)
    for i in (1, 10, 500, 999):
        t, s = (i + 1) / 1000, i / 1000
        small, large = (float(step(DDPM(), 1.0, v, t, s).variance[0, 0]) for v in ("small", "large"))
        assert abs(large / betas[i] - 1) < 1e-6
        assert abs(small / ((1 - abar[i - 1]) / (1 - abar[i]) * betas[i]) - 1) < 1e-6


def test_means_are_the_bridge_s_and_the_last_interval_draws_nothing() -> None:
    for process in PROCESSES:
        for t, s in ((0.6, 0.3), (1.0, 0.4)):
            means = [step(process, 0.7, v, t, s).mean for v in ("small", "medium", "large")]
            assert torch.equal(means[0], means[1]) and torch.equal(means[0], means[2])
        for variance in ("small", "medium", "large"):
            last = step(process, 0.7, variance, 0.2, 0.0)
            answer = normals(process, 0.7)(
                Rng(range(2)).normal("x", (D,)).double(), torch.full((2,), 0.2, dtype=torch.float64)
            )
            assert not bool(last.variance.any())
            torch.testing.assert_close(last.mean, answer.mean, rtol=1e-13, atol=1e-13)


ROWS, SIZE = 1000, 16
ERROR = 5 / math.sqrt(2 * ROWS * SIZE)


@pytest.mark.parametrize("process", [VP(), Cosine()], ids=lambda p: type(p).__name__)
def test_large_keeps_unit_normal_data_at_any_number_of_steps(process: Continuous) -> None:
    """After four steps of five the spread is whole; small has lost a quarter of it or more, medium half of that."""
    found = {}
    for variance in ("small", "medium", "large"):
        sampler = Ancestral(5, variance=variance, grid=Level())
        states = list(sampler.trajectory(normals(process, 1.0, SIZE), rng=Rng(range(ROWS))))
        found[variance] = float(states[4].x.std())
    assert abs(found["large"] - 1) < ERROR
    assert found["small"] < 0.75 and abs((1 - found["medium"]) / (1 - found["small"]) - 0.5) < 0.1


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("variance", ["medium", "large"])
def test_rows_are_their_own_and_what_is_held_stays(process: Continuous, variance: str) -> None:
    sampler = Ancestral(4, variance=variance)
    model = normals(process, 0.6)
    crowd = sampler(model, rng=Rng(range(5)))
    for rows in ([2], [4, 0, 3]):
        assert torch.equal(sampler(model, rng=Rng(rows)), crowd[rows])
    x = Rng(range(2)).normal("x", (2,)).double()
    u = torch.tensor([0.8, 0.5, 0.2, 0.0], dtype=torch.float64)
    times = torch.stack([process.time(torch.full((4,), 0.7, dtype=torch.float64)), process.time(u)], 1)[:, None]
    end = sampler(Entrywise(process), rng=Rng(range(2)), times=times, start=x)
    assert torch.equal(end[:, 0], x[:, 0]) and bool(torch.isfinite(end).all())


class Entrywise(Denoiser):
    """Two independent standard normals, each at its own time."""

    def __init__(self, process: Continuous, answer: object = None) -> None:
        super().__init__()
        self.process, self.shape, self.answer = process, (2,), answer

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        alpha, sigma = self.process.scales(t, x)
        return self.answer or Dirac(alpha * x / (alpha**2 + sigma**2))


def test_what_is_refused() -> None:
    with pytest.raises(Refusal, match="'large'"):
        Ancestral(4, variance="larg")
    with pytest.raises(Refusal, match="eta = 0.5"):
        Ancestral(4, eta=0.5, variance="large")
    model = Entrywise(EDM(), Gaussian(torch.zeros(2, 2), torch.ones(2, 2)))
    assert bool(torch.isfinite(Ancestral(2)(model, rng=Rng(range(2)))).all())
    with pytest.raises(Refusal, match="was not learnt"):
        Ancestral(2, variance="medium")(model, rng=Rng(range(2)))
    assert build(spec(Ancestral(4, variance="medium"))) == Ancestral(4, variance="medium")
