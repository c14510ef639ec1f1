"""Three series that forecasting papers use, as windows.

``exchange_rate``: daily rates of eight currencies, 1990 to 2016, with a few outliers (Lai et al. 2018, 1703.07015).
``etth1``: load and oil temperature of a transformer, seven channels by the hour (Zhou et al. 2021, 2012.07436).
``m4_hourly``: 414 series of one channel by the hour, 700 or 960 steps, and the 48 steps after that forecasts are judged
on (Makridakis et al. 2020, the M4 competition).

The files, ``timeseries/<name>.npz``, lie in the folder that the environment variable ``MEZZOTINT_DATA`` names.

Licence: etth1 is CC BY-ND 4.0, so no altered copy is published; the other two state none and were published for
research only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.data.data import Rows
from mezzotint.data.licence import Licence
from mezzotint.data.npz import read
from mezzotint.data.root import find
from mezzotint.data.windows import BUDGET, Cut, Standardised, check_windows, standardised, starts, stretches

NAMES = ("exchange_rate", "etth1", "m4_hourly")
HORIZON = 48
"""Steps that a forecast of m4_hourly is judged on."""


@dataclass(frozen=True)
class TimeSeries(Standardised):
    """Windows of a series, x (C, L) float32, each channel with mean 0 and standard deviation 1 on what is trained on.

    The last fifth of the time is held out. Of m4_hourly it is what the file holds out: an item for every series, which
    ends with the 48 steps that nobody trains on and begins in what was known before; each of its series has moments of
    its own. ``data.units(x, rows)`` gives the numbers of the file back.

    Arguments:
        name: ``"exchange_rate"``, ``"etth1"`` or ``"m4_hourly"``.
        length: L, steps of a window.
        future: steps after each window that are told as ``future``, float32 (B, C, future); 0: none. 48 is the usual
            forecast of m4_hourly.
        stride: steps from a window to the next; windows nearer than ``length`` share some.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    name: str = "etth1"
    length: int = 96
    future: int = 0
    stride: int = 1
    split: str = "train"
    licence = Licence(
        "CC BY-ND 4.0", "of etth1, no altered copies; the other series state none and are for research", research=True
    )

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise Refusal(f"there is no series {self.name!r}: {nearest(str(self.name), NAMES)}")
        check_windows(self.split, self.length, self.stride)
        if self.future:
            check_windows(self.split, self.future)

    @property
    def _file(self) -> Path:
        return find(f"timeseries/{self.name}.npz")

    @property
    def _steps(self) -> int:
        return self.length

    def condition(self, rows: Rows) -> Condition:
        told = super().condition(rows)
        if not self.future:
            return told
        return told | Condition(future=self._steps_from(self._cut.starts[rows] + self.length, self.future))

    def _marks(self) -> Iterator[bytes]:
        yield from super()._marks()
        yield f"future {self.future}".encode()

    def _cutting(self) -> Cut:
        whole, at = self.length + self.future, 0
        values, means, stds, begins, series = [], [], [], [], []
        for number, (steps, known) in enumerate(self._series()):
            standard, mean, std = standardised(steps, known)
            inside = stretches(self.split, known, len(steps))
            if self.name == "m4_hourly":  # one a series is held out: forecasts are judged on the very end
                inside = [(max(0, end - whole), end) if first else (first, end) for first, end in inside]
            own = starts(inside, whole, self.stride)
            begins.append(own + at)
            series.append(np.full(len(own), number))
            values.append(standard)
            means.append(mean)
            stds.append(std)
            at += len(steps)
        return Cut(
            np.concatenate(values),
            np.concatenate(begins),
            series=np.concatenate(series),
            mean=np.stack(means),
            std=np.stack(stds),
        )

    def _series(self) -> Iterator[tuple[NDArray[Any], int]]:
        """Every series of the file (T, C), and the first of its steps that is held out."""
        if self.name != "m4_hourly":
            (values,) = read(self._file, ["values"], BUDGET)
            yield values, len(values) * 4 // 5
            return
        values, offsets, future = read(self._file, ["values", "offsets", "future"], BUDGET)
        for first, end, last in zip(offsets[:-1], offsets[1:], future, strict=True):
            yield np.concatenate([values[first:end], last])[:, None], int(end - first)
