"""The pictures of a report: samples beside real ones, one on its way from noise, and what guidance does."""

from __future__ import annotations

from typing import Any

import torch

from mezzotint.cli.page import Html, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.tiles import COLUMNS, sheet, tiles
from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng
from mezzotint.guidance.contrast import CFG

ROWS = 8
SCALES = (0.0, 1.0, 2.0, 3.0)


def _names(subject: Subject) -> list[Html]:
    classes = subject.classes
    return [sheet([[tag("span", name, title=name) for name in classes]], subject.columns, "names")] if classes else []


def grid(subject: Subject) -> Html:
    """Samples, a column a class, and a row of real pictures to compare them with."""
    data, columns = subject.data, subject.columns
    if subject.labels is None:
        count = min(columns * ROWS, len(subject.samples))
        picks = [list(range(start, min(start + columns, count))) for start in range(0, count, columns)]
    else:
        by_class = [(subject.labels == label).nonzero()[:ROWS, 0].tolist() for label in range(columns)]
        picks = [[column[row] if row < len(column) else -1 for column in by_class] for row in range(ROWS)]
    cells = []
    for row in picks:
        kept = [i for i in row if i >= 0]
        alts = [f"{subject.name(i)}, seed {subject.seeds[i]}" for i in kept]
        made = dict(zip(kept, tiles(subject.samples[kept], alts), strict=True)) if kept else {}
        cells.append([made.get(i) for i in row])
    held = data.held_out()
    source, kind = (held, "held-out") if len(held) else (data, "training")
    labels = source.labels
    real = list(range(min(columns, len(source))))
    if subject.labels is not None and labels is not None:
        real = [int((labels == label).nonzero()[0][0]) if (labels == label).any() else -1 for label in range(columns)]
    kept = [i for i in real if i >= 0]
    alts = [
        f"real {kind} picture" + (f" of {data.classes[int(labels[i])]}" if labels is not None else "") for i in kept
    ]
    theirs = dict(zip(kept, tiles(source[kept][0], alts), strict=True)) if kept else {}
    what = f"one column a class{' (the first ten)' if len(data.classes) > COLUMNS else ''}, " if subject.classes else ""
    return section(
        "What it draws",
        tag(
            "p",
            f"Samples as they came: {what}the first seeds, none chosen by hand, at {subject.guidance}.",
        ),
        tag(
            "figure",
            *_names(subject),
            sheet(cells, columns),
            tag("p", f"Real {kind} pictures, for comparison", class_="row"),
            sheet([[theirs.get(i) for i in real]], columns),
        ),
    )


@torch.no_grad()
def strip(subject: Subject) -> Html | None:
    """Two samples on their way from noise: x_t above, what the model then takes the clean picture to be below."""
    model, labels = subject.model, subject.labels
    process: Any = model.process
    if process.kind != "real":
        return None
    # The first seeds of two classes, a third and two thirds along, or the first two seeds.
    wanted = [len(subject.classes) // 3, 2 * len(subject.classes) // 3]
    places = [0, 1] if labels is None else [int((labels == label).int().argmax()) for label in wanted]
    places = [i for i in dict.fromkeys(places) if i < len(subject.samples)]
    cond = NONE if labels is None else subject.cond(labels[places])
    states = list(subject.sampler.trajectory(model, cond, rng=Rng([subject.seeds[i] for i in places])))
    if len(states) > COLUMNS:
        states = [states[round(k * (len(states) - 1) / (COLUMNS - 1))] for k in range(COLUMNS)]
    prepared = model.prepare(cond).to(model.device)
    levels = [float(process.level(state.t)[0]) for state in states]
    shown, clean = [], []
    for state, level in zip(states, levels, strict=True):
        # Noise is shown at half its strength, so that it is seen and not only clipped to black and white.
        alpha, sigma = process.scales(state.t, state.x)
        shown.append(state.x / (alpha**2 + (2 * sigma) ** 2).sqrt().to(state.x))
        clean.append(model(state.x, state.t, prepared).mean if level > 0 else state.x)
    noise = [f"{100 * level:.0f} %" if level >= 0.01 or level == 0 else f"{100 * level:.1f} %" for level in levels]
    rows: list[list[object]] = [[*noise]]
    for k, i in enumerate(places):
        for what, x in ((f"{subject.name(i)} on its way", shown), (f"clean estimate of a {subject.name(i)}", clean)):
            rows.append([*tiles(torch.stack([one[k] for one in x]), [f"{what}, {part} noise" for part in noise])])
    one = " and ".join(f"a {subject.name(i)} (seed {subject.seeds[i]})" for i in places)
    return section(
        "How it gets there",
        tag(
            "p",
            f"From pure noise to {one}. In each pair of rows, above the picture on its way, below what the model takes "
            "the clean picture to be at that moment: at first the mean of all that is possible, then one of them.",
        ),
        tag(
            "figure",
            sheet(rows[:3], len(states)),
            *(sheet(rows[at : at + 2], len(states), "apart") for at in range(3, len(rows), 2)),
            tag("figcaption", "Above each column, the share of noise u = σ / (α + σ)."),
        ),
    )


def guidance(subject: Subject) -> Html | None:
    """The same seeds at several scales of guidance, where the model can be guided by its classes."""
    if not subject.classes or "label" not in subject.model.nulls:
        return None
    columns = subject.columns
    cond, rng = subject.cond(torch.arange(columns)), Rng(range(columns))
    rows: list[object] = []
    for scale in SCALES:
        x = subject.sampler(CFG(subject.model, scale), cond, rng=rng)
        alts = [f"sample of {name}, seed {k}, guidance scale {scale:g}" for k, name in enumerate(subject.classes)]
        plain = {0.0: " – without the class", 1.0: " – the plain model"}.get(scale, "")
        rows += [tag("p", f"Scale {scale:g}{plain}", class_="row"), sheet([tiles(x, alts)], columns)]
    return section(
        "What guidance does",
        tag(
            "p",
            "The same noise in every row. Guidance above 1 pushes samples away from what the model would draw without "
            "being told the class: clearer, and less varied. The numbers on this page are of samples at scale "
            f"{subject.scale:g}.",
        ),
        tag("figure", *_names(subject), *rows),
    )
