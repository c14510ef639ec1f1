"""Any numbers that describe a sample as a whole: attributes, an embedding of a face or a sentence, an angle, a pose.

A linear layer makes them the network's vector, which is added to its embedding of the noise level, so they reach every
block (arXiv 2105.05233, section 4.1, for class embeddings); where they were dropped a learnt vector stands in, as in
classifier-free guidance (arXiv 2207.12598). Zero is a value like any other and not the null.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart, only
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context


class Vector(ConditionPart):
    """``size`` real numbers a sample: vector = W v + c, or the null.

    Arguments:
        size: how many numbers; values are (B, size), real, integer or true and false, best on a scale of about 1.
        width: of the vector handed to the network (its ``vector``).
    """

    def __init__(self, size: int, width: int = 128) -> None:
        super().__init__()
        if size < 1 or width < 1:
            raise Refusal(f"Vector needs at least one number and a positive width, not {size} and {width}")
        self.size, self.width = size, width
        self.layer = nn.Linear(size, width)
        self.null = nn.Parameter(torch.zeros(width))

    def _check(self, vector: Tensor) -> Tensor:
        if vector.ndim != 2 or vector.shape[1] != self.size or vector.is_complex():
            raise Refusal(f"this vector is {self.size} numbers a sample, (B, {self.size}), not {tuple(vector.shape)}")
        return vector

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        vector = only(values)
        if vector is not None and not self._check(vector).isfinite().all():
            raise Refusal(
                "a vector holds numbers that are not finite; replace them, by zeros in rows where the family is dropped"
            )
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        vector, told = only(values), self.null.expand(len(keep), -1)
        if vector is not None:
            # What is dropped may be anything, so it is put aside before the layer: 0 times infinity has no gradient.
            given = torch.where(keep[:, None], self._check(vector).to(self.null.dtype), 0.0)
            told = torch.where(keep[:, None], self.layer(given), told)
        self.saw(keep, told)
        return Context(vector=told)
