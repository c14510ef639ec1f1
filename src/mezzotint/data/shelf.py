"""The files of a cache: items one after the other, the hash of each, and what they are.

    pictures.npy     every item in its shape, as bytes, or as float32 where bytes would not do
    rows             BLAKE2b of every item and its number, 16 bytes each; zeros where none was written yet
    origins          what the files were that items are made of, 32 bytes each (:mod:`.origins`)
    cache.json       what the two are, and a hash of that

What a file was is on the disk before an item of it is, and an item before its hash is, so whatever kills a writer
leaves whole items and missing ones. An item is checked against its hash before it is first believed, by every process
that reads it.
"""

from __future__ import annotations

import io
import json
import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text
from mezzotint.data.data import Data, Rows, unit
from mezzotint.data.origins import STAMP, Stamps

SCHEMA = 2
PICTURES, ROWS, ORIGINS, ABOUT = "pictures.npy", "rows", "origins", "cache.json"
KINDS: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}
_HASH = 16
Values = NDArray[Any]
Bytes = NDArray[np.uint8]


@dataclass
class Shelf:
    """An open cache.

    Arguments:
        path: its folder.
        key: what it is a cache of.
        data: whose number of items, shapes and buckets it has.
        kind: ``uint8`` or ``float32``.
        shades: float32 (256,), what a byte means; NaN where none was written yet.
    """

    path: Path
    key: str
    data: Data
    kind: str = "uint8"
    shades: NDArray[np.float32] = field(default_factory=lambda: np.full(256, np.nan, np.float32))

    def __post_init__(self) -> None:
        sizes = np.array([math.prod(shape) for shape in self.data.shapes], dtype=np.int64)
        buckets = self.data.buckets
        many = np.full(len(self.data), sizes[0]) if buckets is None else sizes[buckets]
        self._ends = np.concatenate([[0], np.cumsum(many)])
        self._sure = np.zeros(len(self.data), dtype=bool)

    @classmethod
    def begin(cls, path: Path, key: str, data: Data, kind: str = "uint8") -> Shelf:
        """An empty cache in place of whatever is there."""
        shelf = cls(path, key, data, kind)
        for name in (ABOUT, ROWS, ORIGINS, PICTURES):  # what is left of another is no cache from the first of these on
            (path / name).unlink(missing_ok=True)
        with (path / PICTURES).open("wb") as file:
            file.write(shelf._head)
            file.truncate(len(shelf._head) + int(shelf._ends[-1]) * KINDS[kind].itemsize)
        with (path / ROWS).open("wb") as file:
            file.truncate(_HASH * len(data))
        with (path / ORIGINS).open("wb") as file:
            file.truncate(STAMP.itemsize * shelf._files)
        shelf._describe()
        shelf._open()
        return shelf

    @classmethod
    def read(cls, path: Path, key: str, data: Data) -> Shelf | None:
        """The cache that is there; None where there is none, or one that is damaged or of something else."""
        try:
            about = read_json(path / ABOUT)
            said = about.pop("hash")
            if said != _seal(about) or about["key"] != key or about["kind"] not in KINDS:
                return None
            shades = np.array([np.nan if shade is None else shade for shade in about["shades"]], np.float32)
            shelf = cls(path, key, data, about["kind"], shades)
            shelf._open()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return shelf

    @property
    def _files(self) -> int:
        """How many files the items are made of."""
        return 0 if self.data.origins is None else len(self.data.origins.files)

    @cached_property
    def _head(self) -> bytes:
        """What a file with such an array begins with: its shape (N, *shape), or (entries,) where shapes differ."""
        shape = (len(self.data), *self.data.shape) if self.data.buckets is None else (int(self._ends[-1]),)
        written = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            written, {"descr": KINDS[self.kind].str, "fortran_order": False, "shape": shape}
        )
        return written.getvalue()

    def _open(self) -> None:
        """Map the pictures and read the hashes; refused where a file is not as large as it has to be."""
        path, dtype, count = self.path / PICTURES, KINDS[self.kind], int(self._ends[-1])
        with path.open("rb") as file:
            head = file.read(len(self._head))
        hashes = np.fromfile(self.path / ROWS, dtype=np.uint8)
        whole = path.stat().st_size == len(head) + count * dtype.itemsize
        stamps = np.fromfile(self.path / ORIGINS, dtype=np.uint8)
        counts = (hashes.size, stamps.size) == (_HASH * len(self.data), STAMP.itemsize * self._files)
        if head != self._head or not whole or not counts:
            raise Refusal(f"{str(self.path)!r} holds other files than those of this cache")
        self._values: Values = np.memmap(path, dtype, "r", len(head), (count,))
        self._hashes: Bytes = hashes.reshape(-1, _HASH)
        self.stamps: Stamps = stamps.view(STAMP)

    def _describe(self) -> None:
        shades = [None if math.isnan(shade) else float(shade) for shade in self.shades]
        about = {"schema": SCHEMA, "key": self.key, "kind": self.kind, "shades": shades}
        write_text(self.path / ABOUT, json.dumps({**about, "hash": _seal(about)}))

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which items are written, bool (N,)."""
        found: NDArray[np.bool_] = (self._hashes != 0).any(axis=1)
        return found

    def damaged(self) -> Rows:
        """The items that are written and no longer what was written; all are read."""
        rows = np.flatnonzero(self.there)
        self._sure[:] = False
        return rows[[not self._good(row, self._item(row)) for row in rows.tolist()]]

    def forget(self, rows: Rows) -> None:
        """Take items for not written, from now on and for everybody."""
        self._hashes[rows] = 0
        self._sure[rows] = False
        _put(self.path / ROWS, rows, self._hashes)

    def stamp(self, numbers: Rows, stamps: Stamps) -> None:
        """Note what files are."""
        self.stamps[numbers] = stamps
        _put(self.path / ORIGINS, numbers, self.stamps)

    def write(self, rows: Rows, x: Tensor) -> bool:
        """Write items (B, *shape) of one bucket; False, and nothing is written, where they are no bytes."""
        values = self._packed(x.numpy())
        if values is None:
            return False
        values = values.reshape(len(rows), -1)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
        with (self.path / PICTURES).open("r+b") as file:
            for run in runs:
                file.seek(len(self._head) + int(self._ends[rows[run[0]]]) * values.itemsize)
                file.write(values[run].tobytes())
            file.flush()
            os.fsync(file.fileno())
        for row, item in zip(rows.tolist(), values, strict=True):
            self._hashes[row] = np.frombuffer(_hash(row, item), np.uint8)
        _put(self.path / ROWS, rows, self._hashes)
        return True

    def items(self, rows: Rows) -> tuple[Tensor, Rows]:
        """The items (B, *shape) of these rows of one bucket, and the places among them of those that are damaged."""
        found, bad = self._found(rows)
        return torch.from_numpy(self.shades[found] if self.kind == "uint8" else found.astype(np.float32)), bad

    def as_bytes(self, rows: Rows) -> tuple[Tensor | None, Rows]:
        """The same as bytes (B, C, H, W), of which :func:`.data.unpacked` makes the items; None where they are none."""
        if self.kind != "uint8" or any(len(shape) != 3 for shape in self.data.shapes):
            return None, np.arange(0)
        plain = unit(np.arange(256, dtype=np.uint8).reshape(1, 1, 256, 1)).numpy().ravel()
        if not np.array_equal(np.where(np.isnan(self.shades), plain, self.shades), plain):
            return None, np.arange(0)
        found, bad = self._found(rows)
        return torch.from_numpy(found), bad

    def _found(self, rows: Rows) -> tuple[Values, Rows]:
        buckets = self.data.buckets
        shape = self.data.shapes[0 if buckets is None or not len(rows) else int(buckets[rows[0]])]
        found = np.empty((len(rows), math.prod(shape)), KINDS[self.kind])
        bad = []
        for place, row in enumerate(rows.tolist()):
            found[place] = self._item(row)
            if not self._good(row, found[place]):
                bad.append(place)
        return found.reshape(len(rows), *shape), np.array(bad, dtype=np.int64)

    def _item(self, row: int) -> Values:
        item: Values = self._values[self._ends[row] : self._ends[row + 1]]
        return item

    def _good(self, row: int, item: Values) -> bool:
        """Whether an item is what was written; it is hashed once."""
        if not self._sure[row]:
            self._sure[row] = _hash(row, item) == self._hashes[row].tobytes()
        return bool(self._sure[row])

    def _packed(self, x: NDArray[np.float32]) -> Values | None:
        """What is written of values: bytes, where every byte means one value; None where they are none."""
        if self.kind != "uint8":
            plain: Values = x.astype(KINDS[self.kind])
            return plain
        level = np.rint((x + np.float32(1)) * np.float32(127.5))
        if not ((level >= 0) & (level <= 255)).all():  # a NaN compares false
            return None
        packed: Bytes = level.astype(np.uint8)
        shades = self.shades.copy()
        new = np.isnan(shades)
        shades[packed] = x
        shades = np.where(new, shades, self.shades)
        if not np.array_equal(shades[packed], x) or np.signbit(x[x == 0]).any():
            return None
        if not np.array_equal(shades, self.shades, equal_nan=True):
            self.shades = shades
            self._describe()
        return packed


def _put(file: Path, places: Rows, table: NDArray[Any]) -> None:
    """Write these entries of a table into the file that holds it; they are on the disk when this returns."""
    if not len(places):
        return
    each = table.nbytes // len(table)
    with file.open("r+b") as opened:
        for place in places.tolist():
            opened.seek(each * place)
            opened.write(table[place].tobytes())
        opened.flush()
        os.fsync(opened.fileno())


def _hash(row: int, item: Values) -> bytes:
    return blake2b(item.tobytes(), digest_size=_HASH, key=row.to_bytes(8, "little")).digest()


def _seal(about: dict[str, Any]) -> str:
    return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=_HASH).hexdigest()
