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
_ROW = 17  # of the legend
_COLOURS = 6
_MARKED = 24  # points of a line that still get a mark each
_CHARACTER = 6.1  # the usual width of a letter of the labels, in units of the drawing

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Arguments:
        name: for the legend.
        points: (x, y); those that are not finite are left out, and where the chart is not signed, those that are not
            positive.
        look: ``model``, ``other`` (lines), ``dots``, or a number: one of many, told apart by colour, mark and dashes.
        spans: (x, low, high), upright lines through points: their intervals.
    """

    name: str
    points: Points
    look: str | int = "model"
    spans: Sequence[tuple[float, float, float]] = ()

    def kept(self, signed: bool = False) -> list[tuple[float, float]]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if math.isfinite(x) and math.isfinite(y) and (signed or y > 0)]

    def reach(self, signed: bool = False) -> list[tuple[float, float, float]]:
        """The spans that can be drawn."""
        whole = [(x, low, high) for x, low, high in self.spans if math.isfinite(low) and math.isfinite(high)]
        return [span for span in whole if signed or span[1] > 0]

    @property
    def style(self) -> str:
        """Its classes in the page's style."""
        if isinstance(self.look, str):
            return self.look
        dashes = ("", " dashed", " dotted")[self.look // _COLOURS % 3]
        return f"c{self.look % _COLOURS}{dashes}"


def chart(
    lines: Sequence[Line],
    across: str,
    describe: str,
    ticks: Sequence[tuple[float, str]],
    *,
    shade: bool = False,
    up: str | None = None,
    logarithmic: bool = False,
    signed: bool = False,
) -> Html | None:
    """A chart with a logarithmic upward axis, or a linear one from 0 where the values span less than a factor of 6.

    Arguments:
        lines: what to draw, the last on top; None comes back if none of them has a point.
        across: the title of the x axis.
        describe: what a reader who cannot see it should know.
        ticks: (place, label) on the x axis; the first and the last are its ends.
        shade: fill between the first two lines: what lies between two predictors.
        up: the title of the upward axis.
        logarithmic: the x axis, whose ticks are then positive.
        signed: values may be zero and less, on a linear axis that ends where they do.
    """
    drawn = [(line, line.kept(signed)) for line in lines]
    values = [y for _, points in drawn for _, y in points]
    if not values:
        return None
    values += [end for line in lines for _, *ends in line.reach(signed) for end in ends]
    low, high = min(values), max(values)
    marks, rise = _between(low, high) if signed else _logarithmic(low, high) if high / low >= 6 else _linear(high)
    along = math.log if logarithmic else float
    start, end = along(ticks[0][0]), along(ticks[-1][0])
    names, rows = _legend([line for line, points in drawn if points])
    top = _TOP + _ROW * (rows - 1) + (_ROW if up else 0)
    height = HEIGHT + top - _TOP

    def place(x: float, y: float) -> tuple[float, float]:
        share = (along(x) - start) / ((end - start) or 1)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT), height - _BOTTOM - rise(y) * (height - top - _BOTTOM)

    parts: list[object] = []
    for value, label in marks:
        y = place(ticks[0][0], value)[1]
        parts.append(tag("line", class_="rule", x1=_LEFT, x2=WIDTH - _RIGHT, y1=_n(y), y2=_n(y)))
        parts.append(tag("text", label, x=_LEFT - 6, y=_n(y + 3.5), text_anchor="end"))
    for i, (value, label) in enumerate(ticks):
        x = place(value, high)[0]
        anchor = "end" if i == len(ticks) - 1 else "start" if i == 0 else "middle"
        parts.append(tag("text", label, x=_n(x), y=height - _BOTTOM + 15, text_anchor=anchor))
    parts.append(tag("text", across, class_="across", x=WIDTH - _RIGHT, y=height - 5, text_anchor="end"))
    if up:
        parts.append(tag("text", up, class_="across", x=0, y=top - 10))
    if shade and all(points for _, points in drawn[:2]):
        area = [place(*p) for p in drawn[0][1]] + [place(*p) for p in reversed(drawn[1][1])]
        parts.append(tag("polygon", class_="shade", points=_path(area)))
    for line, points in drawn:
        for x, below, above in line.reach(signed):
            (at, foot), (_, head) = place(x, below), place(x, above)
            parts.append(tag("line", class_=f"span {line.style}", x1=_n(at), x2=_n(at), y1=_n(foot), y2=_n(head)))
        places = [place(*p) for p in points]
        if line.look == "dots":
            parts += [tag("circle", class_="dots", cx=_n(x), cy=_n(y), r=3.2) for x, y in places]
        elif places:
            parts.append(tag("polyline", class_=f"curve {line.style}", points=_path(places)))
            if isinstance(line.look, int) and len(places) <= _MARKED:
                parts += [_mark(line.look, *at) for at in places]
    return tag("svg", *parts, names, class_="chart", viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=describe)


