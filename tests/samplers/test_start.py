"""Starts at a level, against laws in closed form: where a run that begins there must end."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import NONE, Condition, Dirac, Refusal, Rng, build, spec
from mezzotint.data import Digits
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import (
    Analytic,
    Ancestral,
    Euler,
    Held,
    Heun,
    Karras,
    Level,
    LogSNR,
    Multistep,
    Reference,
    RePaint,
    Respaced,
    Sampling,
    Shift,
    Uniform,
    below,
)

PROCESSES = [EDM(), VP(), Cosine(), Flow(), DDPM()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
MU, C = 1.5, 0.6
ROWS, SIZE = 200, 48
ERROR = 5 / math.sqrt(ROWS * SIZE)


class Normals(Denoiser):
    """Independent normals N(MU, C^2)."""

    def __init__(self, process: Continuous, size: int = SIZE) -> None:
        super().__init__()
        self.process, self.shape = process, (size,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        assert not cond.families  # what was meant for the start does not come here
        alpha, sigma = self.process.scales(t, x)
        return Dirac(MU + alpha * C**2 / (alpha**2 * C**2 + sigma**2) * (x - alpha * MU))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64


def at(process: Continuous, u: float) -> tuple[float, float, float]:
    """(t, alpha, sigma) at a level."""
    t = process.time(torch.tensor(u, dtype=torch.float64))
    return float(t), float(process.alpha(t)), float(process.sigma(t))


def moments(x: torch.Tensor) -> tuple[float, float]:
    return float(x.mean()), float(x.std())


@pytest.mark.parametrize("u", [0.05, 0.4, 0.8])
@named
def test_a_picture_of_another_world_is_drawn_towards_the_data(process: Continuous, u: float) -> None:
    """From x_t ~ N(alpha r, sigma^2) the flow of normal data leads to N(m + c k alpha (r - m), (c k sigma)^2)."""
    t, alpha, sigma = at(process, u)
    reference = -2.0
    k = 1 / math.sqrt(alpha**2 * C**2 + sigma**2)
    pipeline = Sampling(Heun(30, grid=Level()), Normals(process), start=Reference(process, t))
    picture = Condition(reference=torch.full((ROWS, SIZE), reference))
    mean, spread = moments(pipeline(picture, Rng(range(ROWS))))
    exact = MU + C * k * alpha * (reference - MU), C * k * sigma
    assert abs(mean - exact[0]) < ERROR * exact[1] + 2e-3
    assert abs(spread / exact[1] - 1) < ERROR


@named
def test_pictures_of_the_data_keep_their_law(process: Continuous) -> None:
    """Corrupted and denoised they are data again, nearer to where they came from at a low level."""
    pictures = MU + C * Rng(range(ROWS)).normal("data", (SIZE,)).double()
    kept = []
    for u in (0.2, 0.6):
        t, *_ = at(process, u)
        for sampler in (Heun(20, grid=Level()), Multistep(20)):
            x = Sampling(sampler, Normals(process), start=Reference(process, t, family="picture"))(
                Condition(picture=pictures), Rng(range(ROWS))
            )
            mean, spread = moments(x)
            assert abs(mean - MU) < 2 * ERROR * C and abs(spread / C - 1) < 2 * ERROR
        kept.append(float(torch.corrcoef(torch.stack([x.flatten(), pictures.flatten()]))[0, 1]))
    assert kept[0] > 0.8 > kept[1] > 0.1


@named
def test_both_ends_of_the_strength(process: Continuous) -> None:
    """At t = 0 the picture comes back bit for bit and unasked; at t = 1 a run has all of its own times."""
    picture, model = Rng(range(3)).normal("x", (2,)).double(), Counted(Normals(process, 2))
    cond = Condition(reference=picture)
    assert torch.equal(Sampling(Heun(5), model, start=Reference(process, 0.0))(cond, Rng(range(3))), picture)
    assert model.rows == 0
    assert torch.equal(below(Karras(), process, 5, 1.0), Karras()(process, 5))
    start = Reference(process, 1.0)(cond, Rng(range(3)))
    one = torch.ones(3, dtype=torch.float64)
    assert torch.equal(start, process.corrupt(picture, one).sample(Rng(range(3))))


@pytest.mark.parametrize("u", [0.3, 0.7, 0.95])
@named
def test_analytic_is_exact_for_isotropic_normals(process: Continuous, u: float) -> None:
    """Begun anywhere, data N(m, v I) come out with their mean and variance; begun in the plain prior they do not."""
    t, alpha, sigma = at(process, u)
    model, rng = Normals(process), Rng(range(ROWS))
    x = Sampling(Heun(30, grid=Level()), model, start=Analytic(process, t, MU, C**2, (SIZE,)))(NONE, rng)
    mean, spread = moments(x)
    assert abs(mean - MU) < ERROR * C and abs(spread / C - 1) < ERROR
    # From N(0, sigma^2 I) at this t: mean m (1 - alpha c / s), spread c sigma / s with s^2 = alpha^2 v + sigma^2.
    total = math.sqrt(alpha**2 * C**2 + sigma**2)
    wrong = sigma * rng.normal("plain", (SIZE,)).double()
    mean, spread = moments(Heun(30)(model, rng=rng, times=below(Level(), process, 30, t), start=wrong))
    assert abs(mean - MU * (1 - alpha * C / total)) < ERROR * C and abs(spread / (C * sigma / total) - 1) < ERROR


def test_analytic_is_the_closest_isotropic_normal() -> None:
    """Of anisotropic data: moving its mean or its variance either way raises KL(q_t || p_t), by torch's own formula."""
    torch.manual_seed(1)
    factor = torch.randn(4, 4, dtype=torch.float64)
    cov, mean = factor @ factor.T, torch.randn(4, dtype=torch.float64)
    data = torch.distributions.MultivariateNormal(mean, cov).sample((20000,))
    process, t = Cosine(), 0.8
    start = Analytic.of(process, t, data, batch=777)
    torch.testing.assert_close(torch.tensor(start.mean, dtype=torch.float64), data.mean(0), rtol=1e-10, atol=1e-10)
    alpha, sigma = (float(scale) for scale in process.scales(torch.tensor([t]), data[:1]))
    seen = data.T.cov(correction=0)
    q = torch.distributions.MultivariateNormal(
        alpha * data.mean(0), alpha**2 * seen + sigma**2 * torch.eye(4, dtype=torch.float64)
    )
    x = start(NONE, Rng(range(20000)))
    found, spread = x.mean(0), float((x - x.mean(0)).std())

    def distance(shift: float, scale: float) -> float:
        total = sigma**2 + alpha**2 * start.variance
        centre = alpha * torch.tensor(start.mean, dtype=torch.float64) + shift
        p = torch.distributions.MultivariateNormal(centre, scale * total * torch.eye(4, dtype=torch.float64))
        return float(torch.distributions.kl_divergence(q, p))

    least = distance(0, 1)
    assert all(distance(*move) > least + 1e-6 for move in ((0.01, 1), (-0.01, 1), (0, 1.02), (0, 0.98)))
    assert abs(spread**2 / (sigma**2 + alpha**2 * start.variance) - 1) < 5 * math.sqrt(2 / 80000)
    assert float((found - alpha * data.mean(0)).abs().max()) < 5 * spread / math.sqrt(20000)


