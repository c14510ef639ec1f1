"""Projection: an answer that looks, through a known operator, exactly as what was observed.

Given y = A x_0 without noise, the part of the clean estimate that A sees is replaced by the observation and the rest is
left to the model:

    x_0' = A+ y + (I - A+ A) x_0,     A x_0' = y wherever y can be seen at all (A A+ y = y).

Samplers derive the noise from this answer, so every step is bent towards the observation, and the sample satisfies it
to rounding. With missing pixels it is :class:`~mezzotint.guidance.Known`; with a low resolution, super-resolution; with
grey levels, colouring.

Sources: Wang et al. 2022, "Zero-shot image restoration using denoising diffusion null-space model" (2212.00490,
algorithm 1); Nair et al. 2023, "Steered diffusion" (2310.00224), where the same answer is called implicit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.condition import family as family_of
from mezzotint.core.distribution import Dirac, Distribution, Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.operators.base import Operator


class Projection(Wrapper):
    """The answer of a denoiser with its observed part replaced; without an observation, its plain answer.

    The condition holds the observation ``observed.y``, (B, *seen), and whatever else the operator reads. Rows of a
    dropped family are left to the denoiser. An answer with a spread of its own (a learnt variance) becomes its mean:
    entry by entry, a spread cannot say what an operator that mixes entries leaves of it.

    Arguments:
        denoiser: of real data; it is told the rest of the condition.
        operator: A.
        family: in which the condition carries what was observed, where it is not ``observed``; the operator is told
            where it finds its own part.
    """

    def __init__(self, denoiser: Denoiser, operator: Operator, family: str = "observed") -> None:
        super().__init__(denoiser)
        if family != family_of(family):
            raise Refusal(f"Projection reads a family such as 'observed', not {family!r}")
        if not denoiser.clean:
            raise Refusal("Projection bends answers about clean data, but this denoiser answers about its next time")
        self.operator, self.family, self.takes = operator, family, (family,)

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(self.family)
        return self.denoiser.prepare(rest) | mine

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return self.denoiser.cost(shape, cond.take(self.family)[1])

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        mine, rest = cond.take(self.family)
        answer = self.denoiser(x, t, rest, want)
        if not mine:
            return answer
        if f"{self.family}.y" not in mine:
            raise Refusal(f"{self.family}.y holds the observation, but the condition has {', '.join(mine.values)} only")
        if not isinstance(answer, Dirac | Gaussian):
            raise Refusal(f"Projection bends answers about real data, not a {type(answer).__name__}: use Known")
        x0, y = answer.mean, mine[f"{self.family}.y"].to(answer.mean)
        seen = self.operator.forward(x0, mine)
        if seen.shape != y.shape:
            raise Refusal(
                f"the operator sees {tuple(seen.shape[1:])} of a sample, but the observation is {tuple(y.shape[1:])}"
            )
        # The unseen part first: where the operator only picks entries, x_0 - x_0 is 0 and y comes through bit for bit.
        projected = (x0 - self.operator.pinv(seen, mine)) + self.operator.pinv(y, mine)
        return Dirac(torch.where(expand(mine.kept(self.family).to(x0.device), x0), projected, x0), answer.aux)
