"""The denoiser around a network.

D(x_t, t, c) = skip(t) x_t + out(t) F(in(t) x_t, noise(t), context(c)): the network F sees inputs of unit variance and
a number for the noise, and what it says means what the table of predictions says. The defaults are those of EDM
(Karras et al. 2022, 2206.00364, table 1), written for any (alpha, sigma):

    in = 1 / sqrt(alpha^2 d^2 + sigma^2),   noise = log(sigma / alpha) / 4.

A network with twice the channels can say how sure it is, too. The second half r of what it says is the logarithm of the
variance of x_0 given x_t over that of Gaussian data with the same spread,

    Var[x_0 | x_t] = sigma^2 d^2 / (alpha^2 d^2 + sigma^2) exp(r),

which is out(t)^2 of EDM times exp(r): a silent network is right for Gaussian data at every level, and both ends are
finite. The answer is then a Gaussian; the spread of a step, which Nichol and Dhariwal 2021 (2102.09672, eq. 15) let the
network choose between two bounds, follows from it in the process's bridge.

The scales are computed in float64 and the answer in the precision of x_t, at least float32; the network may run in
another one, at its own boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac, Gaussian
from mezzotint.core.errors import Refusal, nearest
from mezzotint.denoiser.base import Trainable, Want
from mezzotint.denoiser.networked import Encoder, Networked
from mezzotint.denoiser.prediction import PREDICTIONS
from mezzotint.networks.inputs import in_precision
from mezzotint.processes.base import Continuous

_EXTREME = 10.0  # |log(sigma / alpha)| beyond this (4e-5 and 2e4) is clean data or pure noise to any network
_SUREST = 10.0  # a learnt variance stays within exp(-10) and exp(10) of that of Gaussian data


def _log_ratio(process: Continuous, t: Tensor) -> Tensor:
    """log(sigma / alpha), cut where a network can no longer tell."""
    return (-0.5 * process.log_snr(t)).clamp(-_EXTREME, _EXTREME)


NOISES: dict[str, Callable[[Continuous, Tensor], Tensor]] = {
    "log": lambda process, t: _log_ratio(process, t) / 4,  # EDM's c_noise
    "time": lambda process, t: 1000 * t,  # flows and continuous VP, for embeddings made for steps
    "step": lambda process, t: getattr(process, "steps", 1000) * t - 1,  # DDPM's index 0 .. 999 at t = 1/1000 .. 1
}


class Preconditioned(Networked, Trainable):
    """Turns a network into a denoiser of a continuous process.

    Arguments:
        network: ``forward(x, noise, context, want=())``, with an attribute ``shape``.
        process: what corrupts the data.
        encoder: from conditions to context; None for an unconditional model.
        sigma_data: the standard deviation of the data; measure it (``data.std``).
        prediction: what the network says: ``edm``, ``noise``, ``x0``, ``v`` or ``velocity``.
        noise: how it is told the noise: ``log`` = log(sigma / alpha) / 4, ``time`` = 1000 t, ``step`` = T t - 1, the
            index of a discrete process with ``steps`` T; 1000 where the process has none.
        scaled: whether its input is divided by the standard deviation of x_t; False for foreign weights that were
            trained on x_t itself.
        variance: whether the network has twice the channels (``outputs``), whose second half is the logarithm of the
            learnt variance over that of Gaussian data, bounded smoothly to [-10, 10]; the answer is then a Gaussian.
    """

    process: Continuous

    def __init__(
        self,
        network: torch.nn.Module,
        process: Continuous,
        encoder: Encoder | None = None,
        sigma_data: float = 0.5,
        prediction: str = "edm",
        noise: str = "log",
        scaled: bool = True,
        variance: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(process, Continuous):
            raise Refusal(f"Preconditioned needs a continuous process, not {type(process).__name__}")
        if prediction not in PREDICTIONS:
            raise Refusal(f"there is no prediction {prediction!r}: {nearest(prediction, list(PREDICTIONS))}")
        if noise not in NOISES:
            raise Refusal(f"there is no noise input {noise!r}: {nearest(noise, list(NOISES))}")
        if not sigma_data > 0:
            raise Refusal(f"sigma_data is the standard deviation of the data and must be positive, not {sigma_data}")
        end = process.alpha(torch.ones((), dtype=torch.float64, device="cpu"))
        if not PREDICTIONS[prediction].at_prior and float(end) < 1e-6:
            raise Refusal(
                f"a network that predicts {prediction!r} says nothing about the data where alpha is 0, which "
                f"{type(process).__name__} reaches at t = 1; use 'v', 'velocity', 'x0' or 'edm'"
            )
        self.network = network
        self.process = process
        self.encoder = encoder  # a module, so its weights are trained and saved with the network's
        self.sigma_data = float(sigma_data)
        self.prediction = prediction
        self.noise = noise
        self.scaled = scaled
        self.variance = variance
        self.shape = tuple(cast(Any, network).shape)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac | Gaussian:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        t = t.to(device=x.device, dtype=torch.float64)
        skip, out = self._scales(t, x)
        inside = x * self._scale_in(t, x) if self.scaled else x
        inner = tuple(name for name in want if name != "output")
        noise = NOISES[self.noise](self.process, t).to(x.dtype)
        sample, aux = self._said(in_precision(self.network, inside), noise, cond, inner)
        sample = sample.to(x.dtype)
        if sample.shape[1] != x.shape[1] * (2 if self.variance else 1):
            asked = "twice as many, for mean and variance" if self.variance else "as many, or variance=True for twice"
            raise Refusal(f"the network answers {sample.shape[1]} channels to {x.shape[1]}; it needs {asked}")
        sample, spread = sample.chunk(2, 1) if self.variance else (sample, None)
        if "output" in want:
            aux["output"] = sample
        mean = skip * x + out * sample
        if spread is None:
            return Dirac(mean, aux)
        # A hard bound would have no gradient beyond it, and a network that once went there could not come back.
        return Gaussian(mean, self._spread(t, x) * (_SUREST * torch.tanh(spread / _SUREST)).exp(), aux)

    def _spread(self, t: Tensor, x: Tensor) -> Tensor:
        """The variance of x_0 given x_t for Gaussian data."""
        return (PREDICTIONS["edm"].out(*self.process.scales(t, x), self.sigma_data) ** 2).to(x)

    def _scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.process.scales(t, x)
        entry = PREDICTIONS[self.prediction]
        d = self.sigma_data
        return entry.skip(alpha, sigma, d).to(x), entry.out(alpha, sigma, d).to(x)

    def _scale_in(self, t: Tensor, x: Tensor) -> Tensor:
        alpha, sigma = self.process.scales(t, x)
        return (1 / (alpha**2 * self.sigma_data**2 + sigma**2).sqrt()).to(x)

    def target(self, x0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        # (x_0 - skip x_t) / out in float64: at low noise out is tiny and the difference has lost digits in float32.
        # At none at all out is 0, so is the difference, and whatever a network says there is right.
        alpha, sigma = self.process.scales(t, x_t)
        entry = PREDICTIONS[self.prediction]
        skip, out = entry.skip(alpha, sigma, self.sigma_data), entry.out(alpha, sigma, self.sigma_data)
        return ((x0.double() - skip * x_t.double()) / torch.where(out == 0, 1.0, out)).to(x_t.dtype)

    def sharpness(self, t: Tensor) -> Tensor:
        t = t.to(torch.float64)
        return PREDICTIONS[self.prediction].out(self.process.alpha(t), self.process.sigma(t), self.sigma_data).abs()

    def trivial(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = self.process.scales(t, x_t)
        return PREDICTIONS["edm"].skip(alpha, sigma, self.sigma_data).to(x_t) * x_t
