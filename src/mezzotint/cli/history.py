"""A measure against the images a model had seen: one curve from the reports of one run's checkpoints.

Only what was measured alike is on one curve: with the same ruler, of samples drawn alike. What may differ between two
of its points are the weights, as :func:`mezzotint.metrics.unlike` has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mezzotint.cli.chart import Line, axis, chart
from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.report import short
from mezzotint.cli.words import wish, words
from mezzotint.core.errors import Refusal
from mezzotint.metrics import Record, records, unlike
from mezzotint.metrics.record import estimate_of


@dataclass(frozen=True)
class Point:
    """One report on a curve.

    Arguments:
        images: that the model had seen.
        record: of the samples.
        real: what real pictures score in their place, or None.
    """

    images: int
    record: Record
    real: float | None


def history(documents: Iterable[Mapping[str, Any]], like: Mapping[str, Any]) -> dict[str, list[Point]]:
    """The curve of every measure of a report, by its name, where two checkpoints at least were measured alike.

    Arguments:
        documents: reports of one run, the newest first; those that do not say the images are left out.
        like: one of them, or of another run.
    """
    wanted, found = records(like), dict[str, dict[int, Point]]()
    for document in documents:
        images = (document.get("model") or {}).get("images")
        if not isinstance(images, int):
            continue
        try:
            here = records(document)
        except Refusal:
            continue
        for name, record in here.items():
            if name in wanted and set(unlike(record, wanted[name])) <= {"weights"}:
                real = document["measures"][name].get("real")
                at = Point(images, record, estimate_of(real).value if isinstance(real, Mapping) else None)
                found.setdefault(name, {}).setdefault(images, at)
    return {
        name: sorted(points.values(), key=lambda point: point.images)
        for name, points in found.items()
        if len(points) > 1
    }


def curves(runs: Mapping[str, Mapping[str, Sequence[Point]]]) -> Html | None:
    """A chart a measure, a line a run: value and 95 % interval against images, real pictures as a dashed line.

    Arguments:
        runs: of each run by its name, what :func:`history` found.
    """
    names = dict.fromkeys(name for found in runs.values() for name in found)
    drawn = [made for name in names if (made := _chart(name, runs)) is not None]
    if not drawn:
        return None
    return section(
        "How it grew",
        tag(
            "p",
            "Every measure against the images that the model had seen, of checkpoints that were measured alike: with "
            "the same reference, extractor and count, of samples drawn in the same way from the same noise. Upright "
            "lines are 95 % intervals.",
        ),
        tag("div", *drawn, class_="charts"),
    )


def _chart(name: str, runs: Mapping[str, Mapping[str, Sequence[Point]]]) -> Html | None:
    lines, real, said = list[Line](), dict[int, float](), list[str]()
    word = words(name)
    for number, (run, found) in enumerate(runs.items()):
        points = found.get(name, ())
        if not points:
            continue
        values = [(p.images, p.record.estimate) for p in points]
        spans = [(images, e.low, e.high) for images, e in values]
        lines.append(Line(run, [(images, e.value) for images, e in values], number, spans))
        real |= {p.images: p.real for p in points if p.real is not None}
        said.append(f"{run}: " + ", ".join(f"{word.number(e.value)} at {images:,}" for images, e in values))
    level = [Line("real pictures", sorted(real.items()), "other")] if real else []
    ends = [y for line in (*lines, *level) for _, y in line.points]
    if not any(ends):
        return None
    drawn = chart(
        [*level, *lines],
        "images seen",
        f"{word.title}. {'; '.join(said)}",
        ticks([x for line in lines for x, _ in line.points]),
        signed=word.share or min(ends) <= 0,  # shares on a linear axis
    )
    note = f"{word.title}{f': {wish(name)}' if wish(name) else ''}."
    return None if drawn is None else tag("figure", drawn, tag("figcaption", note))


def ticks(images: Sequence[float]) -> list[tuple[float, str]]:
    """Marks from nothing to the last of these counts of images."""
    marks, _ = axis([0, max(images)])
    return [(at, short(at)) for at, _ in marks]
