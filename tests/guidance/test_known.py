"""Completion on an exact Gaussian with full covariance, where the law of what is missing is known in closed form.

Every step of ancestral sampling is affine there, so the law of what a run draws is propagated exactly, from the means
and variances of its public transitions: no Monte Carlo.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from mezzotint.core import NONE, Categorical, Condition, Gaussian, Refusal, Rng, build, spec
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.guidance import CFG, Known
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Grid, Heun, Karras, Multistep, Recurrence, RePaint, State
from mezzotint.testing import check_guidance

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
D, SEEN = 4, (0, 1)
Y = torch.tensor([2.0, 0.0], dtype=torch.float64)


@cache
def moments() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(2)
    factor = torch.randn(D, D, dtype=torch.float64)
    return torch.tensor([1.0, -1.0, 0.5, 2.0]).double(), factor @ factor.T / D + 0.1 * torch.eye(D)


def gaussian(process: Continuous) -> Mixture:
    mean, covariance = moments()
    return Mixture(process, mean[None], covariance[None])


def conditional() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of entries 2 and 3 given entries 0 and 1."""
    mean, cov = moments()
    gain = torch.linalg.solve(cov[:2, :2], cov[:2, 2:]).T
    return mean[2:] + gain @ (Y - mean[:2]), cov[2:, 2:] - gain @ cov[:2, 2:]


def told(count: int) -> Condition:
    x = torch.full((count, D), float("nan"), dtype=torch.float64)  # what is not known may be anything
    x[:, list(SEEN)] = Y
    mask = torch.zeros(count, D, dtype=torch.bool)
    mask[:, list(SEEN)] = True
    return Condition(**{"known.x": x, "known.mask": mask})


