"""How numbers of a record are written: as many digits as their interval gives meaning to.

What pages say about evidence, the sheet of a record and the page of all claims, is written alike by these functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mezzotint.evidence.verdict import interval

NOTHING = "–"
"""What was not computed."""
_SAID = 6  # digits behind the point, at most


def number(value: float | None, digits: int = 4) -> str:
    """A number to so many digits; what is None or not finite is a dash."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def spread(values: Sequence[float | None]) -> tuple[float, float]:
    """The mean over seeds and half the width of its 95 % t-interval; NaN where a seed lacks a number."""
    found = [v for v in values if v is not None]
    if not found or len(found) < len(values):
        return math.nan, math.nan
    mean, low, high = interval(found)
    return mean, (high - low) / 2


def between(mean: float | None, half: float | None) -> str:
    """A mean with half the width of its interval, ``1.234 ± 0.056``: two digits of the width decide."""
    if mean is None or half is None or not math.isfinite(mean) or not math.isfinite(half):
        return number(mean)
    if half == 0:
        return f"{number(mean)} ± 0"
    places = 1 - math.floor(math.log10(half))
    if places > _SAID or abs(mean) >= 1e6 or half >= 1e6:
        return f"{number(mean)} ± {number(half, 2)}"
    places = max(0, places)
    return f"{mean:.{places}f} ± {half:.{places}f}"


def bracket(criterion: Mapping[str, Any]) -> str:
    """The interval of a criterion as it stands in a record, ``[0.98, 1.10]``; a dash where there is none."""
    low, high = criterion["low"], criterion["high"]
    return NOTHING if low is None or high is None else f"[{number(low)}, {number(high)}]"


def ranged(criterion: Mapping[str, Any]) -> bool:
    """Whether what stands as its interval is the range over seeds: where *every* seed has to pass."""
    return str(criterion["rule"]).endswith("at every seed")


def good(criterion: Mapping[str, Any]) -> tuple[float, float] | None:
    """Where the statistic must lie, by the words of the rule and its thresholds; None for a rule in other words."""
    rule, ends = str(criterion["rule"]), criterion["thresholds"]
    if len(ends) == 2:
        return min(ends), max(ends)
    if len(ends) != 1:
        return None
    if rule.startswith("at most"):
        return -math.inf, ends[0]
    return (ends[0], math.inf) if rule.startswith(("at least", "positive")) else None


def columns(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> tuple[list[str], list[str]]:
    """The rows and the columns of all seeds' tables, in the order in which they first appear."""
    rows = dict.fromkeys(row for table in tables.values() for row in table)
    named = dict.fromkeys(name for table in tables.values() for cells in table.values() for name in cells)
    return list(rows), list(named)


def each(tables: Mapping[str, Mapping[str, Mapping[str, Any]]], row: str, column: str) -> list[float | None]:
    """One number of every seed's table, None where it is missing."""
    return [table.get(row, {}).get(column) for table in tables.values()]


def seeds(given: Sequence[int]) -> str:
    """Seeds as the command takes them: ``10-12,20``, and one alone as ``10-10``, because ``10`` means ten seeds."""
    if len(given) == 1:
        return f"{given[0]}-{given[0]}"
    spans: list[list[int]] = []
    for seed in given:
        if spans and seed == spans[-1][1] + 1:
            spans[-1][1] = seed
        else:
            spans.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
