"""An objective turns a model and clean data into one loss per sample.

A further term is objective -> objective over the same corrupted batch: it reads the inner loss's :class:`Shot` and
neither corrupts nor asks again. An objective may own parameters (heads, critics); they are trained and checkpointed
with the model's and never reach the averages, exports or samplers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from mezzotint.conditions.augment import Augment
from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Module
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.base import Process


@dataclass(frozen=True)
class Shot:
    """One corrupted batch and what the model said of it.

    ``weight`` (B,) is what the levels weighed each row with; ``entries`` is the law of every entry that was compared,
    where the answer is a law of whole samples.
    """

    x0: Tensor
    x_t: Tensor
    t: Tensor
    cond: Condition
    answer: Distribution
    weight: Tensor | None = None
    entries: Distribution | None = None


@dataclass(frozen=True)
class Loss:
    """Values (B,) to be reduced by the trainer, their parts by name for the log, and the shot they came from.

    ``inner`` is what the objective inside said, without gradients, where a further term stands beside it.
    """

    value: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    shot: Shot | None = None
    inner: Loss | None = None

    def unweighted(self) -> Tensor:
        """The value (B,) before the levels weighed it, without gradients: what they are to hear; 0 at weight 0."""
        value = self.value.detach()
        if self.shot is None or self.shot.weight is None:
            return value
        weight = self.shot.weight.to(value)
        return torch.where(weight > 0, value / weight, 0.0)


def probabilities(dropout: float | Mapping[str, float], always: bool = False) -> float | Mapping[str, float]:
    """The same rates of dropping condition families, one for all or one a family, refused if they are none.

    Arguments:
        always: whether 1 is one of them, which makes a model that is never told.
    """
    rates = list(dropout.values()) if isinstance(dropout, Mapping) else [dropout]
    if not all(0 <= rate < 1 or (always and rate == 1) for rate in rates):
        raise Refusal(f"dropout is a probability {'up to' if always else 'below'} 1, not {dropout}")
    return dropout


def heard(
    cond: Condition, t: Tensor, dropout: float | Mapping[str, float], augment: Augment | None, rng: Rng
) -> Condition:
    """What the model hears in training: families dropped and the rest augmented, each from a stream of its own."""
    cond = cond.dropout(dropout, rng.at("dropout"))
    return cond if augment is None else augment(cond, t, rng.at("augment"))


class Objective(Module, ABC):
    """(model, x, cond, rng) -> Loss.

    Attributes:
        players: the turns of a round; player p trains ``objective.p``, ``"model"`` the rest.
        summed: whether its value is a sum over the entries of a sample, as nats are, and not a mean.
        denoises: whether it trains a denoiser, so that its shot says what the model holds of clean data.
        coupled: whether a row's loss reads other rows of its batch, as a control's may, so that pieces of a batch have
            other losses; all others are functions of their own row and key.
    """

    players: tuple[str, ...] = ("model",)
    summed: bool = False
    denoises: bool = True
    coupled: bool = False

    @property
    def remembers(self) -> bool:
        """Whether it keeps something of its own from step to step: weights, or what it has heard."""
        return bool(self.state_dict()) or any(inside.remembers for inside in self._inside())

    def _inside(self) -> list[Objective]:
        return [child for child in self.children() if isinstance(child, Objective)]

    def suits(self, data: Data) -> None:
        """Refuse data from which it would learn something wrong; objectives inside are asked as well."""
        for inside in self._inside():
            inside.suits(data)

    def meet(self, model: nn.Module, x: Tensor, cond: Condition, seed: int = 0) -> None:
        """Look at the model and one item before training: where an objective makes weights that depend on them.

        What derives from this shows them to the objectives inside it as well.

        Arguments:
            model: what it will train.
            x, cond: one item, prepared.
            seed: of the initial weights, which are drawn from nothing else and leave torch's generator alone.
        """
        for inside in self._inside():
            inside.meet(model, x, cond, seed)

    @abstractmethod
    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        """One loss per sample; every draw is named under ``rng``."""

    def update(self, model: Denoiser, loss: Loss) -> None:
        """Called after each optimiser step, once for each piece of the batch, with this process's values and times.

        A wrapper gives its inner objective the inner's own value, and all its parts.
        """
        return None


class Levels(Module, ABC):
    """Where to train: which times to draw, and with what weight. It may remember: what it knows is in its buffers.

    Attributes:
        unbiased: whether weight times density is 1 on all of the clock, so that a weighted mean estimates the mean over
            uniform times; a distribution that is itself the choice of what to train on is not.
    """

    unbiased: bool = False

    @abstractmethod
    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        """(t, weight), both float64 (B,)."""

    def update(self, t: Tensor, value: Tensor) -> None:
        """Hear how it went: times (B,) and losses (B,) of this process in the last step, before they were weighed."""
        return None
