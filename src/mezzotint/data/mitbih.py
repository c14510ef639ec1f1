"""Half an hour of one heart on two leads: record 100 of the MIT-BIH arrhythmia database (Moody and Mark 2001).

360 steps a second; 2,273 beats with what cardiologists called them. The file, ``biosignal/mitbih_100.npz``, lies in the
folder that the environment variable ``MEZZOTINT_DATA`` names.

Licence: ODC-BY 1.0 (PhysioNet).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mezzotint.data.licence import Licence
from mezzotint.data.npz import read
from mezzotint.data.root import find
from mezzotint.data.windows import BUDGET, Cut, Standardised, check_windows, standardised, stretches

CLASSES = ("N", "A", "V")


@dataclass(frozen=True)
class MITBIH(Standardised):
    """Windows around heartbeats, x (2, L) float32, with ``Condition(label)``: 0 normal, 1 atrial, 2 ventricular.

    A beat is at step L // 2 of its window. The last fifth of the time is held out; windows that would reach beyond
    their part of it are left out. Each lead has mean 0 and standard deviation 1 on the time that is trained on;
    ``data.units(x, rows)`` is in millivolts.

    Arguments:
        length: L, steps of a window at 360 a second.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    length: int = 256
    split: str = "train"
    licence = Licence("ODC-BY 1.0", "name PhysioNet")

    def __post_init__(self) -> None:
        check_windows(self.split, self.length)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def _file(self) -> Path:
        return find("biosignal/mitbih_100.npz")

    @property
    def _steps(self) -> int:
        return self.length

    def _cutting(self) -> Cut:
        signal, gain, zero, beats, types = read(self._file, ["signal", "gain", "zero", "beats", "beat_types"], BUDGET)
        known, first = len(signal) * 4 // 5, beats.astype(np.int64) - self.length // 2
        standard, mean, std = standardised((signal.astype(np.float64) - zero) / gain, known)
        inside = np.zeros(len(first), dtype=bool)
        for begin, end in stretches(self.split, known, len(signal)):
            inside |= (first >= begin) & (first + self.length <= end)
        labels = np.array([CLASSES.index(kind) for kind in types[inside].tolist()], dtype=np.int64)
        return Cut(standard, first[inside], labels, mean=mean[None], std=std[None])
