"""A loss that does not mind outliers, and where to train."""

import torch
from torch import Tensor

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Denoiser
from mezzotint.denoiser.base import Trainable
from mezzotint.objectives import Levels, Loss, Objective, Shot
from mezzotint.processes import Process


class Ramp(Levels):
    """Levels u with density 2 u, so that more noise is seen more often."""

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        t = process.time(rng.uniform("level", ()).sqrt() * process.level(torch.ones(1, dtype=torch.float64)))
        return t, torch.ones_like(t)


class Huber(Objective):
    """Squared where the network is off by little, linear beyond: sqrt(error^2 + width^2) - width."""

    def __init__(self, levels: Levels | None = None, width: float = 0.3, dropout: float = 0.1) -> None:
        super().__init__()
        self.levels, self.width, self.dropout = Ramp() if levels is None else levels, width, dropout

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, Trainable):
            raise Refusal(f"Huber trains a denoiser around a network, not a {type(model).__name__}")
        t, weight = self.levels(model.process, tuple(x.shape[1:]), rng.at("levels"))
        cond = cond.dropout(self.dropout, rng.at("dropout"))
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        answer = model(x_t, t, cond, want=("output",))
        error = answer.aux["output"] - model.target(x, x_t, t)
        value = ((error**2 + self.width**2).sqrt() - self.width).flatten(1).mean(1)
        return Loss(value * weight.to(value), {}, Shot(x, x_t, t, cond, answer))
