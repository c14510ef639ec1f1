"""Processes known at points only: the scales at t = 1/T, 2/T, .. 1, and clean data at t = 0.

Discrete-time models were trained at T noise levels and at nothing in between, so theirs is a table, not a formula. Put
on the clock of the house its index i = 0 .. T - 1 is t = (i + 1) / T exactly. Solvers and grids ask between the points
too, and any smooth way of joining them up is as true as another; here the level u and the logarithm of the size r are
joined by straight lines,

    r = sqrt(alpha^2 + sigma^2),   alpha = r (1 - u) / sqrt(u^2 + (1 - u)^2),   sigma = r u / sqrt(u^2 + (1 - u)^2),

so that the inverse of the level is exact, a table of unit variance keeps it between its points, and both ends stay
finite: sigma falls to 0 in proportion to t, and a table may end where alpha is 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.processes.base import Continuous


def joined(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Straight lines through (knots, values), exact at the knots; what lies beyond follows the last line.

    Arguments:
        at: where, any shape.
        knots: rising, (points,).
        values: (..., points).
    """
    at = at.to(torch.float64).contiguous()
    knots, values = knots.to(at.device), values.to(at.device)
    low = (torch.searchsorted(knots, at, right=True) - 1).clamp(0, len(knots) - 2)
    share = (at - knots[low]) / (knots[low + 1] - knots[low])
    return torch.lerp(values[..., low], values[..., low + 1], share)


@dataclass(frozen=True)
class Tabulated(Continuous, ABC):
    """A continuous process known at T points; what derives from it says where the points are."""

    _knots: Tensor = field(init=False, repr=False, compare=False)  # t, u, 1 - u, log r: (4, T + 1)

    def __post_init__(self) -> None:
        start = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        alpha, sigma = torch.cat([start, torch.stack(self.points()).double()], 1)
        t = torch.arange(len(alpha), dtype=torch.float64) / (len(alpha) - 1)
        # 1 - u is kept beside u: where alpha nears 0 the difference would have no digits left.
        total, size = alpha + sigma, torch.hypot(alpha, sigma)
        knots = torch.stack([t, sigma / total, alpha / total, size.log()])
        stuck = (knots[1].diff() > 0).logical_not().nonzero()[:, 0].tolist()
        if stuck:
            i = stuck[0]
            before = "clean data" if i == 0 else f"index {i - 1}"
            raise Refusal(
                f"{type(self).__name__} needs a share of noise that rises at every point, but at index {i} it goes "
                f"from {float(knots[1, i]):.6g} ({before}) to {float(knots[1, i + 1]):.6g}"
            )
        object.__setattr__(self, "_knots", knots)

    @abstractmethod
    def points(self) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at t = 1/T .. 1, each (T,) in float64."""

    def _scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        u, rest, log_size = joined(t, self._knots[0], self._knots[1:])
        scale = log_size.exp() / (u**2 + rest**2).sqrt()  # hypot's last bit depends on the place in the batch
        return scale * rest, scale * u

    def scales(self, t: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._scales(expand(t.to(device=x.device, dtype=torch.float64), x))  # both at the price of one

    def level(self, t: Tensor) -> Tensor:
        return joined(t, self._knots[0], self._knots[1])

    def alpha(self, t: Tensor) -> Tensor:
        return self._scales(t)[0]

    def sigma(self, t: Tensor) -> Tensor:
        return self._scales(t)[1]

    def time(self, u: Tensor) -> Tensor:
        return joined(u, self._knots[1], self._knots[0]).clamp(0, 1)


@dataclass(frozen=True)
class Table(Tabulated):
    """The process with these scales at t = 1/T .. 1, and clean data at t = 0.

    Refuses scales that are negative or not finite, and a share of noise that does not rise from each point to the next.

    Arguments:
        alphas: the scale of the clean data at each point, (T,); only the last may be 0.
        sigmas: the standard deviation of the noise at each point, (T,).
    """

    alphas: tuple[float, ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("alphas", "sigmas"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if not self.alphas or len(self.alphas) != len(self.sigmas):
            raise Refusal(f"a table needs as many alphas as sigmas, not {len(self.alphas)} and {len(self.sigmas)}")
        for i, (alpha, sigma) in enumerate(zip(self.alphas, self.sigmas, strict=True)):
            if not (0 <= alpha < float("inf") and 0 < sigma < float("inf")):
                raise Refusal(
                    f"a table needs alpha of 0 or more and a positive sigma, both finite, not {alpha} and {sigma} "
                    f"at index {i}"
                )
        super().__post_init__()

    @property
    def steps(self) -> int:
        """T, how many points there are."""
        return len(self.alphas)

    def points(self) -> tuple[Tensor, Tensor]:
        return torch.tensor(self.alphas, dtype=torch.float64), torch.tensor(self.sigmas, dtype=torch.float64)
