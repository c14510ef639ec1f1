"""The learning rate as a function of images seen, so that neither batch size nor process count moves it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part


@dataclass(frozen=True)
class Rate(Part):
    """Linear warm-up, a plateau, and a cool-down to zero as 1 - sqrt(progress).

    Arguments:
        peak: the plateau.
        warmup: images until it is reached.
        cooldown: the share of the run, at its end, over which it falls to zero; 0 never falls. The shape is that of
            Haegele et al. 2024 (2405.18392), section 3.
    """

    peak: float = 1e-3
    warmup: int | str = 5_000
    cooldown: float = 0.5

    def __post_init__(self) -> None:
        if not self.peak > 0 or not 0 <= self.cooldown <= 1:
            raise Refusal(f"a rate needs a positive peak and a cool-down share in [0, 1], not {self}")

    def __call__(self, seen: float, total: float) -> float:
        """The rate after ``seen`` of ``total`` images."""
        up = min(1.0, seen / max(1, count(self.warmup)))
        begin = total * (1 - self.cooldown)
        if seen <= begin:
            return self.peak * up
        progress = min(1.0, (seen - begin) / max(1e-9, total - begin))
        return self.peak * up * (1 - math.sqrt(progress))
