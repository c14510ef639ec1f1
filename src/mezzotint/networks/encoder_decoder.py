"""An encoder-decoder transformer: a coarse map of symbols is read whole, a finer one is said in raster order.

    h = encoder(x_t, noise, context),        logits_i = exp(a) decoder(x_s^{<i}, h),

the encoder bidirectional, the decoder causal with cross-attention to h. What is said at position i has seen *all* of
x_t and what was said before i. The encoder runs once a sample, the decoder once a position; so the encoder may be deep
and the decoder shallow (32 and 6 layers in the paper).

Sources: Attention Is All You Need, arXiv 1706.03762, section 3.1; Esser et al. 2021, ImageBART, arXiv 2108.08827,
and its published code for the gain exp(a).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.cache import Cache
from mezzotint.networks.causal import Causal
from mezzotint.networks.context import EMPTY, Context
from mezzotint.networks.token_transformer import TokenTransformer


class EncoderDecoder(Module):
    """Two maps of symbols (B, *shape), the coarse one read whole, to logits (B, *shape, vocab) of the finer one.

    Arguments:
        vocab: how many different symbols there are, in both maps.
        shape: of one sample, (L,), (H, W) or more axes.
        width: features of a token.
        depth: blocks of the encoder and of the decoder.
        heads: of the attentions, a divisor of ``width``.
        level: whether the encoder is told the noise; so that one network serves several stages.
        residual: learn the gain exp(a), and have :class:`~mezzotint.denoiser.Chain` add log q(x_t | x_s) to the logits:
            what the observed x_t says of x_s is then exact, and the network says what x_s is like.
        vector: features of ``context.vector``, which modulates every block; None takes no vector.
        tokens: features of ``context.tokens``, which the encoder reads; None takes none.
        ratio: hidden features of the MLPs over ``width``.
        positions: add sines and cosines of the position to each token.
        rotary: base of rotary positions in the self-attentions; None has none.
        dropout: share of what each branch adds that is dropped while training.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    def __init__(
        self,
        vocab: int,
        shape: Sequence[int],
        width: int = 128,
        depth: Sequence[int] = (3, 2),
        heads: int = 4,
        *,
        level: bool = False,
        residual: bool = True,
        vector: int | None = None,
        tokens: int | None = None,
        ratio: float = 4.0,
        positions: bool = True,
        rotary: float | None = 100.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(depth, int) or len(depth) != 2:
            raise Refusal(f"depth is the blocks of the encoder and of the decoder, such as (3, 2), not {depth!r}")
        self.symbols, self.vocab, self.shape, self.told_level = vocab, vocab, tuple(shape), level
        self.encoder = TokenTransformer(
            vocab, width, shape, width, depth[0], heads, level=level, vector=vector, tokens=tokens, ratio=ratio,
            positions=positions, rotary=rotary, dropout=dropout,
        )  # fmt: skip
        # Logits start at zero, features must not: cross-attention starts at zero as well, and nothing would be learnt.
        leave = self.encoder.head.leave
        assert isinstance(leave, nn.Linear)
        nn.init.xavier_uniform_(leave.weight)
        self.decoder = Causal(
            vocab, shape, width, depth[1], heads, vector=vector, tokens=width, ratio=ratio, positions=positions,
            rotary=rotary, dropout=dropout,
        )  # fmt: skip
        self.gain = nn.Parameter(torch.zeros(())) if residual else None

    @property
    def residual(self) -> bool:
        """Whether log q(x_t | x_s) is added to its logits."""
        return self.gain is not None

    def encode(self, coarse: Tensor, noise: Tensor, context: Context = EMPTY) -> Context:
        """What the decoder is told: the encoder's features (B, N, width) as ``tokens``, and the ``vector``.

        Arguments:
            coarse: x_t, int64 (B, *shape).
            noise: (B,); not read without ``level``.
            context: ``vector``, and ``tokens`` with ``mask``, as declared.
        """
        said = self.encoder(coarse, noise, context)
        assert isinstance(said, Tensor)
        return Context(vector=context.vector, tokens=said.flatten(1, -2))

    def forward(self, fine: Tensor, noise: Tensor, told: Context = EMPTY) -> Tensor:
        """The logits (B, *shape, vocab) of every position of x_s by teacher forcing.

        Arguments:
            fine: x_s, int64 (B, *shape); the last entry is not read.
            noise: not read.
            told: of :meth:`encode`.
        """
        said = self.decoder(fine, noise, told)
        assert isinstance(said, Tensor)
        return self._scaled(said)

    def start(self, count: int, told: Context = EMPTY, shape: Sequence[int] | None = None) -> Cache:
        """An empty cache for ``count`` samples that are told what :meth:`encode` says."""
        return self.decoder.start(count, told, shape)

    def decode(self, last: Tensor | None, cache: Cache) -> tuple[Tensor, Cache]:
        """The logits (B, vocab) at position ``cache.length``, and the cache that has it."""
        said, cache = self.decoder.decode(last, cache)
        return self._scaled(said), cache

    def _scaled(self, logits: Tensor) -> Tensor:
        return logits if self.gain is None else logits * self.gain.exp()
