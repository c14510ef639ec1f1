"""Reuse: a row that did not change is not asked about again.

On a process that masks, what the clean text may be does not depend on the time, so between two steps that change
nothing the answer stays what it was. With l entries on n equal steps of a linear schedule each entry changes in one
step, every step alike and apart from the others, so a step changes a row with probability p = 1 - (1 - 1/n)^l, and a
row costs

    1 + (n - 1) p   evaluations,   in RADD's count n p = n (1 - (1 - 1/n)^l) <= l:

the first step always asks, and what the last one changes is asked by nobody. Without reuse it is n. The samples are
the same to the last bit, wherever a network answers a row alike in any batch (exact denoisers, and
:class:`~mezzotint.denoiser.Chunked` ones).

What is kept is in the state's memory, row by row: the x that was asked about, the answer's logits, and a fingerprint of
what the row was told. An answer is reused where all of x and the fingerprint are as they were, so whoever changes x
or the condition between two steps gets a fresh answer; rows that are noised again forget. A run must go on with the
denoiser it began with.

Source: Ou et al. 2024, RADD (2406.03736, section 3.3 and theorem 2), there for a whole batch at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical, Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.samplers.base import Sampler, State, Transition
from mezzotint.samplers.grids import Grid

_KEPT = 3  # of the memory: x, logits, fingerprints


def _fingerprint(cond: Condition, count: int) -> Tensor:
    """A number for what each row is told, int64 (B,); never 0, which means that nothing was asked yet."""
    found = torch.ones(count, dtype=torch.int64)
    if not cond:
        return found
    for name, leaf in sorted(cond.leaves().items()):
        rows = leaf.detach().reshape(count, -1)
        bits = rows.double().view(torch.int64) if rows.is_floating_point() else rows.long()
        # Odd numbers that differ from entry to entry and name to name, so that no two entries weigh alike.
        weights = (
            2 * torch.arange(1, bits.shape[1] + 1, device=bits.device) * 0x1F85EBCA6B + 2 * sum(map(ord, name)) + 1
        )
        mixed = (bits ^ (bits >> 29)) * 0x3C79AC492BA7B653 ^ weights
        found = found * 31 + ((mixed ^ (mixed >> 32)) * weights).sum(1).cpu()
    return found | 1


class _Kept(Wrapper):
    """A denoiser that knows its last answers and is asked about the other rows only."""

    kept: tuple[Tensor, ...]
    count: int

    def __init__(self, denoiser: Denoiser, state: State) -> None:
        torch.nn.Module.__init__(self)
        # Made at every step, most of which do little else: setting a module's attributes one by one takes as long.
        own = {name: getattr(denoiser, name) for name in ("process", "shape", "uses_level", "times", "clean")}
        vars(self).update(own, denoiser=denoiser, kept=state.memory[:_KEPT], count=len(state))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        if want or len(x) != self.count:  # further tensors are not kept, and which of the rows these are nobody knows
            return self.denoiser(x, t, cond, want)
        told = _fingerprint(cond, len(x))
        if not self.kept:
            self.kept = (x, self._asked(x, t, cond), told)
            return Categorical(self.kept[1])
        before, logits, prints = self.kept
        changed = (before != x).flatten(1).any(1).cpu() | (prints != told)
        index = changed.nonzero()[:, 0]
        if len(index):
            here = index.to(x.device)
            fresh = self._asked(x[here], t[index.to(t.device)], cond[index] if cond else cond)
            if len(index) == len(x):
                logits = fresh
            else:
                logits = logits.to(fresh).index_copy(0, here, fresh)
            self.kept = (x, logits, told)
        return Categorical(logits)

    def _asked(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        answer = self.denoiser(x, t, cond)
        if not isinstance(answer, Categorical):
            raise Refusal(
                f"Reuse keeps laws of symbols, one an entry, but this denoiser answers with a "
                f"{type(answer).__name__}: run its sampler without Reuse"
            )
        return answer.logits


@dataclass(frozen=True)
class Reuse(Transition):
    """Another sampler that asks about rows only where x changed since it last asked.

    A denoiser whose answer depends on the time (``uses_level``) is asked as ever, and nothing is kept; that is so for
    processes without a mask, networks that are told the level, and guidance by the level.

    Arguments:
        sampler: what is run; steps and grid are read from it.
    """

    steps: int = field(init=False, repr=False, default=1)
    grid: Grid = field(init=False, repr=False)
    sampler: Sampler

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise Refusal(f"Reuse runs a sampler, such as Ancestral(256, grid=Uniform()), not {self.sampler!r}")
        if isinstance(self.sampler, Reuse):
            raise Refusal("answers are kept once: leave out the inner Reuse")
        object.__setattr__(self, "steps", self.sampler.steps)
        object.__setattr__(self, "grid", self.sampler.grid)
        super().__post_init__()

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        return self.kernel(denoiser, state, s, cond)[0]

    def kernel(
        self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        inner = self.sampler
        if not isinstance(inner, Transition):
            raise Refusal(f"{type(inner).__name__} is no draw from a law p(x_s | x_t): wrap one that is, as Ancestral")
        if denoiser.uses_level:
            return inner.kernel(denoiser, state, s, cond)
        kept = _Kept(denoiser, state)
        law, memory = inner.kernel(kept, replace(state, memory=state.memory[_KEPT:]), s, cond)
        return law, (*kept.kept, *memory)

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        if denoiser.uses_level:
            return self.sampler.move(denoiser, state, s, cond)
        kept = _Kept(denoiser, state)
        x, memory = self.sampler.move(kept, replace(state, memory=state.memory[_KEPT:]), s, cond)
        return x, (*kept.kept, *memory)
