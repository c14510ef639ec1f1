"""Backward universal guidance: improve the estimate itself, then hand it on.

The forward rule (:class:`~mezzotint.guidance.ThroughDenoiser`) moves the answer by a gradient that has passed through
the denoiser. The backward rule looks at clean data alone: starting from the answer D it takes some gradient steps
uphill,

    Delta_0 = 0,    Delta_{k+1} = Delta_k + scale grad r(D + Delta_k),    answer = D + Delta_m,

so the reward is met more closely, by pixels the model did not choose; the noise that samplers derive from the answer
then carries the same change, as in the paper's noise - (alpha / sigma) Delta. Around the forward rule it is the paper's
whole algorithm; its recurrence - denoise, re-noise, again - is a grid that rises.

Source: Bansal et al. 2023, "Universal guidance for diffusion models" (2302.07121, algorithm 1). The paper minimises a
loss, which is a reward with the other sign; its code takes the steps by Adam, here they are plain.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.core.reward import Reward, gradient
from mezzotint.core.scale import Scale
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.guidance.reward_gradient import Uphill, moved


class Backward(Uphill):
    """The answer after some gradient steps of a reward of clean data.

    Arguments:
        denoiser: the model, or an already guided one.
        reward: of *clean* samples.
        scale: the size of a step, in units of x_0^2 per unit of reward; 0 is the plain denoiser.
        steps: m, how many.
    """

    def __init__(self, denoiser: Denoiser, reward: Reward, scale: Scale, steps: int = 10) -> None:
        super().__init__(denoiser, reward, scale)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise Refusal(f"backward guidance takes at least one gradient step, not {steps!r}")
        self.steps = steps

    def strength(self, scale: Tensor, t: Tensor) -> Tensor:
        return scale

    def guided(self, x: Tensor, t: Tensor, cond: Condition, want: Want, strength: Tensor) -> Distribution:
        answer = self.asked(x, t, cond, want)
        connected = self.differentiated(x, cond)
        x0 = answer.mean
        for _ in range(self.steps):
            x0 = x0 + strength * gradient(lambda x0: self.reward(x0, cond), x0, connected)
        return moved(answer, x0)
