"""What was asked for beside what came of it: maps, masks, pictures, points and words, above each sample.

Below each sample stands the real picture of which that was told, so that what the model added of its own is seen.
"""

from __future__ import annotations

from mezzotint.cli.console import printable
from mezzotint.cli.maps import legend, maps
from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.tiles import sheet, tiles
from mezzotint.core.condition import Condition, family
from mezzotint.core.text import spoken
from mezzotint.data.data import Data

COLUMNS, MOST = 6, 12
_LONGEST = 160


def beside(subject: Subject) -> Html | None:
    """The first samples with what each was asked to show; None where nobody was asked more than a class."""
    if not set(subject.told.families) - {"label"}:
        return None
    count = min(MOST, len(subject.samples))
    cond = subject.told[list(range(count))]
    drawn, said = maps(cond, (subject.samples.shape[-2], subject.samples.shape[-1])), texts(cond, subject.data)
    source = subject.data if subject.asked_of is None else subject.asked_of
    real = None if subject.origins is None else source[list(subject.origins[:count])][0]
    parts: list[object] = []
    for start in range(0, count, COLUMNS):
        rows = range(start, min(start + COLUMNS, count))
        for name, x in drawn.items():
            kept = cond.kept(family(name)).tolist()
            made = tiles(x[list(rows)], [f"{name} that sample {i} was asked to show" for i in rows])
            cells = [one if kept[i] else tag("small", "not told") for one, i in zip(made, rows, strict=True)]
            parts += [tag("p", f"Asked for: {name}", class_="row"), sheet([cells], COLUMNS)]
        came = tiles(subject.samples[list(rows)], [f"{subject.name(i)} {i}" for i in rows])
        parts += [tag("p", "Drawn", class_="row"), sheet([came], COLUMNS)]
        if real is not None:
            alts = [f"the real picture of which that was told to sample {i}" for i in rows]
            parts += [tag("p", "The real picture of which that is told", class_="row")]
            parts += [sheet([tiles(real[list(rows)], alts)], COLUMNS)]
        if any(said):
            parts.append(sheet([[said[i] for i in rows]], COLUMNS, "words"))
    layouts = [value for name, value in cond.values.items() if name == "layout" and value.ndim == 3]
    return section(
        "What was asked for, and what came",
        tag("p", f"The first {count} samples, none chosen by hand, each in the column of what it was asked to show."),
        tag("figure", *parts, _swatches(legend(layouts[0]), subject.data) if layouts else None),
    )


def texts(cond: Condition, data: Data) -> list[str]:
    """What is told in words and numbers of each row, such as "star · a red star"."""
    rows: list[list[str]] = [[] for _ in range(len(cond))]
    for name, value in cond.values.items():
        kept = cond.kept(family(name)).tolist()
        if name == "caption":
            words = [text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in spoken(value)]
        elif name == "label" and value.ndim == 1:
            words = [data.classes[k] if k < len(data.classes) else str(k) for k in value.tolist()]
        elif value.ndim == 1:
            words = [f"{name.partition('.')[2] or name} {number:g}" for number in value.tolist()]
        else:
            continue
        for row, text in enumerate(words):
            rows[row] += [printable(text)] if kept[row] else []
    return [" · ".join(row) for row in rows]


def _swatches(classes: list[tuple[int, str]], data: Data) -> Html:
    """Which colour is which thing of a map, by name where the data have names."""
    names = tuple(getattr(data, "things", ()))
    cells = []
    for number, colour in classes:
        name = "unsaid" if number == 255 else printable(names[number]) if number < len(names) else number
        cells.append(tag("span", tag("i", style=f"background:{colour}"), name))
    return tag("p", "Things of the map: ", *cells, class_="swatches")
