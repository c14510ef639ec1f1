"""Guidance by the gradient of a reward: uphill from the model's own answer.

    answer = D + scale (sigma^2 / alpha) g,        noise_g = noise - scale sigma g,    score_g = score + scale g,

three ways of writing one thing in which g stands for the gradient of log p(c | x_t), the score of what the model does
not know. The three classes differ only in how g is had from a reward r:

    AtNoise             g = grad r(x_t, t) at x_t           a reward that reads noisy samples: classifier guidance
    AtEstimate          g = grad r(x_0) at x_0 = D          a reward of clean data at the estimate, D held fixed
    ThroughDenoiser     g = grad r(D(x_t)) at x_t           the same reward, pushed back through the denoiser

ThroughDenoiser costs a backward pass through the model and moves the estimate by scale Cov[x_0 | x_t] grad r, since
(sigma^2 / alpha) dD/dx_t is that covariance; AtEstimate puts sigma^2 / alpha in the place of the covariance, which is
what adding Var grad r(D) to the mean of a DDPM step comes to for short steps. It needs no backward pass, but its scales
are others, and at high noise they want to be smaller.

**scale = 0 is the plain denoiser, bit for bit and without asking for a gradient**; 1 is Bayes' rule where the reward is
log p(c | x_t) and the model does not know c. Where alpha is 0 the gradient carries nothing, and the answer is left.

Sources: Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (2105.05233, algorithm 2, whose
gradient scale is ours), for AtNoise; Ma et al. 2023, "Elucidating the design space of classifier-guided diffusion
generation" (2310.11311), for AtEstimate; Bansal et al. 2023, "Universal guidance for diffusion models" (2302.07121,
forward guidance), for ThroughDenoiser, whose s(t) sqrt(1 - abar) is scale sigma.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac, Distribution, Gaussian, expand
from mezzotint.core.errors import Refusal
from mezzotint.core.reward import Reward, gradient
from mezzotint.core.scale import Scale, evaluate, read_from
from mezzotint.denoiser.base import Denoiser, Want, Wrapper, taken
from mezzotint.guidance.rows import ask, everywhere
from mezzotint.processes.base import Continuous

_VANISHED = 1e-6  # an alpha below this is 0: its inverse would blow up whatever a network says of pure noise


def moved(answer: Dirac | Gaussian, mean: Tensor) -> Distribution:
    """The answer around another mean (B, *shape), its spread as it was."""
    return replace(answer, value=mean) if isinstance(answer, Dirac) else replace(answer, mean=mean)


class Uphill(Wrapper, ABC):
    """A denoiser whose answer a reward bends, row by row: what guidances by a reward share.

    Arguments:
        denoiser: the model to guide, of a continuous process.
        reward: ``(x, cond, t=None) -> (B,)``, differentiable; it is given the whole condition. A family that only it
            knows is kept from the model by :class:`~mezzotint.guidance.Unaware`. Samples it abstains on (NaN) are
            not guided.
        scale: a number, a function of the level, or the name of a condition family holding one scale per sample; 0 is
            the plain denoiser.
    """

    process: Continuous

    def __init__(self, denoiser: Denoiser, reward: Reward, scale: Scale) -> None:
        super().__init__(denoiser)
        if not isinstance(denoiser.process, Continuous) or not denoiser.clean:
            raise Refusal("a reward's gradient guides a denoiser of a continuous process that answers about clean data")
        if not denoiser.process.gaussian:
            raise Refusal(
                f"sigma^2 / alpha times a gradient is Bayes' rule for normal noise; that of {denoiser.process} is not"
            )
        self.reward, self.scale, self.uses_level = reward, scale, True
        self.takes = read_from(scale)
        self._beside = tuple(set(self.takes) - taken(denoiser))

    def prepare(self, cond: Condition) -> Condition:
        mine, rest = cond.take(*self._beside)
        return self.denoiser.prepare(rest) | mine

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        return None  # nobody knows the reward's

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        scale = self.strength(evaluate(self.scale, self.process.level(t.double()), cond, plain=0.0), t)
        idle = everywhere(scale, 0)

        def plain(x: Tensor, t: Tensor, cond: Condition, rows: Tensor | slice) -> Distribution:
            return self.denoiser(x, t, cond.take(*self._beside)[1], want)

        def guided(x: Tensor, t: Tensor, cond: Condition, rows: Tensor | slice) -> Distribution:
            return self.guided(x, t, cond, want, expand(scale[rows], x).to(x))

        return ask([(idle, plain), (~idle, guided)], x, t, cond)

    def asked(self, x: Tensor, t: Tensor, cond: Condition, want: Want) -> Dirac | Gaussian:
        """What the model says, not told what was meant for this guidance."""
        answer = self.denoiser(x, t, cond.take(*self._beside)[1], want)
        if not isinstance(answer, Dirac | Gaussian):
            raise Refusal(f"a gradient moves answers about real data, not a {type(answer).__name__}")
        return answer

    def differentiated(self, x: Tensor, cond: Condition) -> bool:
        """Whether the caller may ask for gradients of the answer, by x, the condition or the model's weights."""
        if not torch.is_grad_enabled():
            return False
        return any(v.requires_grad for v in (x, *cond.values.values(), *self.denoiser.parameters()))

    def strength(self, scale: Tensor, t: Tensor) -> Tensor:
        """What multiplies the gradient: ``scale`` sigma^2 / alpha, and 0 where alpha is; float64 in the shape of t."""
        t = t.double()
        alpha, sigma = self.process.alpha(t), self.process.sigma(t)
        there = alpha > _VANISHED
        return torch.where(there, scale * sigma**2 / torch.where(there, alpha, 1.0), 0.0)

    @abstractmethod
    def guided(self, x: Tensor, t: Tensor, cond: Condition, want: Want, strength: Tensor) -> Distribution:
        """The bent answer of rows none of which is plain.

        Arguments:
            x, t, cond, want: as for any denoiser; ``cond`` is the whole condition.
            strength: what multiplies the gradient, broadcasting over x.
        """


