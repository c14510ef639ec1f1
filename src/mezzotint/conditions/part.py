"""A condition part gives one family a meaning: its values become tensors that networks can use.

It owns the family's learnt null - what the network is told where the family was dropped - and remembers whether that
null was ever trained, so that guidance on a model that never saw it can be refused instead of sampling noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
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

    def saw(self, keep: Tensor, told: Tensor) -> None:
        """Remember that the null takes part in training: where rows were dropped and a gradient comes back.

        Arguments:
            keep: the rows kept, bool (B,).
            told: what the network was told; only a backward pass through it counts, so asking never does.
        """
        if told.requires_grad:
            told.register_hook(lambda gradient: self._mark(keep))  # type: ignore[no-untyped-call]

    def _mark(self, keep: Tensor) -> None:
        self.null_trained |= ~keep.all()


def only(values: Mapping[str, Tensor]) -> Tensor | None:
    """The one tensor of a family that is a single value, None where the family is absent.

    Raises:
        Refusal: if the family brings further values, which its part would otherwise ignore.
    """
    if len(values) > 1 or any("." in name for name in values):
        name, *_ = values
        raise Refusal(
            f"the condition {name.split('.', 1)[0]!r} is one value, not {', '.join(values)}; its part knows no others"
        )
    return next(iter(values.values()), None)
