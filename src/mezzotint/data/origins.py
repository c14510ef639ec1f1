"""The files that items are made of, and how to know whether they are what they were.

The only proof that a file is the same is to read it: its *stamp* holds a hash of every byte, beside its size and the
time it was last written. Where those two are as they were nothing is read, as ``make``, ``git`` and ``rsync`` do it; a
file that was copied or touched is hashed once more, and is the same where the hash is.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal, from_disk
from mezzotint.data.threads import each

HASH = 16
STAMP = np.dtype([("size", "<i8"), ("time", "<i8"), ("digest", "u1", (HASH,))])
"""What a file was: bytes, nanoseconds, BLAKE2b of all of it; zeros where that was never noted."""
Stamps = NDArray[Any]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Origins:
    """The files of a data set, as they lay there when it was opened.

    Arguments:
        files: each once.
        of: the number of the file that an item is made of, int64 (N,); None: all of them make every item.
        seen: their sizes and times, int64 (F, 2), before anything of them was read.
    """

    files: tuple[Path, ...]
    of: Numbers | None
    seen: NDArray[np.int64]

    @classmethod
    def shared(cls, files: Iterable[Path]) -> Origins:
        """Files that together make every item."""
        files = tuple(dict.fromkeys(files))
        return cls(files, None, _looks(files))

    @classmethod
    def numbered(cls, files: Iterable[Path], of: Numbers) -> Origins:
        """Files by number; those that make no item are left out."""
        files, (used, of) = tuple(files), np.unique(of, return_inverse=True)
        kept = tuple(files[number] for number in used.tolist())
        return cls(kept, of.astype(np.int64), _looks(kept))

    @classmethod
    def each(cls, files: Iterable[Path]) -> Origins:
        """The file of every item; some may be of several items."""
        number: dict[Path, int] = {}
        of = np.array([number.setdefault(file, len(number)) for file in files], dtype=np.int64)
        return cls.numbered(number, of)

    @classmethod
    def joined(cls, parts: Sequence[Origins]) -> Origins:
        """Of the items of several data sets, one after the other."""
        number = {file: place for place, file in enumerate(dict.fromkeys(f for part in parts for f in part.files))}
        seen = np.zeros((len(number), 2), dtype=np.int64)
        of: list[Numbers] = []
        for part in parts:
            places = np.array([number[file] for file in part.files], dtype=np.int64)
            seen[places] = part.seen
            if part.of is not None:
                of.append(places[part.of])
        return cls(tuple(number), np.concatenate(of) if len(of) == len(parts) else None, seen)

    def take(self, rows: NDArray[Any]) -> Origins:
        """Of some of the items."""
        if self.of is None:
            return self
        used, of = np.unique(self.of[rows], return_inverse=True)
        files = tuple(self.files[number] for number in used.tolist())
        return Origins(files, of.astype(np.int64), self.seen[used])

    def needed(self, rows: NDArray[Any]) -> Numbers:
        """The files, by number, that these items are made of."""
        return np.unique(self.of[rows]) if self.of is not None else np.arange(len(self.files) if len(rows) else 0)

    def made_of(self, numbers: Numbers, count: int) -> NDArray[np.bool_]:
        """Which of ``count`` items are made of any of these files, bool (N,)."""
        return np.full(count, len(numbers) > 0) if self.of is None else np.isin(self.of, numbers)

    def unsure(self, known: Stamps, numbers: Numbers) -> Numbers:
        """Which of these files are not known to be what they were by their size and time."""
        now, then = _looks([self.files[number] for number in numbers.tolist()]), known[numbers]
        same = (now[:, 0] == then["size"]) & (now[:, 1] == then["time"]) & then["digest"].any(1)
        unsure: Numbers = numbers[~same]
        return unsure

    def stamps(self, numbers: Numbers) -> Stamps:
        """What these files are now; all of them are read."""
        found = np.zeros(len(numbers), STAMP)
        for place, stamp in enumerate(each(_stamp, (self.files[number] for number in numbers.tolist()))):
            found[place] = stamp
        return found

    def check_seen(self, numbers: Numbers) -> None:
        """Refuse files that are not as they were when the data set was opened: it may have kept what they held."""
        files = [self.files[number] for number in numbers.tolist()]
        for place in np.flatnonzero((_looks(files) != self.seen[numbers]).any(1))[:1].tolist():
            raise Refusal(f"{str(files[place])!r} has changed since its data set was opened; open it anew")


def _looks(files: Sequence[Path]) -> NDArray[np.int64]:
    """Size and time of each file, int64 (F, 2); -1 where there is none."""
    out = np.full((len(files), 2), -1, dtype=np.int64)
    for place, file in enumerate(files):
        try:
            stat = os.stat(file)
        except OSError:
            continue
        out[place] = stat.st_size, stat.st_mtime_ns
    return out


def _stamp(file: Path) -> tuple[int, int, NDArray[np.uint8]]:
    try:
        with file.open("rb") as opened:
            stat = os.fstat(opened.fileno())  # before it is read: what is written meanwhile has a later time
            digest = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=HASH)).digest()
    except OSError as error:
        raise Refusal(f"{str(file)!r} cannot be read: {from_disk(error)}") from None
    return stat.st_size, stat.st_mtime_ns, np.frombuffer(digest, np.uint8)