def test_analytic_reads_a_data_set() -> None:
    data = Digits()
    start = Analytic.of(VP(), 0.94, data, batch=500)
    x = data[:][0].double()
    torch.testing.assert_close(torch.tensor(start.mean, dtype=torch.float64), x.mean(0), rtol=1e-12, atol=1e-12)
    assert abs(start.variance - float(x.var(0, correction=0).mean())) < 1e-12
    again = build(spec(start))
    assert again == start
    assert torch.equal(again(NONE, Rng(range(2))), start(NONE, Rng(range(2))))
    assert start(NONE, Rng(range(2))).shape == (2, 1, 8, 8)


class Streams(Denoiser):
    """Two streams of normal data with a full joint covariance, each at its own time: E[x_0 | x] by the joint normal."""

    def __init__(self, process: Continuous) -> None:
        super().__init__()
        self.process, self.shape = process, (2, 1, 2)
        torch.manual_seed(3)
        factor = torch.randn(4, 4, dtype=torch.float64)
        self.cov = factor @ factor.T / 4 + 0.1 * torch.eye(4, dtype=torch.float64)
        self.center = torch.tensor([1.0, -1.0, 0.5, 2.0], dtype=torch.float64)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        alpha, sigma = (scale.expand(len(x), *self.shape).flatten(1) for scale in self.process.scales(t, x))
        total = alpha[:, :, None] * self.cov * alpha[:, None, :] + torch.diag_embed(sigma**2)
        away = x.flatten(1) - alpha * self.center
        pulled = torch.linalg.solve(total + 1e-14 * torch.eye(4, dtype=torch.float64), away[..., None])
        return Dirac((self.center + (self.cov @ (alpha[..., None] * pulled))[..., 0]).reshape(x.shape))

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64


