"""Points: what distances are taken between, checked once and looked at in pieces.

Features (N, D) are points, and so are pictures (N, C, H, W) seen as rows of pixels. They stay in the precision they
come in, because 50,000 rows of 2,048 numbers are 400 MB in float32 and twice that in float64; each piece that is
computed on is cast to float64 first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.stop import poll

_CHUNK = 2**22  # numbers at once


def points(given: Tensor | NDArray[Any], what: str, least: int = 2) -> Tensor:
    """Points (N, *shape) as rows (N, D) on the CPU; refused if fewer than ``least``, or not finite.

    Arguments:
        given: points, in any precision; numbers that are not floating ones become float64.
        what: what they are, for the message.
        least: the fewest that will do.
    """
    table = torch.as_tensor(given).detach().cpu()
    if table.ndim < 2 or len(table) < least or table[0].numel() == 0:
        raise Refusal(f"{what} are of shape {tuple(table.shape)}, but at least {least} points (N, D) are needed")
    table = (table if table.is_floating_point() else table.double()).flatten(1)
    if not all(bool(piece.isfinite().all()) for piece in torch.split(table, max(1, _CHUNK // table.shape[1]))):
        raise Refusal(f"{what} hold NaN or infinite numbers, and no distance can be taken to those")
    return table


def two(a: Tensor | NDArray[Any], b: Tensor | NDArray[Any], what: str, least: int = 2) -> tuple[Tensor, Tensor]:
    """Two sets of points of one shape as rows (N, D) and (M, D)."""
    x, y = points(a, what, least), points(b, what, least)
    if x.shape[1] != y.shape[1]:
        raise Refusal(f"{what} are rows of {x.shape[1]} and of {y.shape[1]} numbers, but must be of one length")
    return x, y


def blocks(x: Tensor, y: Tensor) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """All pairs of a row of x and a row of y, block by block: where they stand, and both pieces in float64."""
    side = max(1, min(int(_CHUNK**0.5), _CHUNK // x.shape[1]))
    for i in range(0, len(x), side):
        poll()
        piece, rows = x[i : i + side].double(), slice(i, i + side)
        for j in range(0, len(y), side):
            yield rows, slice(j, j + side), piece, y[j : j + side].double()


def apart(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances (N, M) of rows in float64.

    By matrix products a point would lie off itself by the rounding of its squared length.
    """
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")
