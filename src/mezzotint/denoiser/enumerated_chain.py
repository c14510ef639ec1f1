"""The exact chain of a table: p(x_s | x_t) of every text there is, by Bayes' rule, as a law in raster order.

    p(x_s | x_t) ~ p_s(x_s) prod_j q(x_t^j | x_s^j),        p_s(x_s) = sum over x_0 of p_0(x_0) prod_j q(x_s^j | x_0^j),

summed by brute force. Walked from uniform symbols its samples have the table's law at any number of stages, since its
conditionals leave nothing out. The same table with one factor an entry (:class:`~mezzotint.denoiser.Enumerated` and a
bridge) has not, and comes near as stages are added.

Source: Esser et al. 2021, ImageBART (2108.08827).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.denoiser.enumerated import Enumerated, check_discrete, check_texts
from mezzotint.denoiser.raster import Raster, Term
from mezzotint.denoiser.stages import check_chain, following, stages, times_of
from mezzotint.networks.context import EMPTY, Context
from mezzotint.processes.discrete import Discrete


class EnumeratedChain(Denoiser):
    """p(x_s | x_t) of a joint table, in float64.

    Arguments:
        process: of symbols that are redrawn, under which no entry is alive at t = 1.
        logits: of every text, as :class:`~mezzotint.denoiser.Enumerated` takes them, with or without classes.
        shape: of one text; None: (L,).
        times: of the stages, falling from 1.
    """

    process: Discrete
    clean = False

    def __init__(
        self,
        process: Discrete,
        logits: Tensor | Sequence[float] | Sequence[Sequence[float]],
        shape: tuple[int, ...] | None = None,
        times: Sequence[float] = (1.0, 0.75, 0.5, 0.25),
    ) -> None:
        super().__init__()
        check_chain(check_discrete(process, "EnumeratedChain"), "EnumeratedChain")
        self.table = Enumerated(process, logits, shape)
        self.process, self.shape = process, self.table.shape
        self.times = times_of(times, 1)
        self._decoding = _Table(process.vocab, self.shape)  # one for all answers, so that they can be joined

    @classmethod
    def example(cls) -> EnumeratedChain:
        """Three classes of texts of two by two symbols, in two stages."""
        from mezzotint.processes.multinomial import Multinomial

        table = torch.sin(torch.arange(3 * 81, dtype=torch.float64) ** 2).reshape(3, 81)
        return cls(Multinomial(3), table.tolist(), (2, 2), (1.0, 0.5))

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.table.nulls

    def prepare(self, cond: Condition) -> Condition:
        return self.table.prepare(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Raster:
        """p(x_s | x_t); arguments as of :meth:`.Chain.forward`."""
        if want:
            raise Refusal(f"this exact chain has nothing beside its law, such as {want[0]!r}")
        self.prepare(cond)
        check_texts(x, self.shape)
        assert self.times is not None
        stage, clean = stages(t, x, self.times)
        s = following(self.times, stage).to(x.device)
        p = self._spread(self.table._told(cond, len(x)).softmax(-1), self.process.alive(s))
        seen = self.process.seen(x, s, self.times[stage]).flatten(1, -2)
        entries = seen.shape[1]
        for entry in range(entries):
            wide = seen[:, entry].repeat_interleave(self.process.vocab ** (entries - 1 - entry), 1)
            p = p * wide.repeat(1, self.process.vocab**entry)
        logits = (p / p.sum(-1, keepdim=True)).log()
        nothing = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
        weight = torch.ones(len(x), dtype=torch.float64, device=x.device)
        term = Term(self._decoding, Context(tokens=logits[:, None]), weight)
        law = Raster((term,), nothing, torch.zeros_like(nothing, dtype=torch.bool))
        return law if clean is None else law.given(x, clean)

    def _spread(self, p: Tensor, alive: Tensor) -> Tensor:
        """The law (B, N) of clean texts, every entry of which is redrawn with the chance 1 - alive (B,)."""
        vocab, entries = self.process.vocab, math.prod(self.shape)
        rest = self.process.rest.to(p)
        for entry in range(entries):
            cells = p.reshape(len(p), vocab**entry, vocab, -1)
            share = alive.to(p)[:, None, None, None]
            p = (share * cells + (1 - share) * cells.sum(2, keepdim=True) * rest[:, None]).flatten(1)
        return p


@dataclass(frozen=True)
class _Place:
    """What of a table is left once a prefix is known: log-probabilities (B, vocab^k) of the k entries after it."""

    left: Tensor


@dataclass(frozen=True)
class _Table:
    """A table as a network that decodes: its context's tokens are log-probabilities of all texts, (B, 1, N)."""

    vocab: int
    shape: tuple[int, ...]

    def __call__(self, x: Tensor, noise: Tensor, context: Context) -> Tensor:
        """The logits (B, *shape, vocab) of every entry given those before it."""
        cache, flat, said = self.start(len(x), context), x.flatten(1), []
        for entry in range(flat.shape[1]):
            logits, cache = self.decode(flat[:, entry - 1] if entry else None, cache)
            said.append(logits)
        return torch.stack(said, 1).reshape(*x.shape, self.vocab)

    def start(self, count: int, context: Context = EMPTY, shape: Sequence[int] | None = None) -> _Place:
        assert context.tokens is not None
        return _Place(context.tokens[:, 0])

    def decode(self, last: Tensor | None, cache: _Place) -> tuple[Tensor, _Place]:
        left = cache.left
        if last is not None:
            cells = left.reshape(len(left), self.vocab, -1)
            left = cells[torch.arange(len(left), device=left.device), last]
        logits = left.reshape(len(left), self.vocab, -1).logsumexp(-1)
        # After a prefix that no text has, anything may follow.
        return torch.where((logits == -torch.inf).all(-1, keepdim=True), 0.0, logits), _Place(left)
