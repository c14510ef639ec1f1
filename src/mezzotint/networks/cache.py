"""What a causal network has read so far: keys and values of every block, so that nothing is computed twice.

A position's keys and values depend on what came before it and on nothing after, so they are final once computed. The
cache is a value that the caller holds; the network keeps nothing. Its tensors have room for the whole sample from the
start, and decoding position n writes place n of them and returns a cache of length n + 1, which shares them: a cache
is its first ``length`` places. Rows can be picked and repeated like those of any batched value, which copies them.

Source: Attention Is All You Need, arXiv 1706.03762; Fast Transformer Decoding, arXiv 1911.02150, section 2.3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from mezzotint.core.batched import Batched


@dataclass(frozen=True, slots=True)
class Cache(Batched):
    """A prefix of samples as a causal network remembers it.

    Decoding two different symbols from one cache writes them to the same place: branch by picking rows first.

    Arguments:
        keys: of each block, (B, heads, N, d), N the positions of a sample; places from ``length`` on mean nothing yet.
        values: of each block, in the same shape.
        numbers: what the context's vector says to each block and to the head, (B, 1, D) each; none if nothing.
        tokens: keys and values of the context's tokens in each block, (B, heads, L, d); none if nothing is read.
        mask: of the context's tokens, bool (B, L), or None.
        length: positions that were decoded.
        codes: what is added to each position, (N, D), or None; the same for all rows.
        turns: cosines and sines (N, pairs) by which queries and keys are turned, or None; the same for all rows.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    numbers: tuple[tuple[Tensor, ...], ...]
    tokens: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None
    length: int
    codes: Tensor | None
    turns: tuple[Tensor, Tensor] | None

    @property
    def positions(self) -> int:
        """N of a whole sample."""
        return self.keys[0].shape[2]

    def leaves(self) -> dict[str, Tensor]:
        found = {f"key:{i}": k for i, k in enumerate(self.keys)} | {f"value:{i}": v for i, v in enumerate(self.values)}
        for i, several in enumerate(self.numbers):
            found |= {f"number:{i}:{j}": n for j, n in enumerate(several)}
        for i, pair in enumerate(self.tokens):
            found |= {f"token:{i}:{j}": n for j, n in enumerate(pair)}
        return found if self.mask is None else found | {"mask": self.mask}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> Cache:
        tokens = ((leaves[f"token:{i}:0"], leaves[f"token:{i}:1"]) for i in range(len(self.tokens)))
        return replace(
            self,
            keys=tuple(leaves[f"key:{i}"] for i in range(len(self.keys))),
            values=tuple(leaves[f"value:{i}"] for i in range(len(self.values))),
            numbers=tuple(
                tuple(leaves[f"number:{i}:{j}"] for j in range(len(several))) for i, several in enumerate(self.numbers)
            ),
            tokens=tuple(tokens),
            mask=leaves.get("mask"),
        )
