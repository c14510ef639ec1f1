"""A condition part gives one family a meaning: its values become tensors that networks can use.

It owns the family's learnt null - what the network is told where the family was dropped - and remembers whether that
null was ever trained, so that guidance on a model that never saw it can be refused instead of sampling noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.core.spec import Module
from mezzotint.networks.context import Context


class ConditionPart(Module, ABC):
    """Values of one family -> :class:`Context`."""

    null_trained: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("null_trained", torch.zeros((), dtype=torch.bool))

    @abstractmethod
    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        """The family's share of the context.

        Arguments:
            values: the family's tensors by dotted name, (B, ...); empty if the family is absent.
            keep: bool (B,); where false, and where the family is absent, the null stands in.
        """

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Check the values and run frozen encoders, once per run; what is returned is added to the condition."""
        return {}

    def saw(self, keep: Tensor) -> None:
        """Remember that the null takes part in training; called with the rows kept of every forward pass."""
        if torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters()):
            self.null_trained |= ~keep.all()
