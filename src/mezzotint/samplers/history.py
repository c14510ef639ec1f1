"""What a multistep sampler remembers: the last answers, and the times they were given at.

It lies in the memory of the state as (m_1, .., m_k, t_1, .., t_k), newest first: m_i (B, *shape) is what the model said
of the clean data i intervals ago, t_i (the shape of the state's times, float64) when. A time of 0 means that there is
nothing: no interval begins at clean data. Rows that are re-noised forget by being zeroed, and rows with a shorter past
than their neighbours use a lower order, each for itself.

Such samplers integrate in half the log-SNR, lambda = log(alpha / sigma), in which the equation is linear but for the
answer:  x_s = (sigma_s / sigma_t) x_t + alpha_s integral of e^-(lambda_s - l) D(l) dl over [lambda_t, lambda_s].  Their
weights are the functions phi_k(z) = sum_j z^j / (j + k)!.  Source: Hochbruck and Ostermann 2010, "Exponential
integrators", eq. 2.10.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.distribution import expand
from mezzotint.processes.base import Continuous
from mezzotint.samplers.grids import Grid

_SERIES = 18  # terms, enough for |z| < 1 in float64


def phis(count: int, z: Tensor) -> list[Tensor]:
    """[phi_1(z), .., phi_count(z)] for z <= 0 in float64, to full precision also near 0; 0 at minus infinity."""
    near, far = z.clamp(min=-1.0), z.clamp(max=-0.5)
    low = torch.full_like(z, 1 / math.factorial(_SERIES + count))
    for j in range(_SERIES - 1, -1, -1):
        low = low * near + 1 / math.factorial(j + count)
    series = [low]  # downwards phi_k = z phi_{k+1} + 1 / k! only adds, upwards it would cancel
    for k in range(count - 1, 0, -1):
        series.insert(0, series[0] * near + 1 / math.factorial(k))
    closed = [torch.expm1(far) / far]
    for k in range(1, count):
        closed.append((closed[-1] - 1 / math.factorial(k)) / far)
    return [torch.where(z > -1.0, a, b) for a, b in zip(series, closed, strict=True)]


def half_log_snr(process: Continuous, t: Tensor) -> Tensor:
    """lambda = log(alpha / sigma) at t: plus infinity at clean data, minus infinity where no data is left."""
    return 0.5 * process.log_snr(t)


def left(grid: Grid, process: Continuous, steps: int, s: Tensor) -> Tensor:
    """How many intervals of a sampler's own grid lie below s: 0 for the one that ends at clean data."""
    points = torch.unique(grid(process, steps))
    return torch.searchsorted(points, s.contiguous() - 1e-12)


def unbroken(usable: Tensor) -> Tensor:
    """How many places in a row are usable, from the first on: (k, ...) -> (...)."""
    return usable.long().cumprod(0).sum(0)


@dataclass(frozen=True)
class History:
    """The last ``k`` answers and their times, newest first; see the module.

    Arguments:
        answers: each (B, *shape).
        times: each of the shape of the state's times; 0 where there is none.
    """

    answers: tuple[Tensor, ...]
    times: tuple[Tensor, ...]

    @staticmethod
    def of(memory: tuple[Tensor, ...], size: int, x: Tensor, t: Tensor) -> History:
        """Read the memory of a state at (x, t); one with nothing in it gives ``size`` empty places."""
        if not memory:
            return History((torch.zeros_like(x),) * size, (torch.zeros_like(t),) * size)
        times = tuple(m if m.ndim == t.ndim else expand(m, x) for m in memory[size:])
        return History(memory[:size], tuple(m + torch.zeros_like(t) for m in times))

    def after(self, answer: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        """The memory once an interval t -> s has been walked on ``answer``; entries with t == s keep their past."""
        held = t == s
        wide = expand(held, answer).to(answer.device)
        answers = (answer, *self.answers[:-1])
        times = (t, *self.times[:-1])
        kept = tuple(torch.where(wide, old, new) for old, new in zip(self.answers, answers, strict=True))
        return kept + tuple(torch.where(held, old, new) for old, new in zip(self.times, times, strict=True))

    def lambdas(self, process: Continuous, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """lambda at s, at t and at every remembered time, and which of these can be leant on: each (k + 2, ...)."""
        times = torch.stack([s, t, *self.times])
        found = half_log_snr(process, times)
        return found, (times > 0) & torch.isfinite(found)
