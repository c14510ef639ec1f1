"""Convolutions, pooling and norms that only ask how many axes space has.

One network serves signals (C, L), images (C, H, W) and videos (C, T, H, W): everything below derives from ``dims``, the
number of axes of ``shape`` after the channels. Sizes need not be powers of two: going down rounds up (7 becomes 4) and
going up returns to the size of the skip it meets (4 becomes 7), so no input is padded or refused for its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
_POOLS: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def convolution(
    dims: int,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    padding: int | None = None,
    zero: bool = False,
) -> nn.Module:
    """A convolution over ``dims`` axes that keeps the size unless strided; ``zero`` starts it at zero."""
    made = _CONVOLUTIONS[dims](inputs, outputs, kernel, stride, kernel // 2 if padding is None else padding)
    return zeroed(made) if zero else made


def zeroed(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear) -> nn.Module:
    """The same layer with its weights and bias at zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class GroupNorm(nn.GroupNorm):
    """torch's group norm, on a CPU in float32 inside a network that computes in lower precision.

    torch 2.13's own of bfloat16 features laid out channels last takes three times as long, there and back, and is not
    closer: what it answers is rounded once in either way.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu" or input.dtype not in (torch.bfloat16, torch.float16):
            return super().forward(input)
        weight, bias = (None if each is None else each.float() for each in (self.weight, self.bias))
        return F.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


def norm(channels: int, groups: int, least: int, eps: float) -> GroupNorm:
    """Group norm with the largest divisor of ``channels`` up to ``groups`` that leaves ``least`` channels a group."""
    most = max(1, min(groups, channels // least))
    return GroupNorm(max(g for g in range(1, most + 1) if channels % g == 0), channels, eps=eps)


def halved(x: Tensor) -> Tensor:
    """Mean over cells of two along every axis of space, the last cell smaller where a size is odd."""
    cell = tuple(min(2, n) for n in x.shape[2:])  # pooling over three axes refuses cells larger than the input
    return _POOLS[x.ndim - 2](x, cell, ceil_mode=True, count_include_pad=False)


def grown(x: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest neighbour to ``size``, the size before :func:`halved`."""
    return F.interpolate(x, size=list(size), mode="nearest")


def channels_last(x: Tensor) -> Tensor:
    """On a CPU, the same tensor laid out channels last, which its convolutions do up to twice as fast; else x."""
    layout = _FORMATS.get(x.ndim - 2) if x.device.type == "cpu" else None
    return x if layout is None else x.contiguous(memory_format=layout)


class Down(nn.Module):
    """Half the size, by a strided convolution or by the mean over cells.

    Arguments:
        dims, channels: of the features.
        learnt: a convolution does it.
        padding: of the convolution: 1 pads both sides; 0 pads the far side only, as the first DDPM code did.
    """

    def __init__(self, dims: int, channels: int, learnt: bool, padding: int = 1) -> None:
        super().__init__()
        self.far = (0, 1) * dims if learnt and padding == 0 else ()
        self.convolution = convolution(dims, channels, channels, stride=2, padding=padding) if learnt else None

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Features (B, C, *ceil(space / 2)); with far padding, floor."""
        if self.convolution is None:
            return halved(x)
        if self.far:
            if min(x.shape[2:]) < 2:
                raise Refusal(f"features of size {tuple(x.shape[2:])} are too small to halve with padding 0; use 1")
            x = F.pad(x, self.far)
        y: Tensor = self.convolution(x)
        return y


class Up(nn.Module):
    """The size of the skip ahead by nearest neighbour, then, if ``learnt``, a convolution."""

    def __init__(self, dims: int, channels: int, learnt: bool) -> None:
        super().__init__()
        self.convolution = convolution(dims, channels, channels) if learnt else None

    def forward(self, x: Tensor, e: Tensor, size: Sequence[int]) -> Tensor:
        """Features (B, C, *size)."""
        x = grown(x, size)
        return x if self.convolution is None else self.convolution(x)
