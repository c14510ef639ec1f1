"""Cross-attention: each place of a picture asks the tokens of a text (or of anything else) what concerns it.

    W_o softmax(q k^T / sqrt(d)) v,        q = W_q h,   (k, v) = W_kv tokens,   heads of d features each.

Queries come from the picture, keys and values from the context, so the picture keeps its shape and the tokens may be
any number of any width. They have no order here: where a word stands is said by whoever made its token.

W_o and its bias start at zero, so a network that learns to read starts as the one that did not. Tokens that the mask
leaves out are not read; where it leaves out all of them, nothing is added at all, not even the bias: such a row gets
what the network says when it is told nothing, and the gradients of both are the same.

Sources: High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752, section 3.3; Attention Is All
You Need, arXiv 1706.03762, section 3.2; starting at zero: PixArt-alpha, arXiv 2310.00426, section 2.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.space import zeroed
from mezzotint.networks.token_attention import check_heads, head_norms, normed


class CrossAttention(nn.Module):
    """Multi-head attention of a picture's tokens to those of the context.

    Arguments:
        width: features of a picture's token.
        heads: a divisor of ``width``.
        tokens: features of a token of the context.
        qk_norm: normalise queries and keys.
    """

    def __init__(self, width: int, heads: int, tokens: int, qk_norm: bool = False) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(tokens, 2 * width)
        self.norms = head_norms(width // heads) if qk_norm else None
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, h: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is added to h, (B, N, width).

        Arguments:
            h: (B, N, width).
            tokens: (B, L, features), L at least 1; finite where the mask leaves them out, too.
            mask: bool (B, L), false at tokens that nobody reads; None: all are read.
        """
        return self.asked(h, *self.projected(tokens), mask)

    def projected(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (B, heads, L, d) of tokens, which stay the same however often they are asked."""
        k, v = self.kv(tokens.to(self.kv.weight.dtype)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return k, v

    def asked(self, h: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """What is added to h, of keys and values from :meth:`projected`."""
        q = self.q(h).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, d)
        q, k = normed(self.norms, q, k)
        silent = None if mask is None else ~mask.any(dim=1)[:, None]  # (B, 1)
        # A softmax over nothing is NaN, so a row told nothing reads everything, and what it has read is thrown away.
        read = None if mask is None or silent is None else (mask | silent)[:, None, None]
        mixed = F.scaled_dot_product_attention(q, k, v, read)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out if silent is None else out.masked_fill(silent[..., None], 0.0)


class SpatialCrossAttention(nn.Module):
    """The positions of a feature map, normed, read the context's tokens: x + attention(norm(x), tokens).

    Arguments:
        norm: what normalises the map, usually a group norm.
        attention: of as many features as the map has channels.
    """

    def __init__(self, norm: nn.Module, attention: CrossAttention) -> None:
        super().__init__()
        self.norm, self.attention = norm, attention

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Features (B, C, *space), the same shape; tokens and mask as in :class:`CrossAttention`."""
        flat = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C), N positions
        y: Tensor = x + self.attention(flat, tokens, mask).transpose(1, 2).reshape(x.shape)
        return y


__all__ = ["CrossAttention", "SpatialCrossAttention"]
