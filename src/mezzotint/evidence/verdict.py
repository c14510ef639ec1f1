"""From numbers at several seeds to a verdict, by rules that were fixed before the numbers were known.

A criterion judges one statistic of a seed's table, usually a ratio of two arms that share that seed. Over seeds it
has a mean and a 95 % interval by Student's t (Gosset 1908, "The probable error of a mean"); the criterion holds where
the whole interval lies on the right side of the threshold, fails where it lies on the wrong one, and is undecided
where it contains the threshold. A direction alone counts by the sign test: 5 of 5 or 7 of 8, and beyond that whatever
is as unlikely by chance (at most 9/256). One seed decides nothing, and a number that could not be computed decides
nothing either: no seed is ever dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mezzotint.core.errors import Refusal

Numbers = Mapping[str, Mapping[str, float]]
Statistic = Callable[[Numbers], float]

HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"
_CHANCE = 9 / 256  # 7 or more of 8 fair coins; 5 of 5 is 8/256
_SAID = 8  # criteria that hold, one by one; of more, the reason says how many


def at(row: str, column: str) -> Statistic:
    """One number of a table."""
    return lambda numbers: numbers[row][column]


def ratio(above: Statistic, below: Statistic) -> Statistic:
    """One statistic over another."""
    return lambda numbers: above(numbers) / below(numbers)


@dataclass(frozen=True)
class Criterion:
    """One question put to the numbers, with its answer.

    Arguments:
        name: what the statistic is.
        rule: what it must be, in words.
        values: the statistic by seed, in the order of the seeds.
        mean, low, high: over seeds, with the 95 % interval; NaN where there is none.
        thresholds: what the interval is compared with.
        outcome: ``holds``, ``does not hold`` or ``undecided``.
        reason: why, in words.
    """

    name: str
    rule: str
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    thresholds: tuple[float, ...]
    outcome: str
    reason: str

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON; what is not finite is None."""
        return {key: _finite(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Verdict:
    """What all criteria of an experiment say together: the worst of them.

    Arguments:
        outcome: ``holds``, ``does not hold`` or ``undecided``.
        reason: of the criteria that decided it, in words.
        criteria: all of them.
    """

    outcome: str
    reason: str
    criteria: tuple[Criterion, ...]

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {"outcome": self.outcome, "reason": self.reason, "criteria": [c.plain() for c in self.criteria]}


@dataclass(frozen=True)
class Figure:
    """A chart of the sheet.

    Arguments:
        title: what it shows.
        across, up: the titles of the axes.
        lines: (x, y) by name of the line.
    """

    title: str
    across: str
    up: str
    lines: Mapping[str, Sequence[tuple[float, float]]]

    def plain(self) -> dict[str, Any]:
        """As plain data for JSON."""
        lines = {name: [[_finite(x), _finite(y)] for x, y in points] for name, points in self.lines.items()}
        return {"title": self.title, "across": self.across, "up": self.up, "lines": lines}


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % interval of paired statistics: mean -+ t_{0.975, n-1} s / sqrt(n); NaN ends for one value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    from scipy.stats import t

    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = float(t.ppf(0.975, n - 1)) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def by_chance(hits: int, of: int) -> float:
    """The probability that as many of ``of`` fair coins or more show heads."""
    return sum(math.comb(of, k) for k in range(hits, of + 1)) / 2.0**of


@dataclass(frozen=True)
class Seen:
    """The numbers of an experiment: one table a seed.

    Arguments:
        tables: ``{seed: {row: {column: number}}}``; rows are arms where there are arms.
    """

    tables: Mapping[int, Numbers]

    def each(self, statistic: Statistic) -> tuple[float, ...]:
        """A statistic of every seed's table; NaN where it cannot be computed."""
        return tuple(_number(statistic, table) for table in self.tables.values())

    def mean(self, statistic: Statistic) -> float:
        """The mean over seeds, for figures."""
        values = self.each(statistic)
        return math.fsum(values) / len(values)

    def at_most(self, name: str, statistic: Statistic, threshold: float) -> Criterion:
        """Whether the mean over seeds is at most ``threshold``."""
        return self._ruled(name, statistic, f"at most {threshold:g}", (threshold,), (-math.inf, threshold))

    def at_least(self, name: str, statistic: Statistic, threshold: float) -> Criterion:
        """Whether the mean over seeds is at least ``threshold``."""
        return self._ruled(name, statistic, f"at least {threshold:g}", (threshold,), (threshold, math.inf))

    def within(self, name: str, statistic: Statistic, target: float, tolerance: float) -> Criterion:
        """Whether the mean over seeds is within ``tolerance`` of ``target``."""
        ends = (target - tolerance, target + tolerance)
        return self._ruled(name, statistic, f"{target:g} within {tolerance:g}", ends, ends)

    def _ruled(
        self, name: str, statistic: Statistic, rule: str, thresholds: tuple[float, ...], good: tuple[float, float]
    ) -> Criterion:
        values = self.each(statistic)
        mean, low, high = interval(values)
        said = f"{name} is {_short(mean)} [{_short(low)}, {_short(high)}] and must be {rule}"
        if not all(map(math.isfinite, values)):
            bad = [str(seed) for seed, v in zip(self.tables, values, strict=True) if not math.isfinite(v)]
            outcome, said = OPEN, f"{name} could not be computed at seed {', '.join(bad)}"
        elif len(values) < 2:
            outcome, said = OPEN, f"{name} is {_short(mean)} at one seed, and one seed has no interval"
        elif good[0] < low and high < good[1]:
            outcome = HOLDS
        elif high < good[0] or low > good[1]:
            outcome = FAILS
        else:  # also where every seed lies on the threshold itself: nothing is told apart
            outcome, said = OPEN, f"{said}: the interval contains the threshold"
        return Criterion(name, rule, values, mean, low, high, thresholds, outcome, said)

    def more_often(self, name: str, statistic: Statistic) -> Criterion:
        """Whether the statistic is positive at so many seeds that chance does not explain it: 5 of 5, 7 of 8."""
        values = self.each(statistic)
        mean, low, high = interval(values)
        n, up, down = len(values), sum(v > 0 for v in values), sum(v < 0 for v in values)
        said = f"{name} is positive at {up} of {n} seeds"
        if not all(map(math.isfinite, values)):
            outcome, said = OPEN, f"{name} could not be computed at every seed"
        elif by_chance(up, n) <= _CHANCE:
            outcome = HOLDS
        elif by_chance(down, n) <= _CHANCE:
            outcome, said = FAILS, f"{name} is negative at {down} of {n} seeds"
        else:
            outcome, said = OPEN, f"{said}, and signs count from 5 of 5 or 7 of 8"
        return Criterion(name, "positive at 5 of 5 or 7 of 8 seeds", values, mean, low, high, (0.0,), outcome, said)

    def always(self, name: str, statistic: Statistic, threshold: float) -> Criterion:
        """Whether the statistic is at most ``threshold`` at *every* seed: for identities, where no chance is left."""
        values = self.each(statistic)
        worst = max(values, key=lambda v: math.inf if math.isnan(v) else v)
        said = f"{name} is at most {_short(worst)} and must be at most {threshold:g} at every seed"
        mean, low, high = math.fsum(values) / len(values), min(values), worst
        if not all(map(math.isfinite, values)):
            outcome, said = OPEN, f"{name} could not be computed at every seed"
        else:
            outcome = HOLDS if worst <= threshold else FAILS
        rule = f"at most {threshold:g} at every seed"
        return Criterion(name, rule, values, mean, low, high, (threshold,), outcome, said)

    def all(self, *criteria: Criterion) -> Verdict:
        """The verdict of criteria that must all hold."""
        if not criteria:
            raise Refusal("a verdict needs at least one criterion")
        outcome = next((o for o in (FAILS, OPEN) if any(c.outcome == o for c in criteria)), HOLDS)
        decided = [c.reason for c in criteria if c.outcome == outcome]
        if outcome == HOLDS and len(decided) > _SAID:
            return Verdict(outcome, f"each of the {len(decided)} criteria holds", criteria)
        return Verdict(outcome, "; ".join(decided), criteria)


def _number(statistic: Statistic, table: Numbers) -> float:
    try:
        return float(statistic(table))
    except KeyError as error:
        raise Refusal(
            f"the verdict asks for {error}, which is not measured at this setting: leave what makes it as it is"
        ) from None
    except (ZeroDivisionError, OverflowError, ValueError):
        return math.nan


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return [_finite(item) for item in value] if isinstance(value, tuple | list) else value
