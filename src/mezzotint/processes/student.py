"""The multivariate Student-t law: a normal draw divided by one chi per sample.

With N entries, centre m, scale s and D degrees of freedom,

    p(x) = Gamma((D + N) / 2) / (Gamma(D / 2) (D pi)^(N / 2) s^N)  (1 + |x - m|^2 / (D s^2))^(-(D + N) / 2),
    x = m + s z sqrt(D / c),    z ~ N(0, I_N),   c ~ chi^2 with D degrees of freedom.

One c a sample makes a whole sample large or small: its entries are uncorrelated and not independent. For D -> infinity
c / D tends to 1 and the law to N(m, s^2 I); z is drawn under the name that a Gaussian draws under, so the two share
their noise. D = 1 is Cauchy's law, without a mean; the variance s^2 D / (D - 2) is infinite for D <= 2.

c is found by inverting its distribution at one uniform a sample in float64 (:func:`chi_squared`): nothing is rejected,
so a key gives one number for every D, and close D give close numbers.

Sources: Kotz and Nadarajah 2004, "Multivariate t distributions and their applications", chapter 1; Xu et al. 2023,
PFGM++ (2302.04265), proposition 3.1, for what it is here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.core.distribution import Distribution, Weight, expand, per_sample
from mezzotint.core.rng import Rng

_BLOCK = 64
_LEAST = 2.0**-54  # below the smallest uniform that is not 0
_TURNS = 100  # Newton's method needs four or five; only next to 0, for D far below 1, does it come from far
_TINY = 1e-290  # keeps D / c finite in float64 where D is so small that c is not


def chi_squared(u: Tensor, degrees: Tensor) -> Tensor:
    """The c with P(chi^2_D <= c) = u, both (B,) in float64, for D of 0.02 or more.

    Newton's method on the logarithm of whichever tail is smaller, as a function of w = log(c / 2). Both tails of a
    gamma law are log-concave in w, so from the second step on it nears the root from one side and cannot run away. Its
    error is that of the incomplete gamma function: c is right within 2e-10 of itself for D up to 1e7.
    """
    count, short = len(u), -len(u) % _BLOCK
    # Full vectors only: the incomplete gamma function rounds differently among the last few entries of a tensor.
    a = torch.nn.functional.pad(0.5 * degrees.double(), (0, short), value=1.0)
    u = torch.nn.functional.pad(u.double().clamp(_LEAST, 1 - 2 * _LEAST), (0, short), value=0.5)
    lower = u < 0.5
    due, log_gamma = torch.where(lower, u, 1 - u).log(), torch.lgamma(a)
    # Wilson and Hilferty's cube; where it is near 0 or below, or a too small, the leading term of the series at 0.
    cube = 1 - 1 / (9 * a) + torch.special.ndtri(u) / (3 * a.sqrt())
    start = (u.log() + torch.lgamma(a + 1)) / a
    w = torch.where((cube > 0.3) & (a > 0.1), (a * cube.clamp(min=0.3) ** 3).log(), start)
    busy = torch.ones_like(lower)
    for _ in range(_TURNS):
        x = w.exp()
        tail = torch.where(lower, torch.special.gammainc(a, x), torch.special.gammaincc(a, x)).log()
        # The leading term again: the tail itself underflows there.
        tail = torch.where(lower & (x < 1e-14), a * w - torch.lgamma(a + 1), tail)
        slope = torch.where(lower, 1.0, -1.0) * (a * w - x - log_gamma - tail).exp()
        # Upwards by no more than 1, or the tail there might underflow.
        step = torch.where(busy, ((tail - due) / slope).clamp(min=-1.0), 0.0)
        w = w - step
        # Row by row, so that none depends on its batch; the step after one of 1e-7 would be of 1e-14.
        busy = busy & (step.abs() > 1e-7)
        if not bool(busy.any()):
            break
    return 2 * w.exp()[:count]


@dataclass(frozen=True)
class StudentT(Distribution):
    """m + s z sqrt(D / c), one c a sample.

    Arguments:
        mean: the centre m, (B, *shape); the expectation too where D > 1.
        scale: s, broadcasts over ``mean`` with the batch first, (B, 1, ..) or (B, *shape); zero is a point mass.
        degrees: D, positive, (B,).
        aux: what was asked for beside the law.
    """

    mean: Tensor
    scale: Tensor
    degrees: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scale = expand(self.scale, self.mean)
        object.__setattr__(self, "scale", scale.expand(len(self.mean), *scale.shape[1:]))

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("mean", "scale", "degrees")

    @property
    def variance(self) -> Tensor:
        """s^2 D / (D - 2), of the shape of ``scale``; infinite for D <= 2."""
        d = expand(self.degrees.double(), self.scale)
        wider = torch.where(d > 2, d / torch.where(d > 2, d - 2, 1.0), torch.inf).to(self.scale)
        return torch.where(self.scale > 0, self.scale**2 * wider, 0.0)

    def sample(self, rng: Rng) -> Tensor:
        noise = rng.normal("normal", tuple(self.mean.shape[1:])).double()
        degrees = self.degrees.double().cpu()
        size = (degrees / chi_squared(rng.uniform("chi squared", ()), degrees).clamp(min=_TINY)).sqrt()
        return self.mean + self.scale * (expand(size, noise) * noise).to(self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, (B,); infinite or minus infinity where the scale is zero, for the rest the density."""
        scale, away = self.scale.double().expand_as(self.mean), x.double() - self.mean.double()
        spread = scale > 0
        safe, d = torch.where(spread, scale, 1.0), self.degrees.double()
        count = per_sample(spread.double())
        inside = per_sample(torch.where(spread, away / safe, 0.0) ** 2)
        norm = torch.lgamma((d + count) / 2) - torch.lgamma(d / 2) - 0.5 * count * (d * math.pi).log()
        density = norm - per_sample(safe.log()) - 0.5 * (d + count) * torch.log1p(inside / d)
        point = torch.where(away == 0, torch.inf, -torch.inf).to(density)
        return density + per_sample(torch.where(spread, 0.0, point))

    def lerp(self, other: Distribution, weight: Weight) -> StudentT:
        raise TypeError("a StudentT has no natural parameters to interpolate in: bend a denoiser's answers instead")

    def given(self, x: Tensor, mask: Tensor) -> StudentT:
        """The law of the rest, given the entries under ``mask``: with q = |x - m|^2 / s^2 over the k known ones, a
        StudentT of D + k degrees and scale s sqrt((D + q) / (D + k)). Far-off known entries make the rest wide."""
        scale, mask = self.scale.expand_as(self.mean), mask.expand_as(self.mean)
        known = mask & (scale > 0)
        safe = torch.where(known, scale, 1.0)
        q = per_sample(torch.where(known, (x - self.mean) / safe, 0.0).double() ** 2)
        d, k = self.degrees.double(), per_sample(known.double())
        wider = expand(((d + q) / (d + k)).sqrt(), scale).to(scale)
        return StudentT(
            torch.where(mask, x, self.mean), torch.where(mask, 0.0, scale * wider), (d + k).to(self.degrees), self.aux
        )
