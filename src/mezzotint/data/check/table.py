"""A table beside the pictures: which files it names, and which of them are there.

What its columns mean is guessed here, for :class:`~mezzotint.data.table.Table` guesses nothing: a column is one of
files where its first values are all called like pictures; ``file_name``, or else the first such column, names the
pictures, the others what goes with them. Columns that are called as labels and captions are
(:mod:`~mezzotint.data.called`), and ``split``, are what they are called.
Paths are relative to the table; those that lead out of its folder are named and never opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from mezzotint.core.errors import Refusal
from mezzotint.data.called import CAPTIONS, LABELS, called
from mezzotint.data.check.files import Notes
from mezzotint.data.columns import held_out
from mezzotint.data.picture import ENDINGS
from mezzotint.data.records import is_missing
from mezzotint.data.table import rows_of

PICTURE = "file_name"
KNOWN = {"label": LABELS, "caption": CAPTIONS, "split_by": ("split",)}
"""Columns that mean what they are called, by the field of :class:`~mezzotint.data.table.Table` that declares them."""
_ASKED = 100  # rows from which it is told which columns are of files
Row = dict[str, Any]


class Told:
    """What a table says of the files beside it.

    Arguments:
        path: of the table.
        notes: where to say what is wrong with it.
    """

    def __init__(self, path: Path, notes: Notes) -> None:
        self.path, self.notes = path, notes
        self.labels: dict[str, str] = {}
        """By the path of a picture inside the folder, its label, or ``""``."""
        self.splits: dict[str, bool] = {}
        """By the same path, whether the table holds it out; {} where it does not say."""
        self.others: set[str] = set()
        """Files that go with a picture."""
        self.columns: dict[str, str] = {}
        """Which column is what, by the field of :class:`~mezzotint.data.table.Table` that declares it."""
        self._whole = path.parent.resolve()
        try:
            self._read()
        except Refusal as refusal:
            notes.add("table broken", path.name, str(refusal))

    def _read(self) -> None:
        rows = self._rows()
        first = list(islice(rows, _ASKED))
        files = _of_files([row for _, row in first])
        if not files:
            self.notes.add("table broken", self.path.name, "no column of it names pictures")
            return
        said = {key for _, row in first for key in row}
        self.columns = {"picture": files[0]}
        for field, known in KNOWN.items():
            found = called(said, known)
            if len(found) == 1:
                self.columns[field] = found[0]
            elif found:
                self.notes.add("column unclear", self.path.name, f"{' and '.join(found)}: which is the {field}")
        for number, row in chain(first, rows):
            self._row(number, row, files)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        for number, row in rows_of(self.path, ()):
            if isinstance(row, Refusal):
                self.notes.add("table broken", self.path.name, str(row))
            else:
                yield number, row

    def _row(self, number: int, row: Row, files: list[str]) -> None:
        for place, column in enumerate(files):
            given = row.get(column)
            if not isinstance(given, str) or not given:
                if place == 0:
                    self.notes.add("table broken", self.path.name, f"row {number} names no picture")
                continue
            name = self._inside(given)
            if name is None:
                continue
            if place:
                self.others.add(name)
            elif name in self.labels:
                self.notes.add("table twice", name)
            else:
                label = row.get(self.columns.get("label", ""))
                self.labels[name] = "" if is_missing(label) else str(label)
                if "split_by" in self.columns:
                    out, wrong = held_out([row.get(self.columns["split_by"])], self.columns["split_by"])
                    self.splits[name] = bool(out[0])
                    for why in wrong.values():
                        self.notes.add("table broken", self.path.name, f"row {number}: {why}")

    def _inside(self, given: str) -> str | None:
        """The path of a file inside the folder; None of one that is not there, or that leads out."""
        where = f"named by {self.path.name}"
        try:
            path = Path(os.path.normpath(self.path.parent / given))
            if os.path.isabs(given) or not path.resolve().is_relative_to(self._whole):
                self.notes.add("table outside", given, where)
                return None
            if not path.is_file():
                self.notes.add("table missing", given, where)
                return None
        except (OSError, ValueError, RuntimeError):  # too long, a loop, or not a name that this disk knows
            self.notes.add("table missing", given[:200], where)
            return None
        return path.relative_to(os.path.normpath(self.path.parent)).as_posix()


def _of_files(rows: list[Row]) -> list[str]:
    """The columns of which every value that is there is called like a picture, the one of the pictures first."""
    keys = dict.fromkeys(key for row in rows for key in row)
    found = []
    for key in keys:
        values = [row[key] for row in rows if not is_missing(row.get(key))]
        if values and all(isinstance(v, str) and v.lower().endswith(ENDINGS) and "\n" not in v for v in values):
            found.append(key)
    return [PICTURE, *(key for key in found if key != PICTURE)] if PICTURE in keys else found
