"""Rising grids: the walks of the papers, their cost, and what fresh noise does to a distribution and to an error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from mezzotint.core import NONE, Dirac, Gaussian, Refusal, Rng
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
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

PROCESSES = [EDM(), VP(), Cosine(), Flow(), DDPM(zero_terminal=True)]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
INNER: list[Grid] = [Uniform(), Quadratic(), Level(), Karras(), LogSNR(), Respaced(), Shift()]
ONE = torch.ones(1, dtype=torch.float64)


@named
@pytest.mark.parametrize("inner", INNER, ids=lambda g: type(g).__name__)
def test_walked_once_each_is_its_inner_grid(process: Continuous, inner: Grid) -> None:
    for steps in (1, 2, 13, 1000):
        points = inner(process, steps)
        for grid in (Recurrence(inner, 1), RePaint(inner, 3, 1), Restart(inner, times=1)):
            assert torch.equal(grid(process, steps), points)


def test_recurrence_walks_each_interval_k_times() -> None:
    assert Recurrence(Uniform(), 3)(Flow(), 2).tolist() == [1, 0.5, 1, 0.5, 1, 0.5, 0, 0.5, 0, 0.5, 0]
    inside = Recurrence(Restart(Uniform(), 0.2, 0.6, times=2, steps=1), 2)(Flow(), 4)
    # the inner grid 1, 3/4, 1/2, 1/4, (0.6), 1/4, 0 rises once, and that rise is not repeated
    expected = [1, 0.75, 1, 0.75, 0.5, 0.75, 0.5, 0.25, 0.5, 0.25, 0.6, 0.25, 0.6, 0.25, 0, 0.25, 0]
    assert inside.tolist() == pytest.approx(expected, abs=1e-15)
    columns = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]], dtype=torch.float64)  # one column is held
    streams = Recurrence(lambda process, steps: columns, 2)(Flow(), 2)
    assert streams[:, 0].tolist() == [1, 0.5, 1, 0.5, 0, 0.5, 0] and bool((streams[:, 1] == 0).all())


def published_walk(total: int, jump: int, samples: int) -> list[int]:
    """RePaint, figure 8 and appendix: one index at a time, a store of jumps at every multiple of their length."""
    left = {index: samples - 1 for index in range(0, total - jump, jump)}
    index, walk = total, []
    while index >= 1:
        index -= 1
        walk.append(index)
        if left.get(index, 0) > 0:
            left[index] -= 1
            for _ in range(jump):
                index += 1
                walk.append(index)
    return [*walk, -1]


@pytest.mark.parametrize(
    ("steps", "jump", "times"), [(250, 10, 10), (20, 5, 3), (23, 4, 2), (7, 1, 3), (10, 10, 5), (11, 10, 5), (1, 1, 2)]
)
def test_repaint_is_the_published_walk(steps: int, jump: int, times: int) -> None:
    """Its rises one index at a time; ours at once, to the same point."""
    process = DDPM(max(steps, 2))
    walk = RePaint(Respaced(), jump, times)(process, steps)
    found = (walk * max(steps, 2) * (steps / max(steps, 2)) - 1).round().int().tolist()
    expected = published_walk(steps, jump, times)
    turns = [
        now
        for before, now, after in zip([expected[0] + 1, *expected], expected, [*expected[1:], -2], strict=False)
        if not before < now < after
    ]
    assert found == turns
    falls = sum(b < a for a, b in zip(expected, expected[1:], strict=False))
    assert int((walk.diff() < 0).sum()) == falls
    if (steps, jump, times) == (250, 10, 10):
        assert falls == 250 + 9 * 10 * 24  # 24 places to jump back from, nine times each


def test_restart_goes_back_between_its_levels() -> None:
    inner = Karras()
    points = inner(EDM(), 18)
    found = Restart(inner, 0.06 / 1.06, 0.30 / 1.30, times=3, steps=2)(EDM(), 18)
    sigma = EDM().sigma(found)
    turn = int((EDM().sigma(points) - 0.06).abs().argmin())
    assert torch.equal(found[: turn + 1], points[: turn + 1]) and torch.equal(found[-(18 - turn) :], points[turn + 1 :])
    # N_restart = 3 points from t_max to t_min with rho = 7, twice: Xu et al., section 3.2 and EDM's eq. 5
    low = float(EDM().sigma(points[turn]))
    middle = (0.5 * 0.30 ** (1 / 7) + 0.5 * low ** (1 / 7)) ** 7
    assert sigma[turn + 1 : turn + 7].tolist() == pytest.approx([0.30, middle, low] * 2, rel=1e-12)
    assert len(found) == 19 + 6
    beyond = Restart(inner, 0.5, 0.999, times=2, steps=1)(EDM(), 18)  # EDM ends at the level 0.988
    assert int((beyond > 0.9999).sum()) == 2


def test_several_stretches_are_one_restart_around_another() -> None:
    """The paper's ImageNet setting has five; two of them here, each at its own place."""
    inner = LogSNR(0.01)
    both = Restart(Restart(inner, 0.5, 0.65, 2, 3), 0.05, 0.2, 4, 2)(EDM(), 20)
    rises = [(float(EDM().level(a)), float(EDM().level(b))) for a, b in zip(both, both[1:], strict=False) if b > a]
    assert [round(b, 9) for _, b in rises] == [0.65, 0.2, 0.2, 0.2]
    assert all(abs(a - 0.5) < 0.12 for a, _ in rises[:1]) and all(abs(a - 0.05) < 0.015 for a, _ in rises[1:])
    other = Restart(Restart(inner, 0.05, 0.2, 4, 2), 0.5, 0.65, 2, 3)(EDM(), 20)
    torch.testing.assert_close(other, both, rtol=0, atol=0)
    again = Restart(Recurrence(Uniform(), 2), 0.3, 0.6, times=2, steps=1)(Flow(), 4)  # where it last falls to 1/4
    expected = [1, 0.75, 1, 0.75, 0.5, 0.75, 0.5, 0.25, 0.5, 0.25, 0.6, 0.25, 0, 0.25, 0]
    assert again.tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("process", [EDM(), Flow()], ids=lambda p: type(p).__name__)
