"""Five hundred heartbeats in five classes: the training beats of ECG5000 (UCR archive; Goldberger et al. 2000).

They are from one night of one patient, record chf07 of PhysioNet's BIDMC congestive heart failure database, cut into
beats of 140 steps by the archive and brought to mean 0 and standard deviation 1, each by itself. The file,
``biosignal/ecg5000_train.npz``, lies in the folder that the environment variable ``MEZZOTINT_DATA`` names.

Licence: ODC-BY 1.0 (PhysioNet); whoever uses it cites the UCR time series archive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mezzotint.data.data import check_split, in_split
from mezzotint.data.licence import Licence
from mezzotint.data.npz import read
from mezzotint.data.root import find
from mezzotint.data.windows import BUDGET, Cut, Windowed

CLASSES = ("normal", "R-on-T PVC", "PVC", "supraventricular/ectopic", "unclassified")
LENGTH, SHARE = 140, 0.2


@dataclass(frozen=True)
class ECG5000(Windowed):
    """Heartbeats x (1, 140) float32, with ``Condition(label)`` 0..4; each beat has mean 0 and standard deviation 1.

    A fifth is held out, by a hash of a beat's number in the file. Classes are far from equal: 292, 177, 10, 19 and 2.

    Arguments:
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    split: str = "train"
    licence = Licence("ODC-BY 1.0", "name PhysioNet and cite the UCR archive")

    def __post_init__(self) -> None:
        check_split(self.split)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def _file(self) -> Path:
        return find("biosignal/ecg5000_train.npz")

    @property
    def _steps(self) -> int:
        return LENGTH

    def _cutting(self) -> Cut:
        signals, labels = read(self._file, ["signals", "labels"], BUDGET)
        rows = np.flatnonzero([in_split(str(row), self.split, SHARE) for row in range(len(signals))])
        return Cut(signals.astype(np.float32).reshape(-1, 1), LENGTH * rows, labels[rows].astype(np.int64))
