"""Grids that rise again: what was denoised is noised once more and taken down another time.

A sampler re-noises wherever its time rises, by the process's own law q(x_t | x_s), so going over a stretch twice needs
no sampler of its own, only a grid. Each pass draws fresh noise and forgets part of what went wrong above: guidance gets
more than one look at a level (:class:`Recurrence`), the two halves of an inpainted picture come to agree
(:class:`RePaint`), accumulated errors contract (:class:`Restart`).

``steps`` counts the falling intervals of the inner grid; the grid itself has more. Rises cost no evaluations. With
``times=1`` every grid here is its inner grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part
from mezzotint.processes.base import Process
from mezzotint.samplers.grids import Grid, Karras, power

MOST = 1_000_000
"""Points of a grid that rises: a sampler asks at every one, and takes no more steps than that on a plain one."""


def _check_size(walk: int) -> None:
    if walk > MOST:
        raise Refusal(
            f"this grid would rise so often that it has {walk:,} points, and {MOST:,} are the most: take fewer times"
        )


def _count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Refusal(f"{name} counts from 1, not {value!r}")


@dataclass(frozen=True)
class Recurrence(Part):
    """Every falling interval t -> s walked several times: t, s, t, s, .. with fresh noise on the way back up.

    Not after the last time, so the run goes on from the last s. N steps take N times as many intervals downwards.

    Source: Bansal et al. 2023, "Universal guidance for diffusion models" (2302.07121), algorithm 1, whose k is
    ``times``; "time travel" elsewhere.

    Arguments:
        inner: the grid whose intervals are repeated; where it rises itself, it does so once.
        times: how often each interval is walked.
    """

    inner: Grid = field(default_factory=Karras)
    times: int = 2

    def __post_init__(self) -> None:
        _count("times", self.times)

    def __call__(self, process: Process, steps: int) -> Tensor:
        points = self.inner(process, steps)
        falls = (points[1:] < points[:-1]).flatten(1).any(1) if points.ndim > 1 else points[1:] < points[:-1]
        _check_size(len(points) + 2 * (self.times - 1) * int(falls.sum()))
        walk = [0]
        for i, fall in enumerate(falls.tolist()):
            walk += [i + 1] + (self.times - 1) * fall * [i, i + 1]
        return points[walk]


@dataclass(frozen=True)
class RePaint(Part):
    """Every ``jump`` intervals, back up by as many and down again, several times, before going on.

    The jumps begin where 1, jump + 1, 2 jump + 1, .. intervals are left, as far as there is room above: never from
    clean data, and not at all on runs of ``jump`` steps or fewer. A jump is one rise here and ``jump`` small ones in
    the paper, which is the same law.

    Source: Lugmayr et al. 2022, "RePaint: Inpainting using denoising diffusion probabilistic models" (2201.09865),
    section 4.2 and figure 8, with jump length j = ``jump`` and r = ``times``; 250, 10 and 10 in the paper.

    Arguments:
        inner: a falling grid.
        jump: how many intervals are taken back.
        times: how often each stretch is walked.
    """

    inner: Grid = field(default_factory=Karras)
    jump: int = 10
    times: int = 10

    def __post_init__(self) -> None:
        _count("jump", self.jump)
        _count("times", self.times)

    def __call__(self, process: Process, steps: int) -> Tensor:
        points = self.inner(process, steps)
        if bool((points[1:] > points[:-1]).any()):
            raise Refusal("RePaint jumps back on a grid that only falls, but its inner grid rises: wrap another one")
        last, walk = len(points) - 1, [0]
        turns = {i for i in range(self.jump, last) if (last - i - 1) % self.jump == 0}
        _check_size(len(points) + len(turns) * (self.jump + 1) * (self.times - 1))
        for i in range(1, last + 1):
            walk.append(i)
            if i in turns:
                walk += (self.times - 1) * list(range(i - self.jump, i + 1))
        return points[walk]


@dataclass(frozen=True)
class Restart(Part):
    """One stretch of levels, from low back up to high, walked again and again with fresh noise.

    Deterministic samplers keep whatever error they carry; noise added between low and high makes most of it vanish:
    for data of standard deviation d an error in the mean shrinks by sqrt((k_low^2 + d^2) / (k_high^2 + d^2)) at each
    restart, k = sigma / alpha. Several stretches are one ``Restart`` around another.

    The way down has its own intervals, spaced as in the paper like Karras's between the two ratios. ``low`` is moved to
    the nearest point of the inner grid below ``high`` (where it last falls to it, if it does so several times), so that
    the run goes on as it would have; a ``high`` beyond the process's own end is that end.

    Source: Xu et al. 2023, "Restart sampling for improving generative processes" (2306.14878), section 3.2, with
    K = ``times`` - 1 restarts of N_restart = ``steps`` + 1 points. The defaults are its CIFAR-10 setting, from
    t_min = 0.06 up to t_max = 0.30 with K = 2 and N_restart = 3.

    Arguments:
        inner: the grid that is interrupted.
        low: the level at which it turns back; t_min / (1 + t_min) for a noise t_min of the paper.
        high: the level to which it rises, below 1.
        times: how often the stretch is walked in all; 1 for no restart.
        steps: the intervals of each further walk.
        rho: of their spacing, as in :class:`~mezzotint.samplers.Karras`.
    """

    inner: Grid = field(default_factory=Karras)
    low: float = 0.057
    high: float = 0.231
    times: int = 3
    steps: int = 2
    rho: float = 7.0

    def __post_init__(self) -> None:
        _count("times", self.times)
        _count("steps", self.steps)
        if not 0 <= self.low < self.high < 1:
            raise Refusal(f"Restart needs levels 0 <= low < high < 1, not {self.low} and {self.high}")
        if not self.rho > 0:
            raise Refusal(f"Restart needs rho > 0, not {self.rho}")

    def __call__(self, process: Process, steps: int) -> Tensor:
        points = self.inner(process, steps)
        if points.ndim != 1:
            raise Refusal(f"Restart interrupts a grid of one time at each point, not of {tuple(points.shape[1:])}")
        _check_size(len(points) + (self.steps + 1) * max(1, self.times - 1))
        level = process.level(points)
        high = min(self.high, float(process.level(torch.ones(1, dtype=torch.float64))))
        below = ((level[1:] < high) & (level[1:] < level[:-1])).nonzero()[:, 0] + 1
        if not len(below):
            raise Refusal(f"Restart rises to the level {high:.3g}, but its inner grid never goes below it")
        away = (level[below] - self.low).abs()
        turn = int(below[(away == away.min()).nonzero()[-1, 0]])
        low = float(level[turn])
        ratio = power(high / (1 - high), low / (1 - low), self.steps + 1, self.rho)
        again = process.time(ratio / (1 + ratio))
        again[-1] = points[turn]
        return torch.cat([points[: turn + 1], *[again] * (self.times - 1), points[turn + 1 :]])
