"""Modulation: how the noise level and the context's vector e reach into every block of a network of tokens.

Each block asks for numbers per feature - shifts, scales and gates - and a modulation makes them from e:

    h + g * f(norm(h) (1 + k) + b),        (b, k, g) = branch(trunk(e)).

The trunk is computed once an evaluation, each branch belongs to one block. ``AdaLNZero`` gives every block a linear
layer of its own, which starts at zero: a fresh block passes its input on unchanged. Other ways to share these weights
are parts of their own, handed to the network in its place.

Source: Scalable Diffusion Models with Transformers, arXiv 2212.09748, section 3.2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import nn

from mezzotint.core.spec import Part
from mezzotint.networks.space import zeroed


class Modulation(Part, ABC):
    """Makes the modules that turn e into numbers per feature; it holds no weights itself."""

    @abstractmethod
    def trunk(self, level: int, width: int) -> nn.Module:
        """What all blocks share: e (B, ..., level) -> (B, ..., any), computed once an evaluation.

        Arguments:
            level: features of e.
            width: features of the blocks.
        """

    @abstractmethod
    def branch(self, level: int, width: int, count: int) -> nn.Module:
        """What one block owns: the trunk's answer -> (B, ..., count * width).

        Arguments:
            level: features of e.
            width: features of the block.
            count: numbers per feature: 6 in a block of attention and MLP, 3 in one of either, 2 before the answer. They
                are a shift, a scale and, in blocks, a gate for each branch, in this order.
        """


@dataclass(frozen=True)
class AdaLNZero(Modulation):
    """branch(trunk(e)) = W silu(e) + c, one W and c per block, both zero at first (DiT)."""

    def trunk(self, level: int, width: int) -> nn.Module:
        return nn.SiLU()

    def branch(self, level: int, width: int, count: int) -> nn.Module:
        return zeroed(nn.Linear(level, count * width))
