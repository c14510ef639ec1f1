"""Nats in the place of samples: what an objective says of held-out data, item by item."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.data.chain import Chain
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.markov import Markov
from mezzotint.objectives.base import Objective
from mezzotint.objectives.tokens import LevelBound
from mezzotint.processes.absorbing import Absorbing


@dataclass(frozen=True)
class Nats(Part):
    """``(cond, rng) -> nats (B, 1)``: each key picks an item, and the objective's draws about it.

    Arms that are measured by one objective share items and draws, so their differences are surer than either number.

    Arguments:
        denoiser: what is measured.
        objective: a bound on -log p, in nats an item.
        data: what nothing was trained on.
    """

    denoiser: Denoiser
    objective: Objective
    data: Data

    @classmethod
    def example(cls) -> Nats:
        data = Chain(vocab=3, length=4, size=8, held_out_size=8, split="held_out")
        return cls(Markov(Absorbing(3), data.start.tolist(), data.step.tolist(), (4,)), LevelBound(), data)

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> Tensor:
        if rng is None:
            raise TypeError("a pipeline needs rng=Rng(seeds), one key per sample")
        rows = (rng.uniform("which", ()) * len(self.data)).long()
        x, told = self.data[rows]
        device = self.denoiser.device
        with torch.no_grad():
            told = self.denoiser.prepare(told.to(device))
            value: Tensor = self.objective(self.denoiser, x.to(device), told, rng.at("bound")).value
        return value[:, None]
