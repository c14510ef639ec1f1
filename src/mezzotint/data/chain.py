"""Symbols with an exact law: a Markov chain whose probabilities are known.

The first symbol is drawn from ``start``, and each further one from the row of ``step`` that the symbol before it names.
So the likelihood of a sequence is a product, its entropy a sum, and the chance of any symbol given some of the others
has a closed form: what a model of symbols says can be compared with the truth. It is the smallest problem on which
neighbours matter and likelihoods are known.

Start and step are a softmax of normal numbers times ``sharpness``, drawn from a seed: at 0 symbols are independent and
even, and the larger it is the surer the next symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data, Rows, check_split
from mezzotint.data.licence import OURS

MOST = 4096
"""The largest vocabulary: its table of steps has 16 million entries."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Chain(Data):
    """Sequences x (L,) int64 of a Markov chain: p(x) = start[x_1] step[x_1, x_2] ... step[x_(L-1), x_L].

    Item k is drawn once and for all from key k of the seed, by inverting cumulative sums in float64; the train split is
    the first ``size`` keys, the held-out one the ``held_out_size`` after them.

    Arguments:
        vocab: V, how many symbols there are, 2 to 4,096.
        length: L.
        size: sequences to train on, such as ``"100k"``.
        held_out_size: sequences held out.
        seed: of the law and of the sequences.
        sharpness: of the law, from 0 on.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    vocab: int = 8
    length: int = 16
    size: int | str = 10_000
    held_out_size: int | str = 1_000
    seed: int = 0
    sharpness: float = 2.0
    split: str = "train"
    licence = OURS

    def __post_init__(self) -> None:
        check_split(self.split)
        for name, number, least in (("vocab", self.vocab, 2), ("length", self.length, 1), ("seed", self.seed, None)):
            if isinstance(number, bool) or not isinstance(number, int) or (least is not None and number < least):
                raise Refusal(f"{name} is a whole number{'' if least is None else f' from {least} on'}, not {number!r}")
        if self.vocab > MOST:
            raise Refusal(f"a chain has at most {MOST} symbols, not {self.vocab}: its table of steps is their square")
        if not 0 <= self.sharpness <= 100:
            raise Refusal(f"the sharpness of a chain is a number from 0 to 100, not {self.sharpness!r}")
        if count(self.size) < 1 or count(self.held_out_size) < 1:
            raise Refusal(f"both splits need a sequence at least, not {self.size} and {self.held_out_size}")

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def labels(self) -> None:
        return None

    @property
    def start(self) -> Tensor:
        """Probabilities of the first symbol, float64 (V,)."""
        return self._law[0]

    @property
    def step(self) -> Tensor:
        """Probabilities of a symbol given the one before it, float64 (V, V), a row for each symbol before."""
        return self._law[1]

    @cached_property
    def _law(self) -> tuple[Tensor, Tensor]:
        drawn = Rng([self.seed]).at("chain").normal("law", (1 + self.vocab, self.vocab))[0].double()
        law = (self.sharpness * drawn).softmax(-1)
        return law[0], law[1:]

    @cached_property
    def entropy(self) -> float:
        """Nats per symbol: (H(x_1) + sum_i H(x_i | x_(i-1))) / L, what no model can undercut on average."""
        each, law, total = _entropy(self.step), self.start, _entropy(self.start)
        for _ in range(self.length - 1):
            total = total + (law * each).sum()
            law = law @ self.step
        return float(total) / self.length

    def __len__(self) -> int:
        sizes = {"train": count(self.size), "held_out": count(self.held_out_size)}
        return sizes.get(self.split, sum(sizes.values()))

    def read(self, rows: Rows) -> Tensor:
        first = count(self.size) if self.split == "held_out" else 0
        keys = Rng([self.seed]).at("chain", "item").repeat(len(rows)).at(torch.from_numpy(rows) + first)
        u = keys.uniform("symbols", (self.length,))
        x = torch.empty(len(rows), self.length, dtype=torch.int64)
        for place in range(self.length):
            edges = self._edges[x[:, place - 1] + 1 if place else torch.zeros(len(rows), dtype=torch.int64)]
            drawn = torch.searchsorted(edges, (u[:, place] * edges[:, -1])[:, None], right=True)[:, 0]
            x[:, place] = drawn.clamp(max=self.vocab - 1)  # rounding may carry u up to the last edge
        return x

    @cached_property
    def _edges(self) -> Tensor:
        """Cumulative sums of the start, row 0, and of the steps, (1 + V, V)."""
        return torch.cat([self.start[None], self.step]).cumsum(-1)

    def spelt(self, x: Tensor) -> list[str]:
        """Symbols (B, L) as text: letters from a on where there are enough of them, numbers with spaces else."""
        if self.vocab <= len(_LETTERS):
            return ["".join(_LETTERS[symbol] for symbol in row) for row in x.tolist()]
        return [" ".join(map(str, row)) for row in x.tolist()]


def _entropy(law: Tensor) -> Tensor:
    """-sum p ln p over the last axis; an impossible symbol adds nothing."""
    found: Tensor = torch.special.entr(law).sum(-1)
    return found
