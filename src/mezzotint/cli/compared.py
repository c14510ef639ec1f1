"""The page of two or more runs side by side: what each is worth, by how much they differ, and in which settings.

The first run is held against every other one. A number stands beside its interval and beside what real pictures score
in the samples' place; what may not be compared is not, and the page says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.cli.chart import Line, chart
from mezzotint.cli.history import curves, history, ticks
from mezzotint.cli.ladder import ladder
from mezzotint.cli.page import Html, document, section, tag
from mezzotint.cli.report import footer
from mezzotint.cli.results import Result, reports
from mezzotint.cli.rivals import Rivals, facts, listed
from mezzotint.cli.words import TESTS, wish, words
from mezzotint.core.bounded import read_bytes
from mezzotint.data import picture as files
from mezzotint.data.licence import said
from mezzotint.metrics.estimate import Estimate
from mezzotint.training.run import Run

_SHOWN = 60
_WRITTEN = 4_000  # characters of the texts of a run
"""Letters of a setting."""


@dataclass(frozen=True)
class Side:
    """One of the runs.

    Arguments:
        name: as a page calls it.
        run: its folder.
        result: what is known of it.
    """

    name: str
    run: Run
    result: Result


def compared(sides: Sequence[Side], settings: Mapping[str, Sequence[Any]], rivals: Sequence[Rivals]) -> str:
    """The page, as HTML that needs nothing beside it.

    Arguments:
        sides: the runs, the first of which is held against the others.
        settings: those that differ, a value a run.
        rivals: the first and each other one, where both were evaluated.
    """
    names = [side.name for side in sides]
    return document(
        f"{' and '.join(names)} – mezzotint",
        tag(
            "header",
            tag("p", "mezzotint runs compare", class_="eyebrow"),
            tag("h1", f"{', '.join(names[:-1])} and {names[-1]}"),
            *(tag("p", _said(pair), class_="lede") for pair in rivals),
            None if rivals else tag("p", "Nothing was evaluated in both, so nothing is judged here.", class_="lede"),
        ),
        *(_measures(pair) for pair in rivals),
        _settings(names, settings),
        _pictures(sides),
        _losses(sides),
        curves(_grown(sides, rivals)),
        *(_judged(pair) for pair in rivals),
        footer(f" It may hold pictures of what a model learnt from. {said(*(_data(side) for side in sides))}"),
    )


def _data(side: Side) -> object:
    return side.run.config.get("data")


def _said(pair: Rivals) -> str:
    """What came of it, in a few sentences."""
    by: dict[str, list[str]] = {pair.one: [], pair.other: []}
    unclear, clear = list[str](), list[str]()
    for name, found in pair.compared.items():
        better, title = pair.better(name), _title(name)
        if name not in TESTS:
            (by[better] if better else clear if found.clear else unclear).append(title)
    said = [f"{run} is clearly better by {listed(titles)}." for run, titles in by.items() if titles]
    said += [f"They clearly differ in {listed(clear)}."] if clear else []
    said += [f"By {listed(unclear)} the difference is not clear."] if unclear else []
    refused = [_title(name) for name in pair.refused]
    said += [f"They may not be compared by {listed(refused)}: why is said below."] if refused else []
    return " ".join([f"{pair.one} against {pair.other}.", *said])


def _measures(pair: Rivals) -> Html:
    """Every measure that both were alike in, beside real pictures: drawn, said, and as a table; the others by name."""
    items, rows = [], []
    for name, found in pair.compared.items():
        mine, theirs, real = pair.estimates(name)
        word, better = words(name), pair.better(name)
        answer = f"{better} is better" if better else "a clear difference" if found.clear else "not clear"
        look = "good" if better else "open" if found.clear else "soft"
        if name in TESTS:
            answer, look = "a test each", "soft"
        difference = _signed(found.value, found.low, found.high, word.share)
        by = f", by their {listed(found.between)}" if found.between else ", of one and the same"
        note = f"Difference {difference}{by}."
        asked = wish(name)
        said = tag("div", tag("b", word.title), tag("span", asked) if asked else None, class_="asked")
        drawing = ladder([(pair.one, mine), (pair.other, theirs)], real, word)
        items.append(
            tag("li", said, tag("div", answer, class_=f"answer {look}"), drawing, tag("p", note, class_="note"))
        )
        cells = [tag("td", *_cell(e, name)) if e is not None else tag("td", "–") for e in (mine, theirs, real)]
        rows.append(tag("tr", tag("th", word.title, scope="row"), *cells, tag("td", difference)))
    refused = tag("p", f"Not compared: {pair.why(_title)}.", class_="note") if pair.refused else None
    if not items:
        return section(f"{pair.one} against {pair.other}", refused)
    head = tag("tr", *(tag("th", text, scope="col") for text in ("", pair.one, pair.other, "Real", "Difference")))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="plain numbers")
    return section(
        f"{pair.one} against {pair.other}",
        tag("ol", *items, class_="criteria"),
        tag(
            "p",
            "Upright marks are values, bars 95 % intervals; the line through both is what real pictures score in the "
            "samples’ place, the shade its interval. A difference, the first less the second, is clear where its 95 % "
            "interval leaves out zero. It takes the two for independent: of runs that share their noise, "
            "the difference is known better than it says.",
            class_="note",
        ),
        tag("div", table, class_="wide", tabindex=0),
        refused,
    )


def _cell(found: Estimate, name: str) -> list[object]:
    word = words(name)
    inside = "" if found.low != found.low else f"[{word.number(found.low)}, {word.number(found.high)}]"
    return [word.number(found.value), tag("small", inside.replace(" %,", ","))]


def _signed(value: float, low: float, high: float, share: bool) -> str:
    """A difference with its interval; of shares, in points of per cent."""
    times, unit = (100, " points") if share else (1, "")
    written = [f"{times * v:+.3g}" if v and v == v else "0" if v == 0 else "–" for v in (value, low, high)]
    return f"{written[0]} [{written[1]}, {written[2]}]{unit}"


def _settings(names: Sequence[str], settings: Mapping[str, Sequence[Any]]) -> Html:
    if not settings:
        return section("What differs", tag("p", "The settings are the same."))
    head = tag("tr", tag("th", "", scope="col"), *(tag("th", name, scope="col") for name in names))
    rows = [
        tag("tr", tag("th", tag("code", key), scope="row"), *(tag("td", _short(value)) for value in values))
        for key, values in settings.items()
    ]
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="plain numbers")
    return section("What differs", tag("div", table, class_="wide", tabindex=0))


def _pictures(sides: Sequence[Side]) -> Html | None:
    """The newest sheet of samples of each run, which training wrote from fixed seeds."""
    from mezzotint.cli.tiles import uri

    made = []
    for side in sides:
        if side.result.picture is None:
            continue
        path = Path(side.result.picture)
        caption = tag("figcaption", f"{side.name}, after {int(path.stem):,} images")
        if path.suffix == ".txt":
            made.append(tag("figure", tag("pre", read_bytes(path).decode(errors="replace")[:_WRITTEN]), caption))
            continue
        sheet = files.decode(path, files.channels_of(path, files.MAX_PIXELS), files.MAX_PIXELS)
        alt = f"samples of {side.name}"
        picture = tag("img", src=uri(sheet), alt=alt, width=sheet.shape[1], height=sheet.shape[0])
        made.append(tag("figure", picture, caption))
    if not made:
        return None
    said = (
        "The newest samples of each run. Every run draws it from the same seeds, so what stands in one place is alike."
    )
    return section("What they draw", tag("p", said), tag("div", *made, class_="charts"))


def _losses(sides: Sequence[Side]) -> Html | None:
    """Training loss and loss on held-out pictures against images."""
    made = []
    logs = {side.name: side.run.metrics() for side in sides}
    for title, held_out in (
        ("Loss in training.", False),
        ("Loss of the averaged weights on held-out pictures.", True),
    ):
        lines = []
        for number, (name, rows) in enumerate(logs.items()):
            said = [(row["images"], (row.get("held_out") or {}) if held_out else row) for row in rows]
            points = [(images, row["loss"]) for images, row in said if isinstance(row.get("loss"), int | float)]
            lines.append(Line(name, points, number))
        ends = [x for line in lines for x, _ in line.points]
        if len(ends) < 2:
            continue
        last = "; ".join(f"{line.name}: {line.points[-1][1]:.4g} at last" for line in lines if line.points)
        drawn = chart(lines, "images seen", f"{title} {last}", ticks(ends))
        made += [tag("figure", drawn, tag("figcaption", title))] if drawn is not None else []
    alike = "Losses compare where the data, the process, the weighting and the terms of the loss are the same."
    note = tag("p", alike, class_="note")
    return section("How they learnt", tag("div", *made, class_="charts"), note) if made else None


def _grown(sides: Sequence[Side], rivals: Sequence[Rivals]) -> dict[str, Any]:
    if not rivals:
        return {}
    return {side.name: history(reports(side.run.path), rivals[0].mine) for side in sides}


def _judged(pair: Rivals) -> Html:
    """Which reports were compared, and what they were made with."""
    sides = ((pair.one, pair.mine), (pair.other, pair.theirs))
    said = [part for name, report in sides for part in (tag("dt", name), tag("dd", ", ".join(facts(report))))]
    return section("What was judged", tag("dl", *said, class_="facts"))


def _title(name: str) -> str:
    """A measure inside a sentence."""
    return words(name).title.replace(", ", " in ")


def _short(value: Any) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
