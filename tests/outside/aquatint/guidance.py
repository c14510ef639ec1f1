"""Guidance that keeps the estimate of the clean data where data can be."""

from torch import Tensor

from mezzotint.core import NONE, Condition, Dirac, Distribution
from mezzotint.denoiser import Denoiser


class Bounded(Denoiser):
    """The answer with its mean kept within ``bound``."""

    def __init__(self, denoiser: Denoiser, bound: float = 1.0) -> None:
        super().__init__()
        self.denoiser, self.bound = denoiser, bound
        self.process, self.shape = denoiser.process, denoiser.shape
        self.uses_level, self.times, self.clean = denoiser.uses_level, denoiser.times, denoiser.clean

    @property
    def nulls(self) -> tuple[str, ...]:
        return self.denoiser.nulls

    def prepare(self, cond: Condition) -> Condition:
        return self.denoiser.prepare(cond)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Distribution:
        answer = self.denoiser(x, t, cond, want)
        return Dirac(answer.mean.clamp(-self.bound, self.bound), answer.aux)
