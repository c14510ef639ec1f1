"""The variance-preserving process with a linear rate of noise.

alpha = exp(-t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2), sigma = sqrt(1 - alpha^2). Source: Song et al. 2021,
"Score-based generative modeling through stochastic differential equations" (2011.13456), appendix C; the continuous
form of DDPM (Ho et al. 2020, 2006.11239).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.processes.base import Continuous


@dataclass(frozen=True)
class VP(Continuous):
    """Unit variance kept while the rate of noise rises linearly.

    Arguments:
        beta_0: the rate at t = 0, per unit of t.
        beta_1: the rate at t = 1.
    """

    beta_0: float = 0.1
    beta_1: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_0 <= self.beta_1:
            raise Refusal(f"VP needs 0 < beta_0 <= beta_1, not {self.beta_0} and {self.beta_1}")

    def _log_alpha(self, t: Tensor) -> Tensor:
        return -0.25 * t**2 * (self.beta_1 - self.beta_0) - 0.5 * t * self.beta_0

    def alpha(self, t: Tensor) -> Tensor:
        return self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(2 * self._log_alpha(t))).sqrt()  # 1 - alpha^2 loses every digit near t = 0

    def time(self, u: Tensor) -> Tensor:
        # sigma / alpha = u / (1 - u), and alpha^2 = 1 / (1 + (sigma / alpha)^2) gives a quadratic in t.
        ratio = u / (1 - u).clamp(min=1e-150)
        rate = torch.log1p(ratio**2)
        slope = self.beta_1 - self.beta_0
        # The root in the form that does not cancel: 2c / (b + sqrt(b^2 + 4ac)).
        return (2 * rate / (self.beta_0 + (self.beta_0**2 + 2 * slope * rate).sqrt())).clamp(0, 1)
