"""The hybrid loss: a plain loss for the mean, and a little of the variational bound for the variance.

The bound alone trains badly, its gradients are noisy; a plain loss alone cannot train a variance, it does not see it.
So the two are added, and the bound is shown the mean without its gradient:

    L = L_inner + weight * L_bound(stop_gradient(mean), variance),

with the bound in bits per dimension and counted at the inner loss's own times: one interval of the T-step chain ends
where the sample stands. The mean learns as if the bound were not there, the variance from the bound alone.

Source: Nichol and Dhariwal 2021, "Improved denoising diffusion probabilistic models" (2102.09672, eq. 16), whose lambda
is 0.001; its code, too, sums the bound over T steps and measures it in bits per dimension.
"""

from __future__ import annotations

from torch import Tensor

from mezzotint.core.distribution import Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Objective, Shot
from mezzotint.objectives.beside import Beside, weighed
from mezzotint.objectives.bound import bits, term


class Hybrid(Beside):
    """The inner loss, and ``weight`` times the bound on -log p(x_0) in bits per dimension, of the variance alone.

    ``parts`` holds the ``bound``. It is the bound where the inner loss draws its times uniformly
    (``UniformTimes(steps=T)`` in the paper); elsewhere every time still asks for the same variance, more or less often.

    Arguments:
        inner: the loss of the mean, such as ``Denoising``.
        steps: T of the bound's chain on the process's own clock.
        weight: lambda; 0.001 in the paper.
        shades: as in :class:`Bound`.
    """

    name = "bound"

    def __init__(self, inner: Objective, steps: int, weight: float = 0.001, shades: int | None = None) -> None:
        super().__init__(inner, weight)
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise Refusal(f"a bound has at least one interval, not {steps!r}")
        self.steps, self.shades = steps, shades

    def term(self, model: Denoiser, shot: Shot, rng: Rng) -> Tensor:
        if not isinstance(shot.answer, Gaussian):
            raise Refusal(
                f"Hybrid trains a learnt variance, but this model answers with a {type(shot.answer).__name__}; "
                "give its network twice the channels and make it Preconditioned(..., variance=True)"
            )
        answer = Gaussian(shot.answer.mean.detach(), shot.answer.variance)
        nats = term(model.process, shot.x0, shot.x_t, answer, shot.t, self.foot(shot.t), self.shades)
        return weighed(bits(self.steps * nats, tuple(shot.x0.shape[1:])).to(shot.answer.mean), shot)

    def foot(self, t: Tensor) -> Tensor:
        """Where the interval ends that begins at t: one step further down at t = k / T, and in proportion between.

        Between two steps t - 1 / T would end arbitrarily close to 0, where the divergence of two laws has no bound.
        """
        k = (t * self.steps - 1e-9).ceil().clamp(min=1)
        return t * (k - 1) / k
