"""What a trainer trains: a part with weights that stands for one kind of sample and hears conditions.

A denoiser around a network is one, a noise-aware classifier another. The objective knows what to ask of it; the trainer
only moves it, counts, averages and stores.
"""

from __future__ import annotations

from abc import ABC
from itertools import chain

import torch

from mezzotint.core.condition import Condition
from mezzotint.core.spec import Module


class Learner(Module, ABC):
    """A part that can be trained.

    Attributes:
        shape: of one sample, without the batch.
        inner_dtype: the precision its network runs in; None: the one its weights are in. Not part of the config.
    """

    shape: tuple[int, ...]
    inner_dtype: torch.dtype | None = None

    def lower(self, dtype: torch.dtype | None) -> None:
        """Run the network in another precision from now on; None: in the one it is in."""
        self.inner_dtype = dtype

    def prepare(self, cond: Condition) -> Condition:
        """Check a condition and run frozen encoders, once per batch: adds values and replaces none."""
        return cond

    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        for tensor in chain(self.parameters(), self.buffers()):
            return tensor.device
        return torch.device("cpu")
