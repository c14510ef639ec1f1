"""A sampler whose steps are disturbed: how much error does a model forgive?

Before each step from t to s the sample is moved by noise in proportion to the level it stands at,

    x <- x + scale sigma_t z,    z ~ N(0, I),

and the wrapped sampler goes on as if nothing had happened. What a network gets wrong adds up along a run in much the
same way, so the quality against ``scale`` says how robust a process, a model or a sampler is, without training a worse
network. In processes where x_t is not at its usual distance from the data at every level the model has seen such errors
in training and mends them.

Source: Xu et al. 2023, PFGM++ (2302.04265), section 5.2, where the scale is alpha.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import Sampler, State, continuous
from mezzotint.samplers.euler import Euler
from mezzotint.samplers.grids import Grid


@dataclass(frozen=True)
class Perturbed(Sampler):
    """Another sampler, with normal noise of ``scale`` sigma_t added to x_t before each of its steps.

    Arguments:
        sampler: what is disturbed; steps and grid are read from it.
        scale: the error in units of the noise level; 0 is the plain sampler, bit for bit.
    """

    steps: int = field(init=False, repr=False, default=1)
    grid: Grid = field(init=False, repr=False)
    sampler: Sampler
    scale: float

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise Refusal(f"Perturbed disturbs the steps of a sampler, such as Heun(18), not {self.sampler!r}")
        if isinstance(self.sampler, Perturbed):
            raise Refusal("one error is put in before a step: add up the squares of two scales instead of nesting them")
        if not 0 <= self.scale < float("inf"):
            raise Refusal(f"the error is a share of the noise of 0 or more, not {self.scale}")
        object.__setattr__(self, "steps", self.sampler.steps)
        object.__setattr__(self, "grid", self.sampler.grid)
        super().__post_init__()

    @classmethod
    def example(cls) -> Perturbed:
        return cls(Euler(6), 0.01)

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        if self.scale:
            x, sigma = state.x, continuous(denoiser, self).scales(state.t, state.x)[1]
            error = state.rng.normal("error", tuple(x.shape[1:])).to(x)
            held = expand(state.t == s, x).to(x.device)
            state = replace(state, x=torch.where(held, x, x + (self.scale * sigma).to(x) * error))
        return self.sampler.move(denoiser, state, s, cond)
