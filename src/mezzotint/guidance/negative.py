"""Negatives: away from what is not wanted, and not only from nothing.

Classifier-free guidance moves away from what the model says without its condition. A negative takes the place of that
nothing: with c what is wanted and n what is not,

    answer = D(x_t, n) + scale (D(x_t, c) - D(x_t, n)),

two questions to one model, in one batch. scale = 1 is the plain model told c; a negative that says nothing, such as an
empty caption, is classifier-free guidance. n travels in the family ``negative`` beside c: ``negative.caption`` stands
in place of ``caption``, ``negative.label`` of ``label``, and so for any family.

Sources: Ho and Salimans 2022, "Classifier-free diffusion guidance" (2207.12598) for the form. The negation of Liu et
al. 2022, "Compositional visual generation with composable diffusion models" (2206.01714), keeps the unconditional
answer as a third one, D + scale (D(c) - D(n)); here, as in the negative prompts of text-to-image tools, n is the weak
side.
"""

from __future__ import annotations

from mezzotint.core.condition import NONE, Condition, family
from mezzotint.core.errors import Refusal
from mezzotint.core.scale import Scale, read_from
from mezzotint.denoiser.base import Denoiser
from mezzotint.guidance.contrast import Contrast, Without

NEGATIVE = "negative"


class Instead(Without):
    """The same model told ``negative.<name>`` in place of ``<name>``; what has no negative is dropped.

    Rows of the family ``negative`` that are dropped have none, and a condition without it is all dropped.

    Arguments:
        denoiser: a model. Its null must have been trained for what is dropped; what has a negative in every row needs
            none.
        families: which to drop where they have no negative; empty: every family whose null was trained.
    """

    takes = (NEGATIVE,)

    def told(self, cond: Condition) -> Condition:
        mine, rest = cond.take(*self.takes)
        if not mine:
            return super().told(rest)
        given = _unprefixed(mine)
        _, rest = rest.take(*given.families)
        dropped = self.families if self._families or self._named or self.denoiser.nulls else ()
        without = [name for name in dropped if name in rest.families]
        rest = rest.drop(*without) if without else rest
        if NEGATIVE in mine.keep:
            kept = mine.kept(NEGATIVE)
            missing = [name for name in given.families if name not in dropped and name not in self.denoiser.nulls]
            if missing and not bool(kept.all()):
                raise Refusal(
                    f"some rows have no negative.{missing[0]}, and this model never learnt what to say without "
                    f"{missing[0]!r}: give every row one, or train it with dropout (objectives.Denoising(dropout=0.1))"
                )
            given = given.drop(rows=~kept)
        return rest | given

    def ready(self, cond: Condition) -> Condition:
        told = self.told(cond)
        mine, _ = cond.take(*self.takes)
        if not mine:
            return cond
        names = _unprefixed(mine).families
        made = self.denoiser.prepare(told).values
        added = {name: value for name, value in made.items() if family(name) in names and name not in told}
        return cond | Condition(**{f"{NEGATIVE}.{name}": value for name, value in added.items()})

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return self.denoiser.cost(shape, self.told(cond))


def _unprefixed(mine: Condition) -> Condition:
    """``negative.caption`` as ``caption``."""
    if NEGATIVE in mine:
        raise Refusal(
            f"a negative says what it is in place of: negative.caption or negative.label, not {NEGATIVE!r} alone; "
            'write Condition(**{"negative.caption": [...]})'
        )
    return Condition(**{name.removeprefix(f"{NEGATIVE}."): value for name, value in mine.values.items()})


class Negative(Contrast):
    """Guidance away from a negative, row by row; without one, classifier-free guidance.

    Arguments:
        denoiser: a model; the condition may hold ``negative.<name>`` for any family it knows.
        scale: 1 is the plain conditional model, 0 the model told the negative.
        families: which to drop where they have no negative; empty: every family whose null was trained.
    """

    def __init__(self, denoiser: Denoiser, scale: Scale, families: tuple[str, ...] = ()) -> None:
        if NEGATIVE in read_from(scale):
            raise Refusal(f"the scale is read from {scale!r}, but the family {NEGATIVE!r} holds what is not wanted")
        super().__init__(denoiser, Instead(denoiser, families), scale)
        self.takes = (NEGATIVE, *self.takes)
