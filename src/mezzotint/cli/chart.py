"""Small line charts as SVG, drawn for a phone's width so that their words stay readable on one.

Colours and fonts come from the page's style by class name, so a chart turns dark with its page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mezzotint.cli.page import Html, join, tag

WIDTH, HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 34, 36
_CHARACTER = 6.1  # the usual width of a letter of the labels, in units of the drawing

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Arguments:
        name: for the legend.
        points: (x, y); those that are not finite, or not positive, are left out.
        look: ``model``, ``other`` (lines) or ``dots``.
    """

    name: str
    points: Points
    look: str = "model"

    def kept(self) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y) and y > 0]


def chart(
    lines: Sequence[Line],
    across: str,
    describe: str,
    ticks: Sequence[tuple[float, str]],
    *,
    shade: bool = False,
) -> Html | None:
    """A chart with a logarithmic upward axis, or a linear one from 0 where the values span less than a factor of 6.

    Arguments:
        lines: what to draw, the last on top; None comes back if none of them has a point.
        across: the title of the x axis.
        describe: what a reader who cannot see it should know.
        ticks: (place, label) on the x axis; the first and the last are its ends.
        shade: fill between the first two lines: what lies between two predictors.
    """
    drawn = [(line, line.kept()) for line in lines]
    values = [y for _, points in drawn for _, y in points]
    if not values:
        return None
    low, high = min(values), max(values)
    marks, rise = _logarithmic(low, high) if high / low >= 6 else _linear(high)
    start, end = ticks[0][0], ticks[-1][0]

    def place(x: float, y: float) -> tuple[float, float]:
        share = (x - start) / ((end - start) or 1)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT), HEIGHT - _BOTTOM - rise(y) * (HEIGHT - _TOP - _BOTTOM)

    parts: list[object] = []
    for value, label in marks:
        y = place(start, value)[1]
        parts.append(tag("line", class_="rule", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_n(y), y2=_n(y)))
        parts.append(tag("text", label, x=_LEFT - 6, y=_n(y + 3.5), text_anchor="end"))
    for i, (value, label) in enumerate(ticks):
        x = place(value, high)[0]
        anchor = "end" if i == len(ticks) - 1 else "start" if i == 0 else "middle"
        parts.append(tag("text", label, x=_n(x), y=HEIGHT - _BOTTOM + 15, text_anchor=anchor))
    parts.append(tag("text", across, class_="across", x=WIDTH - _RIGHT, y=HEIGHT - 5, text_anchor="end"))
    if shade and all(points for _, points in drawn[:2]):
        area = [place(*p) for p in drawn[0][1]] + [place(*p) for p in reversed(drawn[1][1])]
        parts.append(tag("polygon", class_="shade", points=_path(area)))
    for line, points in drawn:
        places = [place(*p) for p in points]
        if line.look == "dots":
            parts += [tag("circle", class_="dots", cx=_n(x), cy=_n(y), r=3.2) for x, y in places]
        elif places:
            parts.append(tag("polyline", class_=f"curve {line.look}", points=_path(places)))
    parts.append(_legend([line for line, points in drawn if points]))
    return tag("svg", *parts, class_="chart", viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=describe)


def _legend(lines: Sequence[Line]) -> Html:
    """Names above the drawing, each behind a piece of its line."""
    parts: list[object] = []
    x = float(_LEFT)
    for line in lines:
        if line.look == "dots":
            parts.append(tag("circle", class_="dots", cx=_n(x + 7), cy=12, r=3.2))
        else:
            parts.append(tag("line", class_=f"curve {line.look}", x1=_n(x), x2=_n(x + 14), y1=12, y2=12))
        parts.append(tag("text", line.name, class_="name", x=_n(x + 19), y=16))
        x += 19 + _CHARACTER * len(line.name) + 14
    return join(parts)


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in places)


def _number(value: float) -> str:
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.0e}"


def _logarithmic(low: float, high: float) -> tuple[list[tuple[float, str]], Callable[[float], float]]:
    """Marks at powers of ten (with 3s between where there are few), and the share of the height at a value."""
    bottom, top = math.log10(low) - 0.06, math.log10(high) + 0.06
    tens = range(math.floor(bottom), math.ceil(top) + 1)
    steps = (1, 3) if top - bottom < 4 else (1,)
    values = [step * 10.0**ten for ten in tens for step in steps]
    marks = [(v, _number(v)) for v in values if bottom <= math.log10(v) <= top]
    return marks, lambda y: (math.log10(y) - bottom) / (top - bottom)


def _linear(high: float) -> tuple[list[tuple[float, str]], Callable[[float], float]]:
    """Round marks from 0, and the share of the height at a value."""
    rough = high / 4
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(step * ten for step in (1, 2, 2.5, 5, 10) if step * ten >= rough)
    top = high * 1.05
    return [(i * step, _number(i * step)) for i in range(int(top / step) + 1)], lambda y: y / top
