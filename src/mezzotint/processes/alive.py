"""Schedules of symbols: the share of a text that still is what it was, alive(t), from 1 at t = 0 downwards.

| schedule  | alive(t)                            | is                                                          |
|-----------|-------------------------------------|-------------------------------------------------------------|
| Linear    | 1 - (1 - end) t                     | RADD's log-linear noise with end = 1e-3; on T equal steps   |
|           |                                     | Sohl-Dickstein's beta_k = 1 / (T - k + 1) with end = 0      |
| Geometric | exp(low - low^(1-t) high^t)         | SEDD's geometric noise, less its noise at t = 0             |
| Sine      | 1 - sin(pi t / 2)                   | MaskGIT's cosine of what is still to be said                |
| Knots     | straight lines between given values | a list of a paper's stages, or a measured curve             |

Sources: Sohl-Dickstein et al. 2015 (1503.03585, appendix B.2.2); Lou et al. 2023, SEDD (2310.16834, appendix C.1); Ou
et al. 2024, RADD (2406.03736); Chang et al. 2022, MaskGIT (2202.04200, section 3.3); Esser et al. 2021, ImageBART
(2108.08827) for curves.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part


class Alive(Part, ABC):
    """A share that falls from 1 on the clock [0, 1]; element by element, in float64."""

    @abstractmethod
    def __call__(self, t: Tensor) -> Tensor:
        """The share at time t."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """How fast it falls, -d alive / dt."""

    @abstractmethod
    def time(self, share: Tensor) -> Tensor:
        """The time at which that share is left; shares below the last are there at t = 1."""


def check_schedule(schedule: object) -> None:
    """Refuse what says no share at a time."""
    if not isinstance(schedule, Alive):
        raise Refusal(f"a schedule is one of processes.alive, such as Linear(), not {schedule!r}")


@dataclass(frozen=True)
class Linear(Alive):
    """alive = 1 - (1 - end) t.

    Arguments:
        end: what is left at t = 1. RADD and SEDD have 1e-3; with anything but 0 the prior is not quite where the data
            end, and on a process with a mask no bound of them is finite.
    """

    end: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.end < 1:
            raise Refusal(f"what is left at t = 1 lies in [0, 1), not {self.end}")

    def __call__(self, t: Tensor) -> Tensor:
        return 1 - (1 - self.end) * t

    def rate(self, t: Tensor) -> Tensor:
        return torch.full_like(t, 1 - self.end)

    def time(self, share: Tensor) -> Tensor:
        return ((1 - share) / (1 - self.end)).clamp(0, 1)


@dataclass(frozen=True)
class Geometric(Alive):
    """alive = exp(low - low^(1 - t) high^t): noise that grows by a constant factor.

    Arguments:
        low: the noise at t = 0, which is taken off; 1e-4 in SEDD for text.
        high: at t = 1; 20 in SEDD, which leaves 2e-9.
    """

    low: float = 1e-4
    high: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise Refusal(f"the noise goes from low to high with 0 < low < high, not from {self.low} to {self.high}")

    @property
    def _growth(self) -> float:
        return math.log(self.high / self.low)

    def __call__(self, t: Tensor) -> Tensor:
        return (-self.low * torch.expm1(t * self._growth)).exp()

    def rate(self, t: Tensor) -> Tensor:
        return self(t) * self.low * (t * self._growth).exp() * self._growth

    def time(self, share: Tensor) -> Tensor:
        noise = -share.clamp(1e-300, 1.0).log()
        return (torch.log1p(noise / self.low) / self._growth).clamp(0, 1)


@dataclass(frozen=True)
class Sine(Alive):
    """alive = 1 - sin(pi t / 2): few symbols are said at first, many at the end."""

    def __call__(self, t: Tensor) -> Tensor:
        # Next to t = 1 the difference has no digits left, and next to 0 the square is not quite 1.
        late = 2 * (math.pi / 4 * (1 - t)).sin().square()
        return torch.where(t < 0.5, 1 - (math.pi / 2 * t).sin(), late)

    def rate(self, t: Tensor) -> Tensor:
        return math.pi / 2 * (math.pi / 2 * (1 - t)).sin()

    def time(self, share: Tensor) -> Tensor:
        share = share.clamp(0, 1)
        late = 1 - 4 / math.pi * (share / 2).sqrt().asin()
        return torch.where(share > 0.5, 2 / math.pi * (1 - share).asin(), late)


@dataclass(frozen=True)
class Knots(Alive):
    """Straight lines between shares at equal distances of time.

    Arguments:
        shares: at t = 0, 1/n, .. 1; they begin at 1 and fall.
    """

    shares: tuple[float, ...] = (1.0, 0.848, 0.653, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", tuple(float(share) for share in self.shares))
        falls = all(a > b for a, b in zip(self.shares, self.shares[1:], strict=False))
        if len(self.shares) < 2 or self.shares[0] != 1 or not falls or self.shares[-1] < 0:
            raise Refusal(f"shares begin at 1, fall, and are not negative; these are {self.shares}")

    @property
    def _pieces(self) -> int:
        return len(self.shares) - 1

    def _table(self, like: Tensor) -> Tensor:
        return torch.tensor(self.shares, dtype=torch.float64, device=like.device)

    def _piece(self, t: Tensor) -> Tensor:
        return (t * self._pieces).floor().long().clamp(0, self._pieces - 1)

    def __call__(self, t: Tensor) -> Tensor:
        table, piece = self._table(t), self._piece(t)
        inside = t * self._pieces - piece
        return table[piece] * (1 - inside) + table[piece + 1] * inside

    def rate(self, t: Tensor) -> Tensor:
        table, piece = self._table(t), self._piece(t)
        return (table[piece] - table[piece + 1]) * self._pieces

    def time(self, share: Tensor) -> Tensor:
        table = self._table(share)
        share = share.clamp(float(table[-1]), 1.0)
        piece = (torch.searchsorted(-table, -share.contiguous(), right=True) - 1).clamp(0, self._pieces - 1)
        inside = (table[piece] - share) / (table[piece] - table[piece + 1])
        return ((piece + inside) / self._pieces).clamp(0, 1)


def perceptual(distances: Sequence[float], steps: int) -> Knots:
    """Shares for ``steps`` stages that are equally far apart by a measured distance.

    The distance of corrupted data from clean ones, as a loss of features of decoded pictures, was measured at equally
    spaced shares from 1 to 0; between them it is taken for straight. A straight curve gives 1 - k / steps.

    Arguments:
        distances: at the shares 1, .., 0; they rise. The paper measures 20.
        steps: T.

    Source: ImageBART (2108.08827), its "custom" schedule.
    """
    if len(distances) < 2 or not all(a < b for a, b in zip(distances, distances[1:], strict=False)):
        raise Refusal(f"distances from clean data rise as less of them is left; these do not: {tuple(distances)}")
    if steps < 1:
        raise Refusal(f"a schedule has at least one stage, not {steps}")
    curve = torch.tensor(list(distances), dtype=torch.float64)
    wanted = curve[0] + (curve[-1] - curve[0]) * torch.arange(steps + 1, dtype=torch.float64) / steps
    place = (torch.searchsorted(curve, wanted, right=True) - 1).clamp(0, len(curve) - 2)
    inside = (wanted - curve[place]) / (curve[place + 1] - curve[place])
    shares = 1 - (place + inside) / (len(curve) - 1)
    shares[0], shares[-1] = 1.0, 0.0
    return Knots(tuple(shares.tolist()))
