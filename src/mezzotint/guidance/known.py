"""Completion: entries that are known are given, the rest is drawn.

Whatever the model says the clean data may be, where they are known that is what they are: the answer is conditioned on
them,

    answer = denoiser(x_t).given(known.x, known.mask),

and any sampler then leads the known entries to their values while the others are drawn around them; so are prompts of
tokens. The model looks at the known entries only through x_t, noised as everything, so at high noise it decides about
the rest while it hardly sees them, and the two parts may disagree. Going up and down again (a grid that rises:
``RePaint``, ``Recurrence``) lets them come to agree: with the exact answer of a Gaussian the law of the rest tends to
the conditional one. Where x_t can hold what is known (``process.given``: symbols in place of masks), the model is shown
it from the start, and its answer is the conditional one at once. A learnt chain (``clean`` is False) is shown what is
known clean at every stage, noisy ones too, and draws the rest of x_s given it; on a table of random couplings that came
nearer to the conditional law than showing it as noisy as the rest.

Sources: Esser et al. 2021, ImageBART (2108.08827, its published code) for chains; Lugmayr et al. 2022, "RePaint"
(2201.09865, algorithm 1). It draws the known part of x_s from q(x_s | x_0) and apart from x_t; given the known x_0 the
bridge of a stochastic sampler has the same law.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.condition import family as family_of
from mezzotint.core.distribution import Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.operators.mask import masked


class Known(Wrapper):
    """The answer of a denoiser, given the entries that the condition knows; without any, its plain answer.

    The condition holds ``known.x``, clean data (B, *shape) that are read under the mask only, and ``known.mask``, bool
    (B, ...) that broadcasts over them, True where they are known. Rows of a dropped family are left to the denoiser.

    Arguments:
        denoiser: of real data or tokens; it is told the rest of the condition.
        family: in which the condition carries what is known, where it is not ``known``.
    """

    def __init__(self, denoiser: Denoiser, family: str = "known") -> None:
        super().__init__(denoiser)
        if family != family_of(family):
            raise Refusal(f"Known reads a family such as 'known', not {family!r}")
        self.family, self.takes = family, (family,)

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(self.family)
        return self.denoiser.prepare(rest) | mine

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return self.denoiser.cost(shape, cond.take(self.family)[1])

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        mine, rest = cond.take(self.family)
        if not mine:
            return self.denoiser(x, t, rest, want)
        if f"{self.family}.x" not in mine:
            raise Refusal(f"{self.family}.x holds what is known, but the condition has {', '.join(mine.values)} only")
        mask = masked(x, mine, f"{self.family}.mask") & expand(mine.kept(self.family).to(x.device), x)
        value = mine[f"{self.family}.x"].to(x)
        if value.shape != x.shape:
            raise Refusal(
                f"{self.family}.x is {tuple(value.shape)} for samples {tuple(x.shape)}: give whole samples; what lies "
                "outside the mask is not read"
            )
        # What lies outside the mask may be anything, also a symbol or a number that no answer could hold.
        value = torch.where(mask, value, torch.zeros_like(value))
        # A learnt chain is shown what is known clean at every stage; else what is shown is x_t, as the process has it.
        shown = self.process.given(x, value, mask) if self.clean else torch.where(mask, value, x)
        return self.denoiser(shown, t, rest, want).given(value, mask)
