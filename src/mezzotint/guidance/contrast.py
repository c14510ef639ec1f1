"""Guidance as a contrast: away from a weak answer, through the strong one and beyond.

    answer = weak + scale (strong - weak)

in the natural parameters of the answers, so one class serves classifier-free guidance (weak = the same model with its
condition dropped), autoguidance (weak = a smaller or less trained model) and perturbed guidance, on reals and tokens.
scale = 1 is the strong model, bit for bit and without asking the weak one; 0 is the weak one. The papers' weight on the
difference is scale - 1.

Contrasts nest. Each takes the answer below as its own, so the scales multiply: with D_c and D_u the model with and
without its condition and D_0 a bad version of it,

    Autoguidance(CFG(D, w), D_0, v) = D_c + v (w - 1) (D_c - D_u) + (v - 1) (D_c - D_0),

and the two terms with weights (w' - 1) and (v - 1) of their own are w = 1 + (w' - 1) / v.

Sources: Ho and Salimans 2022, "Classifier-free diffusion guidance" (2207.12598); Karras et al. 2024, "Guiding a
diffusion model with a bad version of itself" (2406.02507, eq. 2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.scale import Scale, evaluate, read_from
from mezzotint.denoiser.base import Denoiser, Want, Wrapper, taken
from mezzotint.guidance.rows import ask, everywhere


class Contrast(Denoiser):
    """``weak.lerp(strong, scale)``, decided row by row.

    Arguments:
        strong: the model to follow.
        weak: the model to move away from; same process and shape.
        scale: a number, a function of the level, or the name of a condition family holding one scale per sample. Two
            contrasts inside one another may read from two families, or both from one.
    """

    def __init__(self, strong: Denoiser, weak: Denoiser, scale: Scale) -> None:
        super().__init__()
        if strong.process != weak.process or strong.shape != weak.shape:
            raise Refusal("the strong and the weak model of a guidance need the same process and the same shape")
        if strong.clean != weak.clean:
            raise Refusal("one model of a guidance answers about clean data and the other about its next time")
        self.strong, self.weak, self.scale = strong, weak, scale
        self.process, self.shape = strong.process, strong.shape
        self.uses_level = strong.uses_level or weak.uses_level or callable(scale)
        self.times, self.clean = strong.times, strong.clean
        self.takes = read_from(scale)
        # What one side takes out for itself - the scale or the observation of a guidance - the other does not know.
        below = taken(strong), taken(weak)
        everything = {*self.takes, *below[0], *below[1]}
        self._beside = tuple(tuple(sorted(everything - own)) for own in below)

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.strong.nulls

    @property
    def dtype(self) -> torch.dtype:
        return self.strong.dtype

    def prepare(self, cond: Condition) -> Condition:
        strong, weak = self._beside
        cond = cond | self.strong.prepare(cond.take(*strong)[1])
        if self._shared:  # the same encoders, which have run
            return cond | self.weak.ready(cond.take(*weak)[1]) if isinstance(self.weak, Retold) else cond
        return cond | self.weak.prepare(cond.take(*weak)[1])

    @property
    def _shared(self) -> bool:
        return getattr(self.weak, "denoiser", None) is self.strong

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        scale = evaluate(self.scale, self.process.level(t.double()), cond, plain=1.0)
        plain, dropped = everywhere(scale, 1), everywhere(scale, 0)

        def strong(x: Tensor, t: Tensor, cond: Condition, rows: Tensor | slice) -> Distribution:
            return self.strong(x, t, cond.take(*self._beside[0])[1], want)

        def weak(x: Tensor, t: Tensor, cond: Condition, rows: Tensor | slice, want: Want = want) -> Distribution:
            return self.weak(x, t, cond.take(*self._beside[1])[1], want)

        def contrast(x: Tensor, t: Tensor, cond: Condition, rows: Tensor | slice) -> Distribution:
            if self._shared and isinstance(self.weak, Retold):  # one network: both questions in one batch
                told, other = cond.take(*self._beside[0])[1], self.weak.told(cond.take(*self._beside[1])[1])
                if told.values.keys() == other.values.keys():
                    conds = cat([told, other]) if told else told
                    both = self.strong(torch.cat([x, x]), torch.cat([t, t]), conds, want)
                    return both[len(x) :].lerp(both[: len(x)], scale[rows])
            return weak(x, t, cond, rows, ()).lerp(strong(x, t, cond, rows), scale[rows])

        return ask([(plain, strong), (dropped, weak), (~plain & ~dropped, contrast)], x, t, cond)


class Retold(Wrapper, ABC):
    """The same model, told something else: the weak side of a contrast that asks one network two questions."""

    @abstractmethod
    def told(self, cond: Condition) -> Condition:
        """The condition as this model sees it."""

    def ready(self, cond: Condition) -> Condition:
        """A condition that the model within has prepared, prepared for this one; what cannot be is refused."""
        self.told(cond)
        return cond

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(*self.takes)
        return self.ready(self.denoiser.prepare(rest) | mine)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        return self.denoiser(x, t, self.told(cond), want)


class Without(Retold):
    """The same model with families of the condition dropped: what it says without being told.

    A null that was never trained is refused when the model is first asked or prepared, and not before: the weights of a
    stored model, which tell, come after it was made.

    Arguments:
        denoiser: a model whose null was trained for these families.
        families: which to drop; empty: every family whose null was trained.
    """

    def __init__(self, denoiser: Denoiser, families: tuple[str, ...] = ()) -> None:
        super().__init__(denoiser)
        if isinstance(families, str):
            raise Refusal(f"families is a tuple of names, ({families!r},), not a string")
        self._named, self._families = tuple(families), tuple[str, ...]()

    @property
    def families(self) -> tuple[str, ...]:
        """Which are dropped.

        Raises:
            Refusal: if a null was never trained.
        """
        if not self._families:  # a model does not unlearn: what was found once need not be looked up at every step
            known = self.denoiser.nulls
            missing = [name for name in self._named if name not in known]
            if missing or not known:
                encoder = getattr(self.denoiser, "encoder", None)
                told: tuple[str, ...] = getattr(encoder, "families", ())
                what = " and ".join(repr(name) for name in missing[:1] or told) or "a condition"
                raise Refusal(
                    f"this model never learnt what to say without {what}, so guidance has nothing to move away from; "
                    "train it with dropout (objectives.Denoising(dropout=0.1)), or, of a run in phases, go on with it: "
                    "the null is trained in a later one; or guide with a weaker model (guidance.Autoguidance)"
                )
            self._families = self._named or known
        return self._families

    def told(self, cond: Condition) -> Condition:
        present = [name for name in self.families if name in cond.families]
        return cond.drop(*present) if present else cond


class CFG(Contrast):
    """Classifier-free guidance: the model against itself without the condition.

    Arguments:
        denoiser: a model whose null was trained.
        scale: 1 is the plain conditional model, 0 the unconditional one.
        families: which to drop; empty: every family whose null was trained.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, families: tuple[str, ...] = ()) -> None:
        super().__init__(denoiser, Without(denoiser, families), scale)


class Autoguidance(Contrast):
    """Guidance by a bad version of the same model: smaller or less trained, same data and same condition.

    Arguments:
        denoiser: the model to follow.
        weak: its bad version.
        scale: 1 is the plain model.
    """

    def __init__(self, denoiser: Denoiser, weak: Denoiser, scale: Scale) -> None:
        super().__init__(denoiser, weak, scale)
