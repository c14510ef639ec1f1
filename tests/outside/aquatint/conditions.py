"""Labels that lie on a circle, such as hours or directions."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions import ConditionPart
from mezzotint.core import Refusal
from mezzotint.networks import Context


class Circle(ConditionPart):
    """One of ``count`` points on a circle, as a vector of ``width`` features."""

    def __init__(self, count: int, width: int = 16) -> None:
        super().__init__()
        self.count, self.width = count, width
        self.layer, self.null = nn.Linear(2, width), nn.Parameter(torch.zeros(width))

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        for place in values.values():
            if place.is_floating_point() or bool((place < 0).any()) or bool((place >= self.count).any()):
                raise Refusal(f"places on this circle are integers from 0 to {self.count - 1}")
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        self.prepare(values)
        told = self.null.expand(len(keep), -1)
        for place in values.values():
            angle = 2 * math.pi * place.to(self.null.dtype) / self.count
            told = torch.where(keep[:, None], self.layer(torch.stack([angle.cos(), angle.sin()], 1)), told)
        self.saw(keep, told)
        return Context(vector=told)
