"""A further term beside an inner loss: it reads the inner loss's shot, and neither corrupts nor asks again.

    L = L_inner + weight * term(shot),

reduced over the batch like the inner loss, whose own parts, players and memory stay its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.conditions.augment import Augment
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Loss, Objective, Shot


class Beside(Objective, ABC):
    """The inner loss, and ``weight`` times a term of the same shot.

    Arguments:
        inner: the loss that the term stands beside.
        weight: of the term, 0 or more.

    Attributes:
        name: of the term among the loss's parts, where it stands without its weight.
    """

    name: str

    def __init__(self, inner: Objective, weight: float) -> None:
        super().__init__()
        if not isinstance(inner, Objective):
            raise Refusal(f"{type(self).__name__} stands beside an objective, not a {type(inner).__name__}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise Refusal(f"the weight of the {self.name} is a number from 0 on, and finite, not {weight!r:.60}")
        if self.name in (getattr(each, "name", None) for each in inner.modules() if isinstance(each, Beside)):
            raise Refusal(f"the loss inside has a term of its own called {self.name!r}; one of a name is enough")
        self.inner, self.weight = inner, weight
        self.players, self.summed, self.denoises = inner.players, inner.summed, inner.denoises
        self.coupled = type(self).coupled or inner.coupled

    @property
    def augment(self) -> Augment | None:
        """What the inner loss does to a condition before the model hears it."""
        found: Augment | None = getattr(self.inner, "augment", None)
        return found

    @abstractmethod
    def term(self, model: Denoiser, shot: Shot, rng: Rng) -> Tensor:
        """The term (B,), weighed by the levels as the inner loss is, but not by ``weight``."""

    def asked(self, model: Denoiser) -> Denoiser:
        """What the inner loss is given for the model; it must answer as the model does."""
        return model

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(self.asked(model), x, cond, rng, player)
        if player != "model" or loss.shot is None:
            return loss
        term = self.term(model, loss.shot, rng).to(loss.value)
        # What the inner loss hears is kept: taken back from the sum, it would be what rounding has left of it.
        inner = replace(loss, value=loss.value.detach())
        parts = {**loss.parts, self.name: term.detach()}
        if self.weight == 0:  # not even zeros go back: added to gradients, they can change how these are summed
            return replace(loss, value=loss.value + self._idle(), parts=parts, inner=inner)
        return replace(loss, value=loss.value + self.weight * term, parts=parts, inner=inner)

    def _idle(self) -> Tensor | float:
        """Zero, which depends on every weight of the term's own: several processes wait for a gradient of each."""
        theirs = set(self.inner.parameters())
        mine = [weight.reshape(-1)[0] for weight in self.parameters() if weight not in theirs]
        return 0.0 * torch.stack(mine).sum() if mine else 0.0

    def update(self, model: Denoiser, loss: Loss) -> None:
        self.inner.update(model, loss if loss.inner is None else loss.inner)


def innermost(tree: Mapping[str, Any], path: str = "training.objective") -> tuple[str, Mapping[str, Any]]:
    """Where in a config of a training the loss stands that others stand around, and its own config.

    Arguments:
        tree: the config of an objective.
        path: where that stands.
    """
    while isinstance(tree.get("inner"), Mapping):
        tree, path = tree["inner"], f"{path}.inner"
    return path, tree


def weighed(term: Tensor, shot: Shot) -> Tensor:
    """A term (B,) times what the levels weighed its rows with."""
    return term if shot.weight is None else term * shot.weight.to(term)
