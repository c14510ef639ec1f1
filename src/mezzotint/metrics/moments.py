"""Mean and covariance of more rows than fit into memory: gathered in pieces, on several machines, over several days.

A Frechet distance needs of a set of features only their count, their mean m and their scatter S, the sum of
(x - m)(x - m)^T, and two sets of those make one without the rows:

    m = m_a + d n_b / n,    S = S_a + S_b + d d^T n_a n_b / n,    d = m_b - m_a,    n = n_a + n_b.

Nothing is squared before its mean is taken off, so a mean of a million times the spread costs no digits; all of it is
float64. Rows are numbered as the samples are, which makes what is gathered exact about what it holds: a shard knows its
rows and refuses to be joined with one that has some of them, or that is of other features.

How equal is sharded to unsharded? Rows are taken up in blocks of ``BLOCK``, a block at a time, and what does not fill
one waits. So the batches in which rows arrive, and where a gathering was stopped, saved and resumed, change *no bit*.
Shards are joined by the formula above, in the order of their rows, whatever order they come in: then the result is that
of one gathering to rounding (a few 1e-15 of the scatter's largest entry for each join), and to the bit that of the same
shards again.

Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances" (Eq.
2.1); for one row at a time it is Welford's (1962).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.folder import MANIFEST, check_folder, write_folder
from mezzotint.core.stop import poll
from mezzotint.core.store import load_tensors, save_tensors
from mezzotint.metrics.pictures import Source

BLOCK = 512
"""How many rows are taken up at once."""
_FILE = "moments.safetensors"
_ABOUT = "moments.json"
Table = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Count, mean and scatter of rows that are known by number; begin with :meth:`begin` or :meth:`of`.

    Arguments:
        parts: what was gathered in one go each, in ascending order of rows.
        about: what the rows are (such as the SHA-256 of data and extractor); only like is joined with like.
    """

    parts: tuple[Part, ...]
    about: str = ""

    @classmethod
    def begin(cls, size: int, first: int = 0, about: str = "") -> Moments:
        """Moments of no rows yet.

        Arguments:
            size: D, entries of a row.
            first: the number of the first row to come.
            about: what the rows are.
        """
        if size < 1 or first < 0:
            raise Refusal(f"moments are of rows of at least one entry, numbered from 0, not {size} from {first}")
        return cls((Part(first, 0, np.zeros(size), np.zeros((size, size)), np.zeros((0, size))),), about)

    @classmethod
    def of(cls, table: Tensor | NDArray[Any], first: int = 0, about: str = "") -> Moments:
        """The moments of a table (N, D) whose rows are numbered from ``first``."""
        rows = _table(table)
        return cls.begin(rows.shape[1], first, about).add(rows)

    def add(self, table: Tensor | NDArray[Any]) -> Moments:
        """These and the rows that follow (N, D), in any number at a time."""
        return replace(self, parts=(*self.parts[:-1], self.parts[-1].add(_table(table))))

    def join(self, other: Moments) -> Moments:
        """These and those of other rows."""
        if self.about != other.about:
            raise Refusal(
                f"these moments are of {self.about or 'rows nobody named'!r}, those of "
                f"{other.about or 'rows nobody named'!r}: only moments of the same pictures and extractor make one set"
            )
        if self.size != other.size:
            raise Refusal(f"these moments are of {self.size} features a row, those of {other.size}")
        parts = sorted((part for part in (*self.parts, *other.parts) if part.count), key=lambda part: part.first)
        for before, after in zip(parts, parts[1:], strict=False):
            if after.first < before.last:
                raise Refusal(
                    f"rows {after.first} to {min(before.last, after.last) - 1} are in both of these moments; give each "
                    "shard its own"
                )
        return replace(self, parts=tuple(parts) or self.parts)

    @property
    def size(self) -> int:
        """D, entries of a row."""
        return len(self.parts[0].mean)

    @property
    def count(self) -> int:
        """Rows that are in."""
        return sum(part.count for part in self.parts)

    @property
    def rows(self) -> tuple[tuple[int, int], ...]:
        """Which rows are in, as ranges (first, one after the last)."""
        return tuple((part.first, part.last) for part in self.parts)

    @property
    def mean(self) -> Table:
        """The mean (D,)."""
        return self._whole()[1]

    @property
    def covariance(self) -> Table:
        """The covariance (D, D), which divides by the count less one."""
        count, _, scatter = self._whole()
        if count < 2:
            raise Refusal(f"a covariance needs at least two rows, and these moments are of {count}")
        return scatter / (count - 1)

    def _whole(self) -> Triple:
        return reduce(_join, (part.whole() for part in self.parts))

    def save(self, path: str | Path) -> Path:
        """Write a folder with the sums as safetensors, what they are of as JSON, and a manifest; one there goes."""
        said = {"about": self.about, "parts": [[part.first, part.taken] for part in self.parts]}

        def fill(folder: Path) -> None:
            (folder / _ABOUT).write_text(json.dumps(said), encoding="utf-8")
            tensors = {
                f"{number}.{name}": torch.from_numpy(getattr(part, name))
                for number, part in enumerate(self.parts)
                for name in ("mean", "scatter", "rest")
            }
            save_tensors(folder / _FILE, tensors)

        return write_folder(path, fill, replace=True)

    @classmethod
    def load(cls, path: str | Path) -> Moments:
        """Read a folder written by :meth:`save`; what is damaged or is no moments is refused."""
        from mezzotint.core.bounded import read_json

        folder = Path(path)
        check_folder(folder)
        try:
            said = read_json(folder / _ABOUT)
            tensors = load_tensors(folder / _FILE)
            parts = tuple(
                Part(int(first), int(taken), *(tensors[f"{n}.{name}"].numpy() for name in ("mean", "scatter", "rest")))
                for n, (first, taken) in enumerate(said["parts"])
            )
            made, about = cls(parts, str(said["about"])), parts[0].mean.shape
        except (Refusal, LookupError, TypeError, ValueError):
            raise Refusal(f"{str(folder)!r} holds no moments: write them with Moments.save") from None
        if any(p.mean.shape != about or p.scatter.shape != about * 2 or p.rest.shape[1:] != about for p in parts):
            raise Refusal(f"{str(folder)!r} holds moments of rows that do not fit each other")
        return made


