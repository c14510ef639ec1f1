"""Decoded pictures kept in a file, so that they are decoded once and not once a pass.

A cache is a folder named after what is in it: BLAKE2b of the source's mark and of its spec without places. So it stays
good where the pictures are moved, and another source, split or size has another one. With every item goes the hash of
the file it was decoded from: when a cache is opened, a file whose size or time is another is read, and where it holds
something else its items are decoded anew (:mod:`.origins`). Its files are those of :mod:`.shelf`. Pictures are kept as
bytes where every byte means one value, and else as float32: what is read is, to the last bit, what the source gave.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.config import dumps
from mezzotint.core.errors import DISK, FULL, Refusal, from_disk
from mezzotint.core.lock import alone
from mezzotint.core.spec import spec
from mezzotint.data.data import Data, Rows, together, unplaced
from mezzotint.data.origins import STAMP, Stamps
from mezzotint.data.shelf import SCHEMA, Shelf
from mezzotint.data.wrapped import Wrapped

AT_ONCE = 2**24
"""Bytes of float32 that are asked of the source at once; what a build that is killed has lost, at most."""


@dataclass(frozen=True)
class Cached(Wrapped):
    """The items of a source, decoded once and then read from a memory-mapped file; conditions are the source's.

    It is built when it is first read, or by :meth:`build`, which is when the files of the source are looked at, too:
    what changes afterwards is seen the next time it is opened. Where several processes want to build it, one does and
    the others wait. An item that is no longer as it was written is taken from the source instead, with a warning.

    Arguments:
        source: any data set but one of symbols; one that paints its pictures with what is told of them, such as
            ``Scenes``, gains nothing.
        folder: of caches, of as many sources as one likes; each has its own folder in it.
    """

    source: Data
    folder: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.source, Cached):
            raise Refusal("the source of data.Cached is cached already; leave one of the two out")
        if self.source.vocab is not None:
            raise Refusal(
                f"the samples of data.{type(self.source).__name__} are symbols, and what is kept are pictures: cache "
                "what they are made of, as in data.Shaded(data.Cached(...))"
            )
        object.__setattr__(self, "folder", os.fspath(self.folder))

    @cached_property
    def key(self) -> str:
        """The name of its folder, 32 hexadecimal digits."""
        said = dumps(unplaced(spec(self.source)))
        return blake2b(f"{SCHEMA} {self.source.mark} {said}".encode(), digest_size=16).hexdigest()

    @property
    def path(self) -> Path:
        """Where it is."""
        return Path(self.folder) / self.key

    @property
    def done(self) -> int:
        """How many items are in it, those left out whose files hold something else by now."""
        shelf = Shelf.read(self.path, self.key, self.source)
        return 0 if shelf is None else int(shelf.there.sum() - len(self._compared(shelf)[2]))

    def build(self, progress: Callable[[int, int], None] | None = None, check: bool = False) -> Self:
        """Decode what is not there yet, and return the same data set.

        A build that was killed is gone on with. What is there and is no cache of this source is replaced.

        Arguments:
            progress: called with how many items are done, and how many there are: at first with those done before.
            check: read what is there and the files it was decoded from, whatever their times, and decode anew what is
                no longer as it was written.

        Raises:
            Refusal: the disk is full, or may not be written to; or a file has changed since the source was opened.
        """
        tell = progress or (lambda done, total: None)
        with _writing(self.path), alone(self.path, "another build", "wait for it", patience=math.inf):
            shelf = Shelf.read(self.path, self.key, self.source) or Shelf.begin(self.path, self.key, self.source)
            if check:
                shelf.forget(shelf.damaged())
            files, now, changed = self._compared(shelf, doubt=check)
            shelf.forget(changed)
            shelf.stamp(files, now)
            tell(int(shelf.there.sum()), len(self))
            missing = np.flatnonzero(~shelf.there)
            while len(missing):
                for rows in together(missing, self.buckets, self._many):
                    self._note(shelf, rows)
                    x = self.source.read(rows)
                    if not shelf.write(rows, x):  # these are no bytes: all that was kept as such is kept anew
                        shelf = Shelf.begin(self.path, self.key, self.source, "float32")
                        break
                    tell(int(shelf.there.sum()), len(self))
                missing = np.flatnonzero(~shelf.there)
        self.__dict__.pop("_shelf", None)
        return self

    def _compared(self, shelf: Shelf, doubt: bool = False) -> tuple[Rows, Stamps, Rows]:
        """The files of what is there that are not as they were noted (all, in doubt), what they are, and the items of
        those that hold something else."""
        origins = self.source.origins
        if origins is None:
            return np.arange(0), np.zeros(0, STAMP), np.arange(0)
        files = origins.needed(np.flatnonzero(shelf.there))
        files = files if doubt else origins.unsure(shelf.stamps, files)
        now = origins.stamps(files)
        other = files[(now["digest"] != shelf.stamps["digest"][files]).any(1)]
        return files, now, np.flatnonzero(shelf.there & origins.made_of(other, len(self)))

    def _note(self, shelf: Shelf, rows: Rows) -> None:
        """Note what the files of these items are, before they are read."""
        origins = self.source.origins
        if origins is not None:
            files = origins.needed(rows)
            origins.check_seen(files)
            files = origins.unsure(shelf.stamps, files)
            shelf.stamp(files, origins.stamps(files))

    def _current(self, shelf: Shelf) -> bool:
        """Whether all is there, and of files that hold what they held; those that were only touched are noted."""
        if not shelf.there.all():
            return False
        files, now, changed = self._compared(shelf)
        if len(files) and not len(changed):
            with suppress(OSError, Refusal), alone(self.path, "another build", "wait for it"):
                shelf.stamp(files, now)  # where nothing may be written they are read again the next time
        return not len(changed)

    @property
    def _many(self) -> int:
        return max(1, AT_ONCE // (4 * max(math.prod(shape) for shape in self.shapes)))

    @cached_property
    def _shelf(self) -> Shelf:
        shelf = Shelf.read(self.path, self.key, self.source)
        if shelf is None or not self._current(shelf):
            self.build()
            shelf = Shelf.read(self.path, self.key, self.source)
        if shelf is None:
            raise Refusal(f"the cache in {str(self.path)!r} cannot be read just after it was built; look at the disk")
        return shelf

    def read(self, rows: Rows) -> Tensor:
        x, bad = self._shelf.items(rows)
        if len(bad):
            warnings.warn(
                f"{len(bad)} items of the cache in {str(self.path)!r} are damaged and were decoded anew; mend it by "
                "data.Cached(...).build(check=True)",
                stacklevel=2,
            )
            x[bad] = self.source.read(rows[bad])
        return x

    def packed(self, rows: Rows) -> tuple[Tensor, Condition]:
        x, bad = self._shelf.as_bytes(rows)
        return self.items(rows) if x is None or len(bad) else (x, self.condition(rows))

    @cached_property
    def _moments(self) -> tuple[float, float]:
        if type(self.source)._moments is not Data._moments:  # it does not ask every item
            return self.source._moments
        train = self.sibling("train")
        return self._measured() if train is self else train._moments

    @cached_property
    def mark(self) -> str:
        return self.source.mark

    def __getstate__(self) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(self)}  # what is open stays in this process


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in a sentence what the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        what = "make room" if error.errno in FULL else "see that it can be written, or name another folder"
        raise Refusal(
            f"the disk refused the cache {str(path)!r}: {from_disk(error)}; {what}: what is in it is kept"
        ) from None
