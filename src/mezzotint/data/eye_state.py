"""Two minutes of brain waves, eyes open or closed: EEG Eye State (Roesler 2013, UCI).

Fourteen channels, 128 steps a second, 117 seconds. Four steps are gross outliers, so every channel is cut at 200 to
either side of its median first. The file, ``biosignal/eeg_eye_state.npz``, lies in the folder that the environment
variable ``MEZZOTINT_DATA`` names.

Licence: CC BY 4.0 (UCI).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mezzotint.data.licence import Licence
from mezzotint.data.npz import read
from mezzotint.data.root import find
from mezzotint.data.windows import BUDGET, Cut, Standardised, check_windows, standardised, starts, stretches

CLASSES = ("open", "closed")
REACH = 200.0


@dataclass(frozen=True)
class EyeState(Standardised):
    """Windows of brain waves, x (14, L) float32, with ``Condition(label)``: 0 eyes open, 1 closed.

    A window lies wholly in one state, and the last fifth of the time is held out. Each channel has mean 0 and standard
    deviation 1 on the time that is trained on; ``data.units(x, rows)`` is the file's, less the median of that time.

    Arguments:
        length: L, steps of a window at 128 a second.
        stride: steps from a window to the next.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    length: int = 128
    stride: int = 16
    split: str = "train"
    licence = Licence("CC BY 4.0", "name Roesler 2013, UCI")

    def __post_init__(self) -> None:
        check_windows(self.split, self.length, self.stride)

    @property
    def classes(self) -> tuple[str, ...]:
        return CLASSES

    @property
    def _file(self) -> Path:
        return find("biosignal/eeg_eye_state.npz")

    @property
    def _steps(self) -> int:
        return self.length

    def _cutting(self) -> Cut:
        signal, closed = read(self._file, ["signal", "eyes_closed"], BUDGET)
        known = len(signal) * 4 // 5
        even = np.clip(signal.astype(np.float64) - np.median(signal[:known], 0), -REACH, REACH)
        standard, mean, std = standardised(even, known)
        first = starts(stretches(self.split, known, len(signal)), self.length, self.stride)
        turns = np.concatenate([[0], np.cumsum(closed[1:] != closed[:-1])])
        first = first[turns[first] == turns[first + self.length - 1]]
        return Cut(standard, first, closed[first].astype(np.int64), mean=mean[None], std=std[None])
