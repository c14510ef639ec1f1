"""The variance-preserving process with a linear rate of noise.

alpha = exp(-t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2), sigma = sqrt(1 - alpha^2). Source: Song et al. 2021,
"Score-based generative modeling through stochastic differential equations" (2011.13456), appendix C; the continuous
form of DDPM (Ho et al. 2020, 2006.11239), whose discrete form is :class:`~mezzotint.processes.DDPM`.

At t = 1 a little of the data is left: alpha = 0.0066 with the usual rates. With ``zero_terminal`` that rest c is taken
off, alpha -> (alpha - c) / (1 - c), so that alpha runs from exactly 1 to exactly 0: the rescaling of Lin et al. 2023
(2305.08891, algorithm 1) in continuous time.
"""

from __future__ import annotations

import math
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
        zero_terminal: whether alpha is rescaled to reach exactly 0 at t = 1.
    """

    beta_0: float = 0.1
    beta_1: float = 20.0
    zero_terminal: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.beta_0 <= self.beta_1:
            raise Refusal(f"VP needs 0 < beta_0 <= beta_1, not {self.beta_0} and {self.beta_1}")

    def _log_alpha(self, t: Tensor) -> Tensor:
        """Before any rescaling."""
        return -0.25 * t**2 * (self.beta_1 - self.beta_0) - 0.5 * t * self.beta_0

    def _rest(self) -> float:
        """c, the alpha of t = 1 that is taken off: 0 where it stays."""
        return self.zero_terminal * math.exp(-0.25 * (self.beta_1 - self.beta_0) - 0.5 * self.beta_0)

    def _rescaled(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, 1 - alpha) with the rest taken off: exactly (1, 0) at t = 0 and (0, 1) at t = 1."""
        ahead = (1 - t) * (0.25 * (1 + t) * (self.beta_1 - self.beta_0) + 0.5 * self.beta_0)
        log_alpha = self._log_alpha(t)
        kept, lost = -log_alpha.exp() * torch.expm1(-ahead), -torch.expm1(log_alpha)  # alpha - c and 1 - alpha
        return kept / (kept + lost), lost / (kept + lost)

    def alpha(self, t: Tensor) -> Tensor:
        return self._rescaled(t)[0] if self.zero_terminal else self._log_alpha(t).exp()

    def sigma(self, t: Tensor) -> Tensor:
        # 1 - alpha^2 loses every digit near t = 0 where it is not written as one function or as (1 - alpha)(1 + alpha).
        if not self.zero_terminal:
            return (-torch.expm1(2 * self._log_alpha(t))).sqrt()
        alpha, missing = self._rescaled(t)
        return (missing * (1 + alpha)).sqrt()

    def time(self, u: Tensor) -> Tensor:
        rest, size = self._rest(), (u**2 + (1 - u) ** 2).sqrt()  # hypot's last bit depends on the place in the batch
        # alpha before rescaling and 1 - alpha, each with all its digits; log(1 / alpha^2) gives a quadratic in t.
        alpha = (rest + (1 - rest) * (1 - u) / size).clamp(min=1e-150)
        missing = (1 - rest) * u**2 / (size * (size + 1 - u))
        rate = torch.log1p(missing * (1 + alpha) / alpha**2)
        slope = self.beta_1 - self.beta_0
        # The root in the form that does not cancel: 2c / (b + sqrt(b^2 + 4ac)).
        t = 2 * rate / (self.beta_0 + (self.beta_0**2 + 2 * slope * rate).sqrt())
        return torch.where(u < self.level(u.new_ones(())), t.clamp(0, 1), 1.0)  # its own end exactly, not to rounding
