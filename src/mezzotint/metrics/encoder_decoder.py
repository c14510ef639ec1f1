"""A small convolutional encoder and decoder: a class for every pixel, and features of the whole picture.

The way down sees more and more of the picture at less and less detail, the way up puts the detail back from skips. It
is made of convolutions alone, so it takes pictures of any size; where halves are no whole numbers they are rounded up,
and the way up is brought to the size of the skip.

Source: Ronneberger et al. 2015, "U-Net: convolutional networks for biomedical image segmentation" (1505.04597,
section 2), with group norm, one convolution less to a level, and padding, so that answers are of the picture's size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module

_GROUPS = 8
_LEVELS = 16  # halves of 32,768 pixels down to one


class EncoderDecoder(Module):
    """Logits (B, classes, H, W) of pictures (B, C, H, W), and ``features`` (B, D) of the coarsest level.

    Arguments:
        channels: C of the pictures.
        classes: answers for every pixel.
        width: channels at full size, a multiple of 8; doubled at each level up to four times that.
        levels: sizes, each half of the one before; at most 16.
    """

    def __init__(self, channels: int, classes: int, width: int = 32, levels: int = 3) -> None:
        super().__init__()
        if channels < 1 or classes < 1 or width < _GROUPS or width % _GROUPS or not 1 <= levels <= _LEVELS:
            raise Refusal(
                f"a segmenting network has a channel, a class and a level at least, {_LEVELS} levels at most, and a "
                f"width that is a multiple of {_GROUPS}, not channels {channels}, classes {classes}, levels {levels} "
                f"and width {width}"
            )
        widths = [min(2**level, 4) * width for level in range(levels)]
        self.channels = channels
        self.first = nn.Sequential(_block(channels, width), _block(width, width))
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.down = nn.ModuleList(nn.Sequential(_block(a, b, 2), _block(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(pairs))
        self.head = nn.Conv2d(width, classes, 1)

    def features(self, x: Tensor) -> Tensor:
        """The coarsest maps averaged over space, (B, D), not negative."""
        return self._descended(x)[-1].mean((-2, -1))

    def forward(self, x: Tensor) -> Tensor:
        *skips, h = self._descended(x)
        for up, skip in zip(self.up, reversed(skips), strict=True):
            h = up(torch.cat([skip, F.interpolate(h, skip.shape[-2:], mode="nearest")], 1))
        logits: Tensor = self.head(h)
        return logits

    def _descended(self, x: Tensor) -> list[Tensor]:
        found = [self.first(x)]
        for down in self.down:
            found.append(down(found[-1]))
        return found


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(_GROUPS, out), nn.ReLU())
