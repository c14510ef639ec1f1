"""The usual pipeline: a sampler and a denoiser, from the prior to clean data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import Sampler


@dataclass(frozen=True)
class Sampling(Part):
    """``(cond, rng) -> x`` by running a sampler on a denoiser.

    Arguments:
        sampler: the rule.
        denoiser: what it asks.
        times: where it stops on the way, (points, ...); None: the denoiser's own, else the sampler's grid.
        start: a pipeline that gives x at the first time; None: the prior.
        decode: what turns the end of the run into what is handed out (latents to pictures).
    """

    sampler: Sampler
    denoiser: Denoiser
    times: Tensor | None = None
    start: Pipeline | None = None
    decode: Callable[[Tensor, Condition], Tensor] | None = None

    @property
    def ends(self) -> float:
        """The last time of the run: 0 unless it stops early."""
        return 0.0 if self.times is None else float(torch.as_tensor(self.times)[-1].max())

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> Tensor:
        if rng is None:
            raise TypeError("a pipeline needs rng=Rng(seeds), one key per sample")
        start = self.start(cond, rng.at("begin")) if self.start is not None else None
        x = self.sampler(self.denoiser, cond, rng=rng, times=self.times, start=start)
        return self.decode(x, cond) if self.decode is not None else x
