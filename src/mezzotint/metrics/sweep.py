"""A sweep: a measure of what a cascade draws, over the levels at which one stage is handed what an earlier one drew.

One super-resolution model is trained for all levels of corruption, and the best is found afterwards by trying them (Ho
et al. 2022, "Cascaded diffusion models for high fidelity image generation", arXiv 2106.15282). Not
truncated, what is corrupted is the same for all levels, so the stages before are run once and what they drew is kept;
truncated, each level is a run of its own of the stage that is stopped there.

The least of several noisy numbers is lower than it should be. So a level is chosen by one half of the reference, and
what is reported of it is measured against the other half, which had no say; or by a validation set, and against all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.pictures import Source

if TYPE_CHECKING:
    from mezzotint.cascades import Cascade, Handed

Measured = Callable[[Tensor, Condition, Tensor, Condition], Estimate]
"""(samples (N, *shape), what they were told (N,), real ones (M, *shape), what is told of them (M,)) -> an estimate."""


@dataclass(frozen=True)
class Sweep:
    """What was measured at each level.

    Arguments:
        stage: the stage whose hand-over was swept.
        truncated: whether the stage before was stopped at the level, or its samples corrupted to it.
        good: ``low`` or ``high``.
        levels: the shares of noise, as they were asked for.
        chosen_by: an estimate a level, by which one was chosen.
        reported: an estimate a level, against what had no say in that.
    """

    stage: str
    truncated: bool
    good: str
    levels: tuple[float, ...]
    chosen_by: tuple[Estimate, ...]
    reported: tuple[Estimate, ...]

    @property
    def place(self) -> int:
        """Of the chosen level among the levels; the first of equals, and never one whose measure is NaN."""
        sign = 1 if self.good == "low" else -1
        values = [sign * found.value for found in self.chosen_by]
        return min(range(len(values)), key=lambda k: math.inf if math.isnan(values[k]) else values[k])

    @property
    def level(self) -> float:
        """The chosen level."""
        return self.levels[self.place]

    @property
    def best(self) -> Estimate:
        """The measure at the chosen level, against what had no say in the choice."""
        return self.reported[self.place]

    def table(self) -> str:
        """Aligned columns for a terminal, the chosen level marked with a star."""
        rows = [
            (f"{level:g}", *(f"{e.value:.4g} [{e.low:.4g}, {e.high:.4g}]" for e in pair), "*" * (k == self.place))
            for k, (level, *pair) in enumerate(zip(self.levels, self.chosen_by, self.reported, strict=True))
        ]
        lines = [("level", "chosen by", self.reported[0].name, ""), *rows]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)

    def plain(self) -> dict[str, Any]:
        """The record as plain data for JSON."""
        estimates = {name: [found.plain() for found in getattr(self, name)] for name in ("chosen_by", "reported")}
        return {**asdict(self), "levels": list(self.levels), **estimates, "level": self.level}


@torch.no_grad()
def sweep(
    cascade: Cascade,
    levels: Sequence[float],
    measure: Measured,
    cond: Condition,
    rng: Rng,
    *,
    reference: Source,
    validation: Source | None = None,
    stage: str | None = None,
    truncated: bool = False,
    good: str = "low",
    batch: int = 256,
) -> Sweep:
    """Draw samples at every level of one hand-over, measure them, and choose.

    Every level sees the same conditions and keys, so levels differ by what is handed over and by no luck. Samples of
    one level are in memory at a time, beside what the stages before drew.

    Arguments:
        cascade: stages of which the swept one has ``augment=Noised(...)``; other hand-overs stay as they are.
        levels: shares of noise in [0, 1].
        measure: of samples against real ones, such as ``lambda x, told, z, truth: frechet(seen(x), seen(z))``.
        cond: what the samples are told, one row a sample; NONE: nothing.
        rng: their keys, (N,).
        reference: real samples, any data set of the last stage's size: half of them choose, half of them report.
        validation: real samples that choose; all of the reference then reports.
        stage: whose hand-over is swept, by name; None: the last stage's.
        truncated: stop the stage before at the level instead of corrupting what it drew.
        good: whether a ``low`` or a ``high`` measure is good.
        batch: samples drawn at once.

    Raises:
        Refusal: no level, a level twice, no such stage, or no measure but NaN.
    """
    asked = tuple(float(level) for level in levels)
    if not asked or len(set(asked)) < len(asked):
        raise Refusal(f"a sweep goes over levels, each once, not {list(levels)}")
    if good not in ("low", "high"):
        raise Refusal(f"a measure is good when it is low or high, not {good!r}")
    if batch < 1:
        raise Refusal(f"at least one sample is drawn at once, not {batch}")
    place = _place(cascade, stage)
    sides = _halves(reference) if validation is None else (_whole(validation), _whole(reference))

    runs = [_handing(cascade, place, level, truncated) for level in asked]
    keep = _source(cascade, place) if truncated else place
    rows = [slice(start, start + batch) for start in range(0, len(rng), batch)]
    kept = [_first(cascade, keep, cond[some] if cond else cond, rng[some]) for some in rows]
    found: list[list[Estimate]] = []
    for run in runs:
        drawn = []
        for some, made in zip(rows, kept, strict=True):
            poll()
            drawn.append(_last(run.resumed(made, cond[some] if cond else cond, rng[some])))
        x = torch.cat(drawn)
        found.append([measure(x, cond, *side) for side in sides])
    chosen_by, reported = (tuple(column) for column in zip(*found, strict=True))
    if all(math.isnan(estimate.value) for estimate in chosen_by):
        raise Refusal("the measure is NaN at every level, so none is the best; measure more samples, or another thing")
    return Sweep(cascade.stages[place].name, truncated, good, asked, chosen_by, reported)


def _place(cascade: Cascade, stage: str | None) -> int:
    """Which stage is handed what is swept."""
    names = [one.name for one in cascade.stages]
    if len(names) < 2:
        raise Refusal("a cascade of one stage hands nothing over: there is no level to sweep")
    if stage is None:
        return len(names) - 1
    if stage not in names[1:]:
        raise Refusal(f"no stage {stage!r} is handed anything: {nearest(stage, names[1:])}")
    return names.index(stage)


def _source(cascade: Cascade, place: int) -> int:
    """Which stage the swept one is handed."""
    stage: Any = cascade.stages[place]
    takes = cascade.takes(stage)
    family = getattr(stage.augment, "family", "low")
    return [one.name for one in cascade.stages].index(takes[family]) if family in takes else place - 1


def _handing(cascade: Cascade, place: int, level: float, truncated: bool) -> Cascade:
    """The cascade with one hand-over at a level and the others as they are."""
    levels: list[float | None] = [None] * (len(cascade.stages) - 1)
    levels[place - 1] = level
    return cascade.at(levels, truncated=truncated)


def _first(cascade: Cascade, count: int, cond: Condition, rng: Rng) -> list[Handed]:
    """What the first ``count`` stages draw."""
    made: list[Handed] = []
    walk: Iterator[Handed] = cascade.walk(cond, rng)
    while len(made) < count:
        made.append(next(walk))
    return made


def _last(walk: Iterator[Handed]) -> Tensor:
    """What the last stage draws."""
    for handed in walk:
        x = handed.x
    return x


def _whole(source: Source) -> tuple[Tensor, Condition]:
    x, told = source[np.arange(len(source))]
    return x, told if told is not None else NONE


def _halves(source: Source) -> tuple[tuple[Tensor, Condition], tuple[Tensor, Condition]]:
    """Two halves of a set, the same ones always and at random, since sets often lie class by class."""
    if len(source) < 4:
        raise Refusal(f"a reference of {len(source)} has no two halves; give more real samples")
    order = np.argsort(Rng([len(source)]).uniform("halves", (len(source),)).numpy()[0], kind="stable")
    middle = len(source) // 2
    one, other = (source[np.sort(rows)] for rows in (order[:middle], order[middle:]))
    return one, other
