"""Tables beside the pictures: ``metadata.jsonl`` or ``metadata.csv``, a row a picture, read a line at a time.

A column is one of files where its first values are all called like pictures; the first such column, or ``file_name``,
names the pictures, the others what goes with them: maps, masks, more pictures. Paths are relative to the table; those
that lead out of its folder are named and never opened.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mezzotint.core.bounded import parse_json
from mezzotint.core.errors import Refusal
from mezzotint.data.check.files import Notes
from mezzotint.data.picture import ENDINGS

NAME = "file_name"
LABEL = "label"
_LINE = 2**20
"""The longest line that is read, in bytes."""
_ASKED = 100  # rows from which it is told which columns are of files
Row = dict[str, Any]


class Table:
    """What a table says of the files beside it.

    Arguments:
        path: of the table.
        notes: where to say what is wrong with it.
    """

    def __init__(self, path: Path, notes: Notes) -> None:
        self.path, self.notes = path, notes
        self.labels: dict[str, str] = {}
        """By the path of a picture inside the folder, its label, or ``""``."""
        self.others: set[str] = set()
        """Files that go with a picture."""
        self._whole = path.parent.resolve()
        try:
            self._read()
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            notes.add("table broken", path.name, str(error).partition("\n")[0])

    def _read(self) -> None:
        first: list[Row] = []
        columns: list[str] | None = None
        for number, row in self._rows():
            if columns is None:
                first.append(row)
                if len(first) < _ASKED:
                    continue
                columns = _of_files(first)
                for place, early in enumerate(first):
                    self._row(place + 1, early, columns)
            else:
                self._row(number, row, columns)
        if columns is None:
            columns = _of_files(first)
            for place, early in enumerate(first):
                self._row(place + 1, early, columns)
        if not columns:
            self.notes.add("table broken", self.path.name, "no column of it names pictures")

    def _rows(self) -> Iterator[tuple[int, Row]]:
        if self.path.suffix == ".csv":
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                for number, row in enumerate(csv.DictReader(file)):
                    yield number + 1, {key: value for key, value in row.items() if isinstance(key, str)}
            return
        with self.path.open("rb") as file:
            number = 0
            while line := file.readline(_LINE + 1):
                number += 1
                where = f"line {number}"
                if len(line) > _LINE:
                    self.notes.add("table broken", self.path.name, f"{where} is longer than {_LINE:,} bytes")
                    return
                if not line.strip():
                    continue
                try:
                    row = parse_json(line, where)
                except Refusal as refusal:
                    self.notes.add("table broken", self.path.name, str(refusal))
                    continue
                if isinstance(row, dict):
                    yield number, row
                else:
                    self.notes.add("table broken", self.path.name, f"{where} is no object with keys")

    def _row(self, number: int, row: Row, columns: list[str]) -> None:
        for place, column in enumerate(columns):
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
                said = row.get(LABEL)
                self.labels[name] = "" if said is None or isinstance(said, dict | list) else str(said)

    def _inside(self, given: str) -> str | None:
        """The path of a file inside the folder; None of one that is not there, or that leads out."""
        where = f"named by {self.path.name}"
        try:
            path = self.path.parent / given
            plain = os.path.normpath(path)
            if not Path(os.path.abspath(plain)).is_relative_to(os.path.abspath(self.path.parent)) or "\\" in given:
                self.notes.add("table outside", given, where)
                return None
            if not path.resolve().is_relative_to(self._whole):
                self.notes.add("table outside", given, f"{where}, through a link")
                return None
            if not path.is_file():
                self.notes.add("table missing", given, where)
                return None
        except (OSError, ValueError, RuntimeError):  # too long, or not a name that this disk knows
            self.notes.add("table missing", given[:200], where)
            return None
        return Path(plain).relative_to(os.path.normpath(self.path.parent)).as_posix()


def _of_files(rows: list[Row]) -> list[str]:
    """The columns of which every value that is there is called like a picture, the one of the pictures first."""
    keys = dict.fromkeys(key for row in rows for key in row)
    found = []
    for key in keys:
        values = [row[key] for row in rows if row.get(key)]
        if values and all(isinstance(v, str) and v.lower().endswith(ENDINGS) and "\n" not in v for v in values):
            found.append(key)
    if NAME in keys:
        found = [NAME, *(key for key in found if key != NAME)]
    return found
