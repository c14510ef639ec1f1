"""A sampler is a rule for one interval t -> s over explicit state.

It binds no denoiser and keeps nothing between steps: what it remembers is in the state, row by row, so a search can
branch, stack and rewind runs, and every row may stand at its own time. An author writes :meth:`Sampler.move` for
times that fall; :meth:`Sampler.step` settles the rest the same way for everybody: rows with t == s pass untouched and
unevaluated, entries that rise are re-noised by the process and their row forgets, the keys advance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, final

import torch
from torch import Tensor

from mezzotint.core.batched import Batched
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.grids import Grid, Karras


@dataclass(frozen=True)
class State(Batched):
    """Where a run stands.

    Arguments:
        x: x_t, (B, *shape).
        t: float64 on the CPU, (B,) or of the rank of x with ones.
        rng: the keys of the next step, (B,).
        memory: what the sampler remembers, each (B, ...); zeros or () mean nothing yet.
    """

    x: Tensor
    t: Tensor
    rng: Rng
    memory: tuple[Tensor, ...] = ()

    def leaves(self) -> dict[str, Tensor]:
        return {"x": self.x, "t": self.t, "keys": self.rng.keys} | {f"m{i}": m for i, m in enumerate(self.memory)}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> State:
        memory = tuple(leaves[f"m{i}"] for i in range(len(leaves) - 3))
        return State(leaves["x"], leaves["t"], self.rng.rebuild({"keys": leaves["keys"]}), memory)

    def joined(self, others: Sequence[State]) -> State:
        # () and zeros both mean nothing yet, so a run that begins can be stacked on one that is under way.
        states = [self, *others]
        full = next((state.memory for state in states if state.memory), ())

        def filled(state: State) -> State:
            return replace(state, memory=state.memory or tuple(m.new_zeros((len(state), *m.shape[1:])) for m in full))

        first, *rest = map(filled, states)
        return Batched.joined(first, rest)


def _put(whole: Tensor, rows: Tensor, part: Tensor) -> Tensor:
    """``whole`` with ``rows`` replaced, out of place so that gradients pass."""
    return whole.index_copy(0, rows.to(whole.device), part.to(whole.dtype))


def _kept(memory: tuple[Tensor, ...], part: tuple[Tensor, ...], count: int) -> list[Tensor]:
    """What ``count`` rows remember, in the shapes that some of them remember it in by now; () is zeros."""
    if not memory:
        return [m.new_zeros((count, *m.shape[1:])) for m in part]
    # A row that moved on its own entries' times remembers a time an entry, its neighbours one a row.
    wide = [m if m.ndim == p.ndim else expand(m, p) for m, p in zip(memory, part, strict=True)]
    return [m.expand(count, *p.shape[1:]) for m, p in zip(wide, part, strict=True)]


def _rows(mask: Tensor) -> Tensor:
    """The rows in which ``mask`` (B, ...) holds anywhere."""
    return mask.reshape(len(mask), -1).any(1).nonzero()[:, 0]


MOST = 1_000_000
"""Steps of a sampler: every one is an evaluation or more, and a grid holds a time for each."""


@dataclass(frozen=True)
class Sampler(Part, ABC):
    """One rule for one interval.

    Arguments:
        steps: how many intervals (not evaluations, not points).
        grid: where they lie.
    """

    steps: int
    grid: Grid = field(default_factory=Karras, kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise Refusal(f"a sampler takes a whole number of steps, at least one, not {self.steps!r}")
        if self.steps > MOST:
            raise Refusal(f"a sampler takes {MOST:,} steps at most, not {self.steps}")

    @abstractmethod
    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        """From t down to s: (x_s, memory). Entries of a row may have t == s; what comes back must be finite there.

        Never wrap it in ``no_grad``: rewards differentiate it.
        """

    @final
    def step(self, denoiser: Denoiser, state: State, s: Tensor | float, cond: Condition = NONE) -> State:
        """The state at s. Pure: the same state gives the same result.

        Arguments:
            s: a number, (B,), or of the rank of x with ones.
        """
        to, t = torch.as_tensor(s, dtype=torch.float64).cpu(), state.t
        if to.ndim not in (0, t.ndim):
            to, t = expand(to, state.x), expand(t, state.x)
        t, to = t + torch.zeros_like(to), to + torch.zeros_like(t)
        index = _rows(to != t)
        if not len(index):
            return state
        if len(index) < len(t):
            # Rows that stay are not evaluated and keep their keys: a row's fate is its own, whatever the others do.
            part = self.step(denoiser, state[index], to[index], cond[index] if cond else cond)
            memory = state.memory
            x, keys = _put(state.x, index, part.x), _put(state.rng.keys, index, part.rng.keys)
            if part.memory:
                before = _kept(memory, part.memory, len(t))
                memory = tuple(_put(m, index, p) for m, p in zip(before, part.memory, strict=True))
            return State(x, to, state.rng.rebuild({"keys": keys}), memory)
        x, memory = state.x, state.memory
        rising = to > t
        if bool(rising.any()):
            top = torch.maximum(to, t)
            noised = denoiser.process.renoise(x, t, top).sample(state.rng.at("renoise"))
            where = expand(rising, x).to(x.device)
            x, t = torch.where(where, noised, x), top
            forget = rising.reshape(len(rising), -1).any(1)
            memory = tuple(torch.where(expand(forget, m).to(m.device), torch.zeros_like(m), m) for m in memory)
        index = _rows(to < t)
        if len(index) == len(t):
            # In the precision the run is in: scales are float64, and a network could not go on with what they made.
            moved, memory = self.move(denoiser, State(x, t, state.rng.at("move"), memory), to, cond)
            x = moved.to(x.dtype)
        elif len(index):
            now = State(x, t, state.rng.at("move"), memory)[index]
            moved, part_memory = self.move(denoiser, now, to[index], cond[index] if cond else cond)
            x, before = _put(x, index, moved), _kept(memory, part_memory, len(t))
            memory = tuple(_put(m, index, p) for m, p in zip(before, part_memory, strict=True)) or memory
        return State(x, to, state.rng.at("next"), memory)

    def trajectory(
        self,
        denoiser: Denoiser,
        cond: Condition = NONE,
        *,
        rng: Rng,
        times: Tensor | None = None,
        start: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Iterator[State]:
        """The states of a run, its start included.

        Arguments:
            denoiser: what to ask.
            cond: conditions (B,) or NONE.
            rng: one key per sample; its length is the batch.
            times: (points, ...) in float64, each a number, (B,) or of the rank of x; None: the denoiser's own, then 0,
                else the sampler's grid.
            start: x at the first time, (B, *shape); None: the prior, which lies at t = 1.
            shape: of one sample, where it is not the denoiser's.
        """
        if len(cond) not in (0, len(rng)):
            raise Refusal(f"{len(cond)} conditions for {len(rng)} keys: give one of each per sample")
        cond = denoiser.prepare(cond).to(denoiser.device)
        if times is None:
            own = denoiser.times
            times = self.grid(denoiser.process, self.steps) if own is None else torch.cat([own, own.new_zeros(1)])
        times = torch.as_tensor(times, dtype=torch.float64).cpu()
        first = times[0]
        if start is None:
            if not bool((first == 1).all()):
                raise Refusal(f"a run that begins at t = {first.flatten()[0]:.3g} and not at the prior needs a start")
            prior = denoiser.process.prior(tuple(shape or denoiser.shape)).repeat(len(rng))
            start = prior.sample(rng.at("start"))
            start = start.to(denoiser.dtype) if start.is_floating_point() else start
        x = start.to(denoiser.device)
        x = x.to(torch.promote_types(x.dtype, torch.float32)) if x.is_floating_point() else x
        if len(x) != len(rng):
            raise Refusal(f"a start of {len(x)} samples for {len(rng)} keys")
        t = first.expand(len(rng), *first.shape[1:]).clone()
        state = State(x, t, rng.at("steps"))
        yield state
        for s in times[1:]:
            state = self.step(denoiser, state, s, cond)
            yield state

    def __call__(
        self,
        denoiser: Denoiser,
        cond: Condition = NONE,
        *,
        rng: Rng,
        times: Tensor | None = None,
        start: Tensor | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Tensor:
        """The samples at the end of the run, (B, *shape), without gradients; arguments as in :meth:`trajectory`."""
        with torch.no_grad():
            for state in self.trajectory(denoiser, cond, rng=rng, times=times, start=start, shape=shape):
                x = state.x
        return x


@dataclass(frozen=True)
class Transition(Sampler, ABC):
    """A stochastic sampler whose step is one draw from p(x_s | x_t)."""

    @abstractmethod
    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        """p(x_s | x_t), from which :meth:`move` draws."""

    def kernel(
        self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        """:meth:`transition` and the memory after it; what has a memory, or wraps what may have one, says both here."""
        return self.transition(denoiser, state, s, cond), state.memory

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        law, memory = self.kernel(denoiser, state, s, cond)
        return law.sample(state.rng), memory


def check_clean(denoiser: Denoiser, sampler: object) -> None:
    """Refuse a learnt chain, whose answer is about its own next time and not about x_0."""
    if not denoiser.clean:
        raise Refusal(
            f"{type(sampler).__name__} bridges an answer about x_0, but this denoiser answers about its next time: use "
            "Chain"
        )


def continuous(denoiser: Denoiser, sampler: object) -> Any:
    """The denoiser's process, refused if it is not a continuous one that answers about clean data."""
    if denoiser.process.kind != "real" or not denoiser.clean:
        raise Refusal(f"{type(sampler).__name__} needs a denoiser of real data that answers about x_0")
    return cast(Any, denoiser.process)
