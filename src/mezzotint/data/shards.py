"""Tar files in the layout of WebDataset, at random: files of one key are a record, ``0001.jpg``, ``0001.cls``, etc.

A key is a file's path up to the first dot of its name, and what follows is the column: ``a/0001.mask.png`` is the
column ``mask.png`` of the record ``a/0001``. The entries of ``key.json`` are columns as well. A tar has no table of
contents, so its headers are read once for where its members lie, and an index of that is kept beside it (:mod:`.tar`).
Members are read in place: nothing is unpacked to disk, links in a tar lead nowhere, and pickles (``.pyd``, ``.pickle``,
``.pth``) are never read.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.bounded import parse_json
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Rows
from mezzotint.data.picture import Stretch
from mezzotint.data.recorded import Recorded
from mezzotint.data.records import RECORDS, Records
from mezzotint.data.tar import Index, Names, first_of_each, parts

PICTURES = "jpg;jpeg;png;webp;bmp;gif"
"""What pictures are called, the first that a record has."""
CELL = 2**20
"""The most bytes of a member that is no picture."""
_PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz")
_JSON = "json"
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,17})")  # 007 is a word


@dataclass(frozen=True)
class Shards(Recorded):
    """The records of a ``.tar`` file, or of all in a folder in the order of their names; fields as of ``Recorded``.

    A column is what follows the first dot of a member's name, or an entry of its ``.json``; several, of which a record
    has one, are joined by semicolons. ``cls`` and ``txt`` are read as whole numbers and text.

    Arguments:
        picture: ``"jpg;jpeg;png;webp;bmp;gif"`` unless a set calls its pictures otherwise.
    """

    picture: str = PICTURES

    def _open(self) -> Records:
        return Members(tars(self.path), tuple(self._named.values()))


class Members(Records):
    """The records of tar files.

    Arguments:
        shards: the files, in their order.
        wanted: the columns that are asked for; the first is the picture.
    """

    def __init__(self, shards: tuple[Path, ...], wanted: tuple[str, ...]) -> None:
        self.shards, self.broken = shards, {}
        self._wanted = tuple(dict.fromkeys(wanted))
        for column in self._wanted:
            for one in column.split(";"):
                if one.rpartition(".")[2].lower() in _PICKLES:
                    raise Refusal(f"the column {one!r} may hold a pickle, which can hold code and is never read")
        keys, columns = Names(), dict[str, int]()
        pieces: list[tuple[NDArray[Any], ...]] = []
        for shard in shards:
            found = Index.of(shard)
            pieces.append((found.offsets, found.sizes, *_grouped(found, keys, columns)))
            del found  # the names of a large tar take as much as all else that is known of it
            if len(keys) > RECORDS:
                raise Refusal(f"{str(shard.parent)!r} has more than {RECORDS:,} records, which is more than are read")
        self._ends = np.cumsum([0, *(len(piece[0]) for piece in pieces)])
        self._offsets, self._sizes, of, kind = map(_joined, zip(*pieces, strict=True))
        self._keys = keys
        self._member: dict[str, Rows] = {}  # by column: the number of the file that a record has there, or -1
        for column in {_JSON, *(one for several in self._wanted for one in several.split(";"))} & columns.keys():
            mine = np.flatnonzero(kind == columns[column])
            self._member[column] = np.full(len(keys), -1, dtype=np.int64)
            self._member[column][of[mine]] = mine
        self.columns = tuple(dict.fromkeys((*columns, *self._entries)))
        self.names = _Named(self)

    def has(self, column: str) -> bool:
        return self._there(column) or column in self.columns

    def _there(self, column: str) -> bool:
        return any(one in self._member for one in column.split(";"))

    def _first(self, column: str, row: int) -> str | None:
        """The first of several columns that a record has as a member."""
        return next((one for one in column.split(";") if one in self._member and self._member[one][row] >= 0), None)

    @cached_property
    def _entries(self) -> dict[str, list[object]]:
        """The wanted entries of the records' JSON, and the names of all that the first of them have."""
        asked = [name for name in self._wanted if not self._there(name)]
        if not asked or _JSON not in self._member:
            return {}
        out: dict[str, list[object]] = {name: [None] * len(self._keys) for name in asked}
        seen = dict[str, None]()
        for row in range(len(self._keys)):
            if self._member[_JSON][row] < 0:
                continue
            tree = parse_json(self._read(_JSON, row), f"{self._keys[row]}.{_JSON}")
            if not isinstance(tree, dict):
                raise Refusal(f"'{self._keys[row]}.{_JSON}' holds no JSON object, whose entries would be columns")
            seen |= dict.fromkeys(list(tree)[:100]) if len(seen) < 100 else {}
            for name in asked:
                out[name][row] = tree.get(name)
        return {name: cells for name, cells in out.items() if name in seen} | {
            name: [] for name in seen if name not in out
        }

    def cells(self, column: str) -> list[object]:
        if not self._there(column):
            return self._entries[column]
        return [self._cell(column, row) for row in range(len(self))]

    def _cell(self, column: str, row: int) -> object:
        found = self._first(column, row)
        if found is None:
            return None
        content = self._read(found, row)
        if found == _JSON or found.endswith(f".{_JSON}"):
            return parse_json(content, f"{self._keys[row]}.{found}")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise Refusal(f"'{self._keys[row]}.{found}' of {str(self.shards[0].parent)!r} is no text") from None
        plain = text.strip()
        if not found.startswith("cls"):
            return text
        return int(plain) if _WHOLE.fullmatch(plain) else plain

    def without(self, column: str) -> NDArray[np.bool_]:
        return np.fromiter((self._first(column, row) is None for row in range(len(self))), bool, len(self))

    def source(self, column: str, row: int) -> Stretch | None:
        found = self._first(column, row)
        return None if found is None else self._stretch(found, row)

    def files(self, column: str) -> tuple[Sequence[Path], NDArray[np.int64]]:
        members = np.full(len(self), -1, dtype=np.int64)
        for one in reversed(column.split(";")):
            if one in self._member:
                members = np.where(self._member[one] >= 0, self._member[one], members)
        return self.shards, np.searchsorted(self._ends, members.clip(0), side="right") - 1

    def _stretch(self, column: str, row: int) -> Stretch:
        member = int(self._member[column][row])
        shard = self.shards[int(np.searchsorted(self._ends, member, side="right")) - 1]
        name = f"{shard}/{self._keys[row]}.{column}"
        return Stretch(name, shard, int(self._offsets[member]), int(self._sizes[member]))

    def _read(self, column: str, row: int) -> bytes:
        found = self._stretch(column, row)
        if found.size > CELL:
            raise Refusal(
                f"'{self._keys[row]}.{column}' has {found.size:,} bytes, and what is no picture has {CELL:,} at most"
            )
        return found.read()


