"""Is it copying? Samples beside the training pictures that are nearest to them, with the distances."""

from __future__ import annotations

from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.tiles import COLUMNS, SMALL, sheet, tiles
from mezzotint.metrics.neighbours import neighbours
from mezzotint.metrics.pictures import subset
from mezzotint.metrics.report import TRAIN_LIMIT

NEAREST = 3
_LARGE = 5  # columns of pictures that are more than thumbnails


def copies(subject: Subject) -> Html:
    """Ten samples, from the nearest of all to the farthest, each above its nearest training pictures."""
    data, samples = subject.data, subject.samples.detach().float().cpu().clamp(-1, 1)
    apart, found = neighbours(samples, data, NEAREST, limit=TRAIN_LIMIT)
    order = apart[:, 0].argsort(kind="stable")
    ranks = dict.fromkeys(round(k * (len(order) - 1) / (COLUMNS - 1)) for k in range(COLUMNS))
    rows = [int(order[rank]) for rank in ranks]
    columns = COLUMNS if max(samples.shape[-2:]) < SMALL else _LARGE
    parts = []
    for start in range(0, len(rows), columns):
        some = rows[start : start + columns]
        above = tiles(samples[some], [f"{subject.name(i)}, seed {subject.seeds[i]}" for i in some])
        lines: list[list[object]] = [[*above]]
        for k in range(found.shape[1]):
            which = "its nearest" if k == 0 else f"its {('second', 'third')[k - 1]} nearest"
            alts = [f"{which} training picture, {apart[i, k]:.2f} away" for i in some]
            titles = [f"{alt} (row {found[i, k]})" for alt, i in zip(alts, some, strict=True)]
            lines.append([*tiles(data[found[some, k]][0], alts, titles)])
            lines.append([f"{apart[i, k]:.2f}" for i in some])
        parts.append(sheet(lines[:1], columns, "" if start == 0 else "apart"))
        parts.append(sheet(lines[1:], columns))
    count = len(subset(len(data), TRAIN_LIMIT))
    return section(
        "Is it copying?",
        tag(
            "p",
            f"In the first row samples, below each the {found.shape[1]} nearest of {count:,} training pictures, and "
            f"how far away each is in pixels. The columns are chosen by rank: first the nearest of all "
            f"{len(samples):,} samples, last the farthest, the others at even steps between.{_usual(subject, apart)}",
        ),
        tag("figure", *parts),
    )


def _usual(subject: Subject, apart: object) -> str:
    """How far new pictures lie from the training pictures, where some were held out."""
    import numpy as np

    held = subject.data.held_out()
    if len(held) < 2:
        return ""
    few = held[subset(len(held), 1000)][0]
    fresh = neighbours(few, subject.data, limit=TRAIN_LIMIT)[0].mean()
    mean = float(np.asarray(apart)[:, 0].mean())
    return (
        f" On average a new, held-out picture lies {fresh:.2f} from its nearest training picture; a sample, {mean:.2f}."
    )
