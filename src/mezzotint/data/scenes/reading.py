"""What a reader says of a picture."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from mezzotint.data.scenes.captions import relation_of

ABSTAINS = -1
"""In the place of a word's number: the reader does not say."""
UNSURE = 255
"""In the place of a colour in a map: the reader does not say."""


@dataclass(frozen=True)
class Seen:
    """An object as it is read: numbers of words, ``ABSTAINS`` where the reader is not sure.

    Of a part that no form explains, the centre is the mean of its pixels, the radius that of a circle of its area, and
    all of it is seen.

    Arguments:
        form, colour, size, texture, place: words; figures have the texture 0.
        x, y: its centre, in units of the shorter side of the picture, from the upper left corner.
        r: its radius (half the height of a figure), in the same units.
        turn: turns clockwise.
        bends: of figures, the angles of their limbs as :func:`.plan.bends` has them, else nothing.
        share: how much of it is seen.
        explained: the share that it explains of what the picture would differ by without it, at most 1.
        whole: whether a form explains it; of a part that none does, no more is said than its colour and its place.
    """

    form: int
    colour: int
    size: int
    texture: int
    place: int
    x: float
    y: float
    r: float
    turn: float
    bends: tuple[float, ...] = ()
    share: float = 0.0
    explained: float = 0.0
    whole: bool = True


@dataclass(frozen=True)
class Reading:
    """A picture as it is read.

    Arguments:
        objects: what is seen, from the farthest to the nearest.
        count: how many there are, or ``ABSTAINS``.
        ground, tint: words of the background, or ``ABSTAINS``.
        noise: standard deviation of the noise, on pictures in [-1, 1].
        blur: standard deviation of the blur, in pixels of the picture.
        layout: uint8 (H, W): 0 background, then the colour + 1, ``UNSURE`` where the reader does not say.
        instances: uint8 (H, W): 0 background, then the object + 1.
    """

    objects: tuple[Seen, ...]
    count: int
    ground: int
    tint: int
    noise: float
    blur: float
    layout: Tensor = field(compare=False, repr=False)
    instances: Tensor = field(compare=False, repr=False)

    def relation(self, first: int, second: int) -> int:
        """How an object lies to another, the number of the word, 0 where that is not clear or one is a mere part."""
        one, other = self.objects[first], self.objects[second]
        if not (one.whole and other.whole):
            return 0
        return relation_of(one.x - other.x, one.y - other.y)

    @property
    def relations(self) -> Tensor:
        """Of every object to every other, int64 (K, K)."""
        K = len(self.objects)
        found = [[self.relation(i, j) if i != j else 0 for j in range(K)] for i in range(K)]
        return torch.tensor(found, dtype=torch.int64).reshape(K, K)
