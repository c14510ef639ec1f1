"""Where a run begins, other than at the prior.

A start is a pipeline, ``(cond, rng) -> x``, that gives x at some time of the process; the sampler then goes down from
there with all of its steps. Four laws are in use:

    Reference   x_t ~ q(x_t | x_0), x_0 a picture carried by the condition: image-to-image. A large t draws it anew, a
                small one stays close to it; SDEdit, Meng et al. 2021 (2108.01073, algorithm 1).
    Analytic    x_t ~ N(alpha m, (sigma^2 + alpha^2 v) I), m the mean and v the mean variance of the data: the isotropic
                normal closest to q(x_t) in KL(q || .), so that a run may leave out times at which a model goes wrong;
                Analytic-Init, Zhao et al. 2024 (2406.15735).
    Held        the prior, but with some streams (frames, views, one of a pair) clean from the beginning. They stand at
                t = s = 0 all along, untouched, and the denoiser is told so by its times.
    Inverted    a picture carried up by the probability flow itself (:mod:`mezzotint.samplers.inversion`).

What the condition carries for a start is taken out before the denoiser is asked: ``families`` names it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution, Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.processes.base import Answer, Continuous, Process
from mezzotint.processes.flow import Flow
from mezzotint.samplers.grids import Grid

_SAME = 1e-9  # times as near as this are one
Numbers = float | Tensor | Sequence[Any]


@dataclass(frozen=True)
class _Cut(Process):
    """A process up to ``end``, its clock stretched to [0, 1]: what a grid is shown that is to begin there."""

    process: Process
    end: float

    def level(self, t: Tensor) -> Tensor:
        return self.process.level(self.end * t)

    def time(self, u: Tensor) -> Tensor:
        return (self.process.time(u) / self.end).clamp(max=1)

    @property
    def steps(self) -> int | None:
        """How many of the indices of a process that has them lie here; asked for by grids that walk them."""
        whole = getattr(self.process, "steps", None)
        if whole is None:
            return None
        own: int = round(self.end * whole)
        if abs(own - self.end * whole) > 1e-6:
            raise Refusal(f"t = {self.end} lies between two indices of a process of {whole}: take one of i / {whole}")
        return own

    @property
    def whole(self) -> int | None:
        """How many indices the uncut process has."""
        whole: int | None = getattr(self.process, "steps", None)
        return whole

    def corrupt(self, x0: Tensor, t: Tensor) -> Distribution:
        return self.process.corrupt(x0, self.end * t)

    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> Distribution:
        return self.process.renoise(x, self.end * s, self.end * t)

    def prior(self, shape: tuple[int, ...]) -> Distribution:
        raise Refusal(f"at t = {self.end} a process has no law of its own: begin with a start")

    def bridge(self, x: Tensor, x0: Answer, t: Tensor, s: Tensor, eta: float = 1.0) -> Distribution:
        return self.process.bridge(x, x0, self.end * t, self.end * s, eta)


def below(grid: Grid, process: Process, steps: int, t: float) -> Tensor:
    """Times of a run from t down to 0: the grid as it would lie on a process that ends at t, all steps spent below it.

    Arguments:
        grid: any; one stated in levels or ratios begins at those of t.
        process: whose clock t is on; the time of a level u is ``process.time(u)``.
        steps: intervals.
        t: where to begin, in [0, 1].

    Returns:
        float64 (points, ...), the first of them t.

    Raises:
        Refusal: if the grid itself begins lower, as ``Respaced("leading")`` does.
    """
    _check(t)
    if t == 0:
        return torch.zeros(steps + 1, dtype=torch.float64)
    times = t * grid(_Cut(process, t), steps)
    if abs(float(times[0].max()) - t) > 1e-9:
        raise Refusal(
            f"{grid} begins at t = {float(times[0].max()):.4g} where it is asked to begin at {t:.4g}, so what stands "
            "there would be taken for less noisy than it is: use a grid that begins where it is told"
        )
    return times


def _check(t: float) -> None:
    if not 0 <= t <= 1:
        raise Refusal(f"a run begins at a time between 0 (clean data) and 1 (the prior), not at {t}")


class Start(Part, ABC):
    """``(cond, rng) -> x`` at the time :attr:`ends`, from which a run goes on.

    Attributes:
        process: whose law x follows; the denoiser's.
    """

    process: Process

    @property
    @abstractmethod
    def ends(self) -> float:
        """The time of its process it leads to: where the run begins."""

    @property
    def families(self) -> tuple[str, ...]:
        """What it takes out of the condition; the denoiser is not given it."""
        return ()

    @abstractmethod
    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        """x at that time, (B, *shape), one row per key."""

    def path(self, grid: Grid, steps: int) -> Tensor:
        """The times of a run from here on a sampler's grid, (points, ...)."""
        return below(grid, self.process, steps, self.ends)

    def rest(self, own: Tensor) -> Tensor:
        """The times of a run from here on, for a denoiser that answers at its own times only, (points,).

        Arguments:
            own: float64, falling: the times it answers at.

        Raises:
            Refusal: if it does not answer where the start leads to.
        """
        left = own[own <= self.ends + _SAME]
        if self.ends > 0 and (not len(left) or abs(float(left[0]) - self.ends) > _SAME):
            raise Refusal(
                f"{type(self).__name__} leads to t = {self.ends:.6g}, and this denoiser answers at its own times only: "
                f"begin at one of {', '.join(f'{float(t):.6g}' for t in own)}"
            )
        return torch.cat([left[left > _SAME], own.new_zeros(1)])


