"""Heun's method: an Euler step, a second look at its end, and the mean of the two slopes.

Integrates dy/du = noise - x_0 in the level u, y = x / (alpha + sigma), which is finite at both ends of every process;
on EDM in the limit of small steps it is the second-order sampler of Karras et al. 2022 (2206.00364, algorithm 1),
whose coordinate is sigma. Two evaluations an interval but for the one that ends at 0, where only the first slope is
known (the noise in clean data cannot be read off): 2 N - 1 in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import expand
from mezzotint.denoiser.base import Denoiser
from mezzotint.samplers.base import Sampler, State, continuous
from mezzotint.samplers.euler import drift


@dataclass(frozen=True)
class Heun(Sampler):
    """Two evaluations an interval, second order."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = continuous(denoiser, self)
        x, t = state.x, state.t
        x0 = denoiser(x, t, cond).mean
        noise = process.noise(x, x0, t)
        x_s = drift(process, x, x0, noise, t, s)
        open_end = process.sigma(s) > 0
        rows = open_end.flatten(1).any(1) if open_end.ndim > 1 else open_end
        index = rows.nonzero()[:, 0]
        if not len(index):
            return x_s, state.memory
        here = index.to(x.device)
        again = denoiser(x_s[here], s[index], cond[index] if cond else cond).mean
        noise_again = process.noise(x_s[here], again, s[index])
        # Entries of these rows that end at 0 keep their first slope.
        use = expand(open_end[index], again).to(x.device)
        mean_x0 = torch.where(use, 0.5 * (x0[here] + again), x0[here])
        mean_noise = torch.where(use, 0.5 * (noise[here] + noise_again), noise[here])
        better = drift(process, x[here], mean_x0, mean_noise, t[index], s[index])
        return x_s.index_copy(0, here, better), state.memory