def _legend(lines: Sequence[Line]) -> tuple[Html, int]:
    """Names above the drawing, each behind a piece of its line, in as many rows as they need."""
    parts: list[object] = []
    widths = [19 + _CHARACTER * len(line.name) for line in lines]
    start = float(_LEFT) if _LEFT + sum(widths) + 14 * (len(lines) - 1) <= WIDTH else 0.0
    x, y, rows = start, 12, 1
    for line, width in zip(lines, widths, strict=True):
        if x > start and x + width > WIDTH:
            x, y, rows = start, y + _ROW, rows + 1
        if line.look == "dots":
            parts.append(tag("circle", class_="dots", cx=_n(x + 7), cy=y, r=3.2))
        else:
            parts.append(tag("line", class_=f"curve {line.style}", x1=_n(x), x2=_n(x + 14), y1=y, y2=y))
        if isinstance(line.look, int):
            parts.append(_mark(line.look, x + 7, y))
        parts.append(tag("text", line.name, class_="name", x=_n(x + 19), y=y + 4))
        x += width + 14
    return join(parts), rows


def _mark(look: int, x: float, y: float) -> Html:
    """What stands on the points of one of many lines: a disc, a square, a triangle, a diamond, in turn."""
    style, r = f"mark c{look % _COLOURS}", 3.4
    corners = (
        (),
        ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        ((-1.15, 1), (1.15, 1), (0, -1.15)),
        ((-1.3, 0), (0, -1.3), (1.3, 0), (0, 1.3)),
    )[look % 4]
    if not corners:
        return tag("circle", class_=style, cx=_n(x), cy=_n(y), r=r)
    return tag("polygon", class_=style, points=_path([(x + 0.9 * r * a, y + 0.9 * r * b) for a, b in corners]))


def axis(values: Sequence[float]) -> tuple[list[tuple[float, str]], bool]:
    """Round ticks around values, and whether they are logarithmic: where positive values span a factor of 20."""
    low, high = min(values), max(values)
    if low > 0 and high / low >= 20:
        tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(tens) <= 3 else (1, 3) if len(tens) <= 4 else (1,)
        around = [step * 10.0**ten for ten in tens for step in steps]
        first = max(i for i, v in enumerate(around) if v <= low * (1 + 1e-9))
        last = min((i for i, v in enumerate(around) if v >= high * (1 - 1e-9)), default=len(around) - 1)
        return [(v, _number(v)) for v in around[first : last + 1]], True
    return _steps(low, high), False


def _steps(low: float, high: float) -> list[tuple[float, str]]:
    """Marks in equal steps, from the last below to the first above."""
    if high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = _round((high - low) / 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [(i * step, _number(i * step)) for i in range(first, last + 1)]


def _round(rough: float) -> float:
    """The next round step, 1, 2, 2.5 or 5 times a power of ten."""
    ten = 10.0 ** math.floor(math.log10(rough))
    return next(step * ten for step in (1, 2, 2.5, 5, 10) if step * ten >= rough * (1 - 1e-9))


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _path(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in places)


def _number(value: float) -> str:
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1e4 or value == 0 else f"{value:.0e}"


def _logarithmic(low: float, high: float) -> tuple[list[tuple[float, str]], Callable[[float], float]]:
    """Marks at powers of ten (with others between where there are few), and the share of the height at a value."""
    bottom, top = math.log10(low) - 0.06, math.log10(high) + 0.06
    tens = range(math.floor(bottom), math.ceil(top) + 1)
    steps = (1, 2, 5) if top - bottom < 1.3 else (1, 3) if top - bottom < 4 else (1,)
    values = [step * 10.0**ten for ten in tens for step in steps]
    marks = [(v, _number(v)) for v in values if bottom <= math.log10(v) <= top]
    return marks, lambda y: (math.log10(y) - bottom) / (top - bottom)


def _linear(high: float) -> tuple[list[tuple[float, str]], Callable[[float], float]]:
    """Round marks from 0, and the share of the height at a value."""
    step, top = _round(high / 4), high * 1.05
    return [(i * step, _number(i * step)) for i in range(int(top / step) + 1)], lambda y: y / top


def _between(low: float, high: float) -> tuple[list[tuple[float, str]], Callable[[float], float]]:
    """Round marks around values of any sign, and the share of the height at a value."""
    marks = _steps(low, high)
    bottom, top = marks[0][0], marks[-1][0]
    return marks, lambda y: (y - bottom) / (top - bottom)
