"""Neighbourhoods on a grid: the sites around a site, and what stands there.

    N_i^s = { j : 1 <= max_a |j_a - i_a| <= s },        K = (2 s + 1)^n - 1 on a grid of n axes:

8, 24, 48, 80 sites in the plane for the strides 1 to 4. At a border there are fewer, and nothing is padded.

Source: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import product

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal

MOST = 1024
"""Neighbours that one site may have."""


class Neighbourhood:
    """The neighbours of every site of a grid, the nearest ring first.

    Arguments:
        space: sides of the grid, one or more.
        stride: how far it reaches along every axis; beyond the grid there are no neighbours.

    Raises:
        Refusal: the grid has one site only, or a site would have more than 1,024 neighbours.
    """

    def __init__(self, space: Sequence[int], stride: int = 1) -> None:
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
            raise Refusal(f"a neighbourhood reaches 1 site or further, not {stride!r}")
        self.space, self.stride = tuple(space), stride
        self.sites = math.prod(self.space)
        if self.sites < 2:
            raise Refusal(
                f"samples of the grid {self.space} have one site, and a site alone has no neighbours to be predicted"
            )
        if self.count > MOST:
            raise Refusal(
                f"at stride {stride} a site would have {self.count:,} neighbours, over {MOST:,}; take a smaller one"
            )

    @property
    def count(self) -> int:
        """K, the most neighbours that a site can have."""
        return int((2 * self.stride + 1) ** len(self.space) - 1)

    @cached_property
    def offsets(self) -> Tensor:
        """From a site to its neighbours, int64 (K, axes), the same on any grid; the nearest ring first."""
        every = [o for o in product(range(-self.stride, self.stride + 1), repeat=len(self.space)) if any(o)]
        return torch.tensor(sorted(every, key=lambda o: (max(map(abs, o)), o)))

    @cached_property
    def _strides(self) -> Tensor:
        steps = [math.prod(self.space[axis + 1 :]) for axis in range(len(self.space))]
        return torch.tensor(steps)

    def places(self, sites: Tensor) -> Tensor:
        """Where sites lie, int64 (..., axes), by their numbers (...) in raster order, the last axis fastest."""
        sides = torch.tensor(self.space, device=sites.device)
        return sites[..., None] // self._strides.to(sites.device) % sides

    def gather(self, values: Tensor, sites: Tensor) -> tuple[Tensor, Tensor]:
        """What stands at the neighbours of sites, (B, n, K, d), and where there is one, bool (B, n, K).

        Arguments:
            values: (B, d, *space).
            sites: numbers of sites, int64 (B, n), on the device of the values.
        """
        offsets, sides = self.offsets.to(sites.device), torch.tensor(self.space, device=sites.device)
        there = self.places(sites)[:, :, None] + offsets
        inside = ((there >= 0) & (there < sides)).all(-1)
        number = torch.where(inside, (there * self._strides.to(sites.device)).sum(-1), sites[..., None])
        found = at_sites(values, number.flatten(1)).reshape(*number.shape, -1)
        return found, inside


def at_sites(values: Tensor, sites: Tensor) -> Tensor:
    """What stands at sites: (B, d, *space) at (B, n) to (B, n, d)."""
    flat = values.movedim(1, -1).flatten(1, -2)  # channels last, as features are, whose gradient keeps this order, too
    return flat.gather(1, sites[..., None].expand(-1, -1, flat.shape[-1]))


@lru_cache(maxsize=64)
def neighbourhood(space: tuple[int, ...], stride: int) -> Neighbourhood:
    """The neighbourhood of a grid, made once."""
    return Neighbourhood(space, stride)
