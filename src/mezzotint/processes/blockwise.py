"""Block after block: a process whose entries are lost from the end of the text towards its beginning.

The entries of a sample, counted row by row, are cut into equal blocks, and each has a stretch of the clock to itself:
with n blocks, block b (from 0) is clean until t = (n - 1 - b) / n, runs through the whole inner process in the next
n-th, and is lost from then on. Downwards that is semi-autoregressive: the first block is said first, then the second
given the first. Blocks of one entry are a language model from left to right, exact by any sampler whose intervals end
where a block ends (a multiple of n equal ones); one block is the inner process.

Source: Arriola et al. 2025, "Block diffusion" (2503.09573, section 3), with one network for all blocks, as they are
told apart by what is masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.processes.discrete import Discrete


@dataclass(frozen=True)
class Blockwise(Discrete):
    """The laws of a process of symbols, on a clock of its own for every block.

    Arguments:
        inner: what happens to a block.
        blocks: how many; it divides the entries of a sample.
    """

    inner: Discrete
    blocks: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Discrete) or isinstance(self.inner, Blockwise):
            raise Refusal(
                f"a block runs through a process of symbols without blocks, such as Absorbing, not through {self.inner}"
            )
        if isinstance(self.blocks, bool) or not isinstance(self.blocks, int) or self.blocks < 1:
            raise Refusal(f"a text has at least one block, not {self.blocks!r}")

    @property
    def vocab(self) -> int:  # type: ignore[override]
        return self.inner.vocab

    @property
    def mask(self) -> int | None:
        return self.inner.mask

    @property
    def rest(self) -> Tensor:
        return self.inner.rest

    def turn(self, x: Tensor) -> Tensor:
        """As in the base class, the number of each entry's block, (1, *shape)."""
        entries = math.prod(x.shape[1:])
        if entries % self.blocks:
            raise Refusal(f"{self.blocks} blocks do not share {entries} entries equally")
        block = torch.arange(self.blocks, device=x.device)
        return block.repeat_interleave(entries // self.blocks).reshape(1, *x.shape[1:])

    def clock(self, t: Tensor, x: Tensor) -> Tensor:
        """As in the base class, each entry at the time of its own block, (B, *shape)."""
        begins = (self.blocks - 1 - self.turn(x)).double()
        return (super().clock(t, x) * self.blocks - begins).clamp(0, 1)

    def _alive(self, t: Tensor, x: Tensor) -> Tensor:
        return self.inner.alive(self.clock(t, x))[..., None]

    def pace(self, t: Tensor, x: Tensor) -> Tensor:
        return self.inner.rate(self.clock(t, x))

    def running(self, t: Tensor, x: Tensor) -> Tensor:
        own = self.clock(t, x)
        return torch.where((own > 0) & (own < 1), float(self.blocks), 0.0).to(own)

    def _within(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """How many blocks are lost by t, and how far the next one is on its own clock."""
        lost = (t * self.blocks).floor().clamp(max=self.blocks - 1)
        return lost, t * self.blocks - lost

    def alive(self, t: Tensor) -> Tensor:
        """The share over all entries: one block is under way, those before it are whole, those behind it lost."""
        lost, inside = self._within(t)
        end = self.inner.alive(torch.ones_like(t))
        return (self.blocks - 1 - lost + self.inner.alive(inside) + lost * end) / self.blocks

    def rate(self, t: Tensor) -> Tensor:
        """How fast that share falls: the block under way loses an n-th of it, n times as fast."""
        return self.inner.rate(self._within(t)[1])

    def time(self, u: Tensor) -> Tensor:
        share = 1 - self.inner.alive(torch.ones_like(u))
        lost = (u * self.blocks / share).floor().clamp(0, self.blocks - 1)
        inside = self.inner.time((u * self.blocks - lost * share).clamp(0, 1))
        return ((lost + inside) / self.blocks).clamp(0, 1)

    @classmethod
    def example(cls) -> Blockwise:
        """Two halves."""
        from mezzotint.processes.absorbing import Absorbing

        return cls(Absorbing(3), 2)
