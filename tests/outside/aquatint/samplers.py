"""The midpoint rule in the level, and a grid that bends."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core import Condition
from mezzotint.core.spec import Part
from mezzotint.denoiser import Denoiser
from mezzotint.processes import Process
from mezzotint.samplers import Sampler, State


@dataclass(frozen=True)
class Midpoint(Sampler):
    """Look at the middle of the interval, and walk all of it with what is seen there: second order."""

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = denoiser.process
        middle = process.time(0.5 * (process.level(state.t) + process.level(s)))
        half = self._walk(denoiser, state, state, middle, cond)
        return self._walk(denoiser, state, State(half, middle, state.rng), s, cond), state.memory

    def _walk(self, denoiser: Denoiser, state: State, seen: State, s: Tensor, cond: Condition) -> Tensor:
        """From the state to s along the slope that is seen elsewhere: dy/du = noise - x_0, y = x / (alpha + sigma)."""
        process = denoiser.process
        x0 = denoiser(seen.x, seen.t, cond).mean
        slope = process.noise(seen.x, x0, seen.t) - x0
        alpha_t, sigma_t = process.scales(state.t, state.x)
        alpha_s, sigma_s = process.scales(s, state.x)
        total_t, total_s = alpha_t + sigma_t, alpha_s + sigma_s
        step = total_s * (sigma_s / total_s - sigma_t / total_t)
        held = (sigma_s == sigma_t) & (alpha_s == alpha_t)
        return torch.where(held, state.x, (total_s / total_t).to(slope) * state.x + step.to(slope) * slope)


@dataclass(frozen=True)
class Bend(Part):
    """Levels from the top down to 0 along u^power."""

    power: float = 2.0

    def __call__(self, process: Process, steps: int) -> Tensor:
        top = process.level(torch.ones(1, dtype=torch.float64))
        times = process.time(top * torch.linspace(1, 0, steps + 1, dtype=torch.float64) ** self.power)
        times[0] = 1.0  # the inverse of the level may miss it by rounding
        return times
