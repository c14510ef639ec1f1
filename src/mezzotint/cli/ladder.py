"""One measure of several runs as a drawing: value and interval of each on a line of its own, real ones through all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mezzotint.cli.page import Html, tag
from mezzotint.cli.words import Words
from mezzotint.metrics.estimate import Estimate

WIDTH = 360
_SIDE, _TOP, _ROW, _FOOT, _NAME = 6, 6, 22, 20, 92
_LETTERS = 14
_LOGARITHMIC = 50.0


def ladder(rungs: Sequence[tuple[str, Estimate]], real: Estimate | None, word: Words) -> Html | None:
    """The drawing; None where there is no number to draw.

    Arguments:
        rungs: names and estimates, from the top down.
        real: what real pictures score in the samples' place, an upright line, or None.
        word: how the measure is written.
    """
    each = [e for _, e in rungs] + ([real] if real is not None else [])
    ends = [v for e in each for v in (e.value, e.low, e.high) if math.isfinite(v)]
    if not ends:
        return None
    along = math.log if min(ends) > 0 and max(ends) / min(ends) > _LOGARITHMIC else float
    low, high = along(min(ends)), along(max(ends))
    room = 0.06 * (high - low) or 0.1 * abs(low) or 1.0
    foot = _TOP + _ROW * len(rungs)

    def place(value: float) -> float:
        share = (along(value) - low + room) / (high - low + 2 * room)
        return _NAME + share * (WIDTH - _SIDE - _NAME)

    parts: list[object] = [tag("line", class_="rule", x1=_NAME, x2=WIDTH - _SIDE, y1=foot, y2=foot)]
    if real is not None and math.isfinite(real.value):
        x = place(real.value)
        if math.isfinite(real.low) and math.isfinite(real.high):
            a, b = place(real.low), place(real.high)
            parts.append(tag("rect", class_="allowed", x=_n(a), y=_TOP, width=_n(max(b - a, 1)), height=foot - _TOP))
        anchor = "start" if x < _NAME + 40 else "end" if x > WIDTH - 46 else "middle"
        parts.append(tag("line", class_="threshold", x1=_n(x), x2=_n(x), y1=_TOP, y2=foot + 4))
        parts.append(tag("text", f"real {word.number(real.value)}", x=_n(x), y=foot + 16, text_anchor=anchor))
    for number, (name, found) in enumerate(rungs):
        y = _TOP + _ROW * (number + 0.5)
        short = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        parts.append(tag("text", short, tag("title", name), class_="name", x=0, y=_n(y + 4)))
        if math.isfinite(found.low) and math.isfinite(found.high):
            a, b = place(found.low), place(found.high)
            parts.append(tag("line", class_=f"reach c{number % 6}", x1=_n(a), x2=_n(b), y1=_n(y), y2=_n(y)))
        if math.isfinite(found.value):
            x = place(found.value)
            parts.append(tag("line", class_=f"mean c{number % 6}", x1=_n(x), x2=_n(x), y1=_n(y - 6), y2=_n(y + 6)))
    said = "; ".join(
        f"{name}: {word.number(e.value)}, from {word.number(e.low)} to {word.number(e.high)}" for name, e in rungs
    )
    beside = f"; real pictures: {word.number(real.value)}" if real is not None else ""
    box = f"0 0 {WIDTH} {foot + _FOOT}"
    return tag("svg", *parts, class_="chart strip", viewBox=box, role="img", aria_label=f"{word.title}. {said}{beside}")


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
