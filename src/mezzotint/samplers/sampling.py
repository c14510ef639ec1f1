"""The usual pipeline: a sampler and a denoiser, from the prior to clean data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.start import Start


@dataclass(frozen=True)
class Sampling(Part):
    """``(cond, rng) -> x`` by running a sampler on a denoiser.

    Arguments:
        sampler: the rule.
        denoiser: what it asks.
        times: where it stops on the way, (points, ...); None: the denoiser's own, else the sampler's grid, from where
            the start leads to. A start leads to one of the denoiser's own.
        start: a pipeline that gives x at the first time; None: the prior. What it declares as its ``families`` is taken
            out of the condition before the denoiser is asked.
        decode: what turns the end of the run into what is handed out (latents to pictures).
        shape: of one sample at the prior, where it is not the denoiser's and the network takes it.
    """

    sampler: Sampler
    denoiser: Denoiser
    times: Tensor | None = None
    start: Pipeline | None = None
    decode: Callable[[Tensor, Condition], Tensor] | None = None
    shape: tuple[int, ...] | None = None

    @property
    def ends(self) -> float:
        """The last time of the run: 0 unless it stops early."""
        return 0.0 if self.times is None else float(torch.as_tensor(self.times)[-1].max())

    def until(self, level: float) -> Sampling:
        """The same pipeline, stopped on its way where the share of noise is ``level``: its ``ends`` is the time of it.

        It takes the steps of its grid down to there and one to the level itself, so as many as its grid has times above
        it; what comes back is x at that level and no clean sample. At 0 it is the pipeline as it stands.

        Raises:
            Refusal: it begins lower or ends above, a sample is decoded at its end, or its times rise on the way.
        """
        if level == 0 and self.ends == 0:
            return self
        process = self.denoiser.process
        path = self._path()
        if path is None:
            own = self.denoiser.times
            path = self.sampler.grid(process, self.sampler.steps) if own is None else torch.cat([own, own.new_zeros(1)])
        path = torch.as_tensor(path, dtype=torch.float64)
        if path.ndim > 1 or not bool((path.diff() < 0).all()):
            raise Refusal("a run whose times rise, or differ from entry to entry, has no one place where a level is")
        u = process.level(path)
        if not float(u[-1]) <= level <= float(u[0]):
            raise Refusal(f"this run goes from level {float(u[0]):.6g} to {float(u[-1]):.6g}, and not by {level}")
        if self.decode is not None:
            raise Refusal("what this pipeline decodes at its end is clean; a state on the way has no picture to show")
        above = path[u > level]
        last = process.time(torch.tensor([level], dtype=torch.float64)) if len(above) else path[:1]
        if self.denoiser.times is not None and not bool((path - last).abs().min() < 1e-9):
            raise Refusal("this denoiser answers at its own times only: stop at the level of one of them")
        return replace(self, times=torch.cat([above, last]))

    @property
    def families(self) -> tuple[str, ...]:
        """The condition families that are for the start and not for the denoiser."""
        return tuple(getattr(self.start, "families", ()))

    def __call__(self, cond: Condition = NONE, rng: Rng | None = None) -> Tensor:
        if rng is None:
            raise TypeError("a pipeline needs rng=Rng(seeds), one key per sample")
        start, times, told = None, self._path(), cond.take(*self.families)[1]
        if self.start is not None:
            start = self.start(cond, rng.at("begin"))
            if start.is_floating_point():
                start = start.to(torch.promote_types(start.dtype, self.denoiser.dtype))
        x = self.sampler(self.denoiser, told, rng=rng, times=times, start=start, shape=self.shape)
        return self.decode(x, cond) if self.decode is not None else x

    def _path(self) -> Tensor | None:
        """The times of the run; where the start says which they are, they must agree."""
        if not isinstance(self.start, Start):
            return self.times
        who, ends = type(self.start).__name__, self.start.ends
        if self.start.process != self.denoiser.process:
            raise Refusal(f"{who} leads up {self.start.process}, but the denoiser is of {self.denoiser.process}")
        if self.times is not None:
            first = float(torch.as_tensor(self.times)[0].max())
            if abs(first - ends) > 1e-9:
                raise Refusal(f"{who} leads to t = {ends:.6g}, but the times begin at {first:.6g}: leave them out")
            return self.times
        if self.denoiser.times is not None:
            return self.start.rest(self.denoiser.times)
        return self.start.path(self.sampler.grid, self.sampler.steps)
