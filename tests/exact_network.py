"""The exact answer entering as a network: what a perfectly trained network would say, in any of the five languages.

``Preconditioned(ExactNetwork(truth, "v"), truth.process, prediction="v", noise="time")`` must be ``truth`` itself, and
anything that holds for exact denoisers must hold along this path, which is the one that trained weights take.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.distribution import expand
from mezzotint.core.spec import Module
from mezzotint.denoiser import Denoiser
from mezzotint.processes import Continuous

PREDICTIONS = ("noise", "x0", "v", "velocity", "edm")


def sayable(process: Continuous, prediction: str) -> bool:
    """Whether a network may predict this: the noise says nothing of the data where none of it is left."""
    return prediction != "noise" or float(process.alpha(torch.ones((), dtype=torch.float64))) > 1e-6


class ExactNetwork(Module):
    """A network that has an exact denoiser by heart; it sees what a network sees and must undo it.

    Arguments:
        truth: the exact denoiser.
        prediction: what it says.
        noise: how it is told the noise; ``log`` is cut at 10 by those who ask, so it is exact in between only.
        scaled: whether its input was divided by the standard deviation of x_t.
        sigma_data: what its input was scaled with, and EDM's output is.
    """

    def __init__(
        self, truth: Denoiser, prediction: str, noise: str = "time", scaled: bool = True, sigma_data: float = 0.5
    ) -> None:
        super().__init__()
        self.truth, self.prediction, self.noise, self.scaled, self.d = truth, prediction, noise, scaled, sigma_data
        self.shape = truth.shape

    def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> Tensor:
        process = self.truth.process
        t = {
            "time": lambda: noise / 1000,
            "step": lambda: (noise + 1) / getattr(process, "steps", 1000),
            "log": lambda: process.time(torch.sigmoid(4 * noise)),
        }[self.noise]().clamp(0, 1)
        a, s = process.alpha(expand(t, x)), process.sigma(expand(t, x))
        size = (a**2 * self.d**2 + s**2).sqrt()
        x = x * size if self.scaled else x
        x0 = self.truth(x, t).mean
        e = torch.where(s > 0, (x - a * x0) / torch.where(s > 0, s, 1.0), 0.0)
        return {
            "noise": lambda: e,
            "x0": lambda: x0,
            "v": lambda: a * e - s * x0,
            "velocity": lambda: e - x0,
            # (x_0 - c_skip y) / c_out of EDM's table 1 for y = x / alpha at sigma / alpha, times alpha above and below
            "edm": lambda: (s * x0 / self.d - a * self.d * e) / size,
        }[self.prediction]()
