"""Our blocks as torch's own encoder layers, for tests against an implementation that is not ours."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import nn

from mezzotint.networks.token_block import TokenBlock


def encoder(blocks: Any, width: int, heads: int) -> nn.ModuleList:
    """torch's pre-norm encoder layers with the weights of our blocks."""
    layers = []
    for ours in blocks:
        assert isinstance(ours, TokenBlock)
        theirs = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            0.0,
            activation=lambda h: F.gelu(h, approximate="tanh"),
            layer_norm_eps=1e-6,
            batch_first=True,
            norm_first=True,
        )
        pairs = {
            "self_attn.in_proj_": ours.attention.qkv,
            "self_attn.out_proj.": ours.attention.out,
            "linear1.": ours.mlp.first,
            "linear2.": ours.mlp.second,
            "norm1.": ours.norm1,
            "norm2.": ours.norm2,
        }
        state = {f"{name}{kind}": getattr(layer, kind) for name, layer in pairs.items() for kind in ("weight", "bias")}
        theirs.load_state_dict(state)
        layers.append(theirs.eval())
    return nn.ModuleList(layers)
