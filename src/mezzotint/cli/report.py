"""The report: one self-contained page that shows what a model makes, how it was judged, and how to go on.

It works for any data: pictures of any size and number of channels, with classes or without. What cannot be shown (no
classes, no held-out pictures, no log) is left out, and nothing on the page is fetched from anywhere.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mezzotint.cli import shown
from mezzotint.cli.chart import Line, chart
from mezzotint.cli.copies import copies
from mezzotint.cli.page import Html, document, join, section, tag
from mezzotint.cli.subject import Subject
from mezzotint.cli.things import THING
from mezzotint.cli.words import Words, headline, need, spell, verdict, wish, words
from mezzotint.core import config
from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.store import MANIFEST
from mezzotint.data.licence import said
from mezzotint.metrics.estimate import Estimate
from mezzotint.training.run import Run


def render(subject: Subject, title: str | None = None) -> str:
    """The page about a subject, as HTML that needs nothing beside it."""
    title = title or f"{len(subject.samples):,} pictures, drawn from noise"
    return document(
        f"{title} – mezzotint",
        top(subject, title),
        shown.grid(subject),
        shown.strip(subject),
        shown.guidance(subject),
        curves(subject),
        numbers(subject),
        copies(subject),
        how(subject),
        onwards(subject),
        footer(f" {said(subject.run.config.get('data'))}"),
    )


def footer(more: str = "") -> Html:
    """The last line of a page."""
    return tag(
        "footer", tag("p", f"Written by mezzotint. This page is one file and loads nothing.{more}", class_="note")
    )


def top(subject: Subject, title: str, eyebrow: str = "mezzotint report") -> Html:
    """Title, verdict, and the measures at a glance."""
    report, bars = subject.report, subject.bars
    line = tag("strong", headline(report, bars)) if bars else None
    cells = []
    for name, found in report.measures.items():
        bar = bars.get(name)
        if (bars and bar is None) or name.startswith(THING):
            continue
        value = words(name).number(found.value)
        if name in report.ratios:
            value = f"{report.ratios[name]:.2f} × real"
        mark: object = None
        if bar is not None:
            held = bar.holds(report)
            mark = tag(
                "span", f"{'✓' if held else '✗'} {need(bar).removesuffix(' × real')}", class_="good" if held else "bad"
            )
        cells.append(tag("li", tag("b", value), words(name).title, mark))
    return tag(
        "header",
        tag("p", eyebrow, class_="eyebrow"),
        tag("h1", title),
        tag("p", join([line, " " if line else None, verdict(report)]), class_="lede"),
        tag("ul", *cells, class_="tally"),
    )


def _pooled(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float, float]]:
    """(middle of the bin in per cent, error, trivial error) over log rows, weighted by their counts."""
    sums: dict[float, list[float]] = {}
    for row in rows:
        for entry in row.get("levels") or ():
            total = sums.setdefault(50 * (entry["low"] + entry["high"]), [0.0, 0.0, 0.0])
            for k, value in enumerate((1.0, entry["error"], entry["trivial"])):
                total[k] += entry["count"] * value
    return [(at, error / count, trivial / count) for at, (count, error, trivial) in sorted(sums.items()) if count]


def curves(subject: Subject) -> Html | None:
    """The error by noise level beside the predictor that knows nothing, and the loss over time."""
    logged = [row for row in subject.rows if "loss" in row]
    checks = [row for row in subject.rows if row.get("held_out")]
    if not logged:
        return None
    late = [row for row in logged if row["images"] > 0.75 * logged[-1]["images"]] or logged[-1:]
    bins = _pooled(late)
    fresh = _pooled([checks[-1]["held_out"]]) if checks else []
    levels = chart(
        [
            Line("knows only the spread", [(at, trivial) for at, _, trivial in bins], "other"),
            Line("model", [(at, error) for at, error, _ in bins], "model"),
            Line("on held-out", [(at, error) for at, error, _ in fresh], "dots"),
        ],
        "share of noise",
        "Error of the clean estimate by noise level: "
        + "; ".join(f"{at:.0f} % noise, model {error:.3g}, trivial {trivial:.3g}" for at, error, trivial in bins),
        [(0, "0"), (25, "25 %"), (50, "50 %"), (75, "75 %"), (100, "100 %")],
        shade=True,
    )
    end = logged[-1]["images"]
    curve = chart(
        [
            Line("loss", [(row["images"], row["loss"]) for row in logged], "model"),
            Line("on held-out", [(row["images"], row["held_out"]["loss"]) for row in checks], "dots"),
        ],
        "images seen",
        f"Training loss from {logged[0]['loss']:.3g} to {logged[-1]['loss']:.3g} over {end:,} images.",
        [(0, "0"), *((end * k / 4, short(end * k / 4)) for k in (1, 2, 3, 4))],
    )
    figures = [
        tag(
            "figure",
            levels,
            tag(
                "figcaption",
                "Squared error of the clean estimate, per entry, over the last quarter of training, beside the best "
                "guess that knows only how much pixels vary. The shaded band is what was learnt; where it closes, "
                "nothing was. Points: the averaged weights on held-out pictures.",
            ),
        )
        if levels
        else None,
        tag(
            "figure",
            curve,
            tag(
                "figcaption",
                "The loss over time, weighted as it is trained. Points: the averaged weights on held-out pictures. "
                "Where they rise while the line falls, the model has begun to learn its pictures by heart.",
            ),
        )
        if curve
        else None,
    ]
    return section("What it learnt, by noise level", tag("div", *figures, class_="charts"))


def short(count: float) -> str:
    """A count of images in a few letters: ``250k``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def numbers(subject: Subject) -> Html:
    """Every measure with its interval, its counts, what it means and when not to trust it."""
    report, ratios, bodies = subject.report, subject.report.ratios, []
    for name, found in report.measures.items():
        if name.startswith(THING):
            continue  # in a table of their own
        word, bar, real = words(name), subject.bars.get(name), report.real.get(name)
        counts = f"of {found.count:,}" + (f", by {found.against:,}" if found.against else "")
        cell: object = "–" if subject.bars else None
        if bar is not None:
            held = bar.holds(report)
            mark = tag("span", "holds" if held else "does not hold", class_="good" if held else "bad")
            cell = join([mark, tag("small", need(bar))])
        times = f"is {ratios[name]:.2f} × real" if name in ratios else None
        cells = [
            tag("td", word.title, _small(wish(name))),
            tag("td", word.number(found.value), _small(_interval(found, word)), _small(counts)),
            tag("td", word.number(real.value), _small(_interval(real, word))) if real else tag("td", "–"),
            tag("td", cell, _small(times)),
        ]
        about = tag("td", f"{word.means} ", tag("em", "Mind: "), word.doubt, colspan=4)
        bodies.append(tag("tbody", tag("tr", *cells), tag("tr", about, class_="about") if word.means else None))
    columns = ("Measure", "Samples", "Real", "Bar" if subject.bars else "")
    head = tag("thead", tag("tr", *(tag("th", text, scope="col") for text in columns)))
    return section(
        "The numbers",
        tag(
            "p",
            "Each number stands beside what real pictures score in the samples’ place, from as many pictures and "
            "against the same held-out ones. In brackets, 95 % intervals; below, of how many pictures, and by how many "
            "others they were judged.",
        ),
        tag("table", head, *bodies),
    )


