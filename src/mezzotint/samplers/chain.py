"""Walking a learnt chain: each step is one draw from what the model says of the next time.

    x_s ~ p(x_s | x_t),        s the next of the model's own times.

A stage may be repeated, which lets what is drawn come to agree with what is known around it: between two draws every
symbol is redrawn with the chance (1 - r / n) beta, beta = 1 - alive(t) / alive(s) that of the whole stage and r the
number of draws made out of n, and the same stage is asked again.

Source: Esser et al. 2021, ImageBART (2108.08827), and its published code for the repeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import State, Transition

_CLOSE = 1e-6


@dataclass(frozen=True)
class Chain(Transition):
    """x_s ~ the denoiser's own p(x_s | x_t); for denoisers whose answer is that law (``clean`` is False).

    Arguments:
        steps: not read: the model says at which times it answers.
        repeats: draws of every stage, one number or one a stage, that of t = 1 first. At t = 1 more than one changes
            nothing but the draw.
    """

    steps: int = 1
    repeats: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        each = self.repeats if isinstance(self.repeats, Sequence) else (self.repeats,)
        object.__setattr__(self, "repeats", tuple(each) if isinstance(self.repeats, Sequence) else self.repeats)
        if not each or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in each):
            raise Refusal(f"every stage is drawn once or more often, in whole numbers, not {self.repeats!r}")

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        """p(x_s | x_t); entries that stand (t == s) are known."""
        self._checked(denoiser, state, s)
        held = expand(s == state.t, state.x).to(state.x.device).expand(state.x.shape)
        moving = state.t.masked_fill(s == state.t, 0.0)
        # An entry that stands at a time of its own is none of the chain's: it is known, as one at 0 is.
        t = moving if moving.ndim > 1 else state.t
        law = denoiser(state.x, t, cond)
        return law.given(state.x, held) if bool(held.any()) else law

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        x = self.transition(denoiser, state, s, cond).sample(state.rng)
        often = self._often(denoiser, state.t)
        for r in range(1, int(often.max())):
            again = often > r
            rng, share = state.rng.at("repeat", r), 1 - r / often.double()
            noised = self._loosened(denoiser, x, state.t, s, share.clamp(0, 1)).sample(rng.at("renoise"))
            held = expand(s == state.t, x).to(x.device)
            now = State(torch.where(held, x, noised), state.t, rng)
            drawn = self.transition(denoiser, now, s, cond).sample(rng.at("draw"))
            x = torch.where(expand(again, x).to(x.device), drawn, x)
        return x, state.memory

    def _loosened(self, denoiser: Denoiser, x: Tensor, t: Tensor, s: Tensor, share: Tensor) -> Distribution:
        """x_s with every symbol redrawn with the chance ``share`` beta: a law at a time between s and t."""
        process: Any = denoiser.process
        alive = process.alive(s)
        lost = 1 - process.alive(t) / torch.where(alive > 0, alive, 1.0)
        between = process.time(1 - alive * (1 - expand(share, lost) * lost))
        law: Distribution = process.renoise(x, s, torch.maximum(torch.minimum(between, t), s))
        return law

    def _often(self, denoiser: Denoiser, t: Tensor) -> Tensor:
        """How often each row's stage is drawn, (B,)."""
        times = self._times(denoiser)
        if isinstance(self.repeats, int):
            return torch.full((len(t),), self.repeats)
        if len(self.repeats) != len(times):
            raise Refusal(
                f"this chain has {len(times)} stages, and the repeats are of {len(self.repeats)}: {self.repeats}"
            )
        return torch.tensor(self.repeats)[(times - t.reshape(len(t), -1).amax(1)[:, None]).abs().argmin(1)]

    def _times(self, denoiser: Denoiser) -> Tensor:
        if denoiser.clean or denoiser.times is None:
            raise Refusal(
                "Chain needs a model that answers about its next time, and this one answers about x_0: use Ancestral"
            )
        return denoiser.times

    def _checked(self, denoiser: Denoiser, state: State, s: Tensor) -> None:
        """Refuse an interval that is not a stage of the model's chain."""
        times = self._times(denoiser)
        ends = torch.cat((times[1:], times.new_zeros(1)))
        moving = s != state.t
        stage = (times - state.t[..., None]).abs().argmin(-1)
        if not bool((~moving | ((ends[stage] - s).abs() < _CLOSE) & ((times[stage] - state.t).abs() < _CLOSE)).all()):
            steps = ", ".join(f"{float(a):.4g} to {float(b):.4g}" for a, b in zip(times, ends, strict=True))
            raise Refusal(f"this chain goes from {steps} and takes no other steps: leave the times to it")
