"""Pictures as shades of grey: nothing is learnt, and nothing is smaller but the alphabet."""

from __future__ import annotations

from torch import Tensor

from mezzotint.autoencoders import Autoencoder
from mezzotint.core import NONE, Condition, Refusal
from mezzotint.core.distribution import Dirac


class Shades(Autoencoder):
    """x in [-1, 1] to the nearest of so many shades."""

    def __init__(self, shape: tuple[int, ...], vocab: int = 4) -> None:
        super().__init__()
        self.shape = self.latent = tuple(shape)
        self.vocab = vocab

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        return Dirac(((x.clamp(-1, 1) + 1) / 2 * (self.vocab - 1)).round().long())

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        if z.is_floating_point() or z.shape[1:] != self.shape or not 0 <= int(z.min()) <= int(z.max()) < self.vocab:
            raise Refusal(f"these are no codes of {self.vocab} shades")
        return 2 * z.float() / (self.vocab - 1) - 1
