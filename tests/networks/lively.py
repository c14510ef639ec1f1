"""What the tests of networks share: networks with no weight left at zero, inputs for them, and plain answers."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mezzotint.networks import Context

N = TypeVar("N", bound=nn.Module)


def alive(network: N, spread: float = 0.15) -> N:
    """The same network, in evaluation, with no weight left at zero."""
    with torch.no_grad():
        for weight in network.parameters():
            nn.init.normal_(weight, 0.3 if weight.ndim == 1 else 0.0, spread)
    return network.eval()


def inputs(shape: tuple[int, ...], rows: int = 3, vector: int | None = 128) -> tuple[Tensor, Tensor, Context]:
    """x, noise and a context with a vector."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(rows, *shape, generator=generator)
    noise = torch.empty(rows).uniform_(-1.6, 1.1, generator=generator)
    return x, noise, Context(vector=torch.randn(rows, vector, generator=generator) if vector else None)


def answer(network: nn.Module, *given: Any) -> Tensor:
    """What the network says, which is a plain tensor where no features are wanted."""
    with torch.no_grad():
        found = network(*given)
    assert isinstance(found, Tensor)
    return found
