"""A denoiser of one continuous process, asked under another.

Up to its scale, every Gaussian corruption is the same: x_t / alpha is clean data with noise of standard deviation
sigma / alpha, whatever the process. So a denoiser that learnt one process answers under any other: find the time t' at
which its own process has the same level u = sigma / (alpha + sigma), and bring x to its scale,

    D(x, t) = D'(x (alpha'(t') + sigma'(t')) / (alpha(t) + sigma(t)), t'),      u'(t') = u(t),

which is finite at both ends of every process (dividing by alpha is not). A network trained as EDM is sampled as
rectified flow this way, and a DDPM network as EDM.

Sources: Song et al. 2021, DDIM (2010.02502, section 4.3); Karras et al. 2022, EDM (2206.00364, section 4 and appendix
C.1.1), for VP and VE.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Distribution
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want, Wrapper
from mezzotint.processes.base import Continuous


class Recast(Wrapper):
    """The same answers about x_0, asked in the times and scales of another process.

    A process with more noise than the denoiser's own (rectified flow ends at none of the data, EDM at one part in 80)
    asks it at its own last time there, in its own scale: the rest of the data that it expects is missing, which moves
    the answer by about that part. What is asked for in ``aux`` comes as the denoiser says it, of its own x.

    Arguments:
        denoiser: of a continuous process; it answers about clean data.
        process: the continuous process it is to be asked under.
    """

    process: Continuous

    def __init__(self, denoiser: Denoiser, process: Continuous) -> None:
        super().__init__(denoiser)
        own = denoiser.process
        if not isinstance(own, Continuous) or not isinstance(process, Continuous):
            kinds = f"{type(own).__name__} and {type(process).__name__} are not both"
            raise Refusal(f"Recast needs two continuous processes, which are the same up to scale; {kinds} continuous")
        if own != process and not (own.gaussian and process.gaussian):
            raise Refusal(
                f"Recast is for normal noise, which is the same on every process up to scale; that of {own} and of "
                f"{process} is not"
            )
        if not denoiser.clean:
            raise Refusal("Recast needs a denoiser that answers about clean data; this one answers about its next time")
        self.own, self.process = own, process
        self.uses_level = True  # an answer that depends on x alone depends on t once x is rescaled by it
        if denoiser.times is not None:
            self.times = process.time(own.level(denoiser.times))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        inside = self.own.time(self.process.level(t.double()))
        alpha, sigma = self.process.scales(t, x)
        alpha_own, sigma_own = self.own.scales(inside, x)
        # Where the levels agree, all three ratios do; beyond the denoiser's own end it is the noise that has to fit.
        beyond = sigma * alpha_own > alpha * sigma_own
        ratio = torch.where(beyond, sigma_own / sigma, (alpha_own + sigma_own) / (alpha + sigma))
        return self.denoiser(ratio.to(x) * x, inside, cond, want)
