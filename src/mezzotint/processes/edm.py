"""The variance-exploding process of EDM: the data stay, the noise grows.

x_t = x_0 + sigma noise with sigma = t sigma_max. Source: Karras et al. 2022, "Elucidating the design space of
diffusion-based generative models" (2206.00364), section 3.

It is also the VE process of Song et al. 2021 (2011.13456), under the same laws at the same sigma: their geometric clock
sigma = sigma_min (sigma_max / sigma_min)^t decides only where the steps lie and where training looks, which here is a
grid (:class:`~mezzotint.samplers.LogSNR`) and a distribution of training times.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.processes.base import Continuous


@dataclass(frozen=True)
class EDM(Continuous):
    """alpha = 1, sigma = t * sigma_max.

    Arguments:
        sigma_max: the noise at t = 1, in units of the data.
    """

    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not self.sigma_max > 0:
            raise Refusal(f"sigma_max must be positive, not {self.sigma_max}")

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t * self.sigma_max

    def time(self, u: Tensor) -> Tensor:
        t = u / (1 - u).clamp(min=1e-300) / self.sigma_max
        return torch.where(u < self.sigma_max / (1 + self.sigma_max), t.clamp(0, 1), 1.0)  # its own end exactly
