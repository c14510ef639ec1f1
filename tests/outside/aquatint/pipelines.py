"""The best of several samples, by any reward."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core import Condition, Pipeline, Reward, Rng
from mezzotint.core.spec import Part


@dataclass(frozen=True)
class Best(Part):
    """Draw ``count`` samples for every key and keep the one that is rewarded most."""

    pipeline: Pipeline
    reward: Reward
    count: int = 4

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        many = cond.repeat(self.count) if cond else cond
        x = self.pipeline(many, rng.split(self.count))
        best = self.reward(x, many).reshape(len(rng), self.count).argmax(1)
        return x[best + self.count * torch.arange(len(rng))]
