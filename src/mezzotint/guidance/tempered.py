"""Sharper laws of symbols: a temperature below one, and only the likeliest symbols of each place.

    p_T(v) ~ p(v)^(1 / T)  over the k likeliest v,

in every conditional of an autoregressive law, in every entry of one that is drawn entry by entry. Temperature 1 with
all symbols is the model itself. What is known is kept, however unlikely it is.

Sources: temperature: Ackley et al. 1985; the k likeliest: Fan et al. 2018 (1805.04833, section 5.4), and in ImageBART
(2108.08827) a stage at a time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.scale import Scale, evaluate, read_from
from mezzotint.denoiser.base import Denoiser, Want, Wrapper


class Tempered(Wrapper):
    """The answer of a denoiser of symbols at another temperature, from its likeliest symbols alone.

    Put it around a guidance that bends laws, not inside.

    Arguments:
        denoiser: of symbols.
        temperature: above 0; a number, a function of the level (so a value a stage), or a family.
        top_k: how many symbols are left to draw from, rounded; a number, a function of the level or a family. None:
            all.
    """

    def __init__(self, denoiser: Denoiser, temperature: Scale = 1.0, top_k: Scale | None = None) -> None:
        super().__init__(denoiser)
        if isinstance(temperature, int | float) and not 0 < temperature < torch.inf:
            raise Refusal(f"a temperature is above 0, not {temperature}")
        if isinstance(top_k, int | float) and not 1 <= top_k < torch.inf:
            raise Refusal(f"top_k leaves a symbol at least, not {top_k}")
        self.temperature, self.top_k = temperature, top_k
        self.takes = read_from(temperature) + (() if top_k is None else read_from(top_k))

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(*self.takes)
        return self.denoiser.prepare(rest) | mine

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        mine, rest = cond.take(*self.takes)
        answer = self.denoiser(x, t, rest, want)
        level = self.process.level(t.double()).flatten(1).amax(1) if t.ndim > 1 else self.process.level(t.double())
        level = level.expand(len(x))
        heat = evaluate(self.temperature, level, mine, 1.0)
        if not bool((heat > 0).all()):
            raise Refusal(f"a temperature is above 0, not {float(heat.min()):.3g}")
        most = (
            None if self.top_k is None else evaluate(self.top_k, level, mine, torch.inf).clamp(1, 2**31).round().long()
        )
        return answer.tempered(None if bool((heat == 1).all()) else heat, most)
