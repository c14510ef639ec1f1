"""Backward universal guidance where its steps have a closed form, and recurrence as a grid."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mezzotint.core import Condition, Refusal, Rng, build, config, spec
from mezzotint.core.spec import Module
from mezzotint.denoiser import Counted, Mixture
from mezzotint.guidance import CFG, Backward, ThroughDenoiser, between
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Karras, Recurrence

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
LABELS = Condition(label=[0, 1, 1, 0])
TARGET = (0.5, -1.0, 2.0)


class Near(Module):
    """Half the negative squared distance from a point: its gradient is the way there."""

    def __init__(self, point: tuple[float, ...] = TARGET) -> None:
        super().__init__()
        self.point = tuple(point)

    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return -0.5 * (x - torch.tensor(self.point, dtype=x.dtype)).square().sum(1)


def model(process: Continuous) -> Mixture:
    draws = Rng([2])
    factors = draws.normal("factors", (3, 3, 3))[0].double()
    covariances = factors @ factors.transpose(1, 2) / 3 + 0.1 * torch.eye(3)
    return Mixture(process, draws.normal("means", (3, 3))[0].tolist(), covariances.tolist(), labels=[0, 1, 0])


def case(process: Continuous) -> tuple[Tensor, Tensor]:
    t = process.time(torch.tensor([0.1, 0.4, 0.6, 0.9], dtype=torch.float64))
    x0, noise = (Rng(range(4)).normal(name, (3,)).double() for name in ("x0", "noise"))
    return process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise, t


@named
def test_one_whole_step_reaches_the_target(process: Continuous) -> None:
    (x, t), y = case(process), torch.tensor(TARGET, dtype=torch.float64)
    found = Backward(model(process), Near(), 1.0, steps=1)(x, t, LABELS).mean
    torch.testing.assert_close(found, y.expand(4, 3), rtol=1e-15, atol=1e-15)


@named
def test_steps_close_in_geometrically(process: Continuous) -> None:
    """m steps of size h on |x0 - y|^2 / 2 leave (1 - h)^m of the way."""
    exact, (x, t), y = model(process), case(process), torch.tensor(TARGET, dtype=torch.float64)
    plain = exact(x, t, LABELS).mean
    for size, steps in ((0.3, 1), (0.3, 7), (1.6, 4)):
        found = Backward(exact, Near(), size, steps=steps)(x, t, LABELS).mean
        torch.testing.assert_close(found, y + (1 - size) ** steps * (plain - y), rtol=1e-12, atol=1e-12)


@named
def test_the_noise_carries_the_change(process: Continuous) -> None:
    """The paper's form: noise - (alpha / sigma) Delta, the noise as a sampler derives it from the guided answer."""
    exact, (x, t) = model(process), case(process)
    plain, found = exact(x, t, LABELS).mean, Backward(exact, Near(), 0.2, steps=3)(x, t, LABELS).mean
    alpha, sigma = process.scales(t, x)
    expected = process.noise(x, plain, t) - alpha / sigma * (found - plain)
    torch.testing.assert_close(process.noise(x, found, t), expected)


def test_forward_and_backward_compose() -> None:
    """Backward takes up the forward rule's answer; the other way round it is the backward answer that is pushed on."""
    exact, (x, t), y = model(VP()), case(VP()), torch.tensor(TARGET, dtype=torch.float64)
    forward = ThroughDenoiser(exact, Near(), 0.3)
    both = Backward(forward, Near(), 0.25, steps=2)(x, t, LABELS).mean
    first = forward(x, t, LABELS).mean
    torch.testing.assert_close(both, y + 0.75**2 * (first - y))
    # One step of size h is the answer h y + (1 - h) D, whose derivative by x_t is (1 - h) dD/dx_t: so
    # Cov (1 - h) (y - (h y + (1 - h) D)) = (1 - h)^2 Cov (y - D) is added.
    answer = exact(x, t, LABELS, want=("covariance",))
    other = ThroughDenoiser(Backward(exact, Near(), 0.4, steps=1), Near(), 0.3)(x, t, LABELS).mean
    push = (answer.aux["covariance"] @ (y - answer.mean)[..., None])[..., 0]
    torch.testing.assert_close(other, 0.4 * y + 0.6 * answer.mean + 0.3 * 0.6**2 * push)


def test_around_and_inside_other_guidance() -> None:
    exact, (x, t), y = model(Flow()), case(Flow()), torch.tensor(TARGET, dtype=torch.float64)
    guided = Backward(CFG(exact, "w"), Near(), "by", steps=1)
    cond = LABELS | Condition(w=[1.0, 3.0, 3.0, 0.0], by=[0.0, 0.5, 1.0, 0.5])
    ready = guided.prepare(cond)
    assert set(ready.families) == {"label", "w", "by"}
    found = guided(x, t, ready).mean
    rows = [CFG(exact, w)(x[[k]], t[[k]], LABELS[[k]]).mean for k, w in enumerate((1.0, 3.0, 3.0, 0.0))]
    plain, share = torch.cat(rows), torch.tensor([0.0, 0.5, 1.0, 0.5], dtype=torch.float64)[:, None]
    torch.testing.assert_close(found, plain + share * (y - plain))
    outside = CFG(Backward(exact, Near(), between(0.5, 0.3, 0.7), steps=1), 3.0)
    assert torch.equal(outside(x, t, LABELS).mean[0], CFG(exact, 3.0)(x, t, LABELS).mean[0])


@pytest.mark.parametrize("sampler", [Euler(8), Ancestral(8)], ids=lambda s: type(s).__name__)
def test_recurrence_is_a_grid(sampler: Euler | Ancestral) -> None:
    """Walked once it is the plain run with the same noise, bit for bit; walked k times it costs k times as much."""
    counted = Counted(model(EDM()))
    guided, rng = Backward(ThroughDenoiser(counted, Near(), 0.2), Near(), 0.1, steps=2), Rng(range(4))
    plain = sampler(guided, LABELS, rng=rng)
    cost, _ = counted.rows, counted.reset()
    assert cost == 4 * 8
    once = type(sampler)(8, grid=Recurrence(Karras(), times=1))(guided, LABELS, rng=rng)
    assert torch.equal(once, plain) and counted.rows == cost
    counted.reset()
    again = type(sampler)(8, grid=Recurrence(Karras(), times=3))(guided, LABELS, rng=rng)
    assert counted.rows == 3 * cost and not torch.equal(again, plain)


def test_settings() -> None:
    guided = Backward(ThroughDenoiser(model(EDM()), Near(), between(2.0, 0.1, 0.9)), Near(), 0.5, steps=3)
    assert guided.steps == 3 and spec(guided)["steps"] == 3
    for steps in (0, -1, True, 1.5):
        with pytest.raises(Refusal, match="at least one gradient step"):
            Backward(model(EDM()), Near(), 0.5, steps=steps)  # type: ignore[arg-type]
    with pytest.raises(Refusal):
        build(config.loads("part: guidance.Backward\ndenoiser: 1\nreward: 2\nscale: 1.0\n"))
