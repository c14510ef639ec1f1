"""Tar files in the layout of WebDataset, at random: files of one key are a record, ``0001.jpg``, ``0001.cls``, etc.

A key is a file's path up to the first dot of its name, and what follows is the column: ``a/0001.mask.png`` is the
column ``mask.png`` of the record ``a/0001``. The entries of ``key.json`` are columns as well. A tar has no table of
contents, so it is read through once for where its members lie; the index is kept beside it, ``shard.tar.index``, and
holds as long as the size and the time of the tar stay. Members are read in place: nothing is unpacked to disk, links in
a tar lead nowhere, and pickles (``.pyd``, ``.pickle``, ``.pth``) are never read.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.bounded import parse_json, read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text
from mezzotint.data.picture import Packed
from mezzotint.data.recorded import Recorded
from mezzotint.data.records import RECORDS, Records

SCHEMA = 1
PICTURES = "jpg;jpeg;png;webp;bmp;gif"
"""What pictures are called, the first that a record has."""
CELL = 2**20
"""The most bytes of a member that is no picture."""
_INDEX = 2**30
_PICKLES = ("pyd", "pickle", "pkl", "pth", "pt", "npy", "npz")
_JSON = "json"


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
        keys: list[str] = []
        places: dict[str, list[tuple[int, int, int, int]]] = {}  # by column: record, shard, offset, size
        for number, shard in enumerate(shards):
            own: dict[str, int] = {}
            for name, offset, size in index(shard):
                key, column = _parts(name)
                if not column or not key:
                    continue
                if key not in own:
                    own[key] = len(keys)
                    keys.append(key)
                places.setdefault(column, []).append((own[key], number, offset, size))
            if len(keys) > RECORDS:
                raise Refusal(f"{str(shard.parent)!r} has more than {RECORDS:,} records, which is more than are read")
        self._places = {column: np.array([[-1, -1, -1]], dtype=np.int64).repeat(len(keys), 0) for column in places}
        for column, found in places.items():
            table = np.array(found, dtype=np.int64)
            self._places[column][table[:, 0]] = table[:, 1:]
        self._keys = keys
        self.names = [f"{key}.{self._first(wanted[0], row) or ''}".rstrip(".") for row, key in enumerate(keys)]
        self.columns = tuple(dict.fromkeys((*places, *self._entries)))

    def has(self, column: str) -> bool:
        return self._there(column) or column in self.columns

    def _there(self, column: str) -> bool:
        return any(one in self._places for one in column.split(";"))

    def _first(self, column: str, row: int) -> str | None:
        """The first of several columns that a record has as a member."""
        return next((one for one in column.split(";") if one in self._places and self._places[one][row, 0] >= 0), None)

    @cached_property
    def _entries(self) -> dict[str, list[object]]:
        """The wanted entries of the records' JSON, and the names of all that the first of them have."""
        asked = [name for name in self._wanted if not self._there(name)]
        if not asked or _JSON not in self._places:
            return {}
        out: dict[str, list[object]] = {name: [None] * len(self._keys) for name in asked}
        seen = dict[str, None]()
        for row in range(len(self._keys)):
            if self._places[_JSON][row, 0] < 0:
                continue
            tree = parse_json(self._read(_JSON, row, CELL), f"{self._keys[row]}.{_JSON}")
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
        content = self._read(found, row, CELL)
        if found == _JSON or found.endswith(f".{_JSON}"):
            return parse_json(content, f"{self._keys[row]}.{found}")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise Refusal(f"'{self._keys[row]}.{found}' of {str(self.shards[0].parent)!r} is no text") from None
        plain = text.strip()
        digits = plain.removeprefix("-").isascii() and plain.removeprefix("-").isdigit() and len(plain) < 20
        return int(plain) if found.startswith("cls") and digits else text

    def without(self, column: str) -> NDArray[np.bool_]:
        return np.fromiter((self._first(column, row) is None for row in range(len(self))), bool, len(self))

    def source(self, column: str, row: int) -> Packed | None:
        found = self._first(column, row)
        if found is None:
            return None
        name = f"{self._shard(found, row)}/{self._keys[row]}.{found}"
        return Packed(name, self._read(found, row))

    def files(self, column: str) -> tuple[Sequence[Path], NDArray[np.int64]]:
        first = ((self._first(column, row), row) for row in range(len(self)))
        of = (0 if name is None else self._places[name][row, 0] for name, row in first)
        return self.shards, np.fromiter(of, dtype=np.int64, count=len(self))

    def glimpse(self, column: str, row: int) -> bytes:
        found = self._first(column, row)
        if found is None:
            return b""
        _, offset, size = self._places[found][row].tolist()
        return f"{size} ".encode() + _read(
            self._shard(found, row), max(offset, offset + size // 2 - 128), min(size, 256)
        )

    def _shard(self, column: str, row: int) -> Path:
        return self.shards[int(self._places[column][row, 0])]

    def _read(self, column: str, row: int, most: int | None = None) -> bytes:
        _, offset, size = self._places[column][row].tolist()
        if most is not None and size > most:
            raise Refusal(
                f"'{self._keys[row]}.{column}' has {size:,} bytes, and what is no picture has {most:,} at most"
            )
        return _read(self._shard(column, row), offset, size)


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


def columns_of(path: str | Path) -> tuple[str, ...]:
    """The columns of the first shard: what follows the first dots of its names, and the entries of its first JSON."""
    shard = tars(path)[0]
    seen = dict[str, None]()
    for name, offset, size in index(shard):
        column = _parts(name)[1]
        if column == _JSON and column not in seen and size <= CELL:
            tree = parse_json(_read(shard, offset, size), name)
            seen |= dict.fromkeys(tree) if isinstance(tree, dict) else {}
        seen[column] = None
    return tuple(name for name in seen if name)


def index(shard: Path) -> list[tuple[str, int, int]]:
    """(name, offset, size) of every file in a tar; read through once, and then from the index beside it."""
    beside = shard.with_name(f"{shard.name}.index")
    stat = shard.stat()
    key = [SCHEMA, stat.st_size, stat.st_mtime_ns]
    kept = _kept(beside, key)
    if kept is not None:
        return kept
    found = list(_members(shard, stat.st_size))
    try:
        write_text(beside, json.dumps({"key": key, "members": found}, ensure_ascii=False, separators=(",", ":")))
    except OSError:
        pass  # where nothing may be written it is read through again the next time
    return found


def _kept(beside: Path, key: list[int]) -> list[tuple[str, int, int]] | None:
    """What an index says, None where there is none that fits; whoever wrote it, it leads nowhere but into the tar."""
    if not beside.is_file() or beside.is_symlink():
        return None
    try:
        tree = read_json(beside, _INDEX)
        if tree["key"] != key:
            return None
        found = [(name, offset, size) for name, offset, size in tree["members"]]
    except (Refusal, KeyError, TypeError, ValueError):
        return None
    sound = all(
        isinstance(name, str) and type(at) is type(size) is int and at >= 0 and size >= 0 and at + size <= key[1]
        for name, at, size in found
    )
    return found if sound else None


def _members(shard: Path, end: int) -> Iterator[tuple[str, int, int]]:
    """The plain files of a tar: links lead nowhere, and sparse files do not lie in one piece."""
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                tar.members = []  # type: ignore[attr-defined]  # it would keep every one
                if entry.isreg() and not entry.issparse():
                    if entry.offset_data + entry.size > end:
                        raise Refusal(f"{str(shard)!r} ends within {entry.name[:200]!r}; it was not copied to its end")
                    yield entry.name.encode(errors="replace").decode(), entry.offset_data, entry.size
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        if isinstance(error, Refusal):
            raise
        packed = "; unpack a .tar.gz first, since what is packed as a whole cannot be read at random"
        raise Refusal(f"{str(shard)!r} cannot be read as a tar file: {error}{packed}") from None


def _parts(name: str) -> tuple[str, str]:
    """The key and the column of a member: its path up to the first dot of its name, and what follows."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, column = last.partition(".")
    return f"{folder}{slash}{stem}" if stem else "", column.lower()


def _read(shard: Path, offset: int, size: int) -> bytes:
    with shard.open("rb", buffering=0) as file:
        content = os.pread(file.fileno(), size, offset)
    if len(content) < size:
        raise Refusal(f"{str(shard)!r} has become shorter since it was read; start again")
    return content