def law(process: Continuous, grid: Grid, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance of the last state of an ancestral run of N(0, sigma^2), by its affine steps."""
    model, sampler = Known(gaussian(process)), Ancestral(steps, grid=grid)
    times = grid(process, steps)
    mean = torch.zeros(D, dtype=torch.float64)
    cov = float(process.sigma(times[0])) ** 2 * torch.eye(D, dtype=torch.float64)
    probes = torch.cat([torch.zeros(1, D), torch.eye(D)]).double()
    rng, cond = Rng(range(D + 1)), told(D + 1)
    steps_taken: dict[tuple[float, float], tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    for way in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        if way not in steps_taken:
            t, s = (torch.full((D + 1,), at, dtype=torch.float64) for at in way)
            falls = way[1] < way[0]
            step = sampler.transition(model, State(probes, t, rng), s, cond) if falls else process.renoise(probes, t, s)
            steps_taken[way] = (step.mean[1:] - step.mean[0]).T, step.mean[0], step.variance[0].expand(D)
        matrix, shift, fresh = steps_taken[way]
        mean = matrix @ mean + shift
        cov = matrix @ cov @ matrix.T + torch.diag(fresh)
    return mean, cov


def off(process: Continuous, grid: Grid, steps: int) -> tuple[float, float]:
    """How far the law of the missing entries is from the conditional: its mean in spreads, its spread in per cent."""
    mean, cov = law(process, grid, steps)
    exact, spread = conditional()
    torch.testing.assert_close(mean[:2], Y, rtol=0, atol=1e-14)
    assert float(cov[:2].abs().max()) < 1e-14
    deviation = spread.diagonal().sqrt()
    return (
        float(((mean[2:] - exact) / deviation).abs().max()),
        float((cov[2:, 2:].diagonal().sqrt() / deviation - 1).abs().max()),
    )


def test_the_law_that_is_propagated_is_the_law_drawn() -> None:
    count, grid = 1500, Recurrence(Karras(), 2)
    x = Ancestral(8, grid=grid)(Known(gaussian(Cosine())), told(count), rng=Rng(range(count)))
    assert torch.equal(x[:, :2], Y.expand(count, 2))
    mean, cov = law(Cosine(), grid, 8)
    spread = cov[2:, 2:].diagonal().sqrt()
    assert float(((x[:, 2:].mean(0) - mean[2:]) / spread).abs().max()) < 5 / count**0.5
    assert float((x[:, 2:].std(0) / spread - 1).abs().max()) < 5 / (2 * count) ** 0.5


@named
def test_what_is_known_comes_out_as_it_is(process: Continuous) -> None:
    """Bit for bit from stochastic sampling, to rounding from the others."""
    model, cond, rng = Known(gaussian(process)), told(4), Rng(range(4))
    for variance in ("small", "large"):
        end = Ancestral(8, variance=variance, grid=RePaint(Karras(), 3, 2))(model, cond, rng=rng)
        assert torch.equal(end[:, :2], Y.expand(4, 2)) and bool(torch.isfinite(end).all())
    for sampler in (Euler(8), Heun(8), Multistep(8), Ancestral(8, eta=0.0)):
        end = sampler(model, cond, rng=rng)
        torch.testing.assert_close(end[:, :2], Y.expand(4, 2), rtol=0, atol=1e-13)
        assert bool(torch.isfinite(end).all())


@pytest.mark.parametrize("process", [EDM(), Cosine()], ids=lambda p: type(p).__name__)
def test_going_over_it_again_leads_to_the_conditional_law(process: Continuous) -> None:
    once = off(process, Karras(), 40)
    few, many = off(process, Recurrence(Karras(), 4), 40), off(process, Recurrence(Karras(), 20), 40)
    fine = off(process, Recurrence(Karras(), 20), 120)
    jumps = off(process, RePaint(Karras(), 5, 20), 40)
    print(f"\n{type(process).__name__}: 40 x 1 {once}, x 4 {few}, x 20 {many}, 120 x 20 {fine}, jumps {jumps}", end="")
    assert once[0] > 1.0 and once[1] > 0.3  # the parts do not agree: a mean a whole spread away
    assert few[0] < 0.35 and many[0] < 0.1 and jumps[0] < 0.15
    assert many[1] < 0.2 and fine[0] < 0.1 and fine[1] < 0.08
    assert once[0] > 3 * few[0] > 6 * many[0]


def labelled(process: Continuous) -> Mixture:
    torch.manual_seed(4)
    factor = torch.randn(3, 6, 6, dtype=torch.float64)
    return Mixture(process, torch.randn(3, 6), factor @ factor.mT / 6, labels=(0, 1, 1), shape=(2, 3))


def test_each_row_knows_its_own() -> None:
    """Masks that differ, a dropped row, nothing known; beside a label that is guided; alone as in a crowd."""
    count = 6
    x0 = Rng(range(count)).normal("x0", (2, 3)).double()
    mask = Rng(range(count)).uniform("mask", (2, 3)) < 0.5
    cond = Condition(label=[0, 1, 1, 0, 1, 0], **{"known.x": x0, "known.mask": mask})
    parted = Condition(**{"known.x": x0[:1], "known.mask": mask[:1]}).drop("known") | cond[:1].take("label")[0]
    model, rng = Known(CFG(labelled(VP()), 2.0)), Rng(range(count))
    sampler = Ancestral(5, grid=RePaint(Karras(), 2, 2))
    crowd = sampler(model, cond, rng=rng)
    assert torch.equal(crowd[mask], x0[mask])
    for rows in ([3], [5, 0, 2]):
        assert torch.equal(sampler(model, cond[rows], rng=rng[rows]), crowd[rows])
    free = sampler(CFG(labelled(VP()), 2.0), cond.take("label")[0], rng=rng)
    assert torch.equal(sampler(model, cond.take("label")[0], rng=rng), free)
    assert torch.equal(sampler(model, parted, rng=rng[:1]), free[:1])
    # Outside or inside a guidance it is given the same: conditioning and the contrast commute where all entries agree.
    inside = sampler(CFG(Known(labelled(VP())), 2.0), cond, rng=rng)
    torch.testing.assert_close(inside, crowd, rtol=1e-12, atol=1e-12)
    row = Condition(label=[1], **{"known.x": x0[:1], "known.mask": [[[True], [False]]]})  # a whole channel
    assert torch.equal(sampler(model, row, rng=rng[:1])[0, 0], x0[0, 0])


class Says(Denoiser):
    """Whatever it was made to say."""

    def __init__(self, process: Continuous, answer: object) -> None:
        super().__init__()
        self.process, self.shape, self.answer = process, (3,), answer

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        return self.answer


def test_answers_of_every_kind() -> None:
    """Tokens: a prompt is certain, also where the rest of it holds a symbol outside the vocabulary; no spread stays."""
    mask = torch.tensor([[True, False, True], [False, False, False]])
    prompt = torch.tensor([[2, 4, 0], [4, 4, 4]])  # 4 is the mask of a process over 0 .. 3
    cond = Condition(**{"known.x": prompt, "known.mask": mask})
    t = torch.full((2,), 0.5, dtype=torch.float64)
    logits = torch.randn(2, 3, 4)
    law = Known(Says(EDM(), Categorical(logits)))(prompt, t, cond)
    assert isinstance(law, Categorical)
    draws = torch.stack([law.sample(Rng([k, k])) for k in range(50)])
    assert bool((draws[:, 0, 0] == 2).all()) and bool((draws[:, 0, 2] == 0).all())
    assert torch.equal(law.mean[1], logits.softmax(-1)[1]) and torch.equal(law.mean[0, 1], logits.softmax(-1)[0, 1])
    assert law.mean[0, 0].tolist() == [0, 0, 1, 0]
    x = torch.randn(2, 3)
    learnt = Gaussian(torch.randn(2, 3), torch.full((2, 3), 0.3))
    cond = Condition(**{"known.x": x.double(), "known.mask": mask})
    law = Known(Says(EDM(), learnt))(x, t, cond)
    assert isinstance(law, Gaussian) and law.mean.dtype == torch.float32
    assert torch.equal(law.mean, torch.where(mask, x, learnt.mean))
    assert torch.equal(law.variance, torch.where(mask, 0.0, learnt.variance))


def test_it_is_a_guidance() -> None:
    model = Known(labelled(Flow()))
    assert model.takes == ("known",) and build(spec(Known(Counted(tiny()))))
    with pytest.raises(Refusal, match="'known'"):
        Euler(2)(labelled(Flow()), told(2), rng=Rng(range(2)))
    x, t = torch.zeros(2, D, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    asked = Known(gaussian(Flow()))(x, t, told(2), want=("log_density",)).aux
    assert torch.equal(asked["log_density"], gaussian(Flow())(x, t, want=("log_density",)).aux["log_density"])
    check_guidance(Known)


def tiny() -> Mixture:
    return Mixture(Flow(), ((0.0, 1.0),), (((1.0, 0.2), (0.2, 1.0)),))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"known.mask": [[True, False]]}, "known.x"),
        ({"known.x": [[1.0, 2.0]]}, "known.mask"),
        ({"known.x": [[1.0, 2.0]], "known.mask": [[1.0, 0.0]]}, "bool"),
        ({"known.x": [[1.0, 2.0]], "known.mask": [[True, False, True]]}, "rank"),
        ({"known.x": [[1.0]], "known.mask": [[True, False]]}, "whole samples"),
    ],
)
def test_what_is_refused(values: dict[str, object], message: str) -> None:
    model = Known(tiny())
    with pytest.raises(Refusal, match=message):
        model(torch.zeros(1, 2), torch.ones(1, dtype=torch.float64), Condition(**values))
    with pytest.raises(Refusal, match="family"):
        Known(tiny(), "known.x")
