"""Convolutions from samples to a small map and back: the two networks of an autoencoder.

    encoder:  [conv 4, stride 2;  residual blocks] x down;  norm, act, conv 1
    decoder:  conv 3;  [residual blocks;  norm, act, transposed conv 4, stride 2] x down
    block:    x + conv(act(norm(conv(act(norm(x))))))

Every halving is exact, so sizes are multiples of 2^down and what comes back has the size of what went in. Nothing is
computed at full size but the outermost convolutions. Source: van den Oord et al. 2017, "Neural discrete representation
learning" (1711.00937, section 4.1: strided 4 x 4 convolutions and residual blocks); the norms and the activation are
those of the U-Nets here.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.networks.inputs import check_rank
from mezzotint.networks.space import channels_last, convolution, norm

_TRANSPOSED: dict[int, type[nn.ConvTranspose1d] | type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_HALVINGS = 32  # of any size there is; 2^down of a stranger's number would not end
_MOST = 4  # channels of the coarsest level over those of the finest


def shrunk_sizes(shape: tuple[int, ...], down: int) -> tuple[int, ...]:
    """The sizes of space of a sample (C, *space) after ``down`` halvings.

    Raises:
        Refusal: if there are not one to three axes, or a size is no multiple of 2^down.
    """
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise Refusal(f"a convolutional autoencoder takes (C, L), (C, H, W) or (C, T, H, W), not {tuple(shape)}")
    if not 0 <= down < _HALVINGS:
        raise Refusal(f"down is how often the size is halved, 0 to {_HALVINGS - 1} times, not {down}")
    if any(size % 2**down for size in shape[1:]):
        raise Refusal(
            f"sizes {tuple(shape[1:])} cannot be halved {down} times: each has to be a multiple of {2**down}; "
            "choose a smaller down, or crop or resize the data"
        )
    return tuple(size // 2**down for size in shape[1:])


def _channels(width: int, level: int) -> int:
    return width * min(1 << max(level - 1, 0), _MOST)


def _norm(channels: int) -> nn.GroupNorm:
    return norm(channels, 32, 4, 1e-6)


class _Block(nn.Module):
    """A residual block that is told nothing but x, and starts as x itself."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(channels), _norm(channels)
        self.conv1 = convolution(dims, channels, channels)
        self.conv2 = convolution(dims, channels, channels, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y


class ConvolutionalEncoder(nn.Module):
    """Samples (B, C, *space) to features (B, outputs, *space / 2^down).

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W).
        outputs: features at each place of the small map.
        width: channels after the first halving; twice and four times as many after the second and the third.
        down: halvings.
        blocks: residual blocks after each halving.
    """

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int = 64, down: int = 2, blocks: int = 1) -> None:
        super().__init__()
        shrunk_sizes(shape, down)
        _check(outputs, width, blocks)
        dims, before = len(shape) - 1, shape[0]
        layers: list[nn.Module] = [] if down else [convolution(dims, before, width)]
        for level in range(0 if down == 0 else 1, down + 1):
            channels = _channels(width, level)
            if level:
                layers.append(convolution(dims, before, channels, kernel=4, stride=2, padding=1))
            layers += [_Block(dims, channels) for _ in range(blocks)]
            before = channels
        self.shape = tuple(shape)
        self.layers = nn.Sequential(*layers)
        self.norm = _norm(before)
        self.last = convolution(dims, before, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, outputs, *space / 2^down) of x (B, C, *space)."""
        check_rank(x, self.shape)
        y: Tensor = self.last(F.silu(self.norm(self.layers(channels_last(x)))))
        return y


class ConvolutionalDecoder(nn.Module):
    """Features (B, inputs, *space / 2^down) to samples (B, C, *space).

    Attributes:
        last: the layer that makes the sample.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W).
        inputs: features at each place of the small map.
        width, down, blocks: as for :class:`ConvolutionalEncoder`.
    """

    def __init__(self, shape: tuple[int, ...], inputs: int, width: int = 64, down: int = 2, blocks: int = 1) -> None:
        super().__init__()
        shrunk_sizes(shape, down)
        _check(inputs, width, blocks)
        dims, before = len(shape) - 1, _channels(width, down)
        layers: list[nn.Module] = [convolution(dims, inputs, before)]
        for level in range(down, 0, -1):
            layers += [_Block(dims, before) for _ in range(blocks)]
            if level > 1:
                after = _channels(width, level - 1)
                layers += [_norm(before), nn.SiLU(), _TRANSPOSED[dims](before, after, 4, 2, 1)]
                before = after
        if not down:
            layers += [_Block(dims, before) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers)
        self.norm = _norm(before)
        self.last = _TRANSPOSED[dims](before, shape[0], 4, 2, 1) if down else convolution(dims, before, shape[0])

    @property
    def weight(self) -> Tensor:
        """The weight of the last layer, through which all gradients of a sample pass."""
        return cast(Tensor, self.last.weight)

    def forward(self, z: Tensor) -> Tensor:
        """Samples (B, C, *space) of features z (B, inputs, *space / 2^down)."""
        y: Tensor = self.last(F.silu(self.norm(self.layers(channels_last(z)))))
        return y


def _check(features: int, width: int, blocks: int) -> None:
    if features < 1 or width < 1 or blocks < 0:
        raise Refusal(
            f"an autoencoder needs at least one feature a place, a width of at least 1 and no negative number of "
            f"blocks, not {features}, {width} and {blocks}"
        )
