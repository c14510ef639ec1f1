"""The exact denoiser of independent normal entries, told or not told entries that they correlate with.

With x_0 ~ N(m, v), the same for every entry, and x_t = alpha x_0 + sigma noise,

    x_0 given x_t ~ N(m + v alpha / (alpha^2 v + sigma^2) (x_t - alpha m),  v sigma^2 / (alpha^2 v + sigma^2)).

Where z of correlation rho is told as z_u = beta z + tau noise, x_0 and z standard normal, they are replaced by
m = rho beta z_u / (beta^2 + tau^2) and v = 1 - rho^2 beta^2 / (beta^2 + tau^2).

Source: the standard Gaussian identities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.processes.base import Continuous
from mezzotint.processes.edm import EDM
from mezzotint.processes.flow import Flow


class NormalEntries(Denoiser):
    """Answers with the law of x_0 given x_t, and not with its mean alone.

    So a step of ``Ancestral`` draws from p(x_s | x_t) itself, and any number of steps ends in the law of the data; a
    few rows of many entries are as many independent numbers.

    Arguments:
        process: what corrupts x.
        shape: of one sample.
        mean, spread: of each entry; the spread is a standard deviation.
        rho: the correlation of each entry of x with one of z, which is told under ``low`` with its level under
            ``low.level``; both are then N(0, 1). None: nothing is told.
        corruption: what corrupts z; None: nothing does.
    """

    process: Continuous

    def __init__(
        self,
        process: Continuous,
        shape: tuple[int, ...],
        mean: float = 0.0,
        spread: float = 1.0,
        rho: float | None = None,
        corruption: Continuous | None = None,
    ) -> None:
        super().__init__()
        if not (process.gaussian and (corruption is None or corruption.gaussian)):
            raise Refusal("NormalEntries is exact for normal noise only")
        if not spread >= 0:
            raise Refusal(f"a standard deviation is at least 0, not {spread}")
        if rho is not None and not (-1 <= rho <= 1 and (mean, spread) == (0, 1)):
            raise Refusal("a correlation lies in [-1, 1], and entries that correlate with told ones are N(0, 1)")
        self.process, self.shape = process, tuple(shape)
        self.mean, self.spread, self.rho, self.corruption = mean, spread, rho, corruption

    @classmethod
    def example(cls) -> NormalEntries:
        return cls(EDM(), (1, 3), rho=0.9, corruption=Flow())

    @property
    def dtype(self) -> torch.dtype:
        return torch.float64

    @property
    def nulls(self) -> tuple[str, ...]:
        return () if self.rho is None else ("low",)

    def prepare(self, cond: Condition) -> Condition:
        known(cond, self.nulls, "this exact denoiser")
        if "low" in cond and tuple(cond["low"].shape[1:]) != self.shape:
            raise Refusal(f"each 'low' is {self.shape}, not {tuple(cond['low'].shape[1:])}")
        if "low.level" in cond and ("low" not in cond or self.corruption is None):
            raise Refusal("'low.level' says how 'low' was corrupted: give it, and the corruption")
        return cond

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Gaussian:
        if want:
            raise Refusal(f"this exact denoiser answers with a law and nothing beside it, so not with {want[0]!r}")
        mean, variance = self._law(x, cond)
        a, s = self.process.scales(t, x)
        whole = a**2 * variance + s**2
        safe = torch.where(whole > 0, whole, 1.0)
        found = mean + variance * a / safe * (x - a * mean)
        clean = torch.where(s == 0, x / torch.where(a > 0, a, 1.0), found)  # also where x lies off what is certain
        return Gaussian(clean.to(x.dtype), (variance * s**2 / safe).expand(x.shape).to(x.dtype))

    def _law(self, x: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """Mean and variance of x_0 before x_t is seen, float64, broadcasting over x."""
        self.prepare(cond)
        one = torch.ones((len(x), *(1 for _ in self.shape)), dtype=torch.float64, device=x.device)
        if self.rho is None or "low" not in cond:
            return self.mean * one, self.spread**2 * one
        beta, tau = one, 0 * one
        if "low.level" in cond and self.corruption is not None:
            beta, tau = self.corruption.scales(self.corruption.time(cond["low.level"].double()), x)
        gain = torch.where(expand(cond.kept("low"), x).to(x.device), self.rho * beta / (beta**2 + tau**2), 0.0)
        told = torch.where(gain == 0, 0.0, cond["low"].to(one))
        return gain * told, 1 - self.rho * gain * beta
