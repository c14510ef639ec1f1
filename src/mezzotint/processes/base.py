"""A process corrupts clean data on a clock: clean at t = 0, prior at t = 1.

It owns laws and draws nothing: q(x_t | x_0), q(x_t | x_s), the prior and the bridge q(x_s | x_t, x_0) are
distributions. Continuous processes are x_t = alpha(t) x_0 + sigma(t) noise, with normal noise unless one brings laws of
its own under the same names (Poisson flow); what holds for normal noise only asks whether it is (``gaussian``).

What compares across processes is not t but the *level* u = sigma / (alpha + sigma), the share of noise. In it every
deterministic solver has one equation: with y = x / (alpha + sigma), dy/du = noise - x_0, finite at both ends of every
process.

Sources: Sohl-Dickstein et al. 2015 (1503.03585); Song et al. 2021, DDIM (2010.02502, eq. 7) for the bridge; Karras et
al. 2022, EDM (2206.00364).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from mezzotint.core.distribution import Dirac, Distribution, Gaussian, expand
from mezzotint.core.spec import Part

Answer = Distribution | Tensor


class Process(Part, ABC):
    """The laws of a corruption. Times are float64, (B,) or of the rank of x with ones; shapes have no batch."""

    kind: ClassVar[str]

    @abstractmethod
    def corrupt(self, x0: Tensor, t: Tensor) -> Distribution:
        """q(x_t | x_0)."""

    @abstractmethod
    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> Distribution:
        """q(x_t | x_s) for s <= t: upwards."""

    @abstractmethod
    def prior(self, shape: tuple[int, ...]) -> Distribution:
        """p(x_1), one row; repeat it."""

    @abstractmethod
    def bridge(self, x: Tensor, x0: Answer, t: Tensor, s: Tensor, eta: float = 1.0) -> Distribution:
        """The mean over x_0 of q(x_s | x_t, x_0), for s <= t; all mass at x where t == s.

        Arguments:
            x: x_t, (B, *shape).
            x0: the clean data (B, *shape), or a denoiser's answer about it.
            t, s: where it stands and where it goes.
            eta: 1 for the process's own posterior (DDPM), 0 for no fresh noise (DDIM).
        """

    def given(self, x: Tensor, x0: Tensor, known: Tensor) -> Tensor:
        """x_t (B, *shape) with what it says of x_0 made up by what is known of x_0, where x_t can hold that; else x_t.

        Arguments:
            x: x_t.
            x0: clean data, read under the mask only.
            known: bool, broadcasting over x.
        """
        return x

    @abstractmethod
    def level(self, t: Tensor) -> Tensor:
        """The share of noise u in [0, 1] at time t."""

    @abstractmethod
    def time(self, u: Tensor) -> Tensor:
        """The time at which the share of noise is u; levels beyond the process's own end at its ends."""


class Continuous(Process):
    """x_t = alpha(t) x_0 + sigma(t) noise, standard normal unless a process brings its own ``corrupt`` and ``prior``.

    One that does may know no ``renoise`` and no ``bridge`` with fresh noise; it refuses them, and samplers that draw.
    """

    kind: ClassVar[str] = "real"

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """The scale of the clean data at time t."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """The scale of the noise at time t: its standard deviation, where it is normal."""

    @property
    def gaussian(self) -> bool:
        """Whether the noise is normal."""
        return isinstance(self.prior((1,)), Gaussian)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2), in nats; infinite where one of them is zero."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def level(self, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha(t), self.sigma(t)
        return sigma / (alpha + sigma)

    def scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t in float64, on the device of x and broadcasting over it."""
        t = expand(t.to(device=x.device, dtype=torch.float64), x)
        return self.alpha(t), self.sigma(t)

    def noise(self, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
        """The noise in x_t if its clean data is x_0: (x_t - alpha x_0) / sigma, and 0 where sigma is 0."""
        alpha, sigma = self.scales(t, x)
        safe = torch.where(sigma > 0, sigma, 1.0)
        return torch.where(sigma > 0, (x - alpha.to(x) * x0) / safe.to(x), 0.0)

    def corrupt(self, x0: Tensor, t: Tensor) -> Distribution:
        alpha, sigma = self.scales(t, x0)
        return Gaussian(alpha.to(x0) * x0, (sigma**2).to(x0))

    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> Gaussian:
        alpha_s, sigma_s = self.scales(s, x)
        alpha_t, sigma_t = self.scales(t, x)
        ratio = torch.where(alpha_s > 0, alpha_t / torch.where(alpha_s > 0, alpha_s, 1.0), 0.0)
        ratio = torch.where(alpha_s == alpha_t, 1.0, ratio)
        variance = (sigma_t**2 - ratio**2 * sigma_s**2).clamp(min=0)
        return Gaussian(ratio.to(x) * x, variance.to(x))

    def prior(self, shape: tuple[int, ...]) -> Distribution:
        ones = torch.ones((1, *(1 for _ in shape)), dtype=torch.float64)
        mean = torch.zeros((1, *shape))
        return Gaussian(mean, (self.sigma(ones) ** 2).to(mean))

    def bridge(self, x: Tensor, x0: Answer, t: Tensor, s: Tensor, eta: float = 1.0) -> Gaussian | Dirac:
        """As in the base class, in closed form.

        With r = (sigma_s alpha_t) / (alpha_s sigma_t), v = eta^2 sigma_s^2 (1 - r^2) and k = sqrt(sigma_s^2 - v):
        mean = alpha_s x_0 + k noise, variance = v, plus (alpha_s - k alpha_t / sigma_t)^2 times the answer's own
        variance if it has one (a learnt variance). DDIM eq. 12 and 16 for any alpha, sigma.
        """
        answer = x0 if isinstance(x0, Distribution) else Dirac(x0)
        if not isinstance(answer, Dirac | Gaussian):
            kinds = f"Dirac and Gaussian answers, not {type(answer).__name__}"
            raise TypeError(f"a {type(self).__name__} process bridges {kinds}")
        alpha_t, sigma_t = self.scales(t, x)
        alpha_s, sigma_s = self.scales(s, x)
        held = (alpha_t == alpha_s) & (sigma_t == sigma_s)
        safe_t = torch.where(sigma_t > 0, sigma_t, 1.0)
        safe_s = torch.where(alpha_s > 0, alpha_s, 1.0)
        ratio = (sigma_s / safe_t) * (alpha_t / safe_s)
        share = eta**2 * (1 - ratio**2).clamp(min=0)
        fresh = torch.where(held, 0.0, share * sigma_s**2)
        keep = sigma_s * (1 - share).clamp(min=0).sqrt()
        of_x = torch.where(held, 1.0, keep / safe_t)
        of_x0 = torch.where(held, 0.0, alpha_s - keep * alpha_t / safe_t)
        # 0 * x0 is x only where the answer is finite, and a held entry must come through bit for bit.
        mean = torch.where(held, x, of_x.to(x) * x + of_x0.to(x) * answer.mean)
        if isinstance(answer, Gaussian):
            return Gaussian(mean, fresh.to(x) + (of_x0**2).to(x) * answer.variance, answer.aux)
        if eta == 0:
            return Dirac(mean, answer.aux)
        return Gaussian(mean, fresh.to(x), answer.aux)
