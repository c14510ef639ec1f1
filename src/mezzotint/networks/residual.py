"""The block every U-Net repeats: two convolutions beside a straight path, told the noise level in between.

    h   = conv(resample(act(norm(x))))
    h   = act(norm(h) * (1 + a) + b)         film: scale and shift from the level, (a, b) = W e    (ADM)
    h   = act(norm(h + W e))                 or added before the norm                              (DDPM, DDPM++)
    out = (skip(resample(x)) + conv(dropout(h))) * gain

Where a map is told, both norms are spatially adaptive and read it (:mod:`.spatial_norm`).

The last convolution starts at zero, so a deep network starts as its straight path. Sources: Diffusion Models Beat GANs,
arXiv 2105.05233, section 3 (adaptive group norm, resampling inside the block); Score-Based Generative Modeling through
SDEs, arXiv 2011.13456, appendix H (gain sqrt(1/2)).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.networks.space import convolution, grown, halved, norm
from mezzotint.networks.spatial_norm import SpatialNorm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "gelu": F.gelu, "relu": F.relu, "mish": F.mish}


@dataclass(frozen=True)
class Style:
    """What all blocks of one network share.

    Arguments:
        dims: axes of space.
        level: features of the noise level's vector e.
        film: scale and shift after the second norm rather than an addition before it.
        groups, least, eps: of every norm; see :func:`mezzotint.networks.space.norm`.
        head: fewest channels per attention head, None for one head.
        activation: a name in ``ACTIVATIONS``.
        dropout: probability before the last convolution.
        gain: multiplies every sum of two branches.
        maps: channels of the map that blocks with spatial norms are told; 0: there is none.
        hidden: channels inside these norms.
    """

    dims: int
    level: int
    film: bool
    groups: int
    least: int
    eps: float
    head: int | None
    activation: str
    dropout: float
    gain: float
    maps: int = 0
    hidden: int = 128

    def spatial(self, channels: int) -> SpatialNorm:
        """The norm for so many channels that is told a map."""
        return SpatialNorm(self.dims, channels, self.maps, self.hidden, self.groups, self.least, self.eps)

    def norm(self, channels: int) -> nn.GroupNorm:
        """The norm for so many channels."""
        return norm(channels, self.groups, self.least, self.eps)


class Residual(nn.Module):
    """One residual block, optionally halving or restoring the size inside.

    Arguments:
        inputs, outputs: channels.
        style: shared choices.
        resample: ``halved``, ``grown`` or None.
        project: a 1x1 convolution on the straight path even where the channels agree.
        told: both norms are told a map.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        style: Style,
        resample: Callable[..., Tensor] | None = None,
        project: bool = False,
        told: bool = False,
    ) -> None:
        super().__init__()
        self.told = told
        made: Callable[[int], nn.Module] = style.spatial if told else style.norm
        self.resample = resample
        self.film = style.film
        self.gain = style.gain
        self.act = ACTIVATIONS[style.activation]
        self.norm1 = made(inputs)
        self.conv1 = convolution(style.dims, inputs, outputs)
        self.modulate = nn.Linear(style.level, outputs * (2 if style.film else 1))
        self.norm2 = made(outputs)
        self.dropout = nn.Dropout(style.dropout)
        self.conv2 = convolution(style.dims, outputs, outputs, zero=True)
        self.skip = convolution(style.dims, inputs, outputs, kernel=1) if project or inputs != outputs else None

    def forward(self, x: Tensor, e: Tensor, size: Sequence[int] | None = None, maps: Tensor | None = None) -> Tensor:
        """Features (B, outputs, *space) of x (B, inputs, *space) and e (B, level), activated.

        Arguments:
            size: of the features, if it grows.
            maps: (B, style.maps, *any size), if it is told.
        """
        more = (maps,) if self.told else ()
        h = self.act(self.norm1(x, *more))
        if self.resample is grown:
            h, x = grown(h, size or ()), grown(x, size or ())
        elif self.resample is halved:
            h, x = halved(h), halved(x)
        h = self.conv1(h)
        m = self.modulate(e).unflatten(1, (-1, *(1,) * (x.ndim - 2)))  # (B, outputs or 2 outputs, 1, ...)
        if self.film:
            scale, shift = m.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h, *more), 1 + scale)
        else:
            h = self.norm2(h + m, *more)
        h = self.conv2(self.dropout(self.act(h)))
        y: Tensor = (x if self.skip is None else self.skip(x)) + h
        return y if self.gain == 1.0 else y * self.gain


__all__ = ["ACTIVATIONS", "Residual", "Style"]
