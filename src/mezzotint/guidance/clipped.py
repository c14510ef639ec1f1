"""Clean estimates kept where data are: what lies beyond the ends of their range is brought to the end.

    D'(x_t, t) = clamp(D(x_t, t), low, high)

Guidance above 1 is a step beyond the conditional answer, and so may leave the range of pixels; a sampler that derives
its noise from such an answer carries the excess along. The law's spread, where it has one, stays. It is the
``clip_denoised`` of DDPM's code and of those that followed; a blanket one, where dynamic thresholding
(2205.11487, section 2.3) would also scale.

Source: Ho et al. 2020, "Denoising diffusion probabilistic models" (2006.11239, its code); after guidance: Wang et al.
2022, "Semantic image synthesis via diffusion models" (2207.00050, its code).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac, Distribution, Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper


class Clipped(Wrapper):
    """The answer of a denoiser of real data with its mean clamped to ``[low, high]``.

    Put it around a guidance, not inside: what guidance adds is what leaves the range.

    Arguments:
        denoiser: of real data.
        low, high: the range of an entry of clean data, ``low < high``.

    Raises:
        Refusal: the range is empty, or, when asked, the answer is not about real numbers.
    """

    def __init__(self, denoiser: Denoiser, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__(denoiser)
        if not -torch.inf < low < high < torch.inf:
            raise Refusal(f"a range begins below its end, and both are finite, not [{low}, {high}]")
        self.low, self.high = float(low), float(high)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        answer = self.denoiser(x, t, cond, want)
        if not isinstance(answer, Dirac | Gaussian):
            raise Refusal(f"Clipped brings real numbers into a range, not a {type(answer).__name__}")
        mean: Any = answer.mean.clamp(self.low, self.high)
        return replace(answer, **{answer.parameters()[0]: mean})
