"""Poisson flow: the data are charges in D further dimensions, and noise is where their field lines lead.

Put the data (N entries each) into the plane r = 0 of N + D dimensions as electric charges. Lines of their field go up
and out; far away they spread evenly over a sphere, whatever the charges were. Followed back they lead from the sphere
to the data, and by symmetry only the distance r from the plane counts of the D extra coordinates. A charge at y is seen
at height r in

    p_r(x | y) ~ (|x - y|^2 + r^2)^(-(N + D) / 2),

which with r = sigma sqrt(D) is a Student-t law of D degrees of freedom, centre y and scale sigma. So this is EDM's
process with heavier tails: D = 1 is the Poisson flow of Xu et al. 2022 (2209.11178), D -> infinity is diffusion, and in
between a model sees, at every sigma, noise that may be larger or smaller than sigma says, which makes it forgive errors
of its own while it samples. The field lines obey dx/dr = (x - E[y | x, r]) / r, or dx/dsigma = (x - E[y | x]) / sigma:
EDM's equation, so every deterministic sampler and grid, the preconditioning and the training are EDM's, unchanged.

Only q(x_t | x_0) is given: nothing says how x_s and x_t of one sample go together, and a Student-t law with normal
noise added is not one. There is no fresh noise to add on the way down (eta > 0) and none to go up by.

Source: Xu, Liu, Tian, Tong, Tegmark and Jaakkola 2023, "PFGM++: Unlocking the potential of physics-inspired generative
models" (2302.04265), eq. 4 and 6 for the kernel and the ODE, section 4 for r = sigma sqrt(D).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from mezzotint.core.distribution import Dirac, Gaussian
from mezzotint.core.errors import Refusal
from mezzotint.processes.base import Answer, Continuous
from mezzotint.processes.edm import EDM
from mezzotint.processes.student import StudentT

_FEWEST = 0.02  # with fewer the noise does not fit into float64


@dataclass(frozen=True)
class PoissonFlow(Continuous):
    """alpha = 1, sigma = t * sigma_max, and noise that is a Student-t law of D degrees of freedom.

    Arguments:
        dimensions: D, how many dimensions the data are put into besides their own; whole only in the picture. What
            counts is D beside N, the number of entries of a sample: 2048 was best for N = 3072 (CIFAR-10), 128 for
            N = 12288. For D <= 2 the noise has no variance.
        sigma_max: the scale of the noise at t = 1, in units of the data.
    """

    dimensions: float
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        if not _FEWEST <= self.dimensions < math.inf:
            raise Refusal(
                f"a Poisson flow has {_FEWEST} extra dimensions or more, not {self.dimensions}; "
                "for infinitely many take EDM"
            )
        EDM(self.sigma_max)

    @classmethod
    def example(cls) -> PoissonFlow:
        return cls(5.0)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return t * self.sigma_max

    def time(self, u: Tensor) -> Tensor:
        return EDM(self.sigma_max).time(u)

    def corrupt(self, x0: Tensor, t: Tensor) -> StudentT:
        return self._law(x0, self.scales(t, x0)[1])

    def prior(self, shape: tuple[int, ...]) -> StudentT:
        mean = torch.zeros((1, *shape))
        return self._law(mean, self.sigma(torch.ones((1, *(1 for _ in shape)), dtype=torch.float64)))

    def _law(self, mean: Tensor, sigma: Tensor) -> StudentT:
        degrees = torch.full((len(mean),), float(self.dimensions), dtype=torch.float64, device=mean.device)
        return StudentT(mean, sigma.to(mean), degrees)

    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> NoReturn:
        raise Refusal(
            "a Poisson flow has no law of x_t given x_s, as it says nothing of how two noise levels of one sample go "
            "together: take a grid that only falls, and no churn"
        )

    def bridge(self, x: Tensor, x0: Answer, t: Tensor, s: Tensor, eta: float = 1.0) -> Gaussian | Dirac:
        """As in the base class, for eta = 0 only: along the field line towards x_0, x_s = x_0 + (x - x_0) s / t."""
        if eta != 0:
            raise Refusal(
                f"a Poisson flow has no fresh noise to add (eta = {eta}), as it says nothing of how two noise levels "
                "of one sample go together: take eta = 0 or a deterministic sampler, such as Heun"
            )
        return super().bridge(x, x0, t, s, eta)
