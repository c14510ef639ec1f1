"""One criterion as a strip: its statistic by seed, mean and interval, and where it has to lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mezzotint.cli.page import Html, tag
from mezzotint.cli.written import bracket, good, number, ranged

WIDTH, HEIGHT = 360, 74
_SIDE, _TOP, _DOTS, _BAR, _FOOT = 6, 4, 29, 43, 54
_APART = 7.5  # between the middles of dots
_LEVELS = 3
_LOGARITHMIC = 50.0


def strip(criterion: Mapping[str, Any], seeds: Sequence[int]) -> Html | None:
    """The drawing of a criterion of a record; None where there is no number to draw."""
    values = [(seed, v) for seed, v in zip(seeds, criterion["values"], strict=True) if v is not None]
    ends, mean = criterion["thresholds"], criterion["mean"]
    span = [v for v in (criterion["low"], mean, criterion["high"]) if v is not None]
    everything = [*(v for _, v in values), *ends, *span]
    if not values:
        return None
    along = math.log if min(everything) > 0 and max(everything) / min(everything) > _LOGARITHMIC else float
    low, high = along(min(everything)), along(max(everything))
    room = 0.08 * (high - low) or 0.1 * abs(low) or 1.0

    def place(value: float) -> float:
        share = (along(value) - low + room) / (high - low + 2 * room)
        return _SIDE + share * (WIDTH - 2 * _SIDE)

    left, right, parts = float(_SIDE), float(WIDTH - _SIDE), list[object]()
    allowed = good(criterion)
    if allowed is not None:
        a = place(allowed[0]) if math.isfinite(allowed[0]) else left
        b = place(allowed[1]) if math.isfinite(allowed[1]) else right
        parts.append(tag("rect", class_="allowed", x=_n(a), y=_TOP, width=_n(b - a), height=_FOOT - _TOP))
    parts.append(tag("line", class_="rule", x1=_n(left), x2=_n(right), y1=_FOOT, y2=_FOOT))
    for i, end in enumerate(ends):
        x = place(end)
        near = place(ends[1 - i]) if len(ends) == 2 else None
        anchor = "middle" if near is None or abs(near - x) > 60 else "end" if near > x else "start"
        anchor = "start" if x < 24 else "end" if x > WIDTH - 24 else anchor
        parts.append(tag("line", class_="threshold", x1=_n(x), x2=_n(x), y1=_TOP, y2=_FOOT + 4))
        parts.append(tag("text", number(end), x=_n(x), y=_FOOT + 16, text_anchor=anchor))
    if len(span) == 3:
        a, b = place(criterion["low"]), place(criterion["high"])
        parts.append(tag("line", class_="reach", x1=_n(a), x2=_n(b), y1=_BAR, y2=_BAR))
    if mean is not None:
        x = place(mean)
        parts.append(tag("line", class_="mean", x1=_n(x), x2=_n(x), y1=_BAR - 6, y2=_BAR + 6))
    taken: list[tuple[float, int]] = []
    for seed, value in sorted(values, key=lambda one: one[1]):
        x = place(value)
        free = (level for level in range(_LEVELS) if all(k != level or abs(x - at) >= _APART for at, k in taken))
        level = next(free, 0)
        taken.append((x, level))
        told = tag("title", f"seed {seed}: {number(value)}")
        parts.append(tag("circle", told, class_="dots", cx=_n(x), cy=_n(_DOTS - level * _APART), r=3.4))
    said = f"{criterion['name']}: {found(criterion)}; by seed: {by_seed(criterion, seeds)}; must be {criterion['rule']}"
    return tag("svg", *parts, class_="chart strip", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)


def found(criterion: Mapping[str, Any]) -> str:
    """Mean and interval in words."""
    if criterion["low"] is None or criterion["high"] is None:
        return f"mean {number(criterion['mean'])}, no interval"
    what = "range over seeds" if ranged(criterion) else "95 % interval"
    return f"mean {number(criterion['mean'])}, {what} {bracket(criterion)}"


def by_seed(criterion: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """The statistic by seed in words, seeds in parentheses; a dash where it could not be computed."""
    pairs = zip(seeds, criterion["values"], strict=True)
    return ", ".join(f"{number(v)} ({seed})" for seed, v in pairs)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
