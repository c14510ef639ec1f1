"""The exact denoiser of a data set under Poisson flow: what a PFGM++ network would answer that knew its data by heart.

For data y_j with N entries, all equally likely, the posterior mean is a weighted mean of them,

    E[x_0 | x_t] = sum_j w_j y_j,    w_j ~ (|x_t - y_j|^2 + D sigma^2)^(-(N + D) / 2),

where D sigma^2 = r^2, the squared distance from the plane of the data. At D = 1 these are the weights of a field of
charges in N + 1 dimensions; for D -> infinity they are those of :class:`~mezzotint.denoiser.Empirical`. The tails are
powers and not exponentials, so far from the data many of them keep a say.

Source: Xu et al. 2023, PFGM++ (2302.04265), eq. 4 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.denoiser.exact import DataSet
from mezzotint.processes.poisson import PoissonFlow


class EmpiricalPoisson(DataSet):
    """The exact denoiser of a finite data set under Poisson flow.

    Arguments:
        process: the Poisson flow.
        data: (N, *shape).
        labels: the class of each item, (N,); None: there are no classes.

    What ``want`` may ask for is as for :class:`~mezzotint.denoiser.Empirical`.
    """

    process: PoissonFlow

    def __init__(self, process: PoissonFlow, data: Tensor, labels: Sequence[int] | Tensor | None = None) -> None:
        super().__init__(process, data, labels)
        if not isinstance(process, PoissonFlow):
            raise Refusal(
                f"EmpiricalPoisson is exact for PoissonFlow, not for {type(process).__name__}: take Empirical"
            )

    @classmethod
    def example(cls) -> EmpiricalPoisson:
        return cls(PoissonFlow(5.0), torch.linspace(-1, 1, 42).reshape(7, 1, 2, 3), [0, 1, 2, 0, 1, 2, 0])

    def log_kernel(self, squared: Tensor, sigma: Tensor, size: int) -> Tensor:
        d = self.process.dimensions
        norm = math.lgamma((size + d) / 2) - math.lgamma(d / 2) - 0.5 * size * math.log(d * math.pi)
        # log1p: for large D the distance is small beside r^2, and (N + D) / 2 would multiply what was rounded off.
        return (norm - size * sigma.log()) - 0.5 * (size + d) * torch.log1p(squared * (1 / (d * sigma**2)))