def carried(cond: Condition, name: str, rng: Rng, start: object) -> Tensor:
    """What the condition carries for a start under a name, one row per key."""
    who = type(start).__name__
    if name not in cond:
        raise Refusal(f"{who} begins at {name!r}, but the condition holds {', '.join(cond.families) or 'nothing'}")
    if len(cond[name]) != len(rng):
        raise Refusal(f"{who} was given {len(cond[name])} rows of {name!r} for {len(rng)} keys: give one of each")
    value: Tensor = cond[name]
    return value


@dataclass(frozen=True)
class Reference(Start):
    """A picture of the condition, corrupted to time t.

    Arguments:
        process: the denoiser's.
        t: how far, on its clock: 0 is the picture, 1 forgets it. Times of two processes do not compare, levels do: the
            time of a level u is ``process.time(u)``.
        family: where the condition carries the picture x_0, (B, *shape).
    """

    process: Process
    t: float
    family: str = "reference"

    def __post_init__(self) -> None:
        _check(self.t)

    @classmethod
    def example(cls) -> Reference:
        return cls(Flow(), 0.5)

    @property
    def ends(self) -> float:
        return self.t

    @property
    def families(self) -> tuple[str, ...]:
        return (self.family,)

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        x0 = carried(cond, self.family, rng, self)
        return self.process.corrupt(x0, torch.full((len(x0),), self.t, dtype=torch.float64)).sample(rng)


@dataclass(frozen=True)
class Analytic(Start):
    """The isotropic normal closest to the noised data at time t: N(alpha m, (sigma^2 + alpha^2 v) I).

    :meth:`of` reads m and v off a data set. They are of the space that is diffused: of latents, not of their pictures.

    Arguments:
        process: the denoiser's.
        t: where to begin; the paper's video models do at 0.94 and below.
        mean: m, the mean of the data, a number or one (*shape).
        variance: v, the mean over the entries of their variance: tr(Cov) / d.
        shape: of one sample; None: that of the mean.
    """

    process: Continuous
    t: float
    mean: Numbers
    variance: float
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check(self.t)
        own, shape = tuple(_tensor(self.mean).shape), self.shape
        if not self.process.gaussian:
            raise Refusal(f"Analytic is a normal law, but the noise of {self.process} is not: begin at the prior")
        if not self.variance >= 0:
            raise Refusal(f"a variance is at least 0, not {self.variance}")
        if not (own or shape) or (own and shape is not None and own != tuple(shape)):
            raise Refusal(f"Analytic needs one shape, but its mean has {own} and its samples {shape}: give either")

    @classmethod
    def of(cls, process: Continuous, t: float, data: Any, batch: int = 256) -> Analytic:
        """From the mean and the variance of a data set.

        Arguments:
            process: the denoiser's.
            t: where to begin.
            data: pictures (N, *shape), or a data set: ``data[rows]`` is (x, cond).
            batch: rows read at once.
        """
        count = len(data)

        def parts() -> Iterator[Tensor]:
            for first in range(0, count, batch):
                part = data[first : first + batch]
                yield (part if isinstance(part, Tensor) else part[0]).double()

        mean = torch.stack([x.sum(0) for x in parts()]).sum(0) / count
        # A second pass: E[x^2] - E[x]^2 cancels where the mean is large.
        squared = sum(float((x - mean).square().sum()) for x in parts())
        return cls(process, t, _numbers(mean.tolist()), squared / (count * mean.numel()))

    @classmethod
    def example(cls) -> Analytic:
        return cls(Flow(), 0.9, 0.0, 1.0, (1, 2, 3))

    @property
    def ends(self) -> float:
        return self.t

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        mean = _tensor(self.mean)
        mean = mean.expand(1, *(self.shape or mean.shape))
        alpha, sigma = self.process.scales(torch.tensor([self.t], dtype=torch.float64), mean)
        return Gaussian(alpha * mean, sigma**2 + alpha**2 * self.variance).repeat(len(rng)).sample(rng)


