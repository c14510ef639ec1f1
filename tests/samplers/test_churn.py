"""The samplers of EDM, against the paper's algorithms written out in sigma, and against what noise must do."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import NONE, Dirac, Refusal, Rng, build, spec
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Churn, Euler, Heun, Karras, Level, State
from mezzotint.testing.truth import Watched

PROCESSES = [EDM(), VP(), Cosine(), Flow(), DDPM(), VP(zero_terminal=True)]
named = pytest.mark.parametrize("process", PROCESSES, ids=str)
ONE = torch.ones(1, dtype=torch.float64)
D = 3


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(5)
    factors = torch.randn(4, D, D, dtype=torch.float64)
    return Mixture(process, 2 * torch.randn(4, D) + 1, factors @ factors.mT / D + 0.1 * torch.eye(D))


def algorithm_2(
    denoise,  # type: ignore[no-untyped-def]  # D(x; sigma)
    x: torch.Tensor,
    sigmas: list[float],
    draws: list[torch.Tensor],
    churn: float,
    least: float,
    most: float,
    noise: float,
) -> list[torch.Tensor]:
    """Karras et al. 2022, algorithm 2, line by line; with S_churn = 0 it is algorithm 1."""
    path, count = [], len(sigmas) - 1
    for i in range(count):
        gamma = min(churn / count, math.sqrt(2) - 1) if least <= sigmas[i] <= most else 0.0
        raised = sigmas[i] + gamma * sigmas[i]
        x = x + math.sqrt(raised**2 - sigmas[i] ** 2) * noise * draws[i]
        d = (x - denoise(x, raised)) / raised
        after = x + (sigmas[i + 1] - raised) * d
        if sigmas[i + 1] != 0:
            again = (after - denoise(after, sigmas[i + 1])) / sigmas[i + 1]
            after = x + (sigmas[i + 1] - raised) * (0.5 * d + 0.5 * again)
        x = after
        path.append(x)
    return path


CASES = [(0.0, 0.0, 80.0, 1.0), (40.0, 0.05, 50.0, 1.003), (3.0, 0.0, 79.0, 1.0), (30.0, 1.0, 1.0, 1.2)]


@pytest.mark.parametrize(("churn", "least", "most", "noise"), CASES)
@pytest.mark.parametrize("process", [EDM(), VP(0.5, 12.0), DDPM()], ids=str)
def test_it_is_the_paper_s_algorithm(
    process: Continuous, churn: float, least: float, most: float, noise: float
) -> None:
    """The same numbers on EDM, and on other processes after rescaling; draws as the sampler's own keys make them."""
    count, steps = 5, 18
    ratio = float(process.sigma(ONE) / process.alpha(ONE))
    edm = EDM(ratio)
    model, truth = mixture(process), mixture(edm)
    low, high = (least / (1 + least), most / (1 + most)) if least < most else (0.4, 0.9)
    # Nothing is to be raised beyond the prior, where the paper would go on and we do not.
    least, most = low / (1 - low), min(high / (1 - high), ratio / (1 + min(churn / steps, math.sqrt(2) - 1)) - 1e-3)
    high = most / (1 + most)
    sampler = Churn(steps, churn=churn, low=low, high=high, noise=noise)
    times = Karras()(process, steps)
    sigmas = [float(process.sigma(t) / process.alpha(t)) for t in times]
    x = ratio * Rng(range(count)).normal("x", (D,)).double()
    ours = list(sampler.trajectory(model, rng=Rng(range(count)), start=float(process.alpha(ONE)) * x))
    draws = [state.rng.at("move", "churn").normal("normal", (D,)).double() for state in ours]

    def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return truth(x, torch.full((count,), sigma / ratio, dtype=torch.float64)).mean

    theirs = algorithm_2(denoise, x, sigmas, draws, churn, least, most, noise)
    for state, other in zip(ours[1:], theirs, strict=True):
        alpha = float(process.alpha(state.t)[0])
        torch.testing.assert_close(state.x / alpha, other, rtol=1e-12 if process == EDM() else 1e-9, atol=1e-12)
    if churn:
        assert not torch.allclose(ours[-1].x, Churn(steps)(model, rng=Rng(range(count)), start=ours[0].x), atol=1e-2)


