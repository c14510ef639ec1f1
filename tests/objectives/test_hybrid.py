"""The hybrid loss: the variance learns the exact posterior from the bound alone, the mean never hears of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mezzotint.core import NONE, Condition, Gaussian, Refusal, Rng
from mezzotint.core.spec import Module
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.networks import UNet
from mezzotint.objectives import Bound, Denoising, Hybrid, Importance, Loss, Objective, UniformTimes
from mezzotint.objectives.bound import term
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow

T = 3
MU, C, D = 0.7, 0.25, 0.6


class PerStep(Module):
    """A mean off by a learnt amount and a learnt log-variance for each of T steps, which it is told by their index."""

    def __init__(self, process: Continuous) -> None:
        super().__init__()
        self.process, self.shape = process, (2,)
        self.off, self.r = nn.Parameter(torch.zeros(T)), nn.Parameter(torch.zeros(T))

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        step = (noise * T / 1000).round().long().clamp(1, T) - 1
        a, s = self.process.scales(noise / 1000, x)
        a, s = a.to(x), s.to(x)
        mean = MU + a * C**2 / (a**2 * C**2 + s**2) * (x - a * MU) + self.off[step][:, None]
        return torch.cat([mean, self.r[step][:, None].expand_as(x)], 1)


def per_step(process: Continuous) -> tuple[PerStep, Preconditioned]:
    network = PerStep(process)
    return network, Preconditioned(network, process, None, D, "x0", "time", scaled=False, variance=True)


@pytest.mark.parametrize(
    "process", [EDM(), VP(), VP(zero_terminal=True), Flow(), Cosine(), DDPM(T, 0.05, 0.5)], ids=lambda p: str(p)[:24]
)
def test_the_exact_posterior_variance_is_where_it_rests(process: Continuous) -> None:
    """At every interval the slope of the expected term by log-variance is 0 there, and points back on both sides.

    The expectation over x_0 and x_t is exact: Gauss-Hermite in both, the term is quadratic in them.
    """
    nodes, shares = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(5))
    x0, noise = (MU + C * nodes).repeat_interleave(5)[:, None], nodes.repeat(5)[:, None]
    share = (shares[:, None] * shares / shares.sum() ** 2).reshape(-1)
    for k in range(1, T + 1):
        t = torch.full((25,), k / T, dtype=torch.float64)
        a, s = process.scales(t, x0)
        x_t, total = a * x0 + s * noise, a**2 * C**2 + s**2
        mean, exact = MU + a * C**2 / total * (x_t - a * MU), s**2 * C**2 / total
        slopes = []
        for off in (-0.5, 0.0, 0.5):
            r = torch.tensor(off, dtype=torch.float64, requires_grad=True)
            nats = term(process, x0, x_t, Gaussian(mean, exact * r.exp()), t, t * (k - 1) / k)
            slopes.append(float(torch.autograd.grad((share * nats).sum(), r)[0]))
        assert slopes[0] < 0 < slopes[2] and abs(slopes[1]) < 1e-6 * slopes[2]


def test_a_trained_variance_becomes_the_exact_posterior_s() -> None:
    process = DDPM(T, 0.05, 0.5)
    network, model = per_step(process)
    objective = Hybrid(Denoising(UniformTimes(steps=T), "x0"), T, weight=1.0)
    optimizer = torch.optim.Adam([network.r], lr=0.2)
    for turn in range(120):
        rng = Rng(range(256)).at(turn)
        loss = objective(model, MU + C * rng.normal("x", (2,)), Condition(), rng)
        optimizer.zero_grad()
        loss.value.mean().backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 0.2 * (1 - turn / 120)
    t = torch.arange(1, T + 1, dtype=torch.float64) / T
    found = model(torch.zeros(T, 2), t).variance[:, 0].detach().double()

    def posterior(std: float) -> Tensor:
        exact = Mixture(process, [[0.0]], [[[std**2]]])
        return exact(torch.zeros(T, 1), t, want=("covariance",)).aux["covariance"][:, 0, 0]

    torch.testing.assert_close(found.log(), posterior(C).log(), rtol=0, atol=0.1)
    assert float((posterior(D).log() - posterior(C).log()).abs().max()) > 1  # where it began


def network_of_two() -> Preconditioned:
    network = UNet((1, 4, 4), width=8, vector=None, outputs=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return Preconditioned(network, Flow(), None, D, "velocity", variance=True)


def test_the_mean_s_gradient_is_untouched_to_the_bit() -> None:
    """The rows of the last layer that say the mean, with the bound and without; those of the variance hear it only."""
    model, x, rng = network_of_two(), D * Rng(range(8)).normal("x", (1, 4, 4)), Rng(range(8))
    last = next(w for w in reversed(list(model.network.parameters())) if w.ndim == 4 and len(w) == 2)
    inner = Denoising(UniformTimes())
    grads = [
        torch.autograd.grad(objective(model, x, Condition(), rng).value.sum(), last)[0]
        for objective in (inner, Hybrid(inner, 100), Hybrid(inner, 100, weight=5.0), Hybrid(inner, 100, weight=0.0))
    ]
    assert bool(grads[0][0].any()) and all(torch.equal(g[0], grads[0][0]) for g in grads)
    assert not bool(grads[0][1].any()) and not bool(grads[3][1].any())
    torch.testing.assert_close(grads[2][1], 5000 * grads[1][1], rtol=1e-4, atol=1e-7)


def test_it_is_the_bound_at_the_same_times() -> None:
    """With the paper's own discrete times: the bits per dimension of Bound under the same keys, without the prior's."""
    model, x, rng = network_of_two(), D * Rng(range(64)).normal("x", (1, 4, 4)), Rng(range(64))
    for shades in (None, 256):
        inner = Denoising(UniformTimes(steps=10))
        hybrid = Hybrid(inner, 10, shades=shades)(model, x, Condition(), rng)
        bound = Bound(10, levels=UniformTimes(steps=10), shades=shades)(model, x, Condition(), rng)
        assert hybrid.shot is not None and bound.shot is not None and torch.equal(hybrid.shot.x_t, bound.shot.x_t)
        due = (bound.value - bound.parts["prior"]) / (16 * math.log(2))
        torch.testing.assert_close(hybrid.parts["bound"], due, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(hybrid.value, inner(model, x, Condition(), rng).value + 0.001 * due)


def test_between_the_steps_an_interval_never_ends_near_clean_data() -> None:
    hybrid = Hybrid(Denoising(), 8)
    on = torch.arange(1, 9, dtype=torch.float64) / 8
    torch.testing.assert_close(hybrid.foot(on), on - 1 / 8, rtol=0, atol=1e-15)
    assert float(hybrid.foot(on)[0]) == 0.0
    t = torch.linspace(1e-6, 1, 4001, dtype=torch.float64)
    s = hybrid.foot(t)
    assert bool((s[t <= 1 / 8] == 0).all()) and bool((s[t > 1 / 8 + 1e-6] >= t[t > 1 / 8 + 1e-6] / 2 - 1e-12).all())
    assert bool((t - s <= 1 / 8 + 1e-12).all()) and bool((s[1:] - s[:-1] > -1 / 8 - 1e-9).all())


@pytest.mark.parametrize("process", [EDM(), Flow(), DDPM(zero_terminal=True)], ids=lambda p: type(p).__name__)
def test_finite_at_both_ends_in_float32_and_alone(process: Continuous) -> None:
    network = PerStep(process)
    network.r.data += 0.5
    model = Preconditioned(network, process, None, D, "x0", "time", scaled=False, variance=True)
    x = MU + C * Rng(range(5)).normal("x", (2,))
    for t in (0.0, 1e-12, 1e-5, 0.5, 1.0):

        class At(UniformTimes):
            def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
                return torch.full((len(rng),), t, dtype=torch.float64), torch.ones(len(rng))  # noqa: B023

        for shades in (None, 256):
            objective = Hybrid(Denoising(At(), "v"), 1000, shades=shades)
            loss = objective(model, x, Condition(), Rng(range(5)))
            assert loss.value.dtype == torch.float32 and bool(torch.isfinite(loss.value).all()), t
            found = torch.autograd.grad(loss.value.sum(), (network.r, network.off))
            assert all(bool(torch.isfinite(g).all()) for g in found), t
            alone = objective(model, x[2:3], Condition(), Rng([2]))
            torch.testing.assert_close(alone.value, loss.value[2:3])


def test_the_inner_levels_hear_the_inner_loss_unweighted() -> None:
    """Importance below a hybrid remembers what a plain loss would have been."""
    model, x = network_of_two(), D * Rng(range(32)).normal("x", (1, 4, 4))
    levels = Importance(4, window=2)
    levels.seen += 2
    levels.history += torch.tensor([[1.0], [4.0], [2.0], [9.0]])
    objective = Hybrid(Denoising(levels), 10, weight=0.5)
    loss = objective(model, x, NONE, Rng(range(32)))
    shot = loss.shot
    assert shot is not None and shot.weight is not None and float(shot.weight.max() / shot.weight.min()) > 2
    plain = (shot.answer.aux["output"] - model.target(x, shot.x_t, shot.t)).square().flatten(1).mean(1)
    objective.update(model, loss)
    for place in range(4):
        mine = plain[(4 * shot.t).ceil().long() - 1 == place].detach().double()[-2:]
        torch.testing.assert_close(levels.history[place, 2 - len(mine) :], mine, rtol=1e-4, atol=1e-5)


def test_the_bound_is_weighed_as_the_times_are() -> None:
    """Or times that are drawn more often would count more often in it."""
    model, x = network_of_two(), D * Rng(range(16)).normal("x", (1, 4, 4))

    class Weighed(UniformTimes):
        def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
            t, weight = super().forward(process, shape, rng)
            return t, self.low * weight

    hybrid = Hybrid(Denoising(Weighed(0.25)), 10)
    loss = hybrid(model, x, NONE, Rng(range(16)))
    shot = loss.shot
    assert shot is not None
    nats = term(model.process, x, shot.x_t, shot.answer, shot.t, hybrid.foot(shot.t))
    due = 0.25 * 10 * nats / (16 * math.log(2))
    torch.testing.assert_close(loss.parts["bound"].double(), due, rtol=1e-5, atol=1e-6)


def test_refusals() -> None:
    x = torch.zeros(2, 1, 4, 4)
    plain = Preconditioned(UNet((1, 4, 4), width=8, vector=None), Flow())
    with pytest.raises(Refusal, match="variance=True"):
        Hybrid(Denoising(), 10)(plain, x, NONE, Rng(range(2)))
    with pytest.raises(Refusal, match="interval"):
        Hybrid(Denoising(), 0)
    with pytest.raises(Refusal, match="from 0 on"):
        Hybrid(Denoising(), 10, weight=-1.0)

    class Silent(Objective):
        def forward(self, model, x, cond, rng, player="model"):  # type: ignore[no-untyped-def]
            return Loss(x.flatten(1).mean(1))

    assert torch.equal(Hybrid(Silent(), 10)(plain, x, NONE, Rng(range(2))).value, torch.zeros(2))
