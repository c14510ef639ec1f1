"""What is known of a run without building it: how far it is, its losses, its newest evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.training.run import Run

REPORTS = "reports"


@dataclass(frozen=True)
class Result:
    """A run in numbers; None where there is nothing yet.

    Arguments:
        images: seen at the last line of the log.
        total: that its config asks for.
        loss: mean training loss at the last log line.
        held_out: the loss on pictures it never saw, at the last checkpoint.
        levels: error by noise level, held out where there are such pictures.
        levels_of: which pictures ``levels`` are about, ``held_out`` or ``train``.
        evaluation: the newest report, as :mod:`mezzotint.cli.evaluate` writes it.
        skipped: steps that were not finite.
        waiting: the share of its time that the loop waited for data, the median over log lines without the first, which
            holds the start of the workers.
        picture: the newest sample grid, or file of texts.
        changed: when the log was last written, in seconds since 1970.
    """

    images: int
    total: int | None
    loss: float | None
    held_out: float | None
    levels: list[dict[str, Any]]
    levels_of: str
    evaluation: dict[str, Any] | None
    skipped: int
    waiting: float | None
    picture: str | None
    changed: float

    @classmethod
    def read(cls, run: Run) -> Result:
        """Read a run folder."""
        rows = run.metrics()
        losses = [row for row in rows if isinstance(row.get("loss"), int | float)]
        held = [row["held_out"] for row in rows if isinstance(row.get("held_out"), dict)]
        last = losses[-1] if losses else {}
        log = run.path / "metrics.jsonl"
        grids = sorted(file for file in (run.path / "samples").glob("[0-9]*") if file.suffix in (".png", ".txt"))
        return cls(
            images=max((int(row.get("images", 0)) for row in rows), default=0),
            total=_total(run),
            loss=last.get("loss"),
            held_out=held[-1]["loss"] if held else None,
            levels=(held[-1] if held else last).get("levels", []),
            levels_of="held_out" if held else "train",
            evaluation=evaluation(run.path),
            skipped=int(last.get("skipped", 0)),
            waiting=_waiting(rows),
            picture=str(grids[-1]) if grids else None,
            changed=(log if log.is_file() else run.path / "config.yaml").stat().st_mtime,
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def measure(self, name: str) -> float | None:
        """A measure of the newest evaluation."""
        found = (self.evaluation or {}).get("measures", {}).get(name)
        return found.get("value") if isinstance(found, dict) else None


def _waiting(rows: list[dict[str, Any]]) -> float | None:
    shares = [float(row["waiting"]) for row in rows if isinstance(row.get("waiting"), int | float)]
    return median(shares[1:] or shares) if shares else None


def _total(run: Run) -> int | None:
    from mezzotint.core.config import count

    try:
        return count(run.config["training"]["images"])
    except (Refusal, KeyError, TypeError):
        return None


def reports(path: Path) -> Iterator[dict[str, Any]]:
    """The reports in a run folder that can be read, the newest first."""
    files = sorted((path / REPORTS).glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        try:
            found = read_json(file)
        except Refusal:
            continue
        if isinstance(found, dict) and isinstance(found.get("measures"), dict):
            yield found


def evaluation(path: Path) -> dict[str, Any] | None:
    """The newest of them."""
    return next(reports(path), None)
