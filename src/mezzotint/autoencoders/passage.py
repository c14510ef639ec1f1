"""There and back: what an autoencoder does with a batch while it is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng


@dataclass(frozen=True)
class Passage:
    """A batch that went there and back.

    Arguments:
        decoded: what came back (B, *shape), with gradients.
        costs: what the codes cost (B,), by name: ``code`` for a codebook, ``kl`` in nats for a Gaussian.
        parts: further numbers (B,) for the log.
        features: what the encoder said (B, D, *latent), without gradients.
        codes: the symbols it became, where there are some.
    """

    decoded: Tensor
    costs: Mapping[str, Tensor]
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    codes: Tensor | None = None


class Reconstructing(Autoencoder, ABC):
    """An autoencoder that :class:`mezzotint.objectives.Reconstruction` can train."""

    @abstractmethod
    def through(self, x: Tensor, rng: Rng, cond: Condition = NONE) -> Passage:
        """There and back, with gradients from end to end; draws are named under ``rng``."""

    def learn(self, passage: Passage, rng: Rng) -> None:
        """Hear a passage of this process after the optimiser's step; what is learnt without gradients learns here."""
        return None

    @property
    @abstractmethod
    def last(self) -> Tensor:
        """The weight of the decoder's last layer, where gradients of losses are compared."""
