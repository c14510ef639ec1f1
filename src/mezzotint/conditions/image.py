"""A picture as a condition: a low resolution, a sketch, a depth map, a mask, the frames before.

It enters the network as further channels beside x, at the same size, so that each place is told what the picture shows
there (cascades: Image Super-Resolution via Iterative Refinement, arXiv 2104.07636, section 2.3; Cascaded Diffusion
Models, arXiv 2106.15282; masked pictures: Palette, arXiv 2111.05826). Where it was dropped, a learnt
constant for each channel stands in. It starts at 2, outside of the usual range [-1, 1] of pictures, so that no picture,
a grey one least of all, is mistaken for none.

A picture of a whole number of times fewer pixels is enlarged here, if it was made for that (``up``). Any other size is
refused and not resized: which filter made a low resolution is part of what the model learns, so the data or the
pipeline resizes it, before.

A picture that was corrupted on the way says how much (``low.level``, the share of noise in [0, 1] that compares across
processes), and a model that was made for that hears it as it hears its own noise level: waves of it, through a small
network, are added to the vector that modulates every block. Where nothing is said the picture is as it is, level 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.enlarge import check, enlarged
from mezzotint.conditions.part import ConditionPart, only
from mezzotint.core.condition import family
from mezzotint.core.errors import Refusal
from mezzotint.networks.context import Context
from mezzotint.networks.embed import Sinusoid

LEVEL = "level"
"""Under which name, after the family's, a corrupted picture says its level."""
_WAVES = Sinusoid(64, scale=16.0, span=64.0)  # of a level in [0, 1]: the slowest is monotone, the fastest turns twice


class Image(ConditionPart):
    """Pictures or maps of ``channels`` channels over one, two or three axes of space.

    The network is built with as many channels of maps, ``UNet(shape, maps=channels)``; of several families with a
    picture, with the sum of theirs.

    Arguments:
        channels: of the picture; values are (B, channels, *space), real, integer or true and false.
        port: where the network takes it; ``input`` is concatenation to x.
        up: how many times fewer pixels it has than x along each axis, one number or one an axis; 1: it comes at x's
            size.
        resize: how it is enlarged, ``nearest``, ``linear`` or ``cubic``.
        level: features of the vector that tells the level of its corruption (the network's ``vector``); None: the model
            is not told one, and refuses to be.
    """

    def __init__(
        self,
        channels: int,
        port: str = "input",
        up: int | tuple[int, ...] = 1,
        resize: str = "linear",
        level: int | None = None,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise Refusal(f"a picture has at least one channel, not {channels}")
        if level is not None and (isinstance(level, bool) or not isinstance(level, int) or level < 1):
            raise Refusal(f"level is the number of features that tell the level, or None, not {level!r}")
        self.channels, self.port, self.up, self.resize = channels, port, check(up, resize), resize
        self.null = nn.Parameter(torch.full((channels,), 2.0))
        self.level = level
        if level is not None:
            self.tell = nn.Sequential(nn.Linear(_WAVES.width, level), nn.SiLU(), nn.Linear(level, level))
            self.untold = nn.Parameter(torch.zeros(level))

    def _check(self, picture: Tensor) -> Tensor:
        if picture.ndim < 3 or picture.shape[1] != self.channels or picture.is_complex():
            raise Refusal(
                f"these pictures are (B, {self.channels}, *space) with {self.channels} channels, "
                f"not {tuple(picture.shape)}"
            )
        return picture

    def _split(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """The picture, and its level where one is said."""
        levels = {name: value for name, value in values.items() if name.partition(".")[2] == LEVEL}
        picture = only({name: value for name, value in values.items() if name not in levels})
        if not levels:
            return picture, None
        ((name, level),) = levels.items()
        whose = family(name)
        if picture is None:
            raise Refusal(f"{name!r} is the level of a picture {whose!r} that is not there: give both")
        if self.level is None:
            raise Refusal(
                f"this model is not told {name!r}, so it was trained on pictures as they are: hand it a clean "
                f"{whose!r} alone, or train one that hears the level, by Image(..., level=128) and an augmentation"
            )
        if level.shape != (len(picture),) or not level.is_floating_point():
            raise Refusal(f"{name!r} is a number in [0, 1] a sample, ({len(picture)},), not {tuple(level.shape)}")
        return picture, level

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        picture, level = self._split(values)
        if picture is not None and not self._check(picture).isfinite().all():
            raise Refusal(
                "a picture has numbers that are not finite; replace them, by zeros in rows where the family is dropped"
            )
        if level is not None and not ((level >= 0) & (level <= 1)).all():
            raise Refusal("a level is the share of noise, from 0 (a clean picture) to 1")
        return {}

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        picture, level = self._split(values)
        told, said = self.null.expand(len(keep), -1), None  # (B, C): the same at every place
        if picture is not None:
            self._check(picture)
            ones = (1,) * (picture.ndim - 2)
            kept = keep.reshape(-1, 1, *ones)
            large = enlarged(picture.to(self.null.dtype), self.up, self.resize)
            told = torch.where(kept, large, told.reshape(*told.shape, *ones))
        if self.level is not None:
            said = self.untold.expand(len(keep), -1)
            if picture is not None:
                level = self.null.new_zeros(len(keep)) if level is None else level
                waves = _WAVES(level).to(self.untold.dtype)
                said = torch.where(keep[:, None], self.tell(waves), said)
        self.saw(keep, told)
        return Context(maps={self.port: told}, vector=said)
