"""A network with twice the channels: the variance it says, against exact posteriors and exact transitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from exact_network import PREDICTIONS, ExactNetwork, sayable
from mezzotint.core import Condition, Gaussian, Refusal, Rng
from mezzotint.core.spec import Module
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.guidance import Autoguidance
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral

PROCESSES: dict[str, Continuous] = {
    "EDM": EDM(),
    "VP": VP(),
    "VP zero terminal": VP(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
    "DDPM": DDPM(),
}
named = pytest.mark.parametrize("name", PROCESSES)
LEVELS = torch.tensor([0.0, 1e-4, 0.1, 0.4, 0.7, 0.95, 1.0], dtype=torch.float64)
D = 0.6
MU, C = 1.5, 0.3


class Sure(Module):
    """An exact network and beside it the logarithm of a variance over that of Gaussian data of spread D."""

    def __init__(self, exact: ExactNetwork, spread: float | None = None) -> None:
        super().__init__()
        self.exact, self.shape, self.spread = exact, exact.shape, spread

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        said = self.exact(x, noise, context)
        if self.spread is None:  # of data N(mu, C^2), over that of N(0, D^2)
            process = self.exact.truth.process
            a, s = process.scales(noise / 1000, x)
            ratio = C**2 * (a**2 * D**2 + s**2) / (D**2 * (a**2 * C**2 + s**2))
            said_r = 10 * torch.atanh(ratio.log() / 10).expand_as(said)  # the bound is smooth and known
        else:
            said_r = torch.full_like(said, self.spread)
        return torch.cat([said, said_r], 1)


def gaussian(process: Continuous, mean: float, std: float) -> Mixture:
    return Mixture(process, [[mean, mean]], [[[std**2, 0.0], [0.0, std**2]]])


def model(process: Continuous, truth: Mixture, prediction: str = "v", spread: float | None = None) -> Preconditioned:
    network = Sure(ExactNetwork(truth, prediction, "time", True, D), spread)
    return Preconditioned(network, process, None, D, prediction, "time", variance=True)


def at(process: Continuous) -> tuple[Tensor, Tensor]:
    t = process.time(LEVELS)
    draw = Rng(range(len(t))).normal("x", (2,)).double()
    return process.alpha(t)[:, None] * MU + (process.alpha(t) + process.sigma(t))[:, None] * draw, t


@pytest.mark.parametrize(
    ("name", "prediction"), [(n, p) for n in PROCESSES for p in PREDICTIONS if sayable(PROCESSES[n], p)]
)
def test_a_silent_variance_is_that_of_gaussian_data(name: str, prediction: str) -> None:
    """At r = 0, whatever is predicted, against the exact covariance of x_0 given x_t."""
    process = PROCESSES[name]
    truth = gaussian(process, 0.0, D)
    x, t = at(process)
    answer = model(process, truth, prediction, spread=0.0)(x, t)
    due = truth(x, t, want=("covariance",)).aux["covariance"].diagonal(dim1=1, dim2=2)
    assert isinstance(answer, Gaussian)
    torch.testing.assert_close(answer.variance.expand_as(due), due, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(answer.mean, truth(x, t).mean, rtol=1e-9, atol=1e-9)


@named
def test_its_bridges_are_the_exact_transitions(name: str) -> None:
    """p(x_s | x_t) of Gaussian data by conditioning their joint law: mean and variance, between any two times."""
    process = PROCESSES[name]
    x, t = at(process)
    answer = model(process, gaussian(process, MU, C))(x, t)
    for share in (0.0, 0.3, 0.9):
        s = process.time(share * LEVELS)
        (a_t, s_t), (a_s, s_s) = process.scales(t, x), process.scales(s, x)
        ratio = torch.where(a_s > 0, a_t / a_s, 1.0)
        var_s, var_t = a_s**2 * C**2 + s_s**2, a_t**2 * C**2 + s_t**2
        mean = a_s * MU + ratio * var_s / var_t * (x - a_t * MU)
        variance = var_s - (ratio * var_s) ** 2 / var_t
        law = process.bridge(x, answer, t, s)
        torch.testing.assert_close(law.mean, mean, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(law.variance.expand_as(x), variance.expand_as(x), rtol=1e-8, atol=1e-12)


@named
def test_one_step_samples_keep_the_data_s_spread(name: str) -> None:
    """Fixed variances need many steps for it; two steps of the learnt one have the exact mean and variance.

    On processes that end in pure noise. EDM and VP leave a rest of the data in x_1 that the prior does not know.
    """
    process = PROCESSES[name]
    count = 4000
    x = Ancestral(2)(model(process, gaussian(process, MU, C)), rng=Rng(range(count)))
    fixed = Ancestral(2)(gaussian(process, MU, C), rng=Rng(range(count)))
    size = 2 * count
    assert abs(float(x.mean()) - MU) < 4 * C / size**0.5 + (0 if process.alpha(torch.ones(1)) == 0 else 2e-2)
    assert abs(float(x.std()) - C) < 4 * C / (2 * size) ** 0.5
    assert float(fixed.std()) < 0.8 * C


def test_the_bound_is_smooth_and_keeps_its_gradient() -> None:
    process = Flow()
    x, t = at(process)
    base = model(process, gaussian(process, 0.0, D), spread=0.0)(x, t).variance
    for r, factor in ((1e6, torch.e**10), (-1e6, torch.e**-10)):
        found = model(process, gaussian(process, 0.0, D), spread=r)(x.float(), t)
        assert bool(torch.isfinite(found.variance).all()) and bool((found.variance[1:] > 0).all())
        torch.testing.assert_close(found.variance.double(), factor * base, rtol=1e-5, atol=0)

    class Says(torch.nn.Module):
        shape = (1,)

        def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
            return torch.cat([x, r.expand_as(x)], 1)

    for value in (-20.0, 0.0, 20.0):
        r = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
        answer = Preconditioned(Says(), process, variance=True)(x[:1, :1], t[3:4])
        (slope,) = torch.autograd.grad(answer.variance.log().sum(), r)
        assert 0.05 < float(slope) <= 1 and (value != 0 or float(slope) == 1)


def test_a_plain_loss_trains_the_mean_alone() -> None:
    network = UNet((1, 4, 4), width=8, vector=None, outputs=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    denoiser = Preconditioned(network, Cosine(), variance=True)
    x = torch.randn(5, 1, 4, 4)
    loss = Denoising()(denoiser, x, Condition(), Rng(range(5)))
    assert loss.shot is not None and loss.shot.answer.aux["output"].shape == x.shape
    loss.value.sum().backward()
    last = next(w for w in reversed(list(network.parameters())) if w.shape == (2,))  # the bias of the last layer
    assert last.grad is not None and last.grad[0] != 0 and last.grad[1] == 0
    # What is compared is what decides the estimate.
    shot = loss.shot
    missed = denoiser.sharpness(shot.t)[:, None, None, None] * (
        shot.answer.aux["output"].detach() - denoiser.target(x, shot.x_t, shot.t)
    )
    torch.testing.assert_close(missed.abs(), (shot.answer.mean - x).detach().abs().double(), rtol=1e-4, atol=1e-5)
    denoiser.lower(torch.bfloat16)
    low = denoiser(shot.x_t, shot.t)
    assert low.mean.dtype == low.variance.dtype == torch.float32


def test_guidance_keeps_the_strong_spread() -> None:
    process = Flow()
    x, t = at(process)
    strong, weak = (model(process, gaussian(process, m, C)) for m in (MU, 0.0))
    answer = Autoguidance(strong, weak, 3.0)(x, t)
    assert torch.equal(answer.variance, strong(x, t).variance)
    torch.testing.assert_close(answer.mean, weak(x, t).mean + 3 * (strong(x, t).mean - weak(x, t).mean))


def test_channels_that_do_not_fit_are_refused() -> None:
    """One channel and two would broadcast without a word."""
    x, t = torch.randn(2, 1, 4, 4), torch.full((2,), 0.5, dtype=torch.float64)
    for outputs, variance, words in ((2, False, "variance=True"), (1, True, "twice as many"), (3, False, "3 channels")):
        network = UNet((1, 4, 4), width=8, vector=None, outputs=outputs)
        with pytest.raises(Refusal, match=words):
            Preconditioned(network, Flow(), variance=variance)(x, t)
