"""A picture as a condition: a low resolution, a sketch, a depth map, a mask, the frames before.

It enters the network as further channels beside x, at the same size, so that each place is told what the picture shows
there (cascades: Image Super-Resolution via Iterative Refinement, arXiv 2104.07636, section 2.3; masked pictures:
Palette, arXiv 2111.05826). Where it was dropped, a learnt constant for each channel stands in. It starts at 2, outside
of the usual range [-1, 1] of pictures, so that no picture, a grey one least of all, is mistaken for none.

Another size is refused and not resized: which filter made a low resolution is part of what the model learns, so the
data or the pipeline resizes it, before.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart, only
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context


class Image(ConditionPart):
    """Pictures or maps of ``channels`` channels over one, two or three axes of space.

    The network is built with as many channels of maps, ``UNet(shape, maps=channels)``; of several families with a
    picture, with the sum of theirs.

    Arguments:
        channels: of the picture; values are (B, channels, *space), real, integer or true and false, at the size of x.
        port: where the network takes it; ``input`` is concatenation to x.
    """

    def __init__(self, channels: int, port: str = "input") -> None:
        super().__init__()
        if channels < 1:
            raise Refusal(f"a picture has at least one channel, not {channels}")
        self.channels, self.port = channels, port
        self.null = nn.Parameter(torch.full((channels,), 2.0))

    def _check(self, picture: Tensor) -> Tensor:
        if picture.ndim < 3 or picture.shape[1] != self.channels or picture.is_complex():
            raise Refusal(
                f"these pictures are (B, {self.channels}, *space) with {self.channels} channels, "
                f"not {tuple(picture.shape)}"
            )
        return picture

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        picture = only(values)
        if picture is not None and not self._check(picture).isfinite().all():
            raise Refusal(
                "a picture has numbers that are not finite; replace them, by zeros in rows where the family is dropped"
            )
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        picture, told = only(values), self.null.expand(len(keep), -1)  # (B, C): the same at every place
        if picture is not None:
            self._check(picture)
            ones = (1,) * (picture.ndim - 2)
            kept = keep.reshape(-1, 1, *ones)
            told = torch.where(kept, picture.to(self.null.dtype), told.reshape(*told.shape, *ones))
        self.saw(keep, told)
        return Context(maps={self.port: told})
