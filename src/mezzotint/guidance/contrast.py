"""Guidance as a contrast: away from a weak answer, through the strong one and beyond.

    answer = weak + scale (strong - weak)

in the natural parameters of the answers, so one class serves classifier-free guidance (weak = the same model with its
condition dropped), autoguidance (weak = a smaller or less trained model) and perturbed guidance, on reals and tokens.
scale = 1 is the strong model, bit for bit and without asking the weak one; 0 is the weak one.

Sources: Ho and Salimans 2022, "Classifier-free diffusion guidance" (2207.12598), whose weight is scale - 1; Karras et
al. 2024, "Guiding a diffusion model with a bad version of itself" (2406.02507, eq. 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.guidance.scale import Scale, evaluate


class Contrast(Denoiser):
    """``weak.lerp(strong, scale)``, decided row by row.

    Arguments:
        strong: the model to follow.
        weak: the model to move away from; same process and shape.
        scale: a number, a function of the level, or the name of a condition family holding one scale per sample.
    """

    def __init__(self, strong: Denoiser, weak: Denoiser, scale: Scale) -> None:
        super().__init__()
        if strong.process != weak.process or strong.shape != weak.shape:
            raise Refusal("the strong and the weak model of a guidance need the same process and the same shape")
        self.strong, self.weak, self.scale = strong, weak, scale
        self.process, self.shape = strong.process, strong.shape
        self.uses_level = strong.uses_level or weak.uses_level or callable(scale)
        self.times, self.clean = strong.times, strong.clean

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.strong.nulls

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(self.scale) if isinstance(self.scale, str) else (NONE, cond)
        prepared = self.strong.prepare(rest)
        return (prepared if self._shared else self.weak.prepare(prepared)) | mine

    @property
    def _shared(self) -> bool:
        return isinstance(self.weak, Without) and self.weak.denoiser is self.strong

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        scale = evaluate(self.scale, self.process.level(t.double()), cond)
        if isinstance(self.scale, str):
            _, cond = cond.take(self.scale)
        by_row = scale.flatten(1) if scale.ndim > 1 else scale[:, None]
        plain, dropped = (by_row == 1).all(1), (by_row == 0).all(1)
        if bool(plain.all()):
            return self.strong(x, t, cond, want)
        if bool(dropped.all()):
            return self.weak(x, t, cond, want)
        both = ~plain & ~dropped
        if bool(both.all()):
            return self._contrast(x, t, cond, want, scale)
        # Rows differ: each kind is asked only what it needs, and the answers are put back in their places.
        kinds = [(plain, self.strong), (dropped, self.weak), (both, None)]
        places, answers = [], []
        for mask, one in kinds:
            index = mask.nonzero()[:, 0]
            if len(index):
                here = index.to(x.device)
                few = (x[here], t[index.to(t.device)], cond[index] if cond else cond, want)
                answers.append(one(*few) if one is not None else self._contrast(*few, scale[index.to(scale.device)]))
                places.append(index)
        return cat(answers)[torch.cat(places).argsort()]

    def _contrast(self, x: Tensor, t: Tensor, cond: Condition, want: Want, scale: Tensor) -> Distribution:
        if isinstance(self.weak, Without) and self._shared:  # one network: both questions in one batch
            conds = cat([cond, self.weak.without(cond)]) if cond else cond
            both = self.strong(torch.cat([x, x]), torch.cat([t, t]), conds, want)
            strong, weak = both[: len(x)], both[len(x) :]
        else:
            strong, weak = self.strong(x, t, cond, want), self.weak(x, t, cond)
        return weak.lerp(strong, scale)


class Without(Denoiser):
    """The same model with families of the condition dropped: what it says without being told.

    Arguments:
        denoiser: a model whose null was trained for these families.
        families: which to drop; empty: every family whose null was trained.
    """

    def __init__(self, denoiser: Denoiser, families: tuple[str, ...] = ()) -> None:
        super().__init__()
        missing = [name for name in families if name not in denoiser.nulls]
        if missing or not denoiser.nulls:
            what = missing[0] if missing else "any condition"
            raise Refusal(
                f"this model never learnt what to say without {what!r}, so guidance has nothing to move away from; "
                "train it with dropout (objectives.Denoising(dropout=0.1)), "
                "or guide with a weaker model (guidance.Autoguidance)"
            )
        self.denoiser, self.families = denoiser, tuple(families) or denoiser.nulls
        self.process, self.shape = denoiser.process, denoiser.shape
        self.uses_level, self.times, self.clean = denoiser.uses_level, denoiser.times, denoiser.clean

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.denoiser.nulls

    def without(self, cond: Condition) -> Condition:
        """The condition as this model sees it."""
        present = [name for name in self.families if name in cond.families]
        return cond.drop(*present) if present else cond

    def prepare(self, cond: Condition) -> Condition:
        return self.denoiser.prepare(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        return self.denoiser(x, t, self.without(cond), want)


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
