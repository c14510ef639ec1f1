"""VQ: an autoencoder whose codes are symbols, each the name of the nearest vector of a codebook.

    z = E(x),    k = argmin_k |z - e_k|^2 at every place,    x' = G(e_k)

Source: van den Oord et al. 2017, "Neural discrete representation learning" (1711.00937).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mezzotint.autoencoders.codebook import Codebook, CodebookRule, MovingAverages
from mezzotint.autoencoders.passage import Passage, Reconstructing
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data
from mezzotint.networks.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, shrunk_sizes
from mezzotint.networks.inputs import in_precision


class VQ(Reconstructing):
    """A vector-quantised autoencoder: samples (B, C, *space) to symbols int64 (B, *space / 2^down), and back.

    What it says of a code is certain, so :meth:`encode` answers with a point.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W); sizes are multiples of 2^down.
        vocab: how many codes there are.
        width: channels after the first halving, the dial for capacity.
        down: halvings.
        code: features of a codebook vector.
        blocks: residual blocks after each halving, and before each doubling.
        codebook: how the vectors are learnt; None: ``MovingAverages()``.

    Raises:
        Refusal: if the arguments do not describe an autoencoder.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        vocab: int = 512,
        width: int = 64,
        down: int = 2,
        code: int = 16,
        blocks: int = 1,
        codebook: CodebookRule | None = None,
    ) -> None:
        super().__init__()
        if codebook is not None and not isinstance(codebook, CodebookRule):
            raise Refusal(f"codebook is how codes are learnt, MovingAverages() or CodebookLoss(), not {codebook!r}")
        self.shape, self.vocab = tuple(shape), vocab
        self.latent = shrunk_sizes(self.shape, down)
        self.encoder = ConvolutionalEncoder(self.shape, code, width, down, blocks)
        self.codebook = Codebook(vocab, code, MovingAverages() if codebook is None else codebook)
        self.decoder = ConvolutionalDecoder(self.shape, code, width, down, blocks)

    @classmethod
    def example(cls) -> VQ:
        """A small one, of samples that are not square."""
        return cls((2, 8, 12), vocab=6, width=8, code=4)

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        """The codes of x (B, *shape): a point, int64 (B, *latent)."""
        return Dirac(self.codebook.nearest(self._features(x)))

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        """The samples (B, *shape) of codes z, int64 (B, *latent).

        Raises:
            Refusal: if they are no codes of this codebook, or of another shape.
        """
        check_codes(z, self.latent, self.codebook.weight.shape[0])
        return self._made(self.codebook.vectors(z.to(self.device, torch.int64)))

    def through(self, x: Tensor, rng: Rng, cond: Condition = NONE) -> Passage:
        z = self._features(x)
        codes, vectors, cost = self.codebook(z)
        shares = self.codebook.usage / self.codebook.usage.sum().clamp_min(1e-12)
        alive = (shares >= 0.1 / len(shares)).double().mean()
        parts = {"perplexity": torch.special.entr(shares).sum().exp().expand(len(x)), "used": alive.expand(len(x))}
        return Passage(self._made(vectors), {"code": cost}, parts, z.detach(), codes)

    def learn(self, passage: Passage, rng: Rng) -> None:
        if passage.features is None or passage.codes is None:
            raise Refusal("a codebook learns from the encoder's outputs and their codes, and this passage has none")
        self.codebook.learn(passage.features, passage.codes, rng)

    @property
    def last(self) -> Tensor:
        return self.decoder.weight

    def _features(self, x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise Refusal(
                f"this autoencoder takes samples (B, {', '.join(map(str, self.shape))}), not {tuple(x.shape)}"
            )
        inside = in_precision(self.encoder, x)
        with torch.autocast(x.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            z: Tensor = self.encoder(inside)
        return z

    def _made(self, vectors: Tensor) -> Tensor:
        inside = in_precision(self.decoder, vectors)
        with torch.autocast(vectors.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
            x: Tensor = self.decoder(inside)
        return x.to(torch.promote_types(x.dtype, torch.float32))


def check_codes(z: Tensor, latent: tuple[int, ...], vocab: int) -> None:
    """Refuse what are not codes (B, *latent) of 0 .. vocab - 1."""
    if z.is_floating_point() or z.is_complex() or z.dtype == torch.bool:
        raise Refusal(f"codes are whole numbers from 0 to {vocab - 1}, not {z.dtype}; encode gives them as int64")
    if tuple(z.shape[1:]) != tuple(latent) or z.ndim != len(latent) + 1:
        raise Refusal(f"this autoencoder decodes codes (B, {', '.join(map(str, latent))}), not {tuple(z.shape)}")
    if z.numel() and not 0 <= int(z.min()) <= int(z.max()) < vocab:
        wrong = int(z.min()) if int(z.min()) < 0 else int(z.max())
        raise Refusal(
            f"the code {wrong} is not in this codebook, which has 0 to {vocab - 1}: these codes are of another "
            "autoencoder, or of this one before its vocabulary was shrunk"
        )


@torch.no_grad()
def used(vq: VQ, data: Data, most: int | None = None, batch: int = 256) -> Tensor:
    """How often each code occurs in a data set, int64 (V,).

    Arguments:
        vq: whose codes.
        data: what is encoded.
        most: only so many samples, from the first; None: all.
        batch: samples at once.
    """
    counts = torch.zeros(vq.codebook.weight.shape[0], dtype=torch.int64)
    rows = np.arange(len(data) if most is None else min(most, len(data)))
    for start in range(0, len(rows), batch):
        x, _ = data[rows[start : start + batch]]
        counts += vq.encode(x.to(vq.device)).value.flatten().bincount(minlength=len(counts)).cpu()
    return counts


@torch.no_grad()
def shrunk(vq: VQ, keep: Tensor | Sequence[int] | Sequence[bool]) -> VQ:
    """The same autoencoder with some of its codes only, numbered anew; samples get the nearest code that is kept.

    ImageBART keeps the codes that occur, ``shrunk(vq, used(vq, data) > 0)`` (2108.08827: 548, 973 and 1017 codes).

    Arguments:
        vq: left as it is.
        keep: which codes, as their numbers in their new order or as a mask (V,).

    Raises:
        Refusal: if none is kept, one twice, or one that is not there.
    """
    vocab = vq.codebook.weight.shape[0]
    chosen = torch.as_tensor(keep).cpu()
    if chosen.dtype == torch.bool:
        if tuple(chosen.shape) != (vocab,):
            raise Refusal(f"a mask of the codes to keep is ({vocab},), not {tuple(chosen.shape)}")
        chosen = chosen.nonzero()[:, 0]
    numbers = chosen.tolist()
    if chosen.ndim != 1 or chosen.is_floating_point() or not numbers:
        raise Refusal("the codes to keep are a list of their numbers with at least one, or a mask of them")
    if min(numbers) < 0 or max(numbers) >= vocab or len(set(numbers)) < len(numbers):
        raise Refusal(f"the codes to keep are different numbers from 0 to {vocab - 1}, each once")
    small = VQ(**{**vq._arguments, "vocab": len(numbers)}).to(vq.codebook.weight)
    state = vq.state_dict()
    for name in ("weight", "usage", "sums"):
        if f"codebook.{name}" in state:
            state[f"codebook.{name}"] = state[f"codebook.{name}"][chosen.to(vq.device)]
    small.load_state_dict(state)
    small.lower(vq.inner_dtype)
    return small.train(vq.training)
