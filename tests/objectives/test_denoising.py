"""The loss against the papers' own forms, and the levels against scipy."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Condition, Refusal, Rng
from mezzotint.core.spec import Module
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.networks.context import Context
from mezzotint.objectives import Denoising, LogitNormal, LogNormal, UniformTimes
from mezzotint.objectives.base import Levels
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
D = 0.4


class Wave(Module):
    """A network that answers something: a sine of its input, moved by the context."""

    def __init__(self, shape: tuple[int, ...] = (6,), size: float = 1.0) -> None:
        super().__init__()
        self.shape, self.size = shape, size

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        moved = 0 if context.vector is None else context.vector
        return self.size * (torch.sin(3 * x) + moved)


class Fixed(Levels):
    """Every sample at one level."""

    def __init__(self, u: float) -> None:
        super().__init__()
        self.u = u

    def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
        t = process.time(torch.full((len(rng),), self.u, dtype=torch.float64))
        return t, torch.ones_like(t)


@named
def test_a_silent_network_costs_one_at_every_level(process: Continuous) -> None:
    """EDM, table 1: with unit-variance targets the loss of F = 0 is 1 whatever the noise."""
    model = Preconditioned(Wave(size=0.0), process, sigma_data=D)
    torch.manual_seed(0)
    x = D * torch.randn(4000, 6)
    for u in (0.02, 0.2, 0.5, 0.8, 0.98):
        value = Denoising(Fixed(u))(model, x, Condition(), Rng(range(4000))).value
        assert abs(float(value.mean()) - 1) < 5 * (2 / 24_000) ** 0.5


def published(name: str, x0: Tensor, noise: Tensor, a: Tensor, s: Tensor, answer: Tensor) -> Tensor:
    """Each loss as printed, on the noise, v, velocity or x_0 that the answer about x_0 implies."""
    implied = (a * x0 + s * noise - a * answer) / s
    snr = a**2 / s**2
    return {
        "x0": (answer - x0) ** 2,
        "noise": (implied - noise) ** 2,
        "v": ((a * implied - s * answer) - (a * noise - s * x0)) ** 2,
        "velocity": ((implied - answer) - (noise - x0)) ** 2,
        "min_snr": snr.clamp(max=5) * (answer - x0) ** 2,
        "p2": (implied - noise) ** 2 / (1 + snr),
    }[name]


CASES = [
    (process, prediction, weight)
    for process in (VP(), Flow(), Cosine())
    for prediction in ("edm", "x0", "v", "velocity", "noise")
    for weight in ("x0", "noise", "v", "velocity", "min_snr", "p2")
    if not (prediction == "noise" and not isinstance(process, VP)) and not (weight == "v" and isinstance(process, Flow))
]


@pytest.mark.parametrize(("process", "prediction", "weight"), CASES, ids=str)
def test_weights_are_the_published_losses(process: Continuous, prediction: str, weight: str) -> None:
    """Whatever the network predicts. (v's weight SNR + 1 is for alpha^2 + sigma^2 = 1.)"""
    model = Preconditioned(Wave(), process, sigma_data=D, prediction=prediction)
    torch.manual_seed(1)
    x = D * torch.randn(50, 6).double()
    loss = Denoising(Fixed(0.45), weight)(model, x, Condition(), Rng(range(50)))
    shot = loss.shot
    assert shot is not None
    a, s = process.alpha(shot.t)[:, None], process.sigma(shot.t)[:, None]
    noise = (shot.x_t - a * x) / s
    expected = published(weight, x, noise, a, s, shot.answer.mean).mean(1)
    torch.testing.assert_close(loss.value.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("process", "name"), [(VP(), "noise"), (VP(), "v"), (Cosine(), "v"), (Flow(), "velocity")], ids=str
)
def test_a_weight_on_its_own_prediction_is_the_plain_error(process: Continuous, name: str) -> None:
    model = Preconditioned(Wave(), process, sigma_data=D, prediction=name)
    x, rng = D * torch.randn(64, 6), Rng(range(64))
    one = Denoising(UniformTimes(0.05), name)(model, x, Condition(), rng)
    plain = Denoising(UniformTimes(0.05), "output")(model, x, Condition(), rng)
    torch.testing.assert_close(one.value, plain.value, rtol=1e-4, atol=1e-6)


@named
def test_levels_have_their_law(process: Continuous) -> None:
    rng = Rng(range(8000))
    for levels, mean, std in ((LogNormal(), -1.2, 1.2), (LogNormal(-0.4, 1.0), -0.4, 1.0), (LogitNormal(), 0.0, 1.0)):
        t, weight = levels(process, (6,), rng)
        assert t.dtype == torch.float64 and bool((weight == 1).all())
        log_ratio = (process.sigma(t) / process.alpha(t)).log().numpy()
        assert stats.kstest(log_ratio, stats.norm(mean, std).cdf).pvalue > 1e-3
    t, _ = UniformTimes(0.1)(process, (6,), rng)
    assert stats.kstest(t.numpy(), stats.uniform(0.1, 0.9).cdf).pvalue > 1e-3


@named
def test_losses_are_finite_at_the_ends_of_the_levels(process: Continuous) -> None:
    model = Preconditioned(Wave(), process, sigma_data=D)
    x = D * torch.randn(200, 6)
    for levels in (LogNormal(-8.0, 4.0), LogNormal(8.0, 4.0), UniformTimes()):
        for weight in ("output", "noise", "velocity", "min_snr"):
            assert bool(torch.isfinite(Denoising(levels, weight)(model, x, Condition(), Rng(range(200))).value).all())


def labelled() -> Preconditioned:
    return Preconditioned(Wave((8,)), Flow(), Encoder(label=Classes(3, width=8)), sigma_data=D)


def test_dropout_trains_the_null_and_only_dropout_does() -> None:
    x, cond, rng = torch.randn(64, 8), Condition(label=torch.arange(64) % 3), Rng(range(64))
    model = labelled()
    Denoising(dropout=0.0)(model, x, cond, rng).value.sum().backward()
    assert model.nulls == () and not bool(model.encoder["label"].null.grad.any())  # type: ignore[index]
    with torch.no_grad():
        Denoising(dropout=0.3)(model, x, cond, rng)
    assert model.nulls == ()
    loss = Denoising(dropout={"label": 0.3})(model, x, cond, rng)
    loss.value.sum().backward()
    assert model.nulls == ("label",) and bool(model.encoder["label"].null.grad.any())  # type: ignore[index]
    assert loss.shot is not None and 5 < int((~loss.shot.cond.kept("label")).sum()) < 35


def test_arms_of_a_comparison_stay_paired() -> None:
    model, x, rng = labelled(), torch.randn(64, 8), Rng(range(64))
    cond = Condition(label=torch.arange(64) % 3)
    one = Denoising(dropout=0.0)(model, x, cond, rng)
    two = Denoising(weight="v", dropout=0.5)(model, x, cond, rng)
    assert one.shot is not None and two.shot is not None
    assert torch.equal(one.shot.t, two.shot.t) and torch.equal(one.shot.x_t, two.shot.x_t)
    half = Denoising(dropout=0.0)(model, x[10:30], cond[10:30], rng[10:30])
    torch.testing.assert_close(half.value, one.value[10:30])


def test_refusals() -> None:
    with pytest.raises(Refusal, match="'velocity'"):
        Denoising(weight="velocty")
    for wrong in (1.0, -0.1, {"label": 2.0}):
        with pytest.raises(Refusal, match="probability"):
            Denoising(dropout=wrong)
    exact = Mixture(EDM(), [[0.0] * 6], [torch.eye(6).tolist()])
    with pytest.raises(Refusal, match="Preconditioned"):
        Denoising()(exact, torch.zeros(2, 6), Condition(), Rng(range(2)))
    assert math.isfinite(float(LogNormal(-1.2, 1.2)(EDM(), (6,), Rng([0]))[0]))