Triple = tuple[int, Table, Table]


@dataclass(frozen=True)
class Part:
    """Consecutive rows: those of full blocks as moments, the few after them as they are.

    Arguments:
        first: the number of the first.
        taken: how many are in ``mean`` and ``scatter``.
        mean: (D,) of those taken.
        scatter: (D, D) of those taken.
        rest: rows (r, D), fewer than a block, that are not in yet.
    """

    first: int
    taken: int
    mean: Table
    scatter: Table
    rest: Table

    @property
    def count(self) -> int:
        """Rows, with those that wait."""
        return self.taken + len(self.rest)

    @property
    def last(self) -> int:
        """One after the number of the last row."""
        return self.first + self.count

    def add(self, rows: Table) -> Part:
        """This and the rows that follow."""
        if rows.shape[1] != len(self.mean):
            raise Refusal(f"rows of {rows.shape[1]} features do not follow on rows of {len(self.mean)}")
        waiting = np.concatenate((self.rest, rows))
        held: Triple = self.taken, self.mean, self.scatter
        full = len(waiting) // BLOCK * BLOCK
        for at in range(0, full, BLOCK):
            held = _join(held, _block(waiting[at : at + BLOCK]))
        return Part(self.first, *held, waiting[full:].copy())

    def whole(self) -> Triple:
        """Count, mean and scatter of all of them."""
        held: Triple = self.taken, self.mean, self.scatter
        return _join(held, _block(self.rest)) if len(self.rest) else held


def gather(
    source: Source,
    look: Callable[[Tensor], NDArray[Any]],
    *,
    rows: tuple[int, int] | None = None,
    about: str = "",
    path: str | Path | None = None,
    every: int = 20,
) -> Moments:
    """The moments of what is seen in a data set, of which a block of pictures is in memory at a time.

    Arguments:
        source: answers ``source[rows]`` with pictures and their condition.
        look: features (B, D) of pictures (B, C, H, W); ``extractor.features`` is one.
        rows: the shard, from the first to one after the last; None: all of the set.
        about: what set and what extractor this is; named wherever there is a path.
        path: a folder where it is saved as it goes, and gone on with where a gathering was stopped.
        every: blocks between two savings.

    Raises:
        Refusal: the folder at ``path`` holds moments of something else or of other rows.
    """
    if path is not None and not about:
        raise Refusal("say what the moments are about, the set and the extractor: others would go on with them unasked")
    first, last = (0, len(source)) if rows is None else rows
    if not 0 <= first < last <= len(source):
        raise Refusal(f"a shard is a range of rows within 0 to {len(source)}, not {first} to {last}")
    held = None
    if path is not None and (Path(path) / MANIFEST).is_file():
        held = Moments.load(path)
        if held.about != about or len(held.parts) != 1 or held.parts[0].first != first or held.parts[0].last > last:
            raise Refusal(
                f"{str(path)!r} holds moments of {held.about or 'rows nobody named'!r} for rows {held.rows}, not the "
                f"beginning of {about or 'rows nobody named'!r} from {first} to {last}; name another folder"
            )
    start = first if held is None else held.parts[0].last
    for turn, at in enumerate(range(start, last, BLOCK), 1):
        poll()
        seen = _table(look(source[np.arange(at, min(at + BLOCK, last))][0]))
        held = Moments.begin(seen.shape[1], first, about) if held is None else held
        held = held.add(seen)
        if path is not None and (turn % every == 0 or at + BLOCK >= last):
            held.save(path)
    assert held is not None
    return held


def _table(table: Any) -> Table:
    rows = np.asarray(table.detach().cpu() if isinstance(table, Tensor) else table, dtype=np.float64)
    if rows.ndim != 2:
        raise Refusal(f"moments are of tables (N, D), not of {rows.shape}")
    if not np.isfinite(rows).all():
        raise Refusal("moments need finite features, but some are NaN or infinite")
    return rows


def _block(rows: Table) -> Triple:
    mean = rows.mean(0)
    centred = rows - mean
    return len(rows), mean, centred.T @ centred


def _join(a: Triple, b: Triple) -> Triple:
    """Two sets as one; Chan, Golub and LeVeque, Eq. 2.1."""
    if not a[0] or not b[0]:
        return a if a[0] else b
    count, apart = a[0] + b[0], b[1] - a[1]
    return count, a[1] + apart * (b[0] / count), a[2] + b[2] + np.outer(apart, apart) * (a[0] * b[0] / count)