@pytest.mark.parametrize("process", [EDM(), Cosine(), VP(zero_terminal=True)], ids=str)
def test_order_two_against_the_closed_form(process: Continuous) -> None:
    """N(mu, c^2), from a finite ratio down: (x - alpha mu) / sqrt(alpha^2 c^2 + sigma^2) is constant."""
    mu, c = torch.tensor([2.0, -1.0], dtype=torch.float64), 0.6
    model = Mixture(process, mu[None], (c**2 * torch.eye(2))[None])
    errors = []
    for steps in (20, 80):
        ratio = torch.cat([torch.logspace(1.3, -2, steps, dtype=torch.float64), torch.zeros(1)])
        times = process.time(ratio / (1 + ratio))
        alpha, sigma = process.alpha(times[0]), process.sigma(times[0])
        constant = Rng(range(4)).normal("x", (2,)).double()
        start = alpha * mu + (alpha**2 * c**2 + sigma**2).sqrt() * constant
        states = list(Churn(steps).trajectory(model, rng=Rng(range(4)), times=times, start=start))
        alpha, sigma = process.alpha(times[-2]), process.sigma(times[-2])
        exact = alpha * mu + (alpha**2 * c**2 + sigma**2).sqrt() * constant
        errors.append(float((states[-2].x - exact).abs().max()))
    order = math.log(errors[0] / errors[1], 4)
    print(f"\n{process}: {errors[0]:.2e} {errors[1]:.2e} order {order:.2f}", end="")
    assert 1.8 < order < 2.3 and errors[1] < 2e-3


def test_evaluations_and_the_times_they_are_made_at() -> None:
    """2 N - 1 where the prior has a ratio, 2 N - 2 where it is infinite; models and guidance see the raised time."""
    for process, expected in ((EDM(), 13), (VP(), 13), (Flow(), 12), (Cosine(), 12), (VP(zero_terminal=True), 12)):
        model = Counted(mixture(process))
        Churn(7, churn=2.0)(model, rng=Rng(range(3)))
        assert model.rows == 3 * expected
    watched = Watched(mixture(EDM()))
    Churn(7, churn=2.8, low=0.5, high=0.97)(watched, rng=Rng(range(2)))
    sigma = EDM().sigma(Karras()(EDM(), 7))
    firsts = [80 * float(t[0]) for _, t, *_ in watched.asked[::2]]
    for asked, at in zip(firsts, sigma[:-1].tolist(), strict=True):
        assert abs(asked - (1.4 * at if 1.0 <= at <= 0.97 / 0.03 else at)) < 1e-9
    assert firsts[0] == 80 and max(firsts[1:]) > float(sigma[1])


@named
def test_a_step_from_pure_noise_keeps_its_first_slope(process: Continuous) -> None:
    """Where sigma / alpha is infinite there is no trapezium, and nothing is put in above the prior."""
    model, x = mixture(process), Rng(range(3)).normal("x", (D,)).double()
    state, s = State(x, torch.ones(3, dtype=torch.float64), Rng(range(3))), process.time(torch.tensor(0.95).double())
    step = Churn(4, churn=9.0).step(model, state, s).x
    first, second = Euler(4).step(model, state, s).x, Churn(4).step(model, state, s).x
    assert torch.equal(step, second)
    if float(process.alpha(ONE)) == 0:
        torch.testing.assert_close(step, first, rtol=1e-12, atol=1e-12)
    else:
        assert not torch.allclose(step, first, rtol=1e-6)


class Entrywise(Denoiser):
    """Independent normals N(mean, spread^2), each entry at its own time."""

    def __init__(self, process: Continuous, size: int = 2, mean: float = 0.0, spread: float = 1.0) -> None:
        super().__init__()
        self.process, self.shape, self.mean, self.spread = process, (size,), mean, spread

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        alpha, sigma = self.process.scales(t, x)
        share = alpha * self.spread**2 / (alpha**2 * self.spread**2 + sigma**2)
        return Dirac(self.mean + share * (x - alpha * self.mean))


ROWS, SIZE = 300, 32
MU, C = 1.5, 0.6


