"""A process whose data fade late: alpha = 1 - t^power, sigma = t."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core import Refusal
from mezzotint.processes import Continuous


@dataclass(frozen=True)
class Late(Continuous):
    """alpha = 1 - t^2, sigma = t, on a clock stretched by ``rate``: t = clock^rate."""

    rate: float = 1.0

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise Refusal(f"rate is positive, not {self.rate}")

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t ** (2 * self.rate)

    def sigma(self, t: Tensor) -> Tensor:
        return t**self.rate

    def time(self, u: Tensor) -> Tensor:
        u = u.clamp(0, 1)
        rest = 1 - u
        t = 2 * u / (rest + torch.sqrt(rest**2 + 4 * u**2))
        return t ** (1 / self.rate)