def _small(text: str | None) -> Html | None:
    return tag("small", text) if text else None


def _interval(found: Estimate, word: Words) -> str | None:
    """The 95 % interval as it is written, where it was computed."""
    if found.low != found.low:
        return None
    return f"[{word.number(found.low)}, {word.number(found.high)}]".replace(" %,", ",")


def how(subject: Subject) -> Html:
    """What was run, so that it can be run again."""
    run, report, tree = subject.run, subject.report, subject.run.config
    training, sampler = tree.get("training", {}), subject.sampler
    parameters = sum(p.numel() for p in subject.model.parameters())
    environment = _read(run, "environment.json")
    manifest = _read(run, f"model/{MANIFEST}").get("files", {}).get("model.safetensors", {})
    versions = environment.get("packages", {})
    extractor, segmenter = report.extractor or {}, report.segmenter or {}
    size = " × ".join(map(str, reversed(subject.data.shape[1:])))
    threads = environment.get("threads")
    machine = [
        f"Python {environment.get('python')}",
        environment.get("platform"),
        f"{threads} thread{'' if threads == 1 else 's'}",
        environment.get("accelerator"),
        *(f"{name} {version}" for name, version in versions.items() if version),
    ]
    facts: list[tuple[str, object]] = [
        (
            "Data",
            f"{type(subject.data).__name__}: {report.counts['train']:,} training pictures of {size} pixels, "
            f"{report.counts['held_out']:,} held out, {spell(len(subject.data.classes))} classes",
        ),
        ("Model", f"{parameters:,} parameters; process {type(subject.model.process).__name__}"),
        (
            "Training",
            f"{config.count(training['images']):,} images in batches of {training.get('batch')}, "
            f"seed {training.get('seed', 0)}"
            if "images" in training
            else None,
        ),
        (
            "Sampling",
            f"{len(subject.samples):,} samples, {type(sampler).__name__} in {sampler.steps} steps, {subject.guidance}",
        ),
        ("Time", ", ".join(f"{name} {spent:.1f} s" for name, spent in subject.seconds.items()) or None),
        ("Ran on", ", ".join(part for part in machine if part) if environment else None),
        ("Run folder", tag("code", str(run.path))),
        ("Weights", tag("code", f"sha256 {manifest['sha256']}") if "sha256" in manifest else None),
        ("Training set", tag("code", f"sha256 {report.counts['train_sha256']}")),
        ("Extractor", tag("code", f"sha256 {extractor['sha256']}") if "sha256" in extractor else None),
        ("Segmenter", tag("code", f"sha256 {segmenter['sha256']}") if segmenter else None),
    ]
    listed = [part for name, value in facts if value is not None for part in (tag("dt", name), tag("dd", value))]
    written = tag("details", tag("summary", "The whole config (config.yaml)"), tag("pre", config.dumps(tree)))
    return section("What was run", tag("dl", *listed, class_="facts"), written)


