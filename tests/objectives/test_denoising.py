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
from mezzotint.objectives import Denoising, LogitNormal, LogNormal, LogUniform, UniformTimes
from mezzotint.objectives.base import Levels
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Table

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
ALL: dict[str, Continuous] = {
    "EDM": EDM(),
    "VP": VP(),
    "VP zero terminal": VP(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
    "DDPM": DDPM(),
    "DDPM zero terminal": DDPM(zero_terminal=True),
    "Table": Table((0.9, 0.7, 0.4, 0.0), (0.1, 0.8, 1.5, 3.0)),
}
PREDICTIONS = ("edm", "x0", "v", "velocity", "noise")
D = 0.4


def ends_in_noise(process: Continuous) -> bool:
    return float(process.alpha(torch.ones((), dtype=torch.float64))) < 1e-6


class Wave(Module):
    """A network that answers something: a sine of its input, moved by the context."""

    def __init__(self, shape: tuple[int, ...] = (6,), size: float = 1.0) -> None:
        super().__init__()
        self.shape, self.size, self.gain = shape, size, 1.0

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor:
        moved = 0 if context.vector is None else context.vector
        return self.size * (self.gain * torch.sin(3 * x) + moved)


class Fixed(Levels):
    """Every sample at one level."""

    def __init__(self, u: float) -> None:
        super().__init__()
        self.u = u

    def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
        t = process.time(torch.full((len(rng),), self.u, dtype=torch.float64))
        return t, torch.ones_like(t)


class Each(Levels):
    """Row k at the k-th of these times, over and over."""

    def __init__(self, times: Tensor) -> None:
        super().__init__()
        self.times = times

    def forward(self, process, shape, rng):  # type: ignore[no-untyped-def]
        t = self.times[torch.arange(len(rng)) % len(self.times)]
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
    size = (a**2 + s**2).sqrt()  # 1 where v was defined; elsewhere the process is first scaled to it
    y, n = answer, 1 / D**2
    return {
        "x0": lambda: (y - x0) ** 2,
        "noise": lambda: (implied - noise) ** 2,
        "v": lambda: (((a * implied - s * y) - (a * noise - s * x0)) / size) ** 2,
        "velocity": lambda: ((implied - y) - (noise - x0)) ** 2,
        # lambda(sigma) = (sigma^2 + d^2) / (sigma d)^2 on |D - y|^2, sigma being sigma / alpha; at alpha = 0 its limit
        "edm": lambda: torch.where(a > 0, ((s / a) ** 2 + D**2) / (s / a * D) ** 2, n) * (y - x0) ** 2,
        "min_snr": lambda: torch.where(snr > 5, 5 / snr, 1.0) * (implied - noise) ** 2,
        "p2": lambda: (implied - noise) ** 2 / (1 + snr),
    }[name]()


WEIGHTED = ("x0", "noise", "v", "velocity", "edm", "min_snr", "p2")
LEVELS = (1e-4, 0.02, 0.2, 0.45, 0.7, 0.95, 1.0)


@pytest.mark.parametrize("weight", WEIGHTED)
@pytest.mark.parametrize("name", ALL)
def test_weights_are_the_published_losses(name: str, weight: str) -> None:
    """Whatever the network predicts, on every process, from barely any noise to nothing else."""
    process = ALL[name]
    for prediction in PREDICTIONS[: 4 if ends_in_noise(process) else 5]:
        model = Preconditioned(Wave(), process, sigma_data=D, prediction=prediction)
        x = D * Rng(range(35)).normal("x", (6,)).double()
        times = Each(process.time(torch.tensor(LEVELS, dtype=torch.float64)))
        loss = Denoising(times, weight)(model, x, Condition(), Rng(range(35)))
        shot = loss.shot
        assert shot is not None
        a, s = process.alpha(shot.t)[:, None], process.sigma(shot.t)[:, None]
        expected = published(weight, x, (shot.x_t - a * x) / s, a, s, shot.answer.mean).mean(1)
        torch.testing.assert_close(loss.value, expected, rtol=1e-6, atol=1e-9)


PAPERS = {  # what each paper trains in the parts of the house, and which printed loss that is
    "DDPM": (DDPM(), "noise", Denoising(UniformTimes(steps=1000)), "noise"),
    "EDM": (EDM(), "edm", Denoising(LogNormal(-1.2, 1.2)), "edm"),
    "VE of EDM's table": (EDM(), "noise", Denoising(LogUniform(0.02, 100.0)), "noise"),
    "v": (Cosine(), "v", Denoising(UniformTimes()), "v"),
    "min-SNR": (DDPM(), "x0", Denoising(UniformTimes(steps=1000), "min_snr"), "min_snr"),
    "P2": (DDPM(), "noise", Denoising(UniformTimes(steps=1000), "p2"), "p2"),
    "rectified flow": (Flow(), "velocity", Denoising(LogitNormal()), "velocity"),
}


@pytest.mark.parametrize("paper", PAPERS)
def test_recipes_of_the_papers(paper: str) -> None:
    """The whole objective, times included, is the printed loss at the times it drew."""
    process, prediction, objective, printed = PAPERS[paper]
    model = Preconditioned(Wave(), process, sigma_data=D, prediction=prediction)
    x = D * Rng(range(400)).normal("x", (6,)).double()
    loss = objective(model, x, Condition(), Rng(range(400)))
    shot = loss.shot
    assert shot is not None
    a, s = process.alpha(shot.t)[:, None], process.sigma(shot.t)[:, None]
    expected = published(printed, x, (shot.x_t - a * x) / s, a, s, shot.answer.mean).mean(1)
    torch.testing.assert_close(loss.value, expected, rtol=1e-6, atol=1e-9)


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
    t, _ = LogUniform(0.02, 50.0)(process, (6,), rng)
    log_ratio = (process.sigma(t) / process.alpha(t)).log().numpy()
    assert stats.kstest(log_ratio, stats.uniform(math.log(0.02), math.log(2500)).cdf).pvalue > 1e-3
    t, _ = UniformTimes(0.1)(process, (6,), rng)
    assert stats.kstest(t.numpy(), stats.uniform(0.1, 0.9).cdf).pvalue > 1e-3


def test_all_steps_are_drawn_alike() -> None:
    t, weight = UniformTimes(steps=7)(VP(), (6,), Rng(range(7000)))
    found = torch.bincount((7 * t).round().long(), minlength=8)
    assert int(found[0]) == 0 and bool((weight == 1).all())
    assert stats.chisquare(found[1:].numpy()).pvalue > 1e-3


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_losses_and_gradients_are_finite_at_both_ends(name: str, prediction: str) -> None:
    """In float32, at no noise at all, at the least there is, and at nothing but noise, also alone."""
    process = ALL[name]
    if prediction == "noise" and ends_in_noise(process):
        with pytest.raises(Refusal, match="alpha is 0"):
            Preconditioned(Wave(), process, prediction="noise")
        return
    network = Wave(size=0.5)
    network.gain = torch.nn.Parameter(torch.ones(6))
    model = Preconditioned(network, process, sigma_data=D, prediction=prediction)
    times = torch.tensor([0.0, 1e-300, 1e-30, 1e-12, 1e-7, 1e-5, 0.5, 1 - 1e-12, 1.0], dtype=torch.float64)
    x = D * Rng(range(9)).normal("x", (6,))
    for weight in ("output", *WEIGHTED):
        loss = Denoising(Each(times), weight)(model, x, Condition(), Rng(range(9)))
        assert loss.value.dtype == torch.float32 and bool(torch.isfinite(loss.value).all()), weight
        for row in range(9):
            (slope,) = torch.autograd.grad(loss.value[row], network.gain, retain_graph=True)
            assert bool(torch.isfinite(slope).all()), (weight, times[row])
        alone = Denoising(Each(times[-1:]), weight)(model, x[-1:], Condition(), Rng([8]))
        torch.testing.assert_close(alone.value, loss.value[-1:], rtol=1e-5, atol=1e-6)


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
