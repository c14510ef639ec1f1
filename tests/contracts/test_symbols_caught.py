"""Samplers of symbols that break a promise are caught, each by the sentence that names it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mezzotint import testing
from mezzotint.core import Condition
from mezzotint.denoiser import Denoiser
from mezzotint.samplers import Ancestral, State
from mezzotint.testing.expect import Broken


@dataclass(frozen=True)
class LeavesMasks(Ancestral):
    """Goes only half of the way."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        return super().move(denoiser, state, (state.t + s) / 2, cond)


@dataclass(frozen=True)
class TakesBack(Ancestral):
    """Masks the first symbol again on the second half of the way."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        x, memory = super().move(denoiser, state, s, cond)
        if s.ndim > 1:  # entries with times of their own
            return x, memory
        masks = denoiser.process.prior((1,)).mean.argmax(-1)[0]
        again = torch.where((s > 0) & (s < 0.5), masks, x[:, 0])
        return torch.cat([again[:, None], x[:, 1:]], 1), memory


@dataclass(frozen=True)
class Crowd(Ancestral):
    """Draws with its neighbours' keys."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.transition(denoiser, state, s, cond).sample(state.rng[list(range(len(s)))[::-1]]), state.memory


@dataclass(frozen=True)
class Greedy(Ancestral):
    """Takes the most likely symbol at the end."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        law = self.transition(denoiser, state, s, cond)
        drawn = law.sample(state.rng)
        last = (s == 0).reshape(len(drawn), -1).all(1)[:, None]
        return torch.where(last, law.mean.argmax(-1), drawn), state.memory


@dataclass(frozen=True)
class Stale(Ancestral):
    """Remembers where it was and goes on from there, whatever was done to x in between."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = state.memory[0] - 1 if state.memory and bool(state.memory[0].all()) else state.x
        moved = self.transition(denoiser, State(x, state.t, state.rng), s, cond).sample(state.rng)
        return moved, (moved + 1,)


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (LeavesMasks, "should end at clean symbols"),
        (TakesBack, "symbols that TakesBack on Absorbing has said"),
        (Crowd, "in a batch of their own"),
        (Greedy, "texts of one symbol"),
        (Stale, "after x was changed"),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_it_is_caught(broken: type[Ancestral], sentence: str) -> None:
    with pytest.raises(Broken, match=sentence):
        testing.check_sampler(broken(6), processes=[])


def test_what_keeps_its_promises_passes() -> None:
    testing.check_sampler(Ancestral(6), processes=[])
