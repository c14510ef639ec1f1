"""Where the files of a tar lie: an index, made by reading its headers once and kept beside it, ``shard.tar.index``.

A tar has no table of contents. The index holds as long as the size and the time of the tar stay; whoever wrote it, it
leads nowhere but into the tar. On disk and in memory it is three arrays and the names behind one another, since a name
and two numbers as Python objects take ten times as much:

    mzindex2                                    8 bytes
    size and time of the tar, members, bytes of names       4 x int64
    where each member begins, its size, where its name ends: M x int64 each
    the names, UTF-8
"""

from __future__ import annotations

import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, overload

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_pieces

MAGIC = b"mzindex2"
MEMBERS = 2**26
"""The most files of a tar."""
HEADER = 2**20
"""The most bytes of a header: names and the like; tarfile reads one whole, and a few bytes can announce gigabytes."""
NAME = 4096
"""The most bytes of a name."""
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}


class Names(Sequence[str]):
    """Many short texts, kept as their bytes behind one another."""

    def __init__(self, blob: bytearray | None = None, ends: bytes = b"") -> None:
        self.blob, self.ends = bytearray() if blob is None else blob, array("q", ends)

    def add(self, name: str) -> None:
        """Put one behind the others."""
        self.blob += name.encode(errors="replace")
        self.ends.append(len(self.blob))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> list[str]: ...

    def __getitem__(self, at: int | slice) -> str | list[str]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = range(len(self))[at]
        return self.blob[self.ends[place - 1] if place else 0 : self.ends[place]].decode(errors="replace")


@dataclass(frozen=True)
class Index:
    """The plain files of a tar in their order.

    Arguments:
        names: of all.
        offsets: where each begins, int64 (M,).
        sizes: bytes, int64 (M,).
    """

    names: Names
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        return zip(self.names, self.offsets.tolist(), self.sizes.tolist(), strict=True)

    @classmethod
    def of(cls, tar: Path) -> Index:
        """That of a tar: what stands beside it, where it fits."""
        beside, stat = tar.with_name(f"{tar.name}.index"), tar.stat()
        found = cls._read(beside, stat.st_size, stat.st_mtime_ns)
        if found is None:
            found = cls._scan(tar, stat.st_size)
            try:
                write_pieces(beside, found._written(stat.st_size, stat.st_mtime_ns))
            except OSError:
                pass  # where nothing may be written it is made again the next time
        return found

    @classmethod
    def _scan(cls, tar: Path, end: int) -> Index:
        names, offsets, sizes = Names(), array("q"), array("q")
        for name, offset, size in _members(tar, end):
            if len(names) >= MEMBERS:
                raise Refusal(f"{str(tar)!r} has more than {MEMBERS:,} files, which is more than are read")
            names.add(name)
            offsets.append(offset)
            sizes.append(size)
        return cls(names, np.frombuffer(offsets, np.int64), np.frombuffer(sizes, np.int64))

    def _written(self, size: int, time: int) -> Iterator[bytes | bytearray | memoryview]:
        yield MAGIC
        head = np.array([size, time, len(self), len(self.names.blob)], dtype=np.int64)
        for table in (head, self.offsets, self.sizes, np.frombuffer(self.names.ends, np.int64)):
            yield np.ascontiguousarray(table, "<i8").data
        yield self.names.blob

    @classmethod
    def _read(cls, beside: Path, size: int, time: int) -> Index | None:
        """What an index says, None where there is none that fits."""
        try:
            if beside.is_symlink() or not beside.is_file():
                return None
            with beside.open("rb") as file:
                magic, head = file.read(len(MAGIC)), np.frombuffer(file.read(32), "<i8")
                if magic != MAGIC or head.tolist()[:2] != [size, time]:
                    return None
                many, length = head.tolist()[2:]
                whole = os.fstat(file.fileno()).st_size == len(MAGIC) + 32 + 24 * many + length
                if not whole or not 0 <= many <= min(MEMBERS, size // 512) or not 0 <= length <= NAME * many:
                    return None
                tables = (np.fromfile(file, "<i8", many) for _ in range(3))
                offsets, sizes, ends = (table.astype(np.int64, copy=False) for table in tables)
                blob = bytearray(length)
                file.readinto(blob)
        except (OSError, ValueError):
            return None
        inside = (offsets >= 0) & (sizes >= 0) & (sizes <= size) & (offsets <= size - sizes)
        rising = np.diff(ends, prepend=0) >= 0
        if not inside.all() or not rising.all() or (int(ends[-1]) if many else 0) != length:
            return None
        return cls(Names(blob, ends.tobytes()), offsets, sizes)


def _members(tar: Path, end: int) -> Iterator[tuple[str, int, int]]:
    """The plain files of a tar: links lead nowhere, and sparse files do not lie in one piece."""
    try:
        with tar.open("rb") as file, tarfile.open(fileobj=_Short(file), mode="r:") as opened:  # type: ignore[call-overload]
            for entry in opened:
                opened.members = []  # it would keep every one
                if len(entry.name) > NAME:
                    raise Refusal(f"{str(tar)!r} holds a name of {len(entry.name):,} characters")
                if entry.isreg() and not entry.issparse():
                    if entry.offset_data + entry.size > end:
                        raise Refusal(f"{str(tar)!r} ends within {entry.name[:200]!r}; it was not copied to its end")
                    yield entry.name.encode(errors="replace").decode(), entry.offset_data, entry.size
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        if isinstance(error, Refusal):
            raise
        raise Refusal(f"{str(tar)!r} cannot be read as a tar file: {error}{_packed(tar)}") from None


class _Short:
    """A file of which no more than a header is read at once."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError(f"it announces a header of {size:,} bytes, and one has {HEADER:,} at most")
        return self._file.read(size)


def _packed(tar: Path) -> str:
    """What to do about a tar that is packed as a whole; "" where it is not."""
    with tar.open("rb") as file:
        first = file.read(8)
    for magic, how in _PACKED.items():
        if first.startswith(magic):
            return f"; it is packed with {how}, and what is packed as a whole cannot be read at random: unpack it first"
    return ""


def parts(name: str) -> tuple[str, str]:
    """The key and the column of a member: its path up to the first dot of its name, and what follows."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, _, column = last.partition(".")
    return f"{folder}{slash}{stem}" if stem else "", column.lower()


def first_of_each(keys: Sequence[str], hashes: Any) -> NDArray[np.int64]:
    """For each of many keys the place of the first that is the same, int64 (N,); their hashes spare a dictionary."""
    hashes = np.asarray(hashes, dtype=np.int64)
    order = np.argsort(hashes, kind="stable")
    first = np.arange(len(order), dtype=np.int64)
    again = np.flatnonzero(np.diff(hashes[order]) == 0)
    for run in np.split(again, np.flatnonzero(np.diff(again) != 1) + 1) if len(again) else ():
        same: dict[str, int] = {}
        for place in order[run[0] : run[-1] + 2].tolist():
            first[place] = same.setdefault(keys[place], place)
    return first
