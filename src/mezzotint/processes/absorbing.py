"""Absorbing diffusion: a lost symbol becomes a mask, and a mask says nothing of what it hides or for how long.

So what the clean text may be depends on the symbols that are left and not on the time: a denoiser of this process needs
no noise input, and unchanged rows need not be asked again. Sources: Austin et al. 2021, D3PM (2107.03006, section 3.1);
Ou et al. 2024, RADD (2406.03736, theorem 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from mezzotint.processes.alive import Alive, Linear, check_schedule
from mezzotint.processes.discrete import Discrete, check_vocab


@dataclass(frozen=True)
class Absorbing(Discrete):
    """q(x_t | x_0) = alive(t) x_0 + (1 - alive(t)) mask.

    Arguments:
        vocab: clean symbols; the mask is the next number.
        schedule: what share of them is left.
    """

    vocab: int
    schedule: Alive = field(default_factory=Linear)

    def __post_init__(self) -> None:
        check_vocab(self.vocab)
        check_schedule(self.schedule)

    @property
    def mask(self) -> int:
        return self.vocab

    def alive(self, t: Tensor) -> Tensor:
        return self.schedule(t)

    def rate(self, t: Tensor) -> Tensor:
        return self.schedule.rate(t)

    def time(self, u: Tensor) -> Tensor:
        return self.schedule.time(1 - u)