@pytest.mark.parametrize("process", [EDM(), Flow(), DDPM()], ids=lambda p: type(p).__name__)
def test_held_streams_stand_and_the_rest_follows_their_conditional(process: Continuous) -> None:
    model, count = Streams(process), 800
    given = torch.tensor([2.0, -0.5], dtype=torch.float64)
    cond = Condition(held=given.expand(count, 1, 1, 2))
    for place in (0, 1):
        start = Held(process, (2, 1, 2), held=(place,))
        pipeline = Sampling(Heun(16, grid=Level()), model, start=start)
        x = pipeline(cond, Rng(range(count)))
        assert torch.equal(x[:, place, 0], given.expand(count, 2))
        seen, rest = ([0, 1], [2, 3]) if place == 0 else ([2, 3], [0, 1])
        gain = torch.linalg.solve(model.cov[seen][:, seen], model.cov[seen][:, rest]).T
        mean = model.center[rest] + gain @ (given - model.center[seen])
        cov = model.cov[rest][:, rest] - gain @ model.cov[seen][:, rest]
        other = x[:, 1 - place, 0]
        spread = cov.diagonal().sqrt()
        assert float(((other.mean(0) - mean) / spread).abs().max()) < 5 / math.sqrt(count) + 0.01
        assert float((other.T.cov() - cov).abs().max()) < 0.15 * float(spread.max()) ** 2
        for state in Heun(16).trajectory(
            model, rng=Rng(range(2)), times=start.path(Karras(), 16), start=start(cond[:2], Rng(range(2)))
        ):
            assert torch.equal(state.x[:, place], cond["held"][:2, 0])
            assert not bool(state.t[:, place].any())


def test_held_streams_along_any_axis() -> None:
    start = Held(Flow(), (3, 4, 5), held=(3, 0), axis=1)
    frames = Rng(range(2)).normal("frames", (3, 2, 5))
    x = start(Condition(held=frames), Rng(range(2)))
    assert torch.equal(x[:, :, 3], frames[:, :, 0]) and torch.equal(x[:, :, 0], frames[:, :, 1])
    free = x[:, :, [1, 2]]
    assert len(torch.unique(free)) == free.numel()
    times = start.path(Karras(), 6)
    assert times.shape == (7, 1, 1, 4, 1)
    assert not bool(times[:, :, :, [0, 3]].any())
    assert torch.equal(times[:, 0, 0, 1, 0], Karras()(Flow(), 6))


@pytest.mark.parametrize(
    "grid", [Karras(), Level(), LogSNR(), Uniform(), Shift(Level(), 3.0), RePaint(Level(), 2, 2)], ids=str
)
@named
def test_a_grid_below_a_time_spends_all_its_steps_there(process: Continuous, grid: object) -> None:
    t, *_ = at(process, 0.6)
    times = below(grid, process, 7, t)  # type: ignore[arg-type]
    assert float(times[0]) == t and float(times[-1]) == 0 and times.dtype == torch.float64
    assert int((times.diff() < 0).sum()) == int((grid(process, 7).diff() < 0).sum())  # type: ignore[operator]
    assert bool((times <= t).all())


