"""Class labels: a table of vectors and one more for "no label".

The vector is added to the network's embedding of the noise level, as in DiT (2212.09748) and ADM (2105.05233); the
null is a learnt row of its own, as in classifier-free guidance (Ho and Salimans 2022, 2207.12598).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart, only
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context


class Classes(ConditionPart):
    """One of ``count`` classes.

    Arguments:
        count: how many classes; labels are 0 .. count - 1, integers (B,).
        width: of the vector handed to the network (its ``vector``).
    """

    def __init__(self, count: int, width: int = 128) -> None:
        super().__init__()
        if count < 1 or width < 1:
            raise Refusal(f"Classes needs at least one class and a positive width, not {count} and {width}")
        self.count, self.width = count, width
        self.table = nn.Embedding(count, width)
        self.null = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.table.weight)

    def _check(self, label: Tensor) -> Tensor:
        if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
            raise Refusal(f"labels are integers (B,), not {label.dtype} of shape {tuple(label.shape)}")
        return label

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        label = only(values)
        if label is not None and len(self._check(label)):
            low, high = int(label.min()), int(label.max())
            if low < 0 or high >= self.count:
                wrong = low if low < 0 else high
                raise Refusal(f"label {wrong} is out of range: this model knows the classes 0 to {self.count - 1}")
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        label, vector = only(values), self.null.expand(len(keep), -1)
        if label is not None:
            if label.device.type == "cpu":  # on an accelerator this would wait for it; prepare() has looked already
                self.prepare(values)
            vector = torch.where(keep[:, None], self.table(self._check(label).long()), vector)
        self.saw(keep, vector)
        return Context(vector=vector)
