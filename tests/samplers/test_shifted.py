"""The mean form of guidance: what the step's variance makes of a gradient, against the denoiser's form and Bayes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mezzotint.core import Condition, Refusal, Rng, build, config, spec
from mezzotint.core.spec import Module
from mezzotint.denoiser import Counted, Mixture
from mezzotint.guidance import AtEstimate, AtNoise, Unaware, between
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.rewards import Posterior
from mezzotint.samplers import Ancestral, Euler, Karras, Recurrence, Respaced, Shifted, ShiftedAtEstimate, State

PROCESSES = [EDM(20.0), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
LABELS = Condition(label=[0, 1, 2, 1])


def model(process: Continuous) -> Mixture:
    draws = Rng([1])
    factors = draws.normal("factors", (4, 2, 2))[0].double()
    covariances = factors @ factors.transpose(1, 2) / 2 + 0.1 * torch.eye(2)
    means = draws.normal("means", (4, 2))[0].double()
    return Mixture(process, means.tolist(), covariances.tolist(), labels=[0, 1, 2, 0])


class Wavy(Module):
    """A reward that bends, of samples at any time."""

    def __init__(self, pace: float = 1.3) -> None:
        super().__init__()
        self.pace = pace

    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return torch.sin(self.pace * x).sum(1) + 0.2 * x[:, 0] * x[:, 1]


def state(process: Continuous, t: Tensor) -> State:
    rng = Rng(range(len(t)))
    x0, noise = (rng.normal(name, (2,)).double() for name in ("x0", "noise"))
    return State(process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise, t, rng)


def test_the_two_forms_on_ddpm_s_schedule() -> None:
    """(mean form) / (denoiser form) is sqrt(alpha_i) (1 - abar_{i-1}) / (1 - abar_i): .45, .86, .98 and .99."""
    process = DDPM(1000)
    exact, steps = model(process), Ancestral(1000, grid=Respaced())
    abar = process.alpha((torch.arange(1000, dtype=torch.float64) + 1) / 1000) ** 2
    for i, printed in ((1, 0.45), (10, 0.86), (100, 0.98), (500, 0.99)):
        here = state(process, torch.full((4,), (i + 1) / 1000, dtype=torch.float64))
        s = here.t - 1 / 1000
        plain = steps.transition(exact, here, s, LABELS)
        for mean_form, denoiser_form in (
            (Shifted(steps, Posterior(exact), 1.5), AtNoise(exact, Posterior(exact), 1.5)),
            (ShiftedAtEstimate(steps, Wavy(), 1.5), AtEstimate(exact, Wavy(), 1.5)),
        ):
            law = mean_form.transition(exact, here, s, LABELS)
            by_mean = law.mean - plain.mean
            by_denoiser = steps.transition(denoiser_form, here, s, LABELS).mean - plain.mean
            ratio = (abar[i] / abar[i - 1]).sqrt() * (1 - abar[i - 1]) / (1 - abar[i])
            torch.testing.assert_close(by_mean, ratio * by_denoiser, rtol=1e-5, atol=1e-12)
            assert float(ratio) == pytest.approx(printed, abs=0.006)
            assert torch.equal(law.variance, plain.variance)


@named
def test_the_mean_moves_by_scale_times_variance_times_gradient(process: Continuous) -> None:
    """The gradient of log p(c | x_t) by Tweedie's formula, alpha (D_c - D) / sigma^2, and not by autograd."""
    exact, u = model(process), torch.tensor([0.2, 0.5, 0.6, 0.8], dtype=torch.float64)
    here, s = state(process, process.time(u)), process.time(u - 0.15)
    plain = Ancestral(5).transition(exact, here, s, Condition())
    found = Shifted(Ancestral(5), Posterior(exact), -0.7).transition(Unaware(exact, ("label",)), here, s, LABELS)
    alpha, sigma = process.scales(here.t, here.x)
    slope = alpha * (exact(here.x, here.t, LABELS).mean - exact(here.x, here.t).mean) / sigma**2
    torch.testing.assert_close(found.mean, plain.mean - 0.7 * plain.variance * slope, rtol=1e-8, atol=1e-10)
    assert torch.equal(found.variance, plain.variance)
    some = Shifted(Ancestral(5), Posterior(exact), between(-0.7, 0.4, 0.7))  # the levels at t, not at s: 0.5 and 0.6
    limited = some.transition(Unaware(exact, ("label",)), here, s, LABELS).mean
    assert torch.equal(limited[[0, 3]], plain.mean[[0, 3]]) and torch.equal(limited[1:3], found.mean[1:3])


