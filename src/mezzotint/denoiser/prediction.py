"""What a network is asked to say, as a table of coefficients.

Every prediction is linear in the clean data and the noise, F = p x_0 + q noise, and x_t = alpha x_0 + sigma noise, so
the clean estimate is x_0 = skip x_t + out F with

    out = sigma / (p sigma - q alpha),   skip = -q / (p sigma - q alpha).

| name     | F                                    | skip                    | out                          |
|----------|--------------------------------------|-------------------------|------------------------------|
| x0       | x_0                                  | 0                       | 1                            |
| noise    | noise                                | 1 / alpha               | -sigma / alpha               |
| v        | alpha noise - sigma x_0              | alpha / (a^2 + s^2)     | -sigma / (a^2 + s^2)         |
| velocity | noise - x_0 (dy/du in the level)     | 1 / (alpha + sigma)     | -sigma / (alpha + sigma)     |
| edm      | (x_0 - skip x_t) / out               | alpha d^2 / (a^2 d^2 + s^2) | sigma d / sqrt(a^2 d^2 + s^2) |

d is the standard deviation of the data. ``velocity`` is the derivative of x_t on rectified flow and of
y = x / (alpha + sigma) in the level on every process. ``noise`` says nothing about the data where alpha is 0, so it is
refused on processes that reach that point.

Sources: Ho et al. 2020 (2006.11239, eq. 15); Salimans and Ho 2022 (2202.00512, section 4) for v; Karras et al. 2022
(2206.00364, table 1) for edm, generalised to any alpha.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor

Coefficient = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True)
class Prediction:
    """The two coefficients of x_0 = skip x_t + out F, functions of (alpha, sigma, sigma_data)."""

    skip: Coefficient
    out: Coefficient
    at_prior: bool = True
    """Whether the answer stays finite where alpha is 0."""


PREDICTIONS: Mapping[str, Prediction] = MappingProxyType(
    {
        "x0": Prediction(lambda a, s, d: 0 * a, lambda a, s, d: 0 * a + 1),
        "noise": Prediction(lambda a, s, d: 1 / a, lambda a, s, d: -s / a, at_prior=False),
        "v": Prediction(lambda a, s, d: a / (a**2 + s**2), lambda a, s, d: -s / (a**2 + s**2)),
        "velocity": Prediction(lambda a, s, d: 1 / (a + s), lambda a, s, d: -s / (a + s)),
        "edm": Prediction(
            lambda a, s, d: a * d**2 / (a**2 * d**2 + s**2),
            lambda a, s, d: s * d / (a**2 * d**2 + s**2).sqrt(),
        ),
    }
)
