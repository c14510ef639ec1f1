"""Real pictures in the place of samples: what the best possible model would score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.data.data import Data
from mezzotint.data.digits import Digits


@dataclass(frozen=True)
class Real(Part):
    """``(cond, rng) -> x``: each key picks a picture at random, of the class that is asked for where one is.

    Arguments:
        data: where the pictures come from; give a split that nothing was trained on.
    """

    data: Data

    @classmethod
    def example(cls) -> Real:
        return cls(Digits("held_out"))

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> Tensor:
        if rng is None:
            raise TypeError("a pipeline needs rng=Rng(seeds), one key per sample")
        share = rng.uniform("which", ())
        if "label" not in cond.values:
            return self.data[(share * len(self.data)).long()][0]
        homes = [self._rows[int(label)] for label in cond["label"]]
        rows = [home[int(s * len(home))] for home, s in zip(homes, share.tolist(), strict=True)]
        return self.data[torch.as_tensor(rows)][0]

    @cached_property
    def _rows(self) -> list[NDArray[np.int64]]:
        labels = self.data.labels
        assert labels is not None
        return [np.flatnonzero(labels == label) for label in range(len(self.data.classes))]
