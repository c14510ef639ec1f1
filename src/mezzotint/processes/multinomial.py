"""Multinomial diffusion: a lost symbol is drawn anew, every one alike, and may come back as itself.

Sources: Sohl-Dickstein et al. 2015 (1503.03585); Hoogeboom et al. 2021 (2102.05379).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mezzotint.processes.alive import Alive, Linear, check_schedule
from mezzotint.processes.discrete import Discrete, check_vocab


@dataclass(frozen=True)
class Multinomial(Discrete):
    """q(x_t | x_0) = alive(t) x_0 + (1 - alive(t)) / vocab.

    Arguments:
        vocab: symbols.
        schedule: what share of them was never lost; more than that are still what they were, by chance.
    """

    vocab: int
    schedule: Alive = field(default_factory=Linear)

    def __post_init__(self) -> None:
        check_vocab(self.vocab)
        check_schedule(self.schedule)

    @property
    def mask(self) -> None:
        return None

    def alive(self, t: Tensor) -> Tensor:
        return self.schedule(t)

    def rate(self, t: Tensor) -> Tensor:
        return self.schedule.rate(t)

    def time(self, u: Tensor) -> Tensor:
        return self.schedule.time(1 - u)