def _tensor(mean: Numbers) -> Tensor:
    return torch.as_tensor(mean, dtype=torch.float64)


def _numbers(values: Any) -> Any:
    """Nested lists as nested tuples: a frozen value, and what a config gives back."""
    return tuple(_numbers(v) for v in values) if isinstance(values, list) else values


@dataclass(frozen=True)
class Held(Start):
    """The prior, with some streams given: they are clean from the beginning and stand at t = 0 all along.

    A run then has one time per stream, so the denoiser must be one that takes times of the rank of x.

    Arguments:
        process: the denoiser's.
        shape: of one sample, the given streams included.
        held: the places of the given streams along the axis.
        axis: where the streams lie in ``shape``: 0 for (S, C, H, W), 1 for the frames of (C, T, H, W).
        family: where the condition carries them: (B, *shape), but with ``len(held)`` places along the axis.
    """

    process: Process
    shape: tuple[int, ...]
    held: tuple[int, ...] = (0,)
    axis: int = 0
    family: str = "held"

    def __post_init__(self) -> None:
        places = range(self.shape[self.axis]) if 0 <= self.axis < len(self.shape) else ()
        real = all(type(place) is int and place in places for place in self.held)
        if not real or len(set(self.held)) != len(self.held) or not self.held:
            raise Refusal(
                f"Held needs different places along axis {self.axis} of the shape {self.shape}, not {self.held}"
            )

    @property
    def ends(self) -> float:
        return 1.0

    @property
    def families(self) -> tuple[str, ...]:
        return (self.family,)

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        given = carried(cond, self.family, rng, self)
        one = tuple(len(self.held) if axis == self.axis else size for axis, size in enumerate(self.shape))
        if tuple(given.shape[1:]) != one:
            raise Refusal(f"{self.family!r} holds streams of shape {tuple(given.shape[1:])}, but {one} are to be given")
        x = self.process.prior(tuple(self.shape)).repeat(len(rng)).sample(rng).to(given.device)
        x = x.to(torch.promote_types(x.dtype, given.dtype))  # what is given comes through bit for bit
        return x.index_copy(1 + self.axis, torch.tensor(self.held, device=x.device), given.to(x.dtype))

    def rest(self, own: Tensor) -> Tensor:
        raise Refusal("Held gives each stream its own times, so its denoiser is one that answers at all of them")

    def path(self, grid: Grid, steps: int) -> Tensor:
        moving = torch.ones(self.shape[self.axis], dtype=torch.float64)
        moving[list(self.held)] = 0.0
        wide = moving.reshape(1, 1, *(-1 if axis == self.axis else 1 for axis in range(len(self.shape))))
        times = grid(self.process, steps)
        if times.ndim > 1:
            raise Refusal("Held gives each stream its own times, so its grid is one of times for all")
        return times.reshape(-1, *(1 for _ in wide.shape[1:])) * wide