def spreads(process: Continuous, sampler: Churn, wrong: float = 1.0) -> list[float]:
    """Standard deviation over the true one half way, at three quarters and at the end; started ``wrong`` times off."""
    model = Entrywise(process, SIZE, MU, C)
    alpha, sigma = process.alpha(ONE), process.sigma(ONE)
    start = (
        alpha * MU + wrong * (alpha**2 * C**2 + sigma**2).sqrt() * Rng(range(ROWS)).normal("exact", (SIZE,)).double()
    )
    states, out = list(sampler.trajectory(model, rng=Rng(range(ROWS)), start=start)), []
    for at in (sampler.steps // 2, sampler.steps * 3 // 4, sampler.steps):
        alpha, sigma = process.alpha(states[at].t[:1]), process.sigma(states[at].t[:1])
        spread = float((alpha**2 * C**2 + sigma**2).sqrt())
        assert abs(float(states[at].x.mean() - alpha * MU)) < 5 * wrong * spread / math.sqrt(ROWS * SIZE)
        out.append(float(states[at].x.std()) / spread)
    return out


@pytest.mark.parametrize("process", [EDM(), Flow()], ids=str)
def test_noise_keeps_the_law_and_washes_errors_out(process: Continuous) -> None:
    """The marginal of normal data stays what it is; a start twice too wide comes out right, and stays wrong without."""
    churned = Churn(48, churn=12.0)
    assert max(abs(ratio - 1) for ratio in spreads(process, churned)) < 0.03
    plain, washed = spreads(process, Churn(48), wrong=2.0), spreads(process, churned, wrong=2.0)
    assert abs(plain[-1] - 2) < 0.06
    assert washed[-1] < 1.05
    louder = spreads(process, Churn(48, churn=12.0, noise=1.05))
    assert louder[-1] > 1.03  # what is put in beyond the law stays


@named
def test_rows_are_their_own_and_what_is_held_stays(process: Continuous) -> None:
    sampler, model = Churn(6, churn=3.0, noise=1.003), mixture(process)
    crowd = sampler(model, rng=Rng(range(6)))
    for rows in ([3], [5, 0, 2]):
        assert torch.equal(sampler(model, rng=Rng(rows)), crowd[rows])
    assert bool(torch.isfinite(crowd).all())
    # Rows at their own times: one stands and is not asked, one falls within the window of churn, one outside.
    path = process.time(torch.tensor([[0.9, 0.6, 0.2], [0.9, 0.5, 0.1], [0.4, 0.0, 0.0]], dtype=torch.float64))
    windowed = Churn(6, churn=3.0, low=0.3)
    x = Rng(range(3)).normal("x", (D,)).double()
    together = windowed(model, rng=Rng(range(3)), times=path, start=x)
    for row in range(3):
        alone = windowed(model, rng=Rng([row]), times=path[:, row : row + 1], start=x[row : row + 1])
        assert torch.equal(alone[0], together[row])
    u = torch.tensor([0.8, 0.5, 0.2, 0.0], dtype=torch.float64)
    times = torch.stack([process.time(torch.full((4,), 0.7, dtype=torch.float64)), process.time(u)], 1)[:, None]
    x = Rng(range(40)).normal("x", (2,)).double()
    end = sampler(Entrywise(process), rng=Rng(range(40)), times=times, start=x)
    assert torch.equal(end[:, 0], x[:, 0]) and bool(torch.isfinite(end).all())
    moving = sampler(Entrywise(process), rng=Rng(range(40)), times=times[..., 1:].expand(-1, -1, 2), start=x)
    torch.testing.assert_close(end[:, 1], moving[:, 1], rtol=1e-13, atol=0)


def test_it_and_heun_are_two_coordinates_of_one_equation() -> None:
    """Not the same steps, but the same end in the limit."""
    model, rng = mixture(EDM()), Rng(range(4))
    apart = [
        float((Churn(n, grid=Level())(model, rng=rng) - Heun(n, grid=Level())(model, rng=rng)).abs().max())
        for n in (20, 80)
    ]
    assert apart[0] > 1e-5 and apart[1] < apart[0] / 10


def test_what_is_refused() -> None:
    for wrong in ({"churn": -1.0}, {"noise": -0.1}, {"low": 0.9, "high": 0.1}, {"high": 50.0}):
        with pytest.raises(Refusal):
            Churn(4, **wrong)
    assert build(spec(Churn(4, churn=2.0, high=0.9))) == Churn(4, churn=2.0, high=0.9)
