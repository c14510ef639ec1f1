"""Half a picture."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core import NONE, Condition
from mezzotint.operators import Operator


@dataclass(frozen=True)
class Every(Operator):
    """Every second column."""

    def forward(self, x: Tensor, cond: Condition = NONE) -> Tensor:
        return x[..., ::2]

    def adjoint(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return torch.stack([y, torch.zeros_like(y)], -1).flatten(-2)

    def pinv(self, y: Tensor, cond: Condition = NONE) -> Tensor:
        return self.adjoint(y, cond)
