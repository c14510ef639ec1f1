"""How well each thing of a layout is met, as text and as a table of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mezzotint.cli.console import number, table
from mezzotint.cli.page import Html, section, tag

if TYPE_CHECKING:
    from mezzotint.metrics.report import Report

THING = "iou_"


def spread(found: dict[str, Any]) -> str:
    """The interval of a measure in JSON; nothing where it was not computed."""
    low, high = found["low"], found["high"]
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def by_thing(document: dict[str, Any]) -> list[str]:
    """Intersections over unions of a report in JSON, as lines of text; none where it has none."""
    rows = [
        [
            name.removeprefix(THING),
            number(found["value"]),
            spread(found),
            f"{found['count']:,}",
            number(found["real"]["value"]) if found.get("real") else "-",
            spread(found["real"]) if found.get("real") else "",
        ]
        for name, found in document["measures"].items()
        if name.startswith(THING)
    ]
    if not rows:
        return []
    missing = document.get("missing") or []
    head = ("IoU of", "samples", "95 %", "pictures", "real", "95 %")
    said = [f"missing, since no layout of the samples has it: {', '.join(missing)}"] if missing else []
    return [table(head, rows), *said, ""]


def things(report: Report) -> Html | None:
    """The same as a section of a page."""
    found = {name: one for name, one in report.measures.items() if name.startswith(THING)}
    if not found:
        return None
    rows = []
    for name, one in found.items():
        real = report.real.get(name)
        rows.append(
            tag(
                "tr",
                tag("td", name.removeprefix(THING)),
                tag("td", f"{100 * one.value:.1f} %", tag("small", _interval(one.low, one.high))),
                tag("td", f"{100 * real.value:.1f} %", tag("small", _interval(real.low, real.high)))
                if real
                else tag("td", "missing"),
                tag("td", f"{one.count:,}"),
            )
        )
    rows += [
        tag("tr", tag("td", name), tag("td", "missing"), tag("td", "–"), tag("td", "0")) for name in report.missing
    ]
    head = tag("tr", *(tag("th", text, scope="col") for text in ("Thing", "Samples", "Real", "Pictures")))
    return section(
        "Thing by thing",
        tag(
            "p",
            "The intersection over union of what a segmenter sees and what the layouts ask for, of each thing by "
            "itself; in brackets, 95 % intervals over the pictures that hold the thing or are said to. "
            "A thing that no layout of the samples asks for is missing: it is left out of the mean.",
        ),
        tag("table", tag("thead", head), tag("tbody", *rows)),
    )


def _interval(low: float, high: float) -> str | None:
    return None if low != low or high != high else f"[{100 * low:.1f}, {100 * high:.1f} %]"
