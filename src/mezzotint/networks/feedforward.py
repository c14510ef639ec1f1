"""The MLP that follows attention: each token by itself, through a wide layer and back.

    W_2 gelu(W_1 h),        or gated:  W_2 (silu(W_1 h) * W_3 h)   (SwiGLU).

The gated one has three matrices, so its hidden layer is two thirds as wide, rounded up to a multiple of eight, and both
have about the same number of weights.

Source: Attention Is All You Need, arXiv 1706.03762, section 3.3; GLU Variants Improve Transformer, arXiv 2002.05202.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Token-wise MLP.

    Arguments:
        width: features of a token.
        ratio: hidden features over ``width``.
        gated: SwiGLU in place of GELU.
        tanh: GELU by its tanh approximation, as DiT has it.
    """

    def __init__(self, width: int, ratio: float, gated: bool = False, tanh: bool = True) -> None:
        super().__init__()
        hidden = 8 * math.ceil(width * ratio / 12) if gated else round(width * ratio)
        self.gated = gated
        self.approximate = "tanh" if tanh else "none"
        self.first = nn.Linear(width, 2 * hidden if gated else hidden)
        self.second = nn.Linear(hidden, width)

    def forward(self, h: Tensor) -> Tensor:
        """Tokens (..., width), the same shape."""
        h = self.first(h)
        if self.gated:
            gate, value = h.chunk(2, dim=-1)
            h = F.silu(gate) * value
        else:
            h = F.gelu(h, approximate=self.approximate)
        out: Tensor = self.second(h)
        return out
