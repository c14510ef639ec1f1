"""An autoencoder turns data into a code and back; models are trained on codes and their samples are decoded.

What it says of a sample's code is a distribution, as everything is: a point where the code is certain (the symbols of a
vector-quantised one), a Gaussian where it is not. Codes are symbols 0 .. vocab - 1 or real numbers; what learns them
asks nothing else about them, so a latent model is a model of any other data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.learner import Learner


class Autoencoder(Learner, ABC):
    """x -> a law over codes z, and z -> x.

    Attributes:
        shape: of one sample x, without the batch.
        latent: of one code z, without the batch.
        vocab: how many symbols a code is made of; None: codes are real numbers.
    """

    latent: tuple[int, ...]
    vocab: int | None = None

    @abstractmethod
    def encode(self, x: Tensor, cond: Condition = NONE) -> Distribution:
        """What the code of x (B, *shape) may be: a law over (B, *latent), int64 symbols or real numbers."""

    @abstractmethod
    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        """The samples (B, *shape) that codes (B, *latent) stand for; what a pipeline calls as its ``decode``."""
