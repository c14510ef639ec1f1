"""Grids: where the intervals of a run lie.

A grid is a function ``(process, steps) -> times`` of steps + 1 float64 times that starts at 1 (the prior) and ends at
0 (clean): *steps are intervals*. A time that rises again re-noises; grids that do so are in
:mod:`mezzotint.samplers.rising`.

Two coordinates mean the same on every process: the level u = sigma / (alpha + sigma) and the ratio sigma / alpha, whose
logarithm is half the negative log-SNR. Grids stated in them (:class:`Level`, :class:`Karras`, :class:`LogSNR`,
:class:`Shift`) look the same wherever they are used; those stated in the process's own time (:class:`Uniform`,
:class:`Quadratic`, :class:`Respaced`) inherit its clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import Part
from mezzotint.processes.base import Process

Grid = Callable[[Process, int], Tensor]

# sigma / alpha beyond this is pure noise, and no interval is to be spent on getting there: DDPM's cosine betas end at
# 2e4 by a clip, while the largest noise a variance-exploding model was published with is 1.4e3.
_INFINITE = 1e4


def _ends(times: Tensor) -> Tensor:
    """The same times with both ends exact."""
    times[0], times[-1] = 1.0, 0.0
    return times


def _prior_ratio(process: Process, lowest: float, grid: str) -> float:
    """sigma / alpha at t = 1, infinite where it is all but so; refused where it is not above the grid's own lowest."""
    top = float(process.level(torch.ones(1, dtype=torch.float64)))
    ratio = top / (1 - top) if top < 1 else math.inf
    if ratio <= lowest:
        raise Refusal(f"{grid} goes down to {lowest}, but this process begins at {ratio:g}; lower sigma_min")
    return ratio if ratio <= _INFINITE else math.inf


def power(high: float, low: float, points: int, rho: float) -> Tensor:
    """From high to low in equal steps of the 1/rho-th power: Karras et al. 2022 (2206.00364), eq. 5."""
    share = torch.arange(points, dtype=torch.float64) / max(1, points - 1)
    ends = high ** (1 / rho), low ** (1 / rho)
    spaced: Tensor = (ends[0] + share * (ends[1] - ends[0])) ** rho
    return spaced


@dataclass(frozen=True)
class Uniform(Part):
    """Equal intervals of the process's own time."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


@dataclass(frozen=True)
class Quadratic(Part):
    """Equal intervals of sqrt(t), dense near clean data. Source: DDIM (2010.02502), appendix D.2, without rounding."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** 2


@dataclass(frozen=True)
class Level(Part):
    """Equal intervals of the level u = sigma / (alpha + sigma); on rectified flow the same as :class:`Uniform`."""

    def __call__(self, process: Process, steps: int) -> Tensor:
        top = process.level(torch.ones(1, dtype=torch.float64))
        return _ends(process.time(top * torch.linspace(1, 0, steps + 1, dtype=torch.float64)))


