"""A learning rate that falls with the square root of the time: a plateau, then peak / sqrt(seen / plateau).

    rate(seen) = peak / sqrt(max(seen / plateau, 1))

It has no end of its own, so a run can be stopped anywhere and an earlier checkpoint is what a shorter run would have
been; the averages of the weights do what a cool-down does elsewhere.

Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models" (2312.02696, eq. 15).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.training.rate import Rate


@dataclass(frozen=True)
class InverseRoot(Rate):
    """``peak`` for ``plateau`` images, and in proportion to 1 / sqrt(seen) from there on.

    Arguments:
        peak: the plateau.
        warmup: images of a linear rise to it.
        cooldown: the share of the run, at its end, over which it also falls to zero; 0, as in the paper, never does.
        plateau: images at the peak; iterations of the papers times their batch.
    """

    warmup: int | str = 0
    cooldown: float = 0.0
    plateau: int | str = 100_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if count(self.plateau) < 1:
            raise Refusal(f"a plateau lasts an image at least, not {self.plateau}")

    def __call__(self, seen: float, total: float) -> float:
        return super().__call__(seen, total) / math.sqrt(max(seen / count(self.plateau), 1.0))