def test_a_grid_below_a_time_is_that_of_a_process_that_ends_there() -> None:
    """EDM up to half its clock is EDM with half the noise, on every grid stated in noise; levels are equal anywhere."""
    for grid in (Karras(), Level(), LogSNR(), Uniform(), Shift(Karras(), 2.0)):
        half = below(grid, EDM(80.0), 9, 0.5) * 80
        torch.testing.assert_close(half, grid(EDM(40.0), 9) * 40, rtol=1e-9, atol=1e-12)
    for process in PROCESSES:
        levels = process.level(below(Level(), process, 8, at(process, 0.7)[0]))
        torch.testing.assert_close(levels, torch.linspace(0.7, 0, 9, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_a_respaced_grid_below_a_time_stays_on_the_trained_indices() -> None:
    times = below(Respaced(), DDPM(), 10, 0.6)
    torch.testing.assert_close(times * 1000, torch.arange(600, -1, -60).double(), rtol=0, atol=1e-9)
    with pytest.raises(Refusal, match="between two indices"):
        below(Respaced(), DDPM(), 10, 0.6004)
    assert float(below(Karras(), DDPM(), 10, 0.6004)[0]) == 0.6004


def test_rows_are_their_own_and_conditions_go_where_they_are_meant() -> None:
    torch.manual_seed(2)
    model = Mixture(VP(), torch.randn(3, 4), 0.2 * torch.eye(4).expand(3, 4, 4), labels=(0, 1, 2), shape=(2, 2))
    pictures = Rng(range(5)).normal("pictures", (2, 2)).double()
    cond = Condition(label=[0, 1, 2, 1, 0], reference=pictures)
    pipeline = Sampling(Ancestral(6), model, start=Reference(VP(), 0.4))
    crowd = pipeline(cond, Rng(range(5)))
    for rows in ([2], [4, 0]):
        assert torch.equal(pipeline(cond[rows], Rng(rows)), crowd[rows])
    assert crowd.dtype == torch.float64
    pictures = pictures.float()  # what comes as pictures do is sampled as exactly as the denoiser can
    single = pipeline(Condition(label=[0, 1, 2, 1, 0], reference=pictures), Rng(range(5)))
    assert single.dtype == torch.float64 and torch.allclose(single, crowd, atol=1e-5)
    decoded = Sampling(Ancestral(6), model, start=Reference(VP(), 0.4), decode=lambda x, cond: x + cond["reference"])
    assert torch.equal(decoded(cond, Rng(range(5))), crowd + pictures)
    assert pipeline.families == ("reference",) and pipeline.ends == 0.0
    # The same run, told by hand.
    x = Reference(VP(), 0.4)(cond, Rng(range(5)).at("begin"))
    times = below(Karras(), VP(), 6, 0.4)
    assert torch.equal(Ancestral(6)(model, cond.take("label")[0], rng=Rng(range(5)), times=times, start=x), crowd)
    assert torch.equal(
        Sampling(Ancestral(6), model, times=times, start=Reference(VP(), 0.4))(cond, Rng(range(5))), crowd
    )
    plain = Mixture(VP(), ((0.0, 1.0),), (((1.0, 0.2), (0.2, 1.0)),))
    whole = Sampling(Euler(4), plain, start=Reference(VP(), 0.4))
    told = Condition(reference=torch.ones(2, 2))
    assert torch.equal(build(spec(whole))(told, Rng(range(2))), whole(told, Rng(range(2))))


class AtOnce(Denoiser):
    """A student that answers at one time only."""

    times = torch.ones(1, dtype=torch.float64)

    def __init__(self) -> None:
        super().__init__()
        self.process, self.shape = VP(), (2,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        return Dirac(x)


def test_what_is_refused() -> None:
    model = Normals(VP(), 2)
    picture = Condition(reference=torch.zeros(2, 2))
    for start, match in (
        (Reference(EDM(), 0.4), "the denoiser is of"),
        (Reference(VP(), 0.4, family="sketch"), "'sketch'"),
        (Held(VP(), (2,)), "'held'"),
    ):
        with pytest.raises(Refusal, match=match):
            Sampling(Euler(3), model, start=start)(picture, Rng(range(2)))
    with pytest.raises(Refusal, match="leave them out"):
        Sampling(Euler(3), model, times=below(Level(), VP(), 3, 0.5), start=Reference(VP(), 0.4))(
            picture, Rng(range(2))
        )
    with pytest.raises(Refusal, match="2 rows"):
        Sampling(Euler(3), model, start=Reference(VP(), 0.4))(picture, Rng(range(3)))
    with pytest.raises(Refusal, match="own times"):
        Sampling(Euler(3), AtOnce(), start=Reference(VP(), 0.4))(picture, Rng(range(2)))
    with pytest.raises(Refusal, match="streams of shape"):
        Held(VP(), (3, 2))(Condition(held=torch.zeros(2, 3, 2)), Rng(range(2)))
    for wrong in (
        lambda: Reference(VP(), 1.2),
        lambda: Analytic(VP(), 0.5, 0.0, 1.0),
        lambda: Analytic(VP(), 0.5, (0.0, 1.0), 1.0, (3,)),
        lambda: Analytic(VP(), 0.5, 0.0, -1.0, (3,)),
        lambda: Held(VP(), (2, 3), held=(2,)),
        lambda: Held(VP(), (2, 3), held=()),
        lambda: Held(VP(), (2, 3), axis=2),
        lambda: below(Level(), VP(), 3, -0.1),
    ):
        with pytest.raises(Refusal):
            wrong()


def test_a_grid_that_begins_lower_than_its_start_is_refused() -> None:
    """Otherwise a picture noised to t would be taken for less noisy than it is, and come out wrong without a word."""
    with pytest.raises(Refusal, match="begins at t"):
        below(Respaced("leading"), DDPM(), 10, 0.5)
    same = below(Respaced(), DDPM(), 10, 0.5)
    assert torch.equal(below(Respaced(total=1000), DDPM(), 10, 0.5), same) and float(same[0]) == 0.5
