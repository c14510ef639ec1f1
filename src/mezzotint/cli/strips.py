"""Samples class by class: a strip of each, beside real pictures that the model never saw."""

from __future__ import annotations

from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.tiles import sheet, tiles

DRAWN, REAL = 7, 3
OPEN, MOST = 12, 60


def strips(subject: Subject) -> Html | None:
    """A strip a class, the first twelve in sight and the next behind a word; None without classes."""
    if subject.labels is None:
        return None
    held = subject.data.held_out()
    source, kind = (held, "held out") if len(held) else (subject.data, "of the training set")
    known = source.labels
    made = []
    for label, name in enumerate(subject.data.classes):
        mine = (subject.labels == label).nonzero()[:DRAWN, 0].tolist()
        theirs = [] if known is None else (known == label).nonzero()[0][:REAL].tolist()
        if not mine:
            continue
        drawn = tiles(subject.samples[mine], [f"sample {i} of {name}" for i in mine])
        real = tiles(source[theirs][0], [f"real picture of {name}"] * len(theirs)) if theirs else []
        beside = tag("div", sheet([drawn], DRAWN), sheet([real], REAL), class_="pair")
        made.append(tag("div", tag("p", name, class_="row"), beside))
    if not made:
        return None
    over = len(made) - MOST
    return section(
        "What it draws, class by class",
        tag(
            "p",
            f"On the left the first samples of each class, none chosen by hand, at {subject.guidance}; on the right "
            f"real pictures, {kind}.",
        ),
        tag("figure", *made[:OPEN]),
        tag("details", tag("summary", f"{len(made) - OPEN} more classes"), *made[OPEN:MOST]) if made[OPEN:] else None,
        tag("p", f"{over} further classes are not shown.", class_="note") if over > 0 else None,
    )
