"""Networks that read tokens, what to tell them, and marks for tests of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lively import inputs
from torch import Tensor

from mezzotint.networks import Context, DiT, UNet, UViT

TOKENS = 5
MODERN: dict[str, Any] = dict(rotary=10.0, rms=True, qk_norm=True, swiglu=True, registers=2)
READERS: dict[str, Callable[..., Any]] = {
    "UNet": lambda shape=(2, 6, 4), **options: UNet(shape, 16, head=4, **{"tokens": TOKENS, **options}),
    "DiT": lambda shape=(2, 6, 4), **options: DiT(shape, 24, 2, 2, **{"tokens": TOKENS, **options}),
    "DiT, modern": lambda shape=(2, 6, 4), **options: DiT(shape, 24, 2, 2, **{"tokens": TOKENS, **MODERN, **options}),
    "UViT": lambda shape=(2, 6, 4), **options: UViT(shape, 24, 2, 2, **{"tokens": TOKENS, **options}),
}
CROSSED = {name: make for name, make in READERS.items() if name != "UViT"}
readers = pytest.mark.parametrize("make", READERS.values(), ids=READERS)
crossed = pytest.mark.parametrize("make", CROSSED.values(), ids=CROSSED)
Make = Callable[..., Any]


def words(rows: int = 3, length: int = 4) -> tuple[Tensor, Tensor]:
    """Tokens and a mask: all read, then two, then none, then all but the first, .."""
    generator = torch.Generator().manual_seed(7)
    mask = torch.ones(rows, length, dtype=torch.bool)
    mask[1::4, 2:] = False
    mask[2::4] = False
    mask[3::4, 0] = False
    return torch.randn(rows, length, TOKENS, generator=generator), mask


def told(rows: int = 3, vector: int | None = 128) -> tuple[Tensor, Tensor, Context]:
    """x, noise and a context with a vector, tokens and a mask."""
    x, noise, context = inputs((2, 6, 4), rows, vector)
    tokens, mask = words(rows)
    return x, noise, Context(vector=context.vector, tokens=tokens, mask=mask)
