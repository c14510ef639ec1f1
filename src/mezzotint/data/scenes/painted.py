"""What data sets have in common that paint their pictures when they are asked for them, as many as one likes."""

from __future__ import annotations

from abc import ABC
from functools import cached_property
from hashlib import blake2b

import numpy as np

from mezzotint.data.data import Data
from mezzotint.data.licence import OURS

_MEASURED, _MARKED = 2**21, 32


class Painted(Data, ABC):
    """A source that is a function of a seed and a number; nothing of it is stored, so it is measured on a part."""

    licence = OURS

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """Of the first items of the train split, about two million pixels: there is no end of them."""
        train = self.sibling("train")
        if train is not self:
            return train._moments
        count = max(64, _MEASURED // int(np.prod(self.shape[1:])))
        x = self.read(self._numbers[:count]).double()
        return float(x.mean()), float(x.std(correction=0))

    @cached_property
    def mark(self) -> str:
        """BLAKE2b over the number of items, and over some of them with all that is told of them.

        Of what they are and not of what they were asked for, so that a setting that is new does not make them others.
        """
        rows = np.unique(np.linspace(0, len(self) - 1, _MARKED).astype(np.int64))
        x, told = self.items(rows)
        found = blake2b(repr((len(self), tuple(self.shape), self.classes)).encode(), digest_size=16)
        found.update(x.numpy().tobytes())
        for name in sorted(told.values):
            found.update(name.encode() + told[name].numpy().tobytes())
        return found.hexdigest()
