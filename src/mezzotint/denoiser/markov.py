"""The exact denoiser of a Markov chain: the longest texts of which everything is known.

p_0(x) = start(x^1) prod_i step(x^i, x^(i+1)). What x_0 may be, given x_t, is found by passing messages in both
directions (forward-backward), in L V^2 operations; so is the likelihood of a clean text, and its entropy is

    H = H(start) + sum_i sum_v p(x^i = v) H(step(v, .)) nats,

below which no model's negative log-likelihood can lie on average. Where x_t cannot come of any text of the chain, the
answer is the same limit as :class:`~mezzotint.denoiser.Enumerated`'s.

Source: Rabiner 1989, "A tutorial on hidden Markov models", section III; the process is what observes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.denoiser.enumerated import check_discrete, check_texts, numbers, possible
from mezzotint.processes.discrete import Discrete, logs


def _entropy(p: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(p, p).sum(-1)
    return entropy


class Markov(Denoiser):
    """p(x_0^i | x_t) of texts that are a Markov chain, entry by entry, in float64.

    Arguments:
        process: of symbols.
        start: probabilities of the first symbol, (vocab,).
        step: probabilities of the next symbol (columns) after each (rows), (vocab, vocab).
        shape: of one text; its entries follow each other row by row.
    """

    process: Discrete
    start: Tensor
    moves: Tensor

    def __init__(
        self,
        process: Discrete,
        start: Tensor | Sequence[float],
        step: Tensor | Sequence[Sequence[float]],
        shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.process, self.shape = check_discrete(process, "Markov"), tuple(shape)
        first, moves = numbers(start), numbers(step)
        v = process.vocab
        rows = torch.cat([first[None], moves]) if first.shape == (v,) and moves.shape == (v, v) else None
        if rows is None or not bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 1e-6).all()):
            raise Refusal(f"a chain of {v} symbols has probabilities start ({v},) and step ({v}, {v}) that sum to 1")
        if math.prod(self.shape) < 1:
            raise Refusal(f"a text has at least one entry, not shape {self.shape}")
        check_discrete(process, "Markov", self.shape)
        self.uses_level = process.mask is None
        self.register_buffer("start", first / first.sum())
        self.register_buffer("moves", moves / moves.sum(1, keepdim=True))

    def prepare(self, cond: Condition) -> Condition:
        known(cond, (), "an exact chain")
        return cond

    @property
    def entropy(self) -> float:
        """Of a whole text, in nats."""
        here, total = self.start, float(_entropy(self.start))
        each = _entropy(self.moves)
        for _ in range(math.prod(self.shape) - 1):
            total += float(here @ each)
            here = here @ self.moves
        return total

    def log_prob(self, x: Tensor) -> Tensor:
        """log p_0 of clean texts (B, *shape) in nats, (B,)."""
        flat = x.flatten(1)
        return logs(self.start)[flat[:, 0]] + logs(self.moves)[flat[:, :-1], flat[:, 1:]].sum(1)

    def draw(self, rng: Rng) -> Tensor:
        """Clean texts, one a key, (B, *shape)."""
        u = rng.uniform("chain", (math.prod(self.shape),)).to(self.start.device)
        found = [self._pick(self.start.expand(len(rng), -1), u[:, 0])]
        for each in u[:, 1:].unbind(1):
            found.append(self._pick(self.moves[found[-1]], each))
        return torch.stack(found, 1).reshape(len(rng), *self.shape)

    def _pick(self, p: Tensor, u: Tensor) -> Tensor:
        edges = p.cumsum(1)
        # What the sum of all falls short of 1 by rounding belongs to the last symbol that is possible at all.
        last = (edges < edges[:, -1:]).sum(1)
        return torch.minimum((edges <= u[:, None]).sum(1), last)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Categorical:
        self.prepare(cond)
        if want:
            raise Refusal(f"an exact chain cannot answer {want[0]!r}")
        check_texts(x, self.shape)
        seen = self.process.likelihood(x, t).flatten(1, -2)  # (B, L, V)
        start, moves = logs(self.start), logs(self.moves)
        into = moves.T.contiguous()
        ahead, behind = [start + seen[:, 0]], [torch.zeros_like(seen[:, 0])]
        for here in seen[:, 1:].unbind(1):
            # Element-wise and along trailing axes, so that a row rounds alike in any batch.
            ahead.append((ahead[-1][:, None, :] + into).logsumexp(2) + here)
        for here in seen[:, 1:].flip(1).unbind(1):
            behind.append((moves + (here + behind[-1])[:, None, :]).logsumexp(2))
        logits = torch.stack(ahead, 1) + torch.stack(behind[::-1], 1)
        return Categorical(possible(logits, seen).reshape(*x.shape, self.process.vocab))

    @classmethod
    def example(cls) -> Markov:
        """Three symbols that like to stay, in texts of two rows."""
        from mezzotint.processes.absorbing import Absorbing

        step = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]
        return cls(Absorbing(3), [0.5, 0.3, 0.2], step, (2, 3))
