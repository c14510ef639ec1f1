"""Ancestral sampling: ask what the clean data may be, then draw from the bridge towards it.

x_s ~ the mean over the answer of q(x_s | x_t, x_0), on any process. eta = 1 is DDPM (Ho et al. 2020, 2006.11239, with
the smaller posterior variance), eta = 0 is DDIM (Song et al. 2021, 2010.02502), which draws nothing.

An answer that is a point leaves out its own doubt, so the step draws too little noise. With k = sigma / alpha the true
variance of p(x_s | x_t) lies between two that need no knowledge of the data (Ho et al., section 3.2):

    small   (1 - k_s^2 / k_t^2) sigma_s^2    exact for data that are one point: the bridge's own variance
    large   (1 - k_s^2 / k_t^2) sigma_t^2    beta_t on a variance-preserving process; there exact for data N(0, 1)

and medium is their geometric mean, half way in the logarithm in which Nichol and Dhariwal (2021, 2102.09672, eq. 15)
let a model learn where between the two it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Dirac, Distribution, Gaussian
from mezzotint.core.errors import Refusal, nearest
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import State, Transition, check_clean, continuous

VARIANCES: Mapping[str, float] = MappingProxyType({"small": 0.0, "medium": 0.5, "large": 1.0})
"""How far from small to large, in the logarithm of the variance."""


@dataclass(frozen=True)
class Ancestral(Transition):
    """x_s ~ bridge(x_t, denoiser(x_t)).

    Arguments:
        steps: intervals.
        eta: the share of fresh noise, in standard deviations: 1 DDPM, 0 DDIM.
        variance: of the fresh noise of DDPM: ``small``, ``medium`` or ``large``. The last two are for continuous
            processes and answers that are points. The interval that ends at clean data draws nothing.
    """

    eta: float = 1.0
    variance: str = "small"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise Refusal(f"eta lies between 0 (DDIM) and 1 (DDPM), not {self.eta}")
        if self.variance not in VARIANCES:
            raise Refusal(f"there is no variance {self.variance!r}: {nearest(self.variance, list(VARIANCES))}")
        if self.variance != "small" and self.eta != 1:
            raise Refusal(f"the variance {self.variance!r} is one of DDPM (eta = 1) and not of eta = {self.eta}")

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        check_clean(denoiser, self)
        answer = denoiser(state.x, state.t, cond)
        if not answer.entrywise:  # a law of whole samples, which no process mixes
            if bool(s.any()):
                raise Refusal(f"a {type(answer).__name__} is a law of whole samples: walk from t = 1 to 0 in one step")
            return answer
        law = denoiser.process.bridge(state.x, answer, state.t, s, self.eta)
        return law if self.variance == "small" else self._widened(denoiser, answer, law, state, s)

    def _widened(
        self, denoiser: Denoiser, answer: Distribution, law: Distribution, state: State, s: Tensor
    ) -> Gaussian:
        """The bridge with small^(1 - share) large^share for its variance, where it has any."""
        process = continuous(denoiser, self)
        if not (isinstance(answer, Dirac) and isinstance(law, Gaussian)):
            raise Refusal(
                f"the variance {self.variance!r} stands in for one that was not learnt, but this denoiser answers "
                f"with a {type(answer).__name__} that says its own: leave it at 'small', which adds the two"
            )
        share = VARIANCES[self.variance]
        large = process.renoise(state.x, s, state.t).variance
        widened = law.variance ** (1 - share) * large**share
        return Gaussian(law.mean, torch.where(law.variance > 0, widened, 0.0), law.aux)
