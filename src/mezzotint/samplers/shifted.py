"""Guidance in the mean form: each draw of a stochastic sampler is moved uphill by the step's own variance.

    x_s ~ N(mean + scale Var g, Var),        N(mean, Var) = p(x_s | x_t) of the sampler that is wrapped,

and g the gradient of a reward: this is classifier guidance as it was first written for DDPM. It needs the variance of
the interval, so it is a sampler and not a denoiser. In the limit of short steps it is the denoiser form
(``guidance.AtNoise``, ``guidance.AtEstimate``) at the same scale; on a finite step both move the mean the same way, by
lengths whose ratio is Var / (of_x0 sigma_t^2 / alpha_t) with of_x0 what the bridge makes of the clean estimate. On
DDPM's linear schedule of 1000 steps that is 0.45 at index 1, 0.86 at 10, 0.98 at 100 and 0.99 at 500.

The paper expands log p around the mean and its code evaluates at x_t, as here. A sampler that draws nothing has no
variance: this form would silently do nothing, and is refused.

Source: Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (2105.05233, algorithm 1); Ma et al.
2023, "Elucidating the design space of classifier-guided diffusion generation" (2310.11311), for the gradient at the
estimate.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution, Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.reward import Reward, gradient
from mezzotint.core.scale import Scale, evaluate
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.samplers.base import State, Transition
from mezzotint.samplers.grids import Grid


@dataclass(frozen=True)
class _Uphill(Transition):
    """What both forms share: a wrapped sampler, whose steps and grid they have, and a reward."""

    steps: int = field(init=False, repr=False, default=1)
    grid: Grid = field(init=False, repr=False)
    sampler: Transition
    reward: Reward
    scale: Scale = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.sampler, Transition):
            raise Refusal(
                f"the mean form needs a sampler that draws from a transition, such as Ancestral, not {self.sampler!r}"
            )
        object.__setattr__(self, "steps", self.sampler.steps)
        object.__setattr__(self, "grid", self.sampler.grid)
        super().__post_init__()

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        return self.kernel(denoiser, state, s, cond)[0]

    def _scale(self, denoiser: Denoiser, state: State, cond: Condition) -> tuple[Tensor, Tensor]:
        """The scale of every row (or entry), and which rows have any."""
        scale = evaluate(self.scale, denoiser.process.level(state.t.double()), cond, plain=0.0)
        return scale, (scale.reshape(len(scale), -1) != 0).any(1).nonzero()[:, 0]

    def _normal(self, law: Distribution) -> Gaussian:
        """The law, refused where it has no variance to shift by."""
        if not isinstance(law, Gaussian):
            raise Refusal(
                f"{type(self.sampler).__name__} draws nothing here (its step is a {type(law).__name__}), so there is "
                "no variance to shift by: give it fresh noise (eta above 0), or guide the denoiser (guidance.AtNoise)"
            )
        return law

    def _moved(self, law: Gaussian, slope: Tensor, scale: Tensor, index: Tensor) -> Distribution:
        """The law of all rows, those of ``index`` moved by scale Var slope."""
        rows = index.to(law.mean.device)
        by = expand(scale[index], slope).to(slope) * law.variance[rows] * slope
        return replace(law, mean=law.mean.index_add(0, rows, by.to(law.mean)))


def _connected(x: Tensor, answer: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or answer.requires_grad)


@dataclass(frozen=True)
class Shifted(_Uphill):
    """x_s ~ N(mean + scale Var grad r(x_t, c, t), Var): classifier guidance in its original form.

    Arguments:
        sampler: what is wrapped, such as ``Ancestral(250)``; steps and grid are read from it.
        reward: of *noisy* samples, ``(x, cond, t) -> (B,)``; it is given the whole condition. A family that only it
            or the scale knows is kept from the model by ``guidance.Unaware``.
        scale: a number, a function of the level at t, or the name of a condition family; 0 is the plain sampler, bit
            for bit and without asking for a gradient.
    """

    def kernel(
        self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        law, memory = self.sampler.kernel(denoiser, state, s, cond)
        scale, index = self._scale(denoiser, state, cond)
        if not len(index):
            return law, memory
        law = self._normal(law)
        x, t, few = state.x[index.to(state.x.device)], state.t[index], cond[index] if cond else cond
        slope = gradient(lambda x: self.reward(x, few, t), x, _connected(state.x, law.mean))
        return self._moved(law, slope, scale, index), memory


@dataclass(frozen=True)
class ShiftedAtEstimate(_Uphill):
    """x_s ~ N(mean + scale Var grad r(x_0, c), Var) at x_0 = D(x_t), without a backward pass through the denoiser.

    Arguments:
        sampler: what is wrapped; its first question to the denoiser gives the estimate.
        reward: of *clean* samples, ``(x, cond) -> (B,)``.
        scale: as for :class:`Shifted`.
    """

    def kernel(
        self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        heard = _Heard(denoiser)
        law, memory = self.sampler.kernel(heard, state, s, cond)
        scale, index = self._scale(denoiser, state, cond)
        if not len(index):
            return law, memory
        estimate, few = heard.answers[0].mean, cond[index] if cond else cond
        x0 = estimate[index.to(estimate.device)]
        slope = gradient(lambda x: self.reward(x, few), x0, _connected(state.x, estimate))
        return self._moved(self._normal(law), slope, scale, index), memory


class _Heard(Wrapper):
    """Passes everything on and keeps the answers, for one step."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.answers = list[Distribution]()

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        self.answers.append(self.denoiser(x, t, cond, want))
        return self.answers[-1]