def test_evaluations_are_counted_where_the_time_falls(process: Continuous) -> None:
    """N intervals k times; rises are free; Heun saves its second look wherever an interval ends at 0."""
    n, k = 7, 3
    jumps = 2  # of 7 intervals with a jump of 3: where 1 and 4 are left
    for grid, falls, at_zero in (
        (Recurrence(Karras(), k), n * k, k),
        (RePaint(Karras(), 3, k), n + jumps * 3 * (k - 1), 1),
        (Restart(Karras(), 0.1, 0.5, k, 5), n + 5 * (k - 1), 1),
    ):
        for sampler, rows in (
            (Euler(n, grid=grid), falls),
            (Ancestral(n, grid=grid), falls),
            (Heun(n, grid=grid), 2 * falls - at_zero),
        ):
            model = Counted(Mixture(process, [[0.0, 1.0]], torch.eye(2)[None]))
            sampler(model, rng=Rng(range(2)))
            assert model.rows == 2 * rows


MU, C, ROWS, SIZE = 1.5, 0.6, 20, 900
COUNT = ROWS * SIZE
ONE_MODE = ((1.0, MU, C),)
TWO_MODES = ((0.3, -1.0, 0.3), (0.7, 1.2, 0.5))  # weight, mean, standard deviation


class Entries(Denoiser):
    """Every entry on its own from one mixture of normals; with ``spread``, one normal and its whole law."""

    def __init__(self, process: Continuous, modes=TWO_MODES, spread: bool = False) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.process, self.shape, self.modes, self.spread = process, (SIZE,), modes, spread

    def posterior(self, x, t):  # type: ignore[no-untyped-def]
        """Of each mode: log share, mean and variance of x_0 given x_t."""
        alpha, sigma = self.process.scales(t, x)
        logs, means, variances = [], [], []
        for weight, mean, std in self.modes:
            total = alpha**2 * std**2 + sigma**2
            away = x - alpha * mean
            logs.append(math.log(weight) - 0.5 * away**2 / total - 0.5 * total.log())
            means.append(mean + alpha * std**2 / total * away)
            variances.append((std**2 * sigma**2 / total).expand_as(x))
        return torch.stack(logs, -1).log_softmax(-1), torch.stack(means, -1), torch.stack(variances, -1)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        logs, means, variances = self.posterior(x, t)
        return Gaussian(means[..., 0], variances[..., 0]) if self.spread else Dirac((logs.exp() * means).sum(-1))


