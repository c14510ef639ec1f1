"""Self-attention over the positions of a feature map: every place reads from every other, whatever the distance.

    x + W_o softmax(q k^T / sqrt(d)) v,        (q, k, v) = W_qkv norm(x), heads of d channels each.

There are no position codes: the convolutions around it already know where they are. Queries, keys and values are one
matrix product. With ``identity`` every position keeps its own value, as if the softmax were the identity matrix: what
perturbed-attention guidance (arXiv 2403.17377) switches on.

Source: Attention Is All You Need, arXiv 1706.03762, eq. (1); in a U-Net, arXiv 2006.11239, appendix B.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.space import zeroed


def heads_of(channels: int, head: int | None) -> int:
    """How many heads share ``channels`` evenly with at least ``head`` channels each; None makes one."""
    most = channels // min(head or channels, channels)
    return max(h for h in range(1, most + 1) if channels % h == 0)


class Attention(nn.Module):
    """Residual multi-head self-attention over all positions.

    Arguments:
        channels: C of the features.
        norm: what normalises the input, usually a group norm.
        head: fewest channels per head, met exactly where it divides ``channels``; None makes one head.
        gain: multiplies the sum of the two branches, 1 or sqrt(1/2).

    Attributes:
        identity: whether nothing is mixed: each position reads from itself alone.
    """

    identity: bool = False

    def __init__(self, channels: int, norm: nn.Module, head: int | None, gain: float = 1.0) -> None:
        super().__init__()
        self.heads = heads_of(channels, head)
        self.gain = gain
        self.norm = norm
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, *space), the same shape."""
        B, C = x.shape[:2]
        flat = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C), N positions
        q, k, v = (
            self.qkv(flat).unflatten(2, (3, self.heads, C // self.heads)).permute(2, 0, 3, 1, 4)
        )  # (B, heads, N, d)
        mixed = v if self.identity else F.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(1, 2).flatten(2)  # (B, N, C)
        y: Tensor = x + self.out(mixed).transpose(1, 2).reshape(B, C, *x.shape[2:])
        return y if self.gain == 1.0 else y * self.gain
