"""The exact denoiser of a table: every text there is, with its probability.

With p_0 given as a table over all vocab^L texts, what x_0 may be is Bayes' rule, summed by brute force,

    p(x_0^i = v | x_t) ~ sum over texts with v at i of p_0(text) prod_j q(x_t^j | text^j),

on any process of symbols. On a process with a mask it does not depend on t, which is theorem 1 of RADD and not built in
here but for its rounding: the masked entries' likelihood is left out.

A sampler that says several symbols at once may write what no text of the table begins or ends like. There Bayes' rule
says nothing, and the answer is its limit for p_0 with a vanishing share of uniform texts: what is known is certain, and
the rest are all alike.

Source: Bayes' rule; Ou et al. 2024, RADD (2406.03736, theorem 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.processes.discrete import Discrete

MOST = 2**20
"""Texts of a table."""


def check_discrete(process: object, who: str, shape: tuple[int, ...] | None = None) -> Discrete:
    """The process, refused where it is not one of symbols, or has blocks that do not share texts of this shape."""
    if not isinstance(process, Discrete):
        raise Refusal(f"{who} needs a process of symbols, such as Absorbing, not {type(process).__name__}")
    if shape is not None:
        process.clock(torch.ones(1, device="cpu"), torch.zeros((1, *shape), device="cpu"))
    return process


def numbers(values: object) -> Tensor:
    """float64 where they lie, lists on the CPU whatever the device of the moment: they are computed with at once."""
    return values.double() if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64, device="cpu")


def check_texts(x: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse what is not texts of this shape."""
    if x.is_floating_point() or tuple(x.shape[1:]) != shape:
        raise Refusal(f"texts are whole numbers (B, {', '.join(map(str, shape))}), not {x.dtype} {tuple(x.shape)}")


def possible(joint: Tensor, likelihood: Tensor) -> Tensor:
    """log p(x_0 = v | x_t) of log p(x_0 = v, x_t), both (B, L, V); where x_t cannot occur, of the likelihood alone."""
    never = (joint == -torch.inf).all(-1, keepdim=True)
    return torch.where(never, likelihood, joint).log_softmax(-1)


class Enumerated(Denoiser):
    """p(x_0^i | x_t) of a joint table, entry by entry, in float64.

    Arguments:
        process: of symbols.
        logits: of every text, unnormalised log-probabilities (vocab^L,), the last entry fastest; or (classes, vocab^L)
            jointly of class and text. Minus infinity never occurs.
        shape: of one text, with L entries; None: (L,).

    ``want`` may ask for ``log_density``: log p(x_t, label) up to a number that x_t and t alone settle (the likelihood
    is taken relative to its largest value, entry by entry); differences between labels are exact.
    """

    process: Discrete
    table: Tensor

    def __init__(
        self,
        process: Discrete,
        logits: Tensor | Sequence[float] | Sequence[Sequence[float]],
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self.process = check_discrete(process, "Enumerated")
        table = numbers(logits)
        self.labelled = table.ndim == 2
        sized = table.ndim in (1, 2) and 1 < table.shape[-1] <= MOST and len(table)
        if not sized or not bool((table < torch.inf).all()) or bool((table == -torch.inf).all(-1).any()):
            raise Refusal(f"a table holds up to {MOST} log-probabilities (N,) or (classes, N), a text of every class")
        entries = round(math.log(table.shape[-1], process.vocab))
        if process.vocab**entries != table.shape[-1]:
            raise Refusal(f"{table.shape[-1]} texts are no power of the vocabulary of {process.vocab}")
        self.shape = (entries,) if shape is None else tuple(shape)
        if math.prod(self.shape) != entries:
            raise Refusal(f"the table is of texts of {entries} entries, not of shape {self.shape}")
        check_discrete(process, "Enumerated", self.shape)
        self.uses_level = process.mask is None
        self.register_buffer("table", table.reshape(-1, table.shape[-1]) - table.logsumexp(tuple(range(table.ndim))))

    @property
    def nulls(self) -> tuple[str, ...]:
        return ("label",) if self.labelled else ()

    def prepare(self, cond: Condition) -> Condition:
        known(cond, self.nulls, "this exact denoiser")
        return cond

    @property
    def _entries(self) -> int:
        return math.prod(self.shape)

    def number(self, x: Tensor) -> Tensor:
        """The place of clean texts (B, *shape) in the table, (B,)."""
        check_texts(x, self.shape)
        # A mask would be carried over to the entry before it, and name another text.
        if x.numel() and not bool(((x >= 0) & (x < self.process.vocab)).all()):
            raise Refusal(f"texts of the table have symbols 0 .. {self.process.vocab - 1}; a mask is none of them")
        place = x.new_zeros(len(x))
        for symbol in x.flatten(1).unbind(1):
            place = place * self.process.vocab + symbol
        return place

    def text(self, number: Tensor) -> Tensor:
        """The texts at these places of the table, (B, *shape)."""
        powers = self.process.vocab ** torch.arange(self._entries - 1, -1, -1, device=number.device)
        return (number[:, None] // powers % self.process.vocab).reshape(len(number), *self.shape)

    def log_prob(self, x: Tensor) -> Tensor:
        """log p_0 of clean texts (B, *shape) in nats, whatever their class, (B,)."""
        return self.table.logsumexp(0)[self.number(x)]

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Categorical:
        self.prepare(cond)
        for name in want:
            if name != "log_density":
                raise Refusal(f"this exact denoiser cannot answer {name!r}; it knows log_density")
        check_texts(x, self.shape)
        joint = self._told(cond, len(x))
        likelihood = self.process.likelihood(x, t).flatten(1, -2)
        for entry in range(self._entries):
            wide = likelihood[:, entry].repeat_interleave(self.process.vocab ** (self._entries - 1 - entry), 1)
            joint = joint + wide.repeat(1, self.process.vocab**entry)
        cells = joint.reshape(len(x), *(self.process.vocab for _ in range(self._entries)))
        axes = range(1, self._entries + 1)
        columns = [cells.movedim(axis, 1).flatten(2).logsumexp(2) if len(axes) > 1 else cells for axis in axes]
        logits = possible(torch.stack(columns, 1), likelihood).reshape(*x.shape, self.process.vocab)
        return Categorical(logits, {name: joint.logsumexp(1) for name in want})

    def _told(self, cond: Condition, count: int) -> Tensor:
        """log p(text, label) of each row, of all labels together where none is told, (B, N)."""
        everything = self.table.logsumexp(0).expand(count, -1)
        if "label" not in cond:
            return everything
        label = cond["label"].to(self.table.device)
        keep = cond.kept("label").to(self.table.device)
        if not bool(((label >= 0) & (label < len(self.table)) | ~keep).all()):
            raise Refusal(f"a label is out of range: the table has classes 0 to {len(self.table) - 1}")
        return torch.where(keep[:, None], self.table[label.masked_fill(~keep, 0)], everything)

    @classmethod
    def example(cls) -> Enumerated:
        """Three classes of texts of two by two symbols."""
        from mezzotint.processes.absorbing import Absorbing

        table = torch.sin(torch.arange(3 * 81, dtype=torch.float64) ** 2).reshape(3, 81)
        return cls(Absorbing(3), table.tolist(), (2, 2))