@dataclass(frozen=True)
class Truth(Sampler):
    """p(x_s | x_t) of :class:`Entries` without error at any step: a draw of x_0 from its posterior, then the bridge."""

    def move(self, denoiser, state, s, cond):  # type: ignore[no-untyped-def]
        logs, means, variances = denoiser.posterior(state.x, state.t)
        mode = state.rng.categorical("mode", logs)[..., None]
        law = Gaussian(means.gather(-1, mode)[..., 0], variances.gather(-1, mode)[..., 0])
        x0 = law.sample(state.rng.at("x0"))
        return denoiser.process.bridge(state.x, x0, state.t, s).sample(state.rng.at("x")), state.memory


RISING = [
    Recurrence(Karras(), 3),
    RePaint(Level(), 2, 3),
    Restart(Karras(), 0.2, 0.7, 4, 3),
    Recurrence(Restart(Level(), 0.1, 0.6), 2),
]


def start(process: Continuous, modes, rows: int = ROWS) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """Exact draws of x_1, so that nothing but the run itself can go wrong."""
    rng = Rng(range(rows))
    log_weights = torch.tensor([weight for weight, _, _ in modes]).log().expand(rows, SIZE, len(modes))
    mode = rng.categorical("which", log_weights)
    means, stds = (torch.tensor([entry[i] for entry in modes], dtype=torch.float64)[mode] for i in (1, 2))
    noise, own = rng.normal("noise", (SIZE,)).double(), rng.normal("own", (SIZE,)).double()
    return process.alpha(ONE) * (means + stds * own) + process.sigma(ONE) * noise


@named
@pytest.mark.parametrize("grid", RISING, ids=["Recurrence", "RePaint", "Restart", "both"])
def test_ancestral_keeps_the_whole_law_exactly_at_any_number_of_steps(process: Continuous, grid: Grid) -> None:
    """Noise up and the exact bridge down: a normal stays that normal, with six intervals as with any."""
    model = Entries(process, ONE_MODE, spread=True)
    x = start(process, ONE_MODE)
    for state in Ancestral(6, grid=grid).trajectory(model, rng=Rng(range(ROWS)), start=x):
        alpha, sigma = process.alpha(state.t[:1]), process.sigma(state.t[:1])
        spread = float((alpha**2 * C**2 + sigma**2).sqrt())
        assert abs(float(state.x.mean() - alpha * MU)) < 5 * spread / COUNT**0.5
        assert abs(float(state.x.std()) / spread - 1) < 5 / (2 * COUNT) ** 0.5


def distance(x: torch.Tensor) -> float:
    """Kolmogorov's: the largest difference between the shares below a value, found and true, in standard errors."""
    x = x.flatten().sort().values
    true = sum(weight * torch.special.ndtr((x - mean) / std) for weight, mean, std in TWO_MODES)
    found = torch.arange(1, len(x) + 1, dtype=torch.float64) / len(x)
    return float((found - true).abs().max()) * len(x) ** 0.5


