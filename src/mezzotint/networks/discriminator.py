"""A discriminator of patches: at every place of a small map, how real the patch around it looks.

    conv 4, stride 2, leaky;  [conv 4, stride 2, norm, leaky] x (depth - 1);  conv 3, norm, leaky;  conv 3 -> 1

Sources: Isola et al. 2017, "Image-to-image translation with conditional adversarial networks" (1611.07004, section
3.2.2); Esser et al. 2021 (2012.09841, section 3.1) trains autoencoders against it. Theirs norms over the batch, in
which samples see each other; this one over groups of channels of one sample. Its last convolutions are 3 wide and keep
the size, so that small pictures have patches too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.inputs import check_rank
from mezzotint.networks.space import channels_last, convolution, norm


class PatchDiscriminator(Module):
    """Samples (B, C, *space) to logits (B, 1, *space / 2^depth) of patches being real.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W).
        width: channels after the first convolution; doubled by each halving, up to eight times as many.
        depth: halvings; each doubles the side of a patch.
    """

    def __init__(self, shape: tuple[int, ...], width: int = 64, depth: int = 2) -> None:
        super().__init__()
        if not 2 <= len(shape) <= 4 or min(shape) < 1:
            raise Refusal(f"a discriminator of patches takes (C, L), (C, H, W) or (C, T, H, W), not {tuple(shape)}")
        if width < 1 or depth < 1:
            raise Refusal(f"a discriminator has a width and a depth of at least 1, not {width} and {depth}")
        if min(shape[1:]).bit_length() <= depth:
            raise Refusal(f"sizes {tuple(shape[1:])} cannot be halved {depth} times; choose a smaller depth")
        self.shape, dims = tuple(shape), len(shape) - 1
        layers, before = list[nn.Module](), shape[0]
        for level in range(depth + 1):
            channels = width * min(1 << level, 8)
            kernel, stride = (4, 2) if level < depth else (3, 1)
            layer = convolution(dims, before, channels, kernel, stride, padding=1)
            layers.append(nn.Sequential(layer, *([norm(channels, 32, 4, 1e-6)] if level else [])))
            before = channels
        self.layers = nn.ModuleList(layers)
        self.last = convolution(dims, before, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the features after each layer, of x (B, C, *space)."""
        check_rank(x, self.shape)
        h, found = channels_last(x), list[Tensor]()
        for layer in cast(Iterable[nn.Module], self.layers):
            h = F.leaky_relu(layer(h), 0.2)
            found.append(h)
        return self.last(h), found
