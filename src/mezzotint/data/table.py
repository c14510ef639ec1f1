"""A table beside picture files: ``metadata.jsonl``, ``.csv`` or ``.parquet``, a record a row.

A row names its files relative to the folder of the table. JSON says what is a number and what a word; in a CSV a column
is of numbers where every cell of it that says something is one, without zeros before it (``007`` is a word), and one
declared as captions or files is of text. A name that leads out of the folder, by ``..``, as an
absolute path or through a link, is refused: whoever wrote the table may have pointed it at your own pictures.
"""

from __future__ import annotations

import csv
import io
import os
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mezzotint.core.bounded import parse_json
from mezzotint.core.errors import Refusal
from mezzotint.data.arrow import parquet_rows
from mezzotint.data.recorded import Recorded
from mezzotint.data.records import RECORDS, Records, is_missing

TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
ENDINGS = (".jsonl", ".csv", ".parquet")
TEXTS = ("picture", "caption", "layout", "instances", "image", "mask")
"""What is told by text: a caption, and the names of files."""
LINE = 2**24
"""The most characters of a line of a table."""
_NUMBER = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Table(Recorded):
    """The rows of ``metadata.jsonl``, ``.csv`` or ``.parquet`` in a folder, or of such a file; see ``Recorded``.

    Arguments:
        picture: the column with the names of the picture files; other files (``layout``, ``mask``, ...) likewise.
        links: follow names and links that lead out of the folder.
    """

    picture: str = "file_name"
    links: bool = False

    def _open(self) -> Records:
        texts = {column for name, column in self._named.items() if name in TEXTS}
        return Rows(table_of(self.path, self.links), tuple(self._named.values()), self.links, texts)


class Rows(Records):
    """The rows of a table.

    Arguments:
        file: the table; names are relative to its folder.
        wanted: the columns that are kept; the first names the pictures.
        links: follow names and links that lead out of the folder.
        texts: the columns whose cells are text in a CSV, whatever they look like.
    """

    def __init__(self, file: Path, wanted: tuple[str, ...], links: bool = False, texts: Collection[str] = ()) -> None:
        self.file, self.links, self.broken = file, links, {}
        self._cells: dict[str, list[object]] = {name: [] for name in wanted}
        seen: dict[str, None] = {}
        names: list[str] = []
        for number, row in rows_of(file, wanted):
            if isinstance(row, Refusal):
                self.broken[f"{file.name}:{number}"] = str(row)
                continue
            if len(names) >= RECORDS:
                raise Refusal(f"{str(file)!r} has more than {RECORDS:,} rows, which is more than are read")
            seen |= dict.fromkeys(row)
            for name, cells in self._cells.items():
                cells.append(row.get(name))
            said = row.get(wanted[0])
            names.append(str(said) if not is_missing(said) else f"{file.name}:{number}")
        self.names, self.columns = names, tuple(seen)
        if file.suffix.lower() == ".csv":
            self._cells = {name: cells if name in texts else _typed(cells) for name, cells in self._cells.items()}

    def cells(self, column: str) -> list[object]:
        return self._cells[column]

    def source(self, column: str, row: int) -> Path | None:
        name = self._cells[column][row]
        if is_missing(name):
            return None
        if not isinstance(name, str):
            raise Refusal(
                f"the {column!r} of {self.names[row]!r} is {repr(name)[:60]}, but a file is named by a string"
            )
        return self._inside(name)

    def _inside(self, name: str) -> Path:
        """The path of a file by its name, refused where it leads out of the folder."""
        at = os.path.join(self.file.parent, name)
        if not self.links:
            at = os.path.normpath(at)  # what is looked at is what is opened: a link before ".." would lead elsewhere
            folder, last = os.path.split(at)
            real = os.path.realpath(at) if os.path.islink(at) else os.path.join(self._real(folder), last)
            if os.path.isabs(name) or not Path(real).is_relative_to(self._root):
                raise Refusal(
                    f"{str(self.file)!r} names the file {name[:200]!r}, which leads out of its folder: copy what it "
                    "leads to, or pass links=True to data.Table (--set data.links=true) if you know where it leads"
                )
        if not os.path.isfile(at):
            raise Refusal(f"{str(self.file)!r} names the file {name[:200]!r}, which is not there{self._meant(name)}")
        return Path(at)

    def _meant(self, name: str) -> str:
        """What is there instead of a file that is not, in words; "" where nothing is."""
        for other, said in (
            (name.replace("\\", "/"), "; write / where it has \\"),
            (unicodedata.normalize("NFD", name), "; a file of that name is, its accents written apart (NFD)"),
            (unicodedata.normalize("NFC", name), "; a file of that name is, its accents written in one (NFC)"),
        ):
            inside = not os.path.isabs(other) and ".." not in other.split("/")
            if other != name and inside and os.path.isfile(os.path.join(self.file.parent, other)):
                return said
        return ""

    @cached_property
    def _root(self) -> Path:
        return self.file.parent.resolve()

    def _real(self, folder: str) -> str:
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder]

    @cached_property
    def _folders(self) -> dict[str, str]:
        return {}


