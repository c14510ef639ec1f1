"""Tau-leaping: Euler steps on the rates of the reverse process of symbols.

A symbol x of x_t becomes y at the rate

    (pace / alive) rest(x) sum_v p(v) q(x_t = y | v) / q(x_t = x | v),        y != x,

where p(v) is the answer about x_0 and pace = -d alive / d clock. A step draws every entry apart, y with probability
(t - s) times its rate, where they come to more than one scaled down to one, and otherwise nothing. On a process that
masks that is (t - s) pace / (1 - alive) p(y) at a mask and 0 elsewhere; with a linear schedule (RADD's log-linear
noise) it is (t - s) / t p(y), which is :class:`~mezzotint.samplers.Ancestral`, the Tweedie step, itself. An interval
that ends at clean data draws the answer, so that no mask is left.

Of first order in 1 / steps, as Ancestral, with a larger error where the rate changes within an interval; it is here
because papers sample with it.

Sources: Campbell et al. 2022, "A continuous time framework for discrete denoising models" (2205.14987, section 4.3);
Lou et al. 2023, SEDD (2310.16834, eq. 19); Ou et al. 2024, RADD (2406.03736, appendix E).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Categorical
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.enumerated import check_discrete
from mezzotint.processes.discrete import logs
from mezzotint.samplers.base import State, Transition, check_clean

_LEAST = 1e-300  # alive at the prior, whose rates are infinite: everything jumps


@dataclass(frozen=True)
class TauLeaping(Transition):
    """x_s = x_t, but y with probability (t - s) rate(x_t -> y)."""

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Categorical:
        check_clean(denoiser, self)
        process, x, t = check_discrete(denoiser.process, "TauLeaping"), state.x, state.t
        clean = process.bridge(x, denoiser(x, t, cond), t, torch.zeros_like(t))
        p, hot, rest = clean.mean, F.one_hot(x, process.symbols).double(), process.rest.to(x.device)
        lost, pace = process.lost(t, x)[..., None], process.pace(t, x)[..., None]
        target = process.clock(s, x)[..., None]
        span = process.clock(t, x)[..., None] - target
        seen = rest[x][..., None]  # the chance that a lost entry is drawn as this one; at 0 it was never lost
        chance = (1 - lost) * hot + lost * seen  # of this symbol, for every v; 0 where p is 0 too, as at t = 0
        weight = p / torch.where(chance > 0, chance, 1.0)
        total = weight.sum(-1, keepdim=True)
        rate = pace * seen * (weight + lost / (1 - lost).clamp(min=_LEAST) * rest * total)
        jump = torch.where(hot > 0, 0.0, span * rate)
        jump = jump / jump.sum(-1, keepdim=True).clamp(min=1)
        law = jump + hot * (1 - jump.sum(-1, keepdim=True)).clamp(min=0)
        arrived = (target == 0) & (span > 0)
        return Categorical(torch.where(arrived, clean.logits, logs(law)), clean.aux)
