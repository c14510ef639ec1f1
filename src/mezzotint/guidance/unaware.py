"""A model that is not told: families of the condition meant for others are taken out before it is asked.

A denoiser refuses a condition it does not know, so that a misspelt one is never silently ignored. But a condition may
be meant for somebody else on the way: the class an *unconditional* model is to be guided towards is for the classifier
alone, and the scale of a sampler's shift is for the sampler. Saying so is a part of its own, and it is not
:class:`~mezzotint.guidance.Without`, which tells a model that knows a family that it was dropped.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.core.condition import NONE, Condition, family
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper


class Unaware(Wrapper):
    """The same model, not told about some families; guidance and samplers around it still see them.

    Arguments:
        denoiser: a model that does not know these families.
        families: what is meant for others.
    """

    def __init__(self, denoiser: Denoiser, families: tuple[str, ...] = ("target",)) -> None:
        super().__init__(denoiser)
        if not families or isinstance(families, str) or any(name != family(name) for name in families):
            raise Refusal(f"Unaware needs the names of condition families as a tuple, not {families!r}")
        self.takes = tuple(families)

    @property
    def nulls(self) -> tuple[str, ...]:
        return tuple(name for name in self.denoiser.nulls if name not in self.takes)

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(*self.takes)
        return self.denoiser.prepare(rest) | mine

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        return self.denoiser(x, t, cond.take(*self.takes)[1], want)

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return self.denoiser.cost(shape, cond.take(*self.takes)[1])
