"""The discrete process of DDPM: T small steps, each with its own rate of noise beta.

alpha^2 is the product of 1 - beta up to the step and sigma^2 = 1 - alpha^2. What differs between models is where the
betas come from:

    linear         from beta_start to beta_end                                   Ho et al. 2020 (2006.11239), section 4
    scaled_linear  the square of a line between their square roots               Rombach et al. 2021 (2112.10752)
    cosine         1 - f(i + 1) / f(i), f(i) = cos^2((i/T + s) / (1 + s) pi/2),  Nichol and Dhariwal 2021 (2102.09672),
                   s = 0.008, at most 0.999                                      eq. 17

and whether the last step keeps a rest of the data: with ``zero_terminal`` alpha is shifted to end at exactly 0 and
scaled to begin where it did (Lin et al. 2023, "Common diffusion noise schedules and sample steps are flawed",
2305.08891, algorithm 1). A network that predicts the noise says nothing there; let it predict v or x_0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest
from mezzotint.processes.table import Tabulated

MOST = 1_000_000
_OFFSET, _LARGEST = 0.008, 0.999  # of the cosine: the first steps would be too small, the last one all noise


def _line(steps: int, start: float, end: float) -> Tensor:
    return torch.linspace(start, end, steps, dtype=torch.float64)


def _cosine(steps: int, start: float, end: float) -> Tensor:
    angle = (_line(steps + 1, 0, 1) + _OFFSET) / (1 + _OFFSET) * (math.pi / 2)
    a, b = angle[:-1], angle[1:]
    # 1 - cos^2 b / cos^2 a as a product: the difference of two numbers near 1 would lose the first betas' digits.
    return (torch.sin(b - a) * torch.sin(b + a) / a.cos() ** 2).clamp(max=_LARGEST)


SCHEDULES: Mapping[str, Callable[[int, float, float], Tensor]] = MappingProxyType(
    {
        "linear": _line,
        "scaled_linear": lambda steps, start, end: _line(steps, start**0.5, end**0.5) ** 2,
        "cosine": _cosine,
    }
)


@dataclass(frozen=True)
class DDPM(Tabulated):
    """alpha = sqrt(prod(1 - beta)), sigma = sqrt(1 - alpha^2); index i is t = (i + 1) / steps.

    Arguments:
        steps: T, how many betas there are.
        beta_start: the first beta; 1e-4 in DDPM, 8.5e-4 in Stable Diffusion.
        beta_end: the last beta; 0.02 in DDPM, 0.012 in Stable Diffusion.
        schedule: ``linear``, ``scaled_linear`` (Stable Diffusion) or ``cosine``, which has no use for the two betas.
        zero_terminal: whether alpha is rescaled to reach exactly 0 at t = 1.
    """

    steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    schedule: str = "linear"
    zero_terminal: bool = False

    def __post_init__(self) -> None:
        least = 2 if self.zero_terminal else 1
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < least:
            raise Refusal(f"this DDPM needs {least} steps or more, not {self.steps!r}")
        if self.steps > MOST:
            raise Refusal(f"this DDPM has {self.steps} steps, and the table of a process has {MOST:,} points at most")
        if self.schedule not in SCHEDULES:
            raise Refusal(f"there is no schedule {self.schedule!r}: {nearest(self.schedule, list(SCHEDULES))}")
        if not (0 < self.beta_start < 1 and 0 < self.beta_end < 1):
            raise Refusal(f"betas lie between 0 and 1, not {self.beta_start} and {self.beta_end}")
        super().__post_init__()

    def betas(self) -> Tensor:
        """The rates of noise before any rescaling, (steps,) in float64."""
        return SCHEDULES[self.schedule](self.steps, self.beta_start, self.beta_end)

    def points(self) -> tuple[Tensor, Tensor]:
        log_alpha = 0.5 * torch.log1p(-self.betas()).cumsum(0)
        alpha, missing = log_alpha.exp(), -torch.expm1(log_alpha)  # missing = 1 - alpha, with all its digits
        rest = self.zero_terminal * alpha[-1]
        scale = alpha[0] / (alpha[0] - rest)
        missing = scale * (missing - rest / alpha[0] * missing[0])
        alpha = scale * (alpha - rest)
        return alpha, (missing * (1 + alpha)).sqrt()
