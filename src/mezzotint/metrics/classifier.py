"""A small convolutional classifier: where our features come from.

Features of a network trained elsewhere on photographs say little about 8 x 8 digits, and weights that have to be
downloaded cannot be relied on. So the space in which sets are compared is learnt from the training pictures: one
convolution at full size, then strides of two until the shorter side is at most 4, a 2 x 2 mean, a layer of
``features`` units, and a linear head. The features say what the classes need and may ignore the rest; that is why
pixels are compared as well.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.spec import Module


class Classifier(Module):
    """Logits (B, classes) of pictures (B, C, H, W), and the ``features`` (B, features) one layer below.

    Arguments:
        shape: (C, H, W) of one picture, any size.
        classes: number of classes.
        width: channels of the first convolution; doubled at each stride up to four times that.
        features: units of the penultimate layer.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 16, features: int = 64) -> None:
        super().__init__()
        held, short = width, min(shape[1:])
        blocks: list[nn.Module] = [_block(shape[0], held, 1)]
        while short > 4:
            wider = min(2 * held, 4 * width)
            blocks.append(_block(held, wider, 2))
            held, short = wider, (short + 1) // 2
        blocks.append(_block(held, held, 1))
        self.body = nn.Sequential(*blocks)
        self.neck = nn.Linear(4 * held, features)
        self.head = nn.Linear(features, classes)

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features (B, features), not negative."""
        return F.relu(self.neck(F.adaptive_avg_pool2d(self.body(x), 2).flatten(1)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, w) of pictures (B, C, H, W) after each convolution, not negative, finest first."""
        found = []
        for block in self.body:
            x = block(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


def _block(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(out // 4, out), nn.ReLU())
