"""Prediction types end inside the denoiser: a network that says exactly what is asked gives back the clean data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mezzotint.core import Refusal
from mezzotint.core.spec import Module
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import MLP
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
D = 0.6
# F in terms of (x_0, noise, alpha, sigma), as the papers print it
SAID = {
    "x0": lambda x0, e, a, s: x0,
    "noise": lambda x0, e, a, s: e,
    "v": lambda x0, e, a, s: a * e - s * x0,
    "velocity": lambda x0, e, a, s: e - x0,
    # EDM, eq. 7, on x / alpha at the noise sigma / alpha: (y - c_skip (y + n)) / c_out
    "edm": lambda x0, e, a, s: (
        (x0 - D**2 / (D**2 + (s / a) ** 2) * (x0 + s / a * e)) / (s / a * D / (D**2 + (s / a) ** 2).sqrt())
    ),
}
EVERY = [(p, name) for p in PROCESSES for name in SAID if name != "noise" or not isinstance(p, Cosine | Flow)]
every = pytest.mark.parametrize(("process", "prediction"), EVERY, ids=lambda v: v if isinstance(v, str) else None)


class Says(Module):
    """A network that has one answer."""

    def __init__(self, shape: tuple[int, ...] = (3,)) -> None:
        super().__init__()
        self.shape = shape
        self.answer: Tensor | None = None
        self.heard: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        self.heard = (x, noise)
        return torch.ones_like(x) if self.answer is None else self.answer


def case(process: Continuous, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    x0, noise = torch.randn(64, 3).double(), torch.randn(64, 3).double()
    t = torch.rand(64, dtype=torch.float64).clamp(1e-3, 0.999)
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    return x0, noise, t, alpha, sigma, alpha * x0 + sigma * noise


@every
def test_the_true_answer_gives_back_the_clean_data(process: Continuous, prediction: str) -> None:
    network = Says()
    model = Preconditioned(network, process, sigma_data=D, prediction=prediction)
    x0, noise, t, alpha, sigma, x_t = case(process)
    network.answer = SAID[prediction](x0, noise, alpha, sigma)
    torch.testing.assert_close(model(x_t, t).mean, x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model.target(x0, x_t, t), network.answer, rtol=1e-6, atol=1e-7)


@every
def test_target_inverts_the_answer_and_sharpness_is_its_slope(process: Continuous, prediction: str) -> None:
    network = Says()
    model = Preconditioned(network, process, sigma_data=D, prediction=prediction)
    _, _, t, _, _, x_t = case(process, 1)
    network.answer = torch.randn(64, 3).double().requires_grad_()
    answer = model(x_t, t, want=("output",))
    torch.testing.assert_close(answer.aux["output"], network.answer)
    torch.testing.assert_close(model.target(answer.mean, x_t, t), network.answer, rtol=1e-6, atol=1e-7)
    (slope,) = torch.autograd.grad(answer.mean.sum(), network.answer)
    torch.testing.assert_close(model.sharpness(t)[:, None].expand_as(slope), slope.abs())


@every
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("noise", ["log", "time", "step"])
def test_finite_on_all_of_the_clock(process: Continuous, prediction: str, dtype: torch.dtype, noise: str) -> None:
    model = Preconditioned(Says(), process, sigma_data=D, prediction=prediction, noise=noise)
    t = torch.tensor([0.0, 1e-300, 1e-12, 1e-5, 0.3, 1 - 1e-12, 1.0], dtype=torch.float64)
    x = (process.sigma(t)[:, None] + 0.5).expand(7, 3).to(dtype)
    answer = model(x, t).mean
    assert answer.dtype == torch.promote_types(dtype, torch.float32)
    assert bool(torch.isfinite(answer).all())
    heard = model.network.heard
    assert bool(torch.isfinite(heard[0]).all()) and bool(torch.isfinite(heard[1]).all())
    if prediction != "x0":
        torch.testing.assert_close(answer[:2], x[:2].to(answer), rtol=1e-6, atol=1e-6)  # clean data answer themselves


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_the_network_sees_unit_variance(process: Continuous) -> None:
    torch.manual_seed(2)
    network = Says((4096,))
    model = Preconditioned(network, process, sigma_data=D)
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    x0, noise = D * torch.randn(9, 4096).double(), torch.randn(9, 4096).double()
    model(process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise, t)
    assert network.heard is not None
    assert (network.heard[0].std(1) - 1).abs().max() < 5 / (2 * 4096) ** 0.5


def test_edm_identities() -> None:
    """Table 1 of the paper at sigma_data = 0.5: limits, unit inputs, noise input ln(sigma) / 4."""
    network = Says()
    model = Preconditioned(network, EDM(), sigma_data=0.5)
    sigma = torch.tensor([1e-4, 0.5, 2.0, 80.0], dtype=torch.float64)
    x = torch.full((4, 3), 1.7, dtype=torch.float64)
    network.answer = torch.zeros(4, 3, dtype=torch.float64)
    skip = model(x, sigma / 80).mean[:, 0] / 1.7
    torch.testing.assert_close(skip[1:], torch.tensor([0.5, 0.25 / 4.25, 0.25 / 6400.25], dtype=torch.float64))
    assert abs(float(skip[0]) - 1) < 1e-7
    assert network.heard is not None
    torch.testing.assert_close(network.heard[1], sigma.log() / 4)
    torch.testing.assert_close(network.heard[0][:, 0], 1.7 / (sigma**2 + 0.25).sqrt())
    out = model.sharpness(sigma / 80)
    assert abs(float(out[3]) - 0.5) < 1e-4 and abs(float(out[1]) - 0.5**0.5 / 2) < 1e-12
    torch.testing.assert_close(1 / out**2, (sigma**2 + 0.25) / (sigma * 0.5) ** 2)


def test_the_trivial_answer_is_the_best_that_is_linear() -> None:
    """E |k x_t - x_0|^2 is least at the trivial answer's k."""
    torch.manual_seed(0)
    for process in PROCESSES:
        model = Preconditioned(Says((1,)), process, sigma_data=D)
        x0, noise = D * torch.randn(40_000, 1).double(), torch.randn(40_000, 1).double()
        t = process.time(torch.tensor(0.4, dtype=torch.float64)).expand(40_000)
        x_t = process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise
        trivial = float((model.trivial(x_t, t) / x_t)[0])
        assert abs(trivial - float((x_t * x0).sum() / (x_t**2).sum())) < 0.02


@pytest.mark.parametrize("process", [Cosine(), Flow()], ids=str)
def test_noise_is_refused_where_it_says_nothing(process: Continuous) -> None:
    with pytest.raises(Refusal, match="velocity"):
        Preconditioned(Says(), process, prediction="noise")


def test_other_refusals() -> None:
    with pytest.raises(Refusal, match="'velocity'"):
        Preconditioned(Says(), Flow(), prediction="velocty")
    with pytest.raises(Refusal, match="log"):
        Preconditioned(Says(), Flow(), noise="logs")
    with pytest.raises(Refusal, match="standard deviation"):
        Preconditioned(Says(), Flow(), sigma_data=0.0)


def test_weights_in_low_precision_answer_in_float32() -> None:
    """The precision of the weights is the network's own business: what goes in and comes out is the sampler's."""
    torch.manual_seed(0)
    network = MLP((3,), width=32)
    torch.nn.init.normal_(network.final.leave.weight, std=0.1)
    model = Preconditioned(network, EDM())
    x, t = torch.randn(5, 3), torch.linspace(0.001, 1, 5, dtype=torch.float64)
    full = model(x, t).mean
    low = model.bfloat16()(x, t).mean
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, full, rtol=0.05, atol=0.05)