def table_of(path: str | Path, links: bool = False) -> Path:
    """The table that a path is or holds.

    Raises:
        Refusal: there is none, there are several, or it is a link out of the folder.
    """
    path = Path(path)
    if path.is_dir():
        found = [path / name for name in TABLES if (path / name).is_file()]
        if len(found) != 1:
            has = f"several: {', '.join(file.name for file in found)}" if found else "none"
            raise Refusal(f"a folder with a table has one of {', '.join(TABLES)}, and {str(path)!r} has {has}")
        if found[0].is_symlink() and not links and not found[0].resolve().is_relative_to(path.resolve()):
            raise Refusal(f"{str(found[0])!r} is a link that leads out of its folder; copy the table there")
        return found[0]
    if not path.is_file():
        raise Refusal(f"there is no table {str(path)!r}, and no folder with one")
    if path.suffix.lower() not in ENDINGS:
        raise Refusal(f"{str(path)!r} is no table: one ends in {', '.join(ENDINGS)}")
    return path


def columns_of(path: str | Path) -> tuple[str, ...]:
    """The columns of a table, as far as its first rows tell."""
    file, seen = table_of(path), dict[str, None]()
    for number, row in rows_of(file, ()):
        if isinstance(row, dict):
            seen |= dict.fromkeys(row)
        if number > 100:
            break
    return tuple(seen)


def rows_of(file: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any] | Refusal]]:
    """The number of each row, from 1, and its cells by column or what is wrong with it."""
    kinds = {".jsonl": _lines_of_json, ".csv": _lines_of_csv}
    if file.suffix.lower() == ".parquet":
        yield from enumerate(parquet_rows(file, wanted), 1)
        return
    try:
        with file.open(encoding="utf-8-sig", newline="" if file.suffix.lower() == ".csv" else None) as lines:
            yield from kinds[file.suffix.lower()](file, lines)
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"the table {str(file)!r} cannot be read: {error}") from None


def _lines_of_json(file: Path, lines: io.TextIOBase) -> Iterator[tuple[int, dict[str, Any] | Refusal]]:
    for number, line in _bounded(file, lines):
        if not line.strip():
            continue
        try:
            row = parse_json(line, f"line {number}")
            if not isinstance(row, dict):
                raise Refusal(f"line {number} is no JSON object, which a row of a table is")
            yield number, row
        except Refusal as refusal:
            yield number, refusal


def _lines_of_csv(file: Path, lines: io.TextIOBase) -> Iterator[tuple[int, dict[str, Any] | Refusal]]:
    reader = csv.reader(line for _, line in _bounded(file, lines))
    try:
        header = next(reader, None)
        if not header or len(set(header)) < len(header):
            raise Refusal(f"the first line of {str(file)!r} does not name its columns, each once")
        for row in reader:
            number = reader.line_num
            if not row:
                continue
            if len(row) != len(header):
                yield number, Refusal(f"line {number} has {len(row)} cells, and the table {len(header)} columns")
            else:
                yield number, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise Refusal(f"the table {str(file)!r} cannot be read: line {reader.line_num}: {error}") from None


def _bounded(file: Path, lines: io.TextIOBase) -> Iterator[tuple[int, str]]:
    """The lines, none longer than a table ever needs."""
    number = 0
    while line := lines.readline(LINE):
        number += 1
        if len(line) >= LINE:
            raise Refusal(f"line {number} of {str(file)!r} is longer than {LINE:,} characters")
        yield number, line


def _typed(cells: list[object]) -> list[object]:
    """Cells of a CSV as numbers, where all that say something are."""
    said = [cell for cell in cells if isinstance(cell, str) and cell]
    if not all(_NUMBER.fullmatch(cell) for cell in said):
        return cells
    return [_number(cell) if isinstance(cell, str) and cell else None for cell in cells]


def _number(cell: str) -> int | float:
    plain = cell.lstrip("+-").isdigit() and len(cell) < 20
    return int(cell) if plain else float(cell)