def _read(run: Run, name: str) -> dict[str, Any]:
    """A JSON file of the run, or nothing where it is missing."""
    path = run.path / name
    try:
        found = read_json(path)
    except Refusal:
        return {}
    return found if isinstance(found, dict) else {}


def commands(subject: Subject) -> list[tuple[str, str]]:
    """What to do next: a sentence and the command line for it."""
    where = shlex.quote(str(subject.run.path))
    few = len(subject.data.classes)
    label = f" --label {min(3, few - 1)}" if subject.classes else ""
    scale = " --guidance 2" if label and "label" in subject.model.nulls else ""
    more = shlex.quote(str(subject.run.path.parent / "more.png"))
    draw = f"mezzotint sample {where}{label} --seeds 0-63{scale} --out {more}"
    return [
        (f"Draw {'one class' if label else 'more'}{', with guidance' if scale else ''}:", draw),
        ("Repeat a picture from the settings inside it:", f"mezzotint sample --like {more} --out again.png"),
        ("Judge the run again:", f"mezzotint evaluate {where}"),
        ("Look at what it is made of:", f"mezzotint show {where}"),
        (
            "Train on your own pictures, one folder a class:",
            "mezzotint train path/to/pictures --size 32 --out runs/mine",
        ),
    ]


def onwards(subject: Subject) -> Html:
    """What to do next."""
    steps = [part for says, line in commands(subject) for part in (tag("p", says, class_="step"), tag("pre", line))]
    return section("Go on from here", *steps)
