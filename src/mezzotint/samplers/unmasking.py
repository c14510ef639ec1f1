"""How many masked entries are to be said on the way from t to s, and which may be.

A run of masks by count leaves at s as many masked entries as there are on average, the sum of 1 - alive(s) over the
entries, rounded; so its states look like corrupted data at every time, whatever the grid, and at s = 0 none is left.
Entries that stand (t == s) neither count nor change.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.distribution import expand
from mezzotint.processes.discrete import Discrete


def due(process: Discrete, x: Tensor, t: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Which entries may be said, bool (B, L), and how many of them are to be said by s, (B,).

    Arguments:
        process: with a mask.
        x: x_t, (B, *shape).
        t, s: where it stands and where it goes, (B,) or of the rank of x.
    """
    moving = expand(t > s, x).to(x.device).expand(x.shape)
    rest = torch.where(moving, process.lost(s, x), 0.0).flatten(1).sum(1).round().long()
    masked = ((x == process.mask) & moving).flatten(1)
    return masked, (masked.sum(1) - rest).clamp(min=0)


def turns(process: Discrete, x: Tensor) -> Tensor:
    """The turn of each entry, int64 (1 or B, L): block after block, those of one turn in the sampler's own order."""
    return process.turn(x).expand(-1, *x.shape[1:]).flatten(1)