class _Named(Sequence[str]):
    """The names of records, each its key and the column of its picture."""

    def __init__(self, records: Members) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records._keys)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        records = self._records
        return f"{records._keys[at]}.{records._first(records._wanted[0], at) or ''}".rstrip(".")


def _joined(pieces: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _grouped(found: Index, keys: Names, columns: dict[str, int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The number of the record and of the column of every file of a tar, -1 where it is of none.

    New keys and columns are put behind those that are there. Files of a record mostly follow each other, so a key is
    one of a run, and runs of one key are brought together by their hashes.
    """
    of, kind = (np.full(len(found), -1, dtype=np.int32) for _ in range(2))
    runs, hashes, last = Names(), array("q"), None
    for member, name in enumerate(found.names):
        key, column = parts(name)
        if not column or not key:
            continue
        if key != last:
            runs.add(key)
            hashes.append(hash(key))
            last = key
        of[member], kind[member] = len(runs) - 1, columns.setdefault(column, len(columns))
    first = first_of_each(runs, hashes)
    kept = first == np.arange(len(first))
    number = np.append(len(keys) + np.cumsum(kept)[first] - 1, -1).astype(np.int32)  # the last is that of no run
    for run in np.flatnonzero(kept).tolist():
        keys.add(runs[run])
    return number[of], kind


def tars(path: str | Path) -> tuple[Path, ...]:
    """The tar files that a path is or holds, in the order of their names."""
    path = Path(path)
    if path.is_dir():
        found = tuple(sorted(item for item in path.iterdir() if item.suffix.lower() == ".tar" and item.is_file()))
        if not found:
            raise Refusal(f"no .tar file in {str(path)!r}")
        whole = path.resolve()
        for item in found:
            if item.is_symlink() and not item.resolve().is_relative_to(whole):
                raise Refusal(f"{str(item)!r} is a link that leads out of {str(path)!r}; name the folder it leads to")
        return found
    if not path.is_file():
        raise Refusal(f"there is no .tar file {str(path)!r}, and no folder of them")
    return (path,)


def is_shards(path: str | Path) -> bool:
    """Whether a path is a tar file or a folder of them, beside whose indices nothing else lies."""
    path = Path(path)
    if path.is_file():
        return path.suffix.lower() == ".tar"
    if not path.is_dir():
        return False
    names = [item for item in path.iterdir() if not item.name.startswith(".") and item.suffix.lower() != ".index"]
    return bool(names) and all(item.suffix.lower() == ".tar" and item.is_file() for item in names)


def columns_of(path: str | Path) -> tuple[str, ...]:
    """The columns of the first shard: what follows the first dots of its names, and the entries of its first JSON."""
    shard = tars(path)[0]
    seen = dict[str, None]()
    for name, offset, size in Index.of(shard):
        column = parts(name)[1]
        if column == _JSON and column not in seen and size <= CELL:
            tree = parse_json(Stretch(name, shard, offset, size).read(), name)
            seen |= dict.fromkeys(tree) if isinstance(tree, dict) else {}
        seen[column] = None
    return tuple(name for name in seen if name)
