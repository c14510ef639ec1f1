"""Windows of something long: of a series, a signal or a text.

A long record becomes a data set by cutting: item k is the ``length`` steps from its start on. What is held out is cut
off before that, as a stretch of its own, so no window of one split reaches into another. Steps of a series are brought
to mean 0 and standard deviation 1 by the moments of what is trained on, channel by channel; :meth:`Standardised.units`
takes that back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data, Rows, check_split, glimpse
from mezzotint.data.origins import Origins

BUDGET = 2**30
"""Bytes that the arrays of a file may unpack to."""
Stretch = tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """A long record, and where the windows of one split begin.

    Arguments:
        values: float32 (T, C), or symbols int64 (T,).
        starts: int64 (N,).
        labels: a class each, int64 (N,), or None.
        series: which of S series behind one another each is of, int64 (N,); None: there is one.
        mean, std: float64 (S, C), what the values were brought to 0 and 1 by.
    """

    values: NDArray[Any]
    starts: Rows
    labels: Rows | None = None
    series: Rows | None = None
    mean: NDArray[np.float64] | None = None
    std: NDArray[np.float64] | None = None


class Windowed(Data, ABC):
    """Windows x (C, L), or symbols (L,), of a record, with a field ``split``; an author writes three methods."""

    @property
    @abstractmethod
    def _file(self) -> Path:
        """Where the record lies."""

    @property
    @abstractmethod
    def _steps(self) -> int:
        """L."""

    @abstractmethod
    def _cutting(self) -> Cut:
        """Read the record and cut it."""

    @cached_property
    def _cut(self) -> Cut:
        (file,) = self.origins.files  # before it is read
        cut = self._cutting()
        if not len(cut.starts):
            raise Refusal(
                f"no window of {self._steps} steps lies in the split {self.split!r} of {file.name!r}; choose a "
                "shorter length"
            )
        return cut

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self._cut.values.shape[1:], self._steps)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def labels(self) -> Rows | None:
        return self._cut.labels

    def __len__(self) -> int:
        return len(self._cut.starts)

    def read(self, rows: Rows) -> Tensor:
        return self._steps_from(self._cut.starts[rows], self._steps)

    def _steps_from(self, starts: Rows, length: int) -> Tensor:
        """(B, C, length), or (B, length), from each of these steps on."""
        found = self._cut.values[starts[:, None] + np.arange(length)]
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(found, 1, -1)))

    @cached_property
    def origins(self) -> Origins:
        return Origins.shared([self._file])

    def _marks(self) -> Iterator[bytes]:
        yield glimpse(self._file, 64)
        yield self._cut.starts.astype("<i8").tobytes()


class Standardised(Windowed, ABC):
    """Windows of a series whose channels have mean 0 and standard deviation 1 on what is trained on."""

    def units(self, x: Tensor, rows: Rows) -> Tensor:
        """Windows in the units of the file, float64.

        Arguments:
            x: (B, C, L): windows of these items, or what a model says of them.
            rows: (B,), the items; where a file holds several series each has moments of its own.
        """
        cut = self._cut
        assert cut.mean is not None and cut.std is not None
        series = np.zeros(len(rows), dtype=np.int64) if cut.series is None else cut.series[rows]
        mean, std = (torch.from_numpy(moment[series])[..., None].to(x.device) for moment in (cut.mean, cut.std))
        return x.double() * std + mean


def standardised(
    values: NDArray[Any], known: int
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Values (T, C) by the moments of their first ``known`` steps, and these (C,); what never changes is left as 0."""
    wide = values.astype(np.float64)
    mean, std = wide[:known].mean(0), wide[:known].std(0)
    std = np.where(std > 0, std, 1.0)
    return ((wide - mean) / std).astype(np.float32), mean, std


def stretches(split: str, known: int, total: int) -> list[Stretch]:
    """The stretches of a split, where what is held out begins at step ``known`` and ends at ``total``."""
    return {"train": [(0, known)], "held_out": [(known, total)], "all": [(0, known), (known, total)]}[split]


def starts(inside: list[Stretch], length: int, stride: int) -> Rows:
    """Where windows begin that lie wholly inside one of these stretches."""
    return np.concatenate([np.arange(first, end - length + 1, stride, dtype=np.int64) for first, end in inside])


def check_windows(split: str, *numbers: int) -> None:
    """Refuse a split that there is not, and lengths and strides that are no numbers of steps."""
    check_split(split)
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise Refusal(f"lengths and strides are numbers of steps from 1 on, not {number!r}")