@named
@pytest.mark.parametrize("grid", RISING, ids=["Recurrence", "RePaint", "Restart", "both"])
def test_a_mixture_is_kept_whole(process: Continuous, grid: Grid) -> None:
    """Drawn from the true transition the end has the true distribution, for all the ups and downs of five intervals."""
    x = Truth(5, grid=grid)(Entries(process), rng=Rng(range(ROWS)), start=start(process, TWO_MODES))
    assert distance(x) < 2.0  # beyond 2 with a chance of 7e-4
    assert distance(x + 0.05) > 2.0  # and a shift by a tenth of a standard deviation would be seen


@pytest.mark.parametrize("process", [EDM(), Flow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("grid", [Recurrence(Karras(), 2), Restart(Karras(), 0.3, 0.9, 3, 20)], ids=["every", "some"])
def test_ancestral_keeps_a_mixture_up_to_its_own_error(process: Continuous, grid: Grid) -> None:
    """The posterior mean alone loses spread like 1 / N on any grid; walking again takes some of it back."""
    model, rows = Entries(process), 8
    variance = sum(w * (std**2 + m**2) for w, m, std in TWO_MODES) - sum(w * m for w, m, _ in TWO_MODES) ** 2
    lost, shares = [], []
    for used in (Karras(), grid):
        x = Ancestral(40, grid=used)(model, rng=Rng(range(rows)), start=start(process, TWO_MODES, rows))
        lost.append(1 - float(x.var()) / variance)
        shares.append(float((x > -0.2).double().mean()))
    assert 0 < lost[1] < lost[0] < 0.15
    assert abs(shares[0] - 0.699) < 0.04 and abs(shares[1] - shares[0]) < 0.02


@named
def test_restart_shrinks_an_error_by_the_factor_of_the_paper(process: Continuous) -> None:
    """A start off by delta: deterministic sampling carries it to the end, each restart divides it as printed."""
    times, low, high, rows, steps = 4, 0.3, 0.6, 2, 16
    model, inner, rng = Entries(process, ONE_MODE), Level(), Rng(range(rows))
    right = start(process, ONE_MODE, rows)
    wrong = right + 1.5 * process.sigma(ONE)  # a deviation and a half of the noise

    def ends(grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        """From the right start and from the wrong one, under the same fresh noise: their difference is no accident."""
        run = Heun(steps, grid=grid)
        return run(model, rng=rng, start=right), run(model, rng=rng, start=wrong)

    (true, plain), (kept, restarted) = ends(inner), ends(Restart(inner, low, high, times, steps))
    level = process.level(inner(process, steps))
    turn = float(level[(level - low).abs().argmin()])
    k_low, k_high = turn / (1 - turn), high / (1 - high)
    factor = math.sqrt((k_low**2 + C**2) / (k_high**2 + C**2))
    before, after = float((plain - true).mean()), float((restarted - kept).mean())
    assert before > 0.5 and after / before == pytest.approx(factor ** (times - 1), rel=1e-3)
    # so the samples of the wrong start come near the truth, and those of the right one stay there
    error = 5 * C / (rows * SIZE) ** 0.5
    assert abs(float(plain.mean()) - MU) > 0.5 and abs(float(restarted.mean()) - MU - after) < error
    assert after < 0.2 * before
    assert abs(float(kept.mean()) - MU) < error and abs(float(kept.std()) / C - 1) < 5 / (2 * rows * SIZE) ** 0.5


def test_a_repeated_interval_draws_fresh_noise() -> None:
    """Two passes under one key differ, and the same keys give the same run."""
    model = Mixture(Flow(), [[0.0]], [[[1.0]]])
    runs = [list(Ancestral(3, grid=Recurrence(Uniform(), 2)).trajectory(model, rng=Rng([4]))) for _ in range(2)]
    first = [float(state.x) for state in runs[0]]
    assert first == [float(state.x) for state in runs[1]]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize(
    "grid", [Recurrence(times=10**9), RePaint(times=10**9), Restart(times=10**9), Restart(steps=10**9, times=1)]
)
def test_a_grid_that_would_fill_the_memory_is_refused(grid: Recurrence | RePaint | Restart) -> None:
    with pytest.raises(Refusal, match="rise so often"):
        grid(EDM(), 18)
