"""Where a token lies: attention alone cannot tell, since it treats tokens as a set.

Two answers, both fixed and both for any number of axes. *Sines and cosines* are added to the token: for each axis,
the last one first, as many waves as fit evenly into the width,

    [sin(w_i n), cos(w_i n)],     w_i = 10000^(-i / m),  i = 0 .. m - 1.

*Rotary* positions turn queries and keys instead: the pair (a_i, b_i) of a head's entries becomes

    (a_i cos(w_i n) - b_i sin(w_i n),  a_i sin(w_i n) + b_i cos(w_i n)),     w_i = base^(-i / m),

so that the product of a query at n with a key at n' depends on n - n' only. Entries of a head are dealt out to the axes
in equal numbers; what is left over is not turned. Positions count patches from 0, whatever the size.

Sources: Attention Is All You Need, arXiv 1706.03762, section 3.5; Masked Autoencoders, arXiv 2111.06377 (two axes, the
form DiT took over); RoFormer, arXiv 2104.09864, eq. (15); axial, arXiv 2403.13298, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Turn = tuple[Tensor, Tensor]
"""Cosines and sines (N, pairs) by which queries and keys are turned."""


def coordinates(counts: Sequence[int], device: torch.device | None = None) -> Tensor:
    """The position of each of prod(counts) tokens along each axis, (N, axes) in float64, the last axis fastest."""
    axes = [torch.arange(n, device=device, dtype=torch.float64) for n in counts]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def _frequencies(count: int, base: float, like: Tensor) -> Tensor:
    return base ** (-torch.arange(count, device=like.device, dtype=torch.float64) / max(count, 1))


def sines(places: Tensor, width: int) -> Tensor:
    """Codes (N, width) in float64 of places (N, axes); a rest of the width that no axis can share is zero."""
    count = width // (2 * places.shape[1])
    codes = []
    for place in reversed(places.unbind(1)):
        phase = place[:, None] * _frequencies(count, 10000.0, place)
        codes += [phase.sin(), phase.cos()]
    rest = places.new_zeros(len(places), width - 2 * count * places.shape[1])
    return torch.cat((*codes, rest), dim=1)


def turn(places: Tensor, head: int, base: float, dtype: torch.dtype) -> Turn:
    """What turns heads of ``head`` entries at places (N, axes), in the finer of ``dtype`` and float32."""
    count = head // (2 * places.shape[1])
    phase = (places[..., None] * _frequencies(count, base, places)).flatten(1)  # (N, axes count)
    dtype = torch.promote_types(dtype, torch.float32)
    return phase.cos().to(dtype), phase.sin().to(dtype)


def turned(x: Tensor, by: Turn) -> Tensor:
    """Queries or keys (..., N, d) turned by the angle of their place."""
    cosine, sine = by
    count = cosine.shape[1]
    fine = x.to(cosine.dtype)
    a, b, rest = fine[..., :count], fine[..., count : 2 * count], fine[..., 2 * count :]
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine, rest), dim=-1).to(x.dtype)
