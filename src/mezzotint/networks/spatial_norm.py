"""Spatially-adaptive normalisation: what a map says of each place scales and shifts the features there.

    out = norm(h) * (1 + gamma(y)) + beta(y),     (gamma, beta) = conv(relu(conv(y at the size of h))),

where ``norm`` is group norm without weights. A map that is concatenated to the noisy sample is washed away by the norms
behind it, for a constant layout leaves nothing once its mean is taken; here it speaks after every one of them. The map
is brought to the size of the features by nearest neighbour, never averaged: half a car is no thing. Zeros are not "no
map": the convolutions' biases, and the padding at the border, say something of them too, which is what a null learns.

Sources: Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization" (1903.07291, with 1 + gamma
as its code has it); in a denoiser's decoder, Wang et al. 2022, "Semantic image synthesis via diffusion models"
(2207.00050).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.space import GroupNorm, convolution, norm


def resized(y: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, *space) at another size, each place that of the nearest one's centre."""
    return y if tuple(y.shape[2:]) == tuple(size) else F.interpolate(y, size=list(size), mode="nearest-exact")


class SpatialNorm(nn.Module):
    """Group norm whose scale and shift are read from a map, place by place.

    Arguments:
        dims: axes of space.
        channels: of the features.
        maps: channels of the map.
        hidden: channels between its two convolutions.
        groups, least, eps: of the norm; see :func:`mezzotint.networks.space.norm`.
    """

    def __init__(
        self, dims: int, channels: int, maps: int, hidden: int, groups: int = 32, least: int = 8, eps: float = 1e-5
    ) -> None:
        super().__init__()
        usual = norm(channels, groups, least, eps)
        self.norm = GroupNorm(usual.num_groups, channels, eps=eps, affine=False)
        self.read = convolution(dims, maps, hidden)
        self.say = convolution(dims, hidden, 2 * channels)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        """Features (B, channels, *space) of h, told the map y (B, maps, *any size)."""
        gamma, beta = self.say(F.relu(self.read(resized(y, h.shape[2:])))).chunk(2, dim=1)
        return torch.addcmul(beta, self.norm(h), 1 + gamma)
