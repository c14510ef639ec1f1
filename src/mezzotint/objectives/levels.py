"""Distributions of training times.

Each is stated in a quantity that means the same on every process - the ratio sigma / alpha or the level - and turned
into the process's own time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.objectives.base import Levels
from mezzotint.processes.base import Process


class LogNormal(Levels):
    """log(sigma / alpha) ~ N(mean, std^2). Source: EDM (2206.00364), table 1.

    Arguments:
        mean: -1.2 in the paper, for data of standard deviation 0.5.
        std: 1.2 in the paper.
    """

    def __init__(self, mean: float = -1.2, std: float = 1.2) -> None:
        super().__init__()
        if not std > 0:
            raise Refusal(f"std must be positive, not {std}")
        self.mean, self.std = mean, std

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        u = rng.uniform("level", ()).clamp(1e-12, 1 - 1e-12)
        log_ratio = self.mean + self.std * torch.special.ndtri(u)
        t = process.time(torch.sigmoid(log_ratio)).clamp(max=1.0)
        return t, torch.ones_like(t)


class LogitNormal(Levels):
    """logit(u) ~ N(mean, std^2) in the level u. Source: Esser et al. 2024 (2403.03206), section 3.1, on rectified flow.

    As logit(u) = log(sigma / alpha), this is :class:`LogNormal` under the name and with the defaults of flow matching.
    """

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.inner = LogNormal(mean, std)

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        t, weight = self.inner(process, shape, rng)
        return t, weight


class LogUniform(Levels):
    """log(sigma / alpha) uniform between two ratios. Source: Song et al. 2021 (2011.13456), as in EDM, table 1 (VE).

    Arguments:
        low: the smallest sigma / alpha; 0.02 in the paper.
        high: the largest; 100 in the paper. A process that ends below it is trained at its own end instead.
    """

    def __init__(self, low: float = 0.02, high: float = 100.0) -> None:
        super().__init__()
        if not 0 < low < high:
            raise Refusal(f"LogUniform needs 0 < low < high, not {low} and {high}")
        self.low, self.high = low, high

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        log_ratio = math.log(self.low) + rng.uniform("level", ()) * math.log(self.high / self.low)
        t = process.time(torch.sigmoid(log_ratio)).clamp(max=1.0)
        return t, torch.ones_like(t)


class UniformTimes(Levels):
    """t uniform on (low, 1], or on 1/T, 2/T, .. 1. Source: Ho et al. 2020 (2006.11239), algorithm 1.

    Arguments:
        low: the smallest time; 1e-5 keeps the noise representable in float32.
        steps: T, for models that know T times only; ``low`` plays no part then. None: all times.
    """

    def __init__(self, low: float = 1e-5, steps: int | None = None) -> None:
        super().__init__()
        if not 0 <= low < 1:
            raise Refusal(f"low lies in [0, 1), not {low}")
        if steps is not None and steps < 1:
            raise Refusal(f"UniformTimes needs at least one step, not {steps}")
        self.low, self.steps = low, steps
        self.unbiased = low == 0 or steps is not None

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        u = rng.uniform("level", ())
        t = 1 - (1 - self.low) * u if self.steps is None else ((1 - u) * self.steps).ceil() / self.steps
        return t, torch.ones_like(t)
