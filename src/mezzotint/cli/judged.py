"""The page of an evaluation: what a run draws beside what it was asked for, and what that is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mezzotint.cli import shown
from mezzotint.cli.alike import alike
from mezzotint.cli.beside import beside
from mezzotint.cli.copies import copies
from mezzotint.cli.history import curves as grown
from mezzotint.cli.history import history
from mezzotint.cli.page import document
from mezzotint.cli.report import curves, footer, how, numbers, onwards, top
from mezzotint.cli.strips import strips
from mezzotint.cli.subject import Subject
from mezzotint.cli.things import things
from mezzotint.data.licence import said


def judged(subject: Subject, report: Mapping[str, Any], others: Iterable[Mapping[str, Any]] = ()) -> str:
    """The page about an evaluation, as HTML that needs nothing beside it.

    Arguments:
        subject: what was judged, and its pictures.
        report: as :mod:`mezzotint.cli.evaluate` writes it.
        others: reports of the same run, the newest first, for curves of its checkpoints.
    """
    images = report["model"]["images"]
    after = f" after {images:,} images" if isinstance(images, int) else ""
    name = subject.run.path.resolve().name
    return document(
        f"{name}: {len(subject.samples):,} samples – mezzotint",
        top(subject, f"{name}{after}, judged by {len(subject.samples):,} samples", "mezzotint evaluate"),
        beside(subject),
        alike(subject),
        strips(subject) or shown.grid(subject),
        numbers(subject),
        things(subject.report),
        grown({name: history([report, *others], report)}),
        copies(subject),
        curves(subject),
        how(subject),
        onwards(subject),
        footer(f" It holds pictures of the training set. {said(subject.run.config.get('data'))}"),
    )