class AtNoise(Uphill):
    """D + scale (sigma^2 / alpha) grad r(x_t, c, t): classifier guidance.

    Arguments:
        denoiser: the model to guide; conditional or not.
        reward: of *noisy* samples; it is told t. log p(c | x_t) of a noise-aware classifier
            (:class:`~mezzotint.rewards.NoiseAwareClassifier`) makes scale 1 Bayes' rule.
        scale: 0 is the plain denoiser.
    """

    def guided(self, x: Tensor, t: Tensor, cond: Condition, want: Want, strength: Tensor) -> Distribution:
        answer = self.asked(x, t, cond, want)
        slope = gradient(lambda x: self.reward(x, cond, t), x, self.differentiated(x, cond))
        return moved(answer, answer.mean + strength * slope)


class AtEstimate(Uphill):
    """D + scale (sigma^2 / alpha) grad r(x_0, c) at x_0 = D, without a backward pass through the denoiser.

    Arguments:
        denoiser: the model to guide.
        reward: of *clean* samples.
        scale: 0 is the plain denoiser. The gradient by x_0 stands in for that by x_t, so scales do not carry over from
            the other two.
    """

    def guided(self, x: Tensor, t: Tensor, cond: Condition, want: Want, strength: Tensor) -> Distribution:
        answer = self.asked(x, t, cond, want)
        slope = gradient(lambda x0: self.reward(x0, cond), answer.mean, self.differentiated(x, cond))
        return moved(answer, answer.mean + strength * slope)


class ThroughDenoiser(Uphill):
    """D + scale (sigma^2 / alpha) grad r(D(x_t), c) at x_t: universal guidance's forward rule.

    Arguments:
        denoiser: the model to guide; it is differentiated by its input.
        reward: of *clean* samples.
        scale: 0 is the plain denoiser; published scales belong to their loss and carry over to no other.
    """

    def guided(self, x: Tensor, t: Tensor, cond: Condition, want: Want, strength: Tensor) -> Distribution:
        answers: list[Dirac | Gaussian] = []

        def judge(x: Tensor) -> Tensor:
            answers.append(self.asked(x, t, cond, want))
            return self.reward(answers[0].mean, cond)

        connected = self.differentiated(x, cond)
        slope = gradient(judge, x, connected)
        (answer,) = answers
        if not connected:
            answer = answer.rebuild({name: leaf.detach() for name, leaf in answer.leaves().items()})
        return moved(answer, answer.mean + strength * slope)
