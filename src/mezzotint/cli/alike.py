"""Several samples of one layout, beside it and beside the one real picture of it."""

from __future__ import annotations

from mezzotint.cli.maps import maps
from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.tiles import sheet, tiles

LAYOUTS, SAMPLES = 6, 5


def alike(subject: Subject) -> Html | None:
    """A row a layout: the layout, several samples of it, the real picture; None where none were drawn."""
    if subject.alike is None:
        return None
    pictures, rows = subject.alike
    step = max(1, len(rows) // LAYOUTS)
    chosen = list(range(0, len(rows), step))[:LAYOUTS]
    at = [int(rows[i]) for i in chosen]
    drawn = maps(subject.told[at], (pictures.shape[-2], pictures.shape[-1])).get("layout")
    if drawn is None:
        return None
    asked = tiles(drawn, [f"layout {n + 1}" for n in range(len(at))])
    source = subject.data if subject.asked_of is None else subject.asked_of
    real = None
    if subject.origins is not None:
        real = tiles(
            source[[subject.origins[row] for row in at]][0],
            [f"the real picture of layout {n + 1}" for n in range(len(at))],
        )
    cells = []
    for n, i in enumerate(chosen):
        some = pictures[i, :SAMPLES]
        made = tiles(some, [f"sample {k + 1} of layout {n + 1}" for k in range(len(some))])
        cells.append([asked[n], *made, *([] if real is None else [real[n]])])
    width = len(cells[0])
    heads = ["Layout", "Samples", *[""] * (min(SAMPLES, pictures.shape[1]) - 1), *([] if real is None else ["Real"])]
    return section(
        "What a layout leaves open",
        tag(
            "p",
            f"Several samples of one layout, none chosen by hand: {len(chosen)} of {len(rows)} layouts and "
            f"{min(SAMPLES, pictures.shape[1])} of {pictures.shape[1]} samples of each. Where they are alike, the "
            "model paints one picture a layout.",
        ),
        tag("figure", sheet([[tag("small", text) for text in heads], *cells], width)),
    )