@dataclass(frozen=True)
class Karras(Part):
    """Dense at low noise: sigma_i = (max^(1/rho) + i / (N - 1) (min^(1/rho) - max^(1/rho)))^rho, then 0.

    sigma stands for sigma / alpha, so the grid means the same on every process. Where that ratio is infinite at t = 1
    (rectified flow, cosine) the power is spaced in k / (1 + k / sigma_max), which is ``sigma_max`` there and the ratio
    k itself at low noise.

    Source: Karras et al. 2022 (2206.00364), eq. 5, with its final step to 0 counted as one of the N + 1 points.

    Arguments:
        rho: 7 in the paper; 1 is uniform in sigma.
        sigma_min: the last noise before 0.
        sigma_max: the largest finite ratio; a process that ends below it starts at its own end.
    """

    rho: float = 7.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not (self.rho > 0 and 0 < self.sigma_min < self.sigma_max):
            raise Refusal(f"Karras needs rho > 0 and 0 < sigma_min < sigma_max, not {self}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        end = _prior_ratio(process, self.sigma_min, "Karras")
        k = power(self.sigma_max if math.isinf(end) else end, self.sigma_min, steps, self.rho)
        if math.isinf(end):
            k = k / (1 - k / self.sigma_max).clamp(min=1e-300)
        level = torch.where(torch.isinf(k), 1.0, k / (1 + k))
        return _ends(torch.cat([process.time(level), torch.zeros(1, dtype=torch.float64)]))


@dataclass(frozen=True)
class LogSNR(Part):
    """Equal intervals of log(alpha / sigma), from the process's own end down to sigma_min, then 0.

    Where the ratio sigma / alpha is infinite at t = 1 (rectified flow, cosine, zero terminal SNR) no interval that
    begins there is finite, so one goes from t = 1 to the ratio ``sigma_max`` and the equal ones follow. It is of first
    order whatever the solver: with the answer held at the mean of the data its relative error is (d / sigma_max)^2 / 2
    for data of standard deviation d, 2e-6 at d = 1, which no later interval undoes.

    Source: Lu et al. 2022, DPM-Solver (2206.00927), section 3.4; on the variance-exploding process the geometric clock
    of Song et al. 2021 (2011.13456).

    Arguments:
        sigma_min: the ratio sigma / alpha before 0.
        sigma_max: the largest ratio, where the process has no end of its own.
    """

    sigma_min: float = 0.002
    sigma_max: float = 500.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            raise Refusal(f"LogSNR needs 0 < sigma_min < sigma_max, not {self}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        end = _prior_ratio(process, self.sigma_min, "LogSNR")
        above = int(math.isinf(end))
        high, low = math.log(self.sigma_max if above else end), math.log(self.sigma_min)
        level = torch.sigmoid(torch.linspace(high, low, steps - above, dtype=torch.float64))
        one = torch.ones(above, dtype=torch.float64)
        return _ends(torch.cat([one, process.time(level), torch.zeros(1, dtype=torch.float64)]))


# Halves are rounded as numpy rounds the published lists (arange and linspace), so that an index is theirs even there.
def _trailing(total: int, i: Tensor, steps: int) -> Tensor:
    part = total - (total - total / steps)
    return (total - i * part).round() - 1


def _leading(total: int, i: Tensor, steps: int) -> Tensor:
    return (steps - 1 - i) * (total // steps)


def _linspace(total: int, i: Tensor, steps: int) -> Tensor:
    parts = max(1, steps - 1)
    return ((parts - i) * ((total - 1) / parts)).round()


SPACINGS: Mapping[str, Callable[[int, Tensor, int], Tensor]] = MappingProxyType(
    {"trailing": _trailing, "leading": _leading, "linspace": _linspace}
)


@dataclass(frozen=True)
class Respaced(Part):
    """Some of the indices of a process of T steps, then 0: only levels the network was trained at.

    Index i is the time (i + 1) / T. With k = T / steps the indices are

        trailing   round(T), round(T - k), .. less 1    begins at T - 1, the prior; what Lin et al. recommend
        leading    .., 2 floor(k), floor(k), 0          + offset; begins *below* the prior, so a run needs a start
        linspace   from T - 1 to 0 in equal parts       begins at the prior and spends its last interval on 1/T

    Each interval ends at the next index of the list and the last one at t = 0. Implementations that go down by floor(k)
    from wherever they are (diffusers' DDIM) miss their own next point with ``linspace``, and with ``trailing`` wherever
    ``steps`` does not divide T; they are then off by a part of an interval. One step of ``linspace`` is taken from the
    prior: one evaluation at index 0 would return noise. For some numbers of steps (61 of 1,000) ``trailing`` as it is
    usually written has one index more, -1; here it has ``steps``.

    Source: Lin et al. 2023 (2305.08891), table 2 and section 3.3; the names are those of diffusers.

    Arguments:
        spacing: ``trailing``, ``leading`` or ``linspace``.
        total: T; None: the process's own ``steps``, or 1000 where it has none.
        offset: added to every index of ``leading``; 1 in Stable Diffusion.
    """

    spacing: str = "trailing"
    total: int | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        if self.spacing not in SPACINGS:
            raise Refusal(f"there is no spacing {self.spacing!r}: {nearest(self.spacing, list(SPACINGS))}")
        if self.total is not None and self.total < 1:
            raise Refusal(f"a process has at least one step, not {self.total}")
        if self.offset < 0 or (self.offset and self.spacing != "leading"):
            raise Refusal(f"an offset is 0 or more and only for 'leading', not {self.offset} for {self.spacing!r}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        own: int | None = getattr(process, "steps", None)
        whole: int | None = getattr(process, "whole", own)  # of a process that is cut short, as ``below`` does
        if self.total is not None and whole not in (None, self.total):
            raise Refusal(f"this process has {whole} steps, but the grid counts {self.total}: leave out total")
        total = own or self.total or 1000
        index = SPACINGS[self.spacing](total, torch.arange(steps, dtype=torch.float64), steps) + self.offset
        if steps > total or float(index[0]) >= total:
            raise Refusal(f"{steps} steps with offset {self.offset} do not fit into {total} indices: take fewer")
        return torch.cat([(index + 1) / total, torch.zeros(1, dtype=torch.float64)])


@dataclass(frozen=True)
class Shift(Part):
    """Another grid with more of its intervals at high noise: on rectified flow, t -> k t / (1 + (k - 1) t).

    There it multiplies the ratio sigma / alpha by k. On other processes it acts on u / u(1), the level over the level
    at t = 1, so that both ends stay where they are. 1 changes nothing, below 1 moves towards clean data.

    Source: Esser et al. 2024, "Scaling rectified flow transformers" (2403.03206), eq. 23, where k is the square root
    of the ratio of resolutions; a shift given as mu is k = exp(mu).

    Arguments:
        inner: the grid that is shifted; one that rises does so still.
        factor: k, positive; 3 in Stable Diffusion 3.
    """

    inner: Grid = field(default_factory=Uniform)
    factor: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf:
            raise Refusal(f"Shift needs a positive factor, not {self.factor}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        times = self.inner(process, steps)
        top = process.level(torch.ones(1, dtype=torch.float64))
        v = process.level(times) / top
        moved = process.time(top * self.factor * v / (1 + (self.factor - 1) * v))
        return torch.where((times > 0) & (times < 1), moved, times)
