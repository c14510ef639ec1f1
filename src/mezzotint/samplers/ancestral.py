"""Ancestral sampling: ask what the clean data may be, then draw from the bridge towards it.

x_s ~ the mean over the answer of q(x_s | x_t, x_0), on any process. eta = 1 is DDPM (Ho et al. 2020, 2006.11239, with
the smaller posterior variance), eta = 0 is DDIM (Song et al. 2021, 2010.02502), which draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import State, Transition


@dataclass(frozen=True)
class Ancestral(Transition):
    """x_s ~ bridge(x_t, denoiser(x_t)).

    Arguments:
        steps: intervals.
        eta: the share of fresh noise, in standard deviations: 1 DDPM, 0 DDIM.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise Refusal(f"eta lies between 0 (DDIM) and 1 (DDPM), not {self.eta}")

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        if not denoiser.clean:
            raise Refusal(
                "Ancestral bridges an answer about x_0, but this denoiser answers about its next time: use Chain"
            )
        answer = denoiser(state.x, state.t, cond)
        return denoiser.process.bridge(state.x, answer, state.t, s, self.eta)