@pytest.mark.parametrize("eta", [1.0, 0.6])
@named
def test_short_steps_are_the_denoiser_form(process: Continuous, eta: float) -> None:
    """With all of DDPM's noise the two shifts agree in the limit, the gap halving with the step; with less they do not.

    Both are taken off the laws of one step; at eta below 1 the denoiser's form keeps its strength, and the variance
    that the mean form has to shift by falls with eta^2 (to eta^2 over what the estimate's weight falls to,
    (1 + eta^2) / 2).
    """
    exact, u = model(process), torch.tensor([0.3, 0.5, 0.6, 0.7], dtype=torch.float64)
    here, sampler = state(process, process.time(u)), Ancestral(5, eta=eta)
    limit, gaps = eta**2 / ((1 + eta**2) / 2), []
    for width in (0.02, 0.01):
        s = process.time(u - width)
        plain = sampler.transition(exact, here, s, LABELS).mean
        by_mean = Shifted(sampler, Posterior(exact)).transition(exact, here, s, LABELS).mean - plain
        by_denoiser = sampler.transition(AtNoise(exact, Posterior(exact), 1.0), here, s, LABELS).mean - plain
        gaps.append((by_mean / by_denoiser / limit - 1).abs().amax(1))
    assert float(gaps[0].max()) < 0.2
    torch.testing.assert_close(gaps[1] / gaps[0], torch.full((4,), 0.5, dtype=torch.float64), rtol=0.1, atol=0.0)


@pytest.mark.parametrize("kind", [Shifted, ShiftedAtEstimate])
def test_zero_is_the_plain_sampler(kind: type) -> None:
    """Bit for bit, without a gradient, and row by row; outside an interval likewise."""
    asked: list[int] = []

    class Noted(Wavy):
        def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
            asked.append(len(x))
            return super().forward(x, cond, t)

    exact, rng = Counted(model(VP())), Rng(range(4))
    plain = Ancestral(6)(exact, LABELS, rng=rng)
    cost, _ = exact.rows, exact.reset()
    for scale in (0.0, between(2.0, 0.5, 0.5)):
        assert torch.equal(kind(Ancestral(6), Noted(), scale)(exact, LABELS, rng=rng), plain)
    assert not asked and exact.rows == 2 * cost
    cond = LABELS | Condition(by=[0.0, 1.0, -0.5, 0.0])
    mixed = kind(Ancestral(6), Noted(), "by")(Unaware(exact, ("by",)), cond, rng=rng)
    assert set(asked) == {2}
    for k, scale in enumerate((0.0, 1.0, -0.5, 0.0)):
        alone = kind(Ancestral(6), Wavy(), scale)(exact, LABELS[[k]], rng=rng[[k]])
        assert torch.equal(mixed[[k]], alone)
        assert torch.equal(alone, plain[[k]]) == (scale == 0)


@pytest.mark.parametrize("kind", [Shifted, ShiftedAtEstimate])
@named
def test_rewards_may_be_tuned_through_it(kind: type, process: Continuous) -> None:
    """The law of a step is differentiated by where the step begins, against finite differences."""
    exact, u = model(process), torch.tensor([0.3, 0.6], dtype=torch.float64)
    here, s, cond = state(process, process.time(u)), process.time(u - 0.2), LABELS[:2]
    sampler = kind(Ancestral(3), Wavy(), 0.4)

    def mean(x: Tensor) -> Tensor:
        return sampler.transition(exact, State(x, here.t, here.rng), s, cond).mean

    assert torch.autograd.gradcheck(mean, (here.x.clone().requires_grad_(),), atol=1e-6)
    with torch.no_grad():
        quiet = mean(here.x)
    torch.testing.assert_close(mean(here.x), quiet, rtol=1e-14, atol=1e-14)
    assert not mean(here.x).requires_grad


def test_steps_and_grid_are_those_of_the_wrapped() -> None:
    inner = Ancestral(7, grid=Recurrence(Karras(rho=3.0), times=2), eta=0.5)
    sampler = Shifted(inner, Posterior(model(VP()), "target"), between(2.0, 0.1, 0.9))
    assert sampler.steps == 7 and sampler.grid == inner.grid
    tree = config.loads(config.dumps(spec(sampler)))
    assert set(tree) == {"part", "sampler", "reward", "scale"} and tree["sampler"]["steps"] == 7
    again = build(tree)
    assert again.steps == 7 and again.sampler == inner and again.scale == sampler.scale
    assert again.reward.family == "target"


def test_what_has_no_variance_is_refused() -> None:
    with pytest.raises(Refusal, match="draws from a transition"):
        Shifted(Euler(5), Wavy(), 1.0)
    with pytest.raises(Refusal, match="no variance to shift by"):
        ShiftedAtEstimate(Ancestral(5, eta=0.0), Wavy(), 1.0)(model(VP()), LABELS, rng=Rng(range(4)))
    exact, rng = model(VP()), Rng(range(4))
    still = ShiftedAtEstimate(Ancestral(5, eta=0.0), Wavy(), 0.0)(exact, LABELS, rng=rng)
    assert torch.equal(still, Ancestral(5, eta=0.0)(exact, LABELS, rng=rng))
