"""What every denoiser around a network does: conditions become context, and the network runs at its own precision."""

from __future__ import annotations

from abc import ABC
from typing import Protocol

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.learner import Learner
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.networks.context import Context
from mezzotint.networks.cost import cost


class Encoder(Protocol):
    """What turns conditions into context; ``mezzotint.conditions.Encoder`` is the usual one."""

    @property
    def nulls(self) -> tuple[str, ...]: ...

    def prepare(self, cond: Condition) -> Condition: ...

    def __call__(self, cond: Condition, count: int) -> Context: ...


class Networked(Denoiser, Learner, ABC):
    """A denoiser around a network and an encoder, both trained and saved with it.

    Attributes:
        network: ``forward(x, noise, context, want=())``.
        encoder: from conditions to context; None for an unconditional model.
    """

    network: torch.nn.Module
    encoder: Encoder | None

    def prepare(self, cond: Condition) -> Condition:
        return self.encoder.prepare(cond) if self.encoder is not None else cond

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.encoder.nulls if self.encoder is not None else ()

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        with torch.no_grad():
            return cost(self.network, shape, self._context(cond, 1)).macs

    def _context(self, cond: Condition, count: int) -> Context:
        if self.encoder is None:
            known(cond, (), "an unconditional model")
            return Context()
        return self.encoder(cond, count)

    def _said(self, x: Tensor, noise: Tensor, cond: Condition, want: Want) -> tuple[Tensor, dict[str, Tensor]]:
        """What the network says, and its features by name."""
        context = self._context(cond, len(x))
        with torch.autocast(x.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            said = self.network(x, noise, context, want)
        return (said, {}) if isinstance(said, Tensor) else (said.sample, dict(said.aux))
