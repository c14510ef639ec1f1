"""Patches at all scales: do samples have the textures of real pictures, fine and coarse?

A Laplacian pyramid (Burt and Adelson 1983) splits a picture into what is seen at each scale only: the picture less what
is left of it after halving and doubling, the half less what is left of that, and so on, and the smallest picture at the
end. From each level small patches are taken at random places, and the patches of both sets are compared by their sliced
Wasserstein distance. At the smallest level that speaks of layout and colour, at the largest of edges and noise.

Source: Karras et al. 2018, "Progressive growing of GANs for improved quality, stability, and variation" (1710.10196,
section 5): levels down to 16 pixels, 128 patches of 7 x 7 a picture and level, channels of each level normalised by
mean and standard deviation, 512 directions. Two departures. Theirs is the mean absolute distance along a line, times
1,000; ours is the mean squared one, as for points. Their code normalises either set by its own statistics, which hides
a lack of contrast such as a blur's; here the real set's serve for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.pictures import checked
from mezzotint.metrics.sliced import DIRECTIONS, along

SMALLEST, LEAST = 16, 3
SIDE = 7
PATCHES = 128
_BATCH, _ENTRIES = 256, 2**22  # pictures at once, and numbers: 32 MiB in float64
_TAPS = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def patch_wasserstein(
    samples: Tensor,
    real: Tensor,
    patches: int = PATCHES,
    directions: int = DIRECTIONS,
    rng: Rng | None = None,
    smallest: int = SMALLEST,
) -> dict[str, Estimate]:
    """Squared sliced Wasserstein distances of patches, by level; small is good.

    Names end in the shorter side of the level, ``patches_64``, ``patches_32``, ``patches_16``; the smallest level has
    at least 16 pixels, or is the picture itself: then nothing tells fine from coarse, and pictures of less than 32
    pixels need a lower ``smallest`` for that. The unit is the variance of a pixel of the level of real pictures.
    Intervals are over pictures and directions; patches of one picture are not taken for independent.

    Arguments:
        samples, real: pictures (N, C, H, W) and (M, C, H, W) in [-1, 1], at least two of each, of any size. Patches are
            7 x 7, or as large as the shorter side where that is less.
        patches: of each picture and level.
        directions: lines looked along.
        rng: one key for places and directions; by default ``Rng([0])``.
        smallest: the fewest pixels of a side of a level; 16 is the paper's.
    """
    a, b = (checked(some, None, "the pictures of patches")[0] for some in (samples, real))
    if a.shape[1:] != b.shape[1:] or patches < 1:
        raise Refusal(
            f"patches need pictures of one shape and at least one patch of each, not {patches} of "
            f"{tuple(a.shape[1:])} and {tuple(b.shape[1:])}"
        )
    if smallest < LEAST:
        raise Refusal(f"the smallest level of a pyramid has at least {LEAST} pixels a side, not {smallest}")
    rng = Rng([0]) if rng is None else rng
    # The places are the same in both, so copies lie 0 apart.
    none = Patches.begin(patches, rng, smallest)
    return between(none.add(a), none.add(b), directions, rng)


@dataclass(frozen=True)
class Patches:
    """Patches of pictures that may come in pieces, which change nothing; begin with :meth:`begin`.

    Arguments:
        each: patches of a picture and level.
        rng: one key for the places.
        smallest: shorter side at which the pyramid ends.
        count: pictures that are in.
        tables: of each level, the largest first, patches (count * each, C, side^2) in float32, in pieces.
        sides: the shorter side of each level.
    """

    each: int
    rng: Rng
    smallest: int = SMALLEST
    count: int = 0
    tables: tuple[tuple[Tensor, ...], ...] = ()
    sides: tuple[int, ...] = ()

    @classmethod
    def begin(cls, each: int = PATCHES, rng: Rng | None = None, smallest: int = SMALLEST) -> Patches:
        """Of no pictures yet.

        Arguments:
            each: patches of a picture and level.
            rng: one key for the places; by default ``Rng([0])``.
            smallest: shorter side at which the pyramid ends.
        """
        return cls(each, Rng([0]) if rng is None else rng, smallest)

    def add(self, pictures: Tensor) -> Patches:
        """These and those of the pictures that follow (N, C, H, W)."""
        sizes, last = _sizes(pictures.shape[-2], pictures.shape[-1], self.smallest), self.count + len(pictures)
        found = []
        for level in range(len(sizes)):
            keys = self.rng.at("places", level).split(last)[self.count :]
            had = self.tables[level] if self.tables else ()
            found.append((*had, _descriptors(pictures, level, self.each, keys, self.smallest)))
        return replace(self, count=last, tables=tuple(found), sides=tuple(min(size) for size in sizes))


def between(
    samples: Patches, real: Patches, directions: int = DIRECTIONS, rng: Rng | None = None
) -> dict[str, Estimate]:
    """The distances of :func:`patch_wasserstein` from patches of either set, at least two pictures of each.

    Arguments:
        samples, real: of pictures of one shape, as many patches a picture.
        directions: lines looked along.
        rng: one key for the directions.
    """
    rng, found = Rng([0]) if rng is None else rng, dict[str, Estimate]()
    for level, (of_samples, of_real, side) in enumerate(zip(samples.tables, real.tables, real.sides, strict=True)):
        x, y = torch.cat(of_samples), torch.cat(of_real)
        mean, std = y.mean((0, 2), keepdim=True), y.std((0, 2), keepdim=True)
        # A channel without any spread says nothing by its scale.
        x, y = (((z - mean) / torch.where(std > 0, std, 1)).flatten(1) for z in (x, y))
        name = f"patches_{side}"
        found[name] = along(x, y, samples.each, real.each, directions, rng.at("level", level), name)
    return found


def levels(height: int, width: int, smallest: int = SMALLEST) -> int:
    """How many levels a pyramid of pictures of this size has."""
    return len(_sizes(height, width, smallest))


def pyramid(pictures: Tensor, smallest: int = SMALLEST) -> list[Tensor]:
    """The levels of pictures (B, C, H, W), largest first, in float64; the last is the small picture left."""
    left, found = pictures.double(), []
    for _ in range(levels(pictures.shape[-2], pictures.shape[-1], smallest) - 1):
        half = shrunk(left)
        found.append(left - grown(half, left.shape[-2:]))
        left = half
    return [*found, left]


def shrunk(x: Tensor) -> Tensor:
    """Every other pixel of pictures (B, C, H, W) smoothed by (1, 4, 6, 4, 1) / 16 both ways, mirrored at the rim."""
    return _smooth(x)[:, :, ::2, ::2]


def grown(x: Tensor, size: torch.Size) -> Tensor:
    """Pictures (B, C, h, w) doubled to (B, C, H, W): spread out with zeros between, and smoothed."""
    wide = x.new_zeros(*x.shape[:2], *size)
    wide[:, :, ::2, ::2] = 4 * x
    return _smooth(wide)


def _smooth(x: Tensor) -> Tensor:
    taps = x.new_tensor(_TAPS)
    filters = (taps[:, None] * taps).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), filters, groups=x.shape[1])


def _sizes(height: int, width: int, smallest: int) -> list[tuple[int, int]]:
    """The sizes of all levels, largest first."""
    sizes = [(height, width)]
    while min(half := ((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2)) >= smallest:
        sizes.append(half)
    return sizes


def _descriptors(pictures: Tensor, level: int, patches: int, keys: Rng, smallest: int = SMALLEST) -> Tensor:
    """Patches of one level at random places (N * patches, C, side^2), in float32; a key a picture."""
    height, width = _sizes(pictures.shape[-2], pictures.shape[-1], smallest)[level]
    side = min(SIDE, height, width)
    room = torch.tensor([height - side + 1, width - side + 1])
    offsets, found = torch.arange(side), []
    rows = max(1, min(_BATCH, _ENTRIES // pictures[0].numel()))
    for start in range(0, len(pictures), rows):
        poll()
        here = pyramid(pictures[start : start + rows], smallest)[level]
        corner = (keys[start : start + rows].uniform("places", (patches, 2)) * room).long()
        down, across = corner[..., 0, None] + offsets, corner[..., 1, None] + offsets  # (B, patches, side)
        batch = torch.arange(len(here))[:, None, None, None]
        cut = here[batch, :, down[..., :, None], across[..., None, :]]  # (B, patches, side, side, C)
        found.append(cut.movedim(-1, 2).flatten(3).flatten(0, 1).float())
    return torch.cat(found)
