"""Blocks of a network of symbols: pre-norm attention and MLP, modulated where there is anything to be told.

    h <- h + g_1 attention(norm(h) (1 + k_1) + b_1)
    h <- h + cross(h, tokens)
    h <- h + g_2 mlp(norm(h) (1 + k_2) + b_2),        (b_1, k_1, g_1, b_2, k_2, g_2) = modulation(e),

as in :class:`~mezzotint.networks.dit.DiT`. A network that is told neither a noise level nor a vector has no e: the
norms then have weights and biases of their own and nothing is gated, which is the plain pre-norm transformer.

Who looks at whom is not the block's business: it is handed what attends, so that one block serves a network that sees
everything, one that sees what came before, and one that decodes from a cache.

Sources: On Layer Normalization in the Transformer Architecture, arXiv 2002.04745 (pre-norm); arXiv 2212.09748.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.networks.cross_attention import CrossAttention
from mezzotint.networks.feedforward import FeedForward
from mezzotint.networks.inputs import check_vector
from mezzotint.networks.modulation import AdaLNZero
from mezzotint.networks.space import zeroed
from mezzotint.networks.token_attention import TokenAttention

Mix = Callable[[Tensor], Tensor]
"""What is added to tokens (B, N, D), of the same shape."""
Numbers = tuple[Tensor, ...]
"""Shifts, scales and gates, each (B, 1 or N, D)."""


def check_sizes(shape: Sequence[int], width: int, heads: int, rotary: float | None, **least: int | None) -> None:
    """Refuse what does not describe a network of symbols; ``least`` are counts of at least one, or None."""
    if not shape or min(shape) < 1:
        raise Refusal(f"symbols come in shapes such as (L,) or (H, W) with positive sizes, not {tuple(shape)}")
    for name, given in {"width": width, **least}.items():
        if given is not None and given < 1:
            raise Refusal(f"{name} is at least 1, not {given}")
    if rotary is not None and heads >= 1 and (rotary <= 0 or width // heads < 2 * len(shape)):
        raise Refusal(
            f"rotary positions need a positive base and a pair of a head's features for each axis, not base {rotary} "
            f"and {width // heads} features for {len(shape)} axes; use fewer heads, or rotary=None"
        )


def check_symbols(x: Tensor, shape: Sequence[int], symbols: int) -> None:
    """Refuse an x that is not int64 (B, *sizes) of as many axes as ``shape``, in 0 .. symbols - 1."""
    if x.ndim != len(shape) + 1 or x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise Refusal(
            f"this network takes whole numbers (B, {len(shape)} sizes), such as (B, {', '.join(map(str, shape))}), "
            f"not {x.dtype} of shape {tuple(x.shape)}"
        )
    if x.device.type == "meta" or not x.numel():
        return
    low, high = (int(n) for n in torch.stack(torch.aminmax(x)).tolist())
    if low < 0 or high >= symbols:
        raise Refusal(
            f"this network knows the symbols 0 .. {symbols - 1}, but x holds {low if low < 0 else high}; "
            f"build it with symbols={high + 1} or look where x comes from"
        )


class Projected(nn.Module):
    """e of a network that is told a vector and no noise level: V vector, zero where there is none.

    Arguments:
        vector: features of the context's vector.
        width: features of e.
    """

    def __init__(self, vector: int, width: int) -> None:
        super().__init__()
        self.vector = nn.Linear(vector, width, bias=False)

    def forward(self, rows: int, vector: Tensor | None) -> Tensor:
        """Features (rows, 1, width)."""
        weight = self.vector.weight
        if vector is None:
            return weight.new_zeros(rows, 1, len(weight))
        check_vector(vector, rows, weight.shape[1])
        e: Tensor = self.vector(vector.to(weight.dtype))
        return e.expand(rows, -1)[:, None]


class TokenBlock(nn.Module):
    """Attention and an MLP, each after a norm; between them, what the context's tokens say.

    Arguments:
        width: features of a token, and of e.
        heads: of the attentions, a divisor of ``width``.
        ratio: hidden features of the MLP over ``width``.
        modulated: whether there is an e.
        tokens: features of the context's tokens; None reads none.
        dropout: share of what is added that is dropped while training.
    """

    def __init__(
        self, width: int, heads: int, ratio: float, modulated: bool, tokens: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=1e-6, elementwise_affine=not modulated) for _ in range(2))
        self.attention = TokenAttention(width, heads)
        self.cross = None if tokens is None else CrossAttention(width, heads, tokens)
        self.mlp = FeedForward(width, ratio)
        self.modulate = AdaLNZero().branch(width, width, 6) if modulated else None
        self.dropout = dropout
        for layer in (self.attention.qkv, self.attention.out, self.mlp.first, self.mlp.second):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def numbers(self, e: Tensor | None) -> Numbers:
        """Shifts, scales and gates from the activated e (B, 1 or N, D); empty where the block is not modulated."""
        return () if self.modulate is None else tuple(self.modulate(e).chunk(6, dim=-1))

    def forward(self, h: Tensor, numbers: Numbers, attend: Mix, read: Mix | None = None) -> Tensor:
        """Tokens (B, N, D).

        Arguments:
            h: (B, N, D).
            numbers: of this block, or ().
            attend: the normed tokens to what their attention says.
            read: tokens to what the context's tokens say to them; None where they say nothing.
        """
        if not numbers:
            h = h + self._dropped(attend(self.norm1(h)))
            h = h if read is None else h + self._dropped(read(h))
            return h + self._dropped(self.mlp(self.norm2(h)))
        b1, k1, g1, b2, k2, g2 = numbers
        h = h + g1 * self._dropped(attend(torch.addcmul(b1, self.norm1(h), 1 + k1)))
        h = h if read is None else h + self._dropped(read(h))
        return h + g2 * self._dropped(self.mlp(torch.addcmul(b2, self.norm2(h), 1 + k2)))

    def _dropped(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


class TokenHead(nn.Module):
    """Logits of each token: a norm, modulated where the blocks are, and a linear layer that starts at zero."""

    def __init__(self, width: int, vocab: int, modulated: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=not modulated)
        self.modulate = AdaLNZero().branch(width, width, 2) if modulated else None
        self.leave = zeroed(nn.Linear(width, vocab))

    def numbers(self, e: Tensor | None) -> Numbers:
        """A shift and a scale from the activated e, or ()."""
        return () if self.modulate is None else tuple(self.modulate(e).chunk(2, dim=-1))

    def forward(self, h: Tensor, numbers: Numbers) -> Tensor:
        """(..., vocab) of tokens (..., D)."""
        h = self.norm(h)
        logits: Tensor = self.leave(torch.addcmul(numbers[0], h, 1 + numbers[1]) if numbers else h)
        return logits
