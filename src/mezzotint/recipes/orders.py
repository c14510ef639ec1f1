"""The order of convergence of solvers, measured on mixtures: what recipes about samplers have as their exact size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.core.rng import Rng
from mezzotint.denoiser.exact import Mixture
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Numbers
from mezzotint.processes.edm import EDM
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.grids import power
from mezzotint.samplers.unipc import UniPC

SETTING = {"starts": 64, "few": 80, "many": 320, "reference": 960}
_HIGH, _LOW = 80.0, 0.002


def orders(solvers: Mapping[str, Sampler]) -> Callable[[Setting, int], Numbers]:
    """A measure: by solver, log(error(few) / error(many)) / log(many / few) as ``order``.

    Four isotropic components of spread 0.3 in eight dimensions, their means drawn from the seed; errors are medians
    over ``starts``, at sigma = 0.002, on EDM's grid from 80, against UniPC-3 in ``reference`` steps.
    """

    def measure(s: Setting, seed: int) -> Numbers:
        draw = Rng([seed])
        mixture = Mixture(EDM(_HIGH), draw.normal("means", (4, 8))[0], 0.09 * torch.eye(8).repeat(4, 1, 1))
        keys = draw.repeat(s.starts).at(torch.arange(s.starts))
        start = _HIGH * keys.normal("start", (8,)).double()

        def end(solver: Sampler, n: int) -> Tensor:
            times = power(_HIGH, _LOW, n + 1, rho=7) / _HIGH
            return replace(solver, steps=n)(mixture, rng=keys, times=times, start=start)

        truth = end(UniPC(9, order=3), s.reference)

        def error(solver: Sampler, n: int) -> float:
            return float((end(solver, n) - truth).norm(dim=1).median())

        span = math.log(s.many / s.few)
        return {k: {"order": math.log(error(v, s.few) / error(v, s.many)) / span} for k, v in solvers.items()}

    return measure
