"""Patches: a picture cut into equal cells, each one a token, and put together again.

Along every axis of space n entries become n / p cells of p. A cell's entries are laid out in the order of the axes, the
channels last, for tokens that go in as for tokens that come out:

    (B, C, g_1 p_1, g_2 p_2, ...)  <->  (B, g_1 g_2 ..., p_1 p_2 ... C).

A linear layer over such a token is the convolution with kernel and stride p.

Source: An Image is Worth 16x16 Words, arXiv 2010.11929, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from mezzotint.core.errors import Refusal


def cells(patch: int | Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """Entries of a patch along each axis of space: ``patch`` for all axes, or one number an axis.

    Raises:
        Refusal: if ``shape`` (C, *space) is not of one, two or three axes, or is not cut by such patches.
    """
    dims = len(shape) - 1
    if dims not in (1, 2, 3) or min(shape) < 1:
        raise Refusal(
            f"a network of patches takes shapes (C, L), (C, H, W) or (C, T, H, W) with positive sizes, "
            f"not {tuple(shape)}"
        )
    sizes = (patch,) * dims if isinstance(patch, int) else tuple(patch)
    if len(sizes) != dims or min(sizes) < 1:
        raise Refusal(f"patch is one positive number, or one for each of {dims} axes, not {patch}")
    grid(shape[1:], sizes)
    return sizes


def grid(space: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """How many patches lie along each axis; refused where they do not fit."""
    if any(n % p or n < p for n, p in zip(space, patch, strict=True)):
        raise Refusal(
            f"sizes {tuple(space)} are not multiples of the patch {tuple(patch)}; "
            "pad or crop them, or build the network with a patch that divides them"
        )
    return tuple(n // p for n, p in zip(space, patch, strict=True))


def cut(x: Tensor, patch: Sequence[int]) -> Tensor:
    """Tokens (B, N, p_1 p_2 ... C) of x (B, C, *space)."""
    dims = len(patch)
    split = [n for pair in zip(grid(x.shape[2:], patch), patch, strict=True) for n in pair]
    parts = x.reshape(*x.shape[:2], *split)  # (B, C, g_1, p_1, g_2, p_2, ...)
    places, inside = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    return parts.permute(0, *places, *inside, 1).flatten(1 + dims).flatten(1, dims)


def put(tokens: Tensor, patch: Sequence[int], counts: Sequence[int]) -> Tensor:
    """x (B, C, *space) of tokens (B, N, p_1 p_2 ... C), N = g_1 g_2 ... of ``counts``."""
    dims, channels = len(patch), tokens.shape[2] // math.prod(patch)
    parts = tokens.reshape(len(tokens), *counts, *patch, channels)
    order = [axis for k in range(dims) for axis in (1 + k, 1 + dims + k)]
    space = [g * p for g, p in zip(counts, patch, strict=True)]
    return parts.permute(0, 1 + 2 * dims, *order).reshape(len(tokens), channels, *space)


def laid(tokens: Tensor, counts: Sequence[int]) -> Tensor:
    """Features (B, D, *counts) of tokens (B, N, D)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *counts)
