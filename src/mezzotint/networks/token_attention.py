"""Self-attention over a sequence of tokens, without the norm and the sum around it: blocks modulate and gate these.

    W_o softmax(q k^T / sqrt(d)) v,        (q, k, v) = W_qkv h, heads of d features each.

Optionally queries and keys are divided by their root mean square and multiplied by learnt numbers w, which bounds the
logits by sqrt(d) max|w_q| max|w_k| whatever the weights do (QK-norm); then turned by their positions (rotary).

Sources: Attention Is All You Need, arXiv 1706.03762, eq. (1); QK-norm: Scaling Vision Transformers to 22 Billion
Parameters, arXiv 2302.05442, section 2.2, with the root mean square of arXiv 1910.07467 as in arXiv 2403.03206.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.networks.positions import Turn, turned


def check_heads(width: int, heads: int) -> None:
    """Refuse heads that do not share ``width`` features evenly."""
    if heads < 1 or width % heads:
        raise Refusal(f"heads share the features evenly, so heads divides width {width}; {heads} does not")


def head_norms(features: int) -> Sequence[nn.RMSNorm]:
    """Norms of a head's queries and keys."""
    return nn.ModuleList(nn.RMSNorm(features, eps=1e-6) for _ in range(2))  # type: ignore[return-value]


def normed(norms: Sequence[nn.RMSNorm] | None, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys (..., d) normalised, as they are where there are no norms."""
    if norms is None:
        return q, k
    # In the weights' precision: under autocast that is float32.
    q, k = (norm(x.to(norm.weight.dtype)).to(x.dtype) for norm, x in zip(norms, (q, k), strict=True))
    return q, k


class TokenAttention(nn.Module):
    """Multi-head self-attention.

    Arguments:
        width: features of a token.
        heads: a divisor of ``width``.
        bias: of queries, keys and values.
        qk_norm: normalise queries and keys.

    Attributes:
        identity: whether nothing is mixed: each token reads from itself alone.
    """

    identity: bool = False

    def __init__(self, width: int, heads: int, bias: bool = True, qk_norm: bool = False) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.norms = head_norms(width // heads) if qk_norm else None
        self.out = nn.Linear(width, width)

    def projected(self, h: Tensor, by: Turn | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, N, d), of tokens (B, N, width), as they meet in the product."""
        q, k, v = self.qkv(h).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = normed(self.norms, q, k)
        if by is not None:
            q, k = turned(torch.stack((q, k)), by)
        return q, k, v

    def forward(self, h: Tensor, by: Turn | None = None, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, N, width), the same shape.

        Arguments:
            h: (B, N, width).
            by: what turns queries and keys, or None.
            mask: bool (B, N), false at tokens that nobody reads; None: all are read.
        """
        q, k, v = self.projected(h, by)
        read = None if mask is None else mask[:, None, None]
        mixed = v if self.identity else F.scaled_dot_product_attention(q, k, v, read)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out
