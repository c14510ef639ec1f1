"""One meter for evaluations: what a sampler, a guidance or a search really cost.

Counting happens at the denoiser, below guidance, so classifier-free guidance counts twice where it asks twice, and
rows that a sampler leaves alone count nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.denoiser.base import Denoiser, Want


class Counted(Denoiser):
    """Passes everything on and counts calls and rows.

    Arguments:
        denoiser: what is counted.

    Attributes:
        calls: how often it was asked.
        rows: for how many samples altogether; divided by the batch, the number of function evaluations (NFE).
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.process, self.shape = denoiser.process, denoiser.shape
        self.uses_level, self.times, self.clean = denoiser.uses_level, denoiser.times, denoiser.clean
        self.calls = self.rows = 0

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.denoiser.nulls

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def prepare(self, cond: Condition) -> Condition:
        return self.denoiser.prepare(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        self.calls += 1
        self.rows += len(x)
        return self.denoiser(x, t, cond, want)

    def reset(self) -> None:
        """Start counting anew."""
        self.calls = self.rows = 0
