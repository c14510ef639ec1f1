"""Classification: corrupt, ask which class, compare - how a noise-aware classifier is trained.

    E over t, noise of  w(t) (-log p(c | x_t, t)),

the cross-entropy in nats of a classifier that is told t and sees every level; what it then knows about the class of a
noisy sample is what classifier guidance climbs. Its least value is the entropy of the class given x_t, which rises to
that of the class itself at pure noise, so the loss says little without a look at ``accuracy`` by level.

Source: Dhariwal and Nichol 2021, "Diffusion models beat GANs on image synthesis" (2105.05233, section 4).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.objectives.base import Levels, Loss, Objective, Shot
from mezzotint.objectives.levels import LogNormal
from mezzotint.rewards.classifier import NoiseAwareClassifier


class Classification(Objective):
    """Cross-entropy in nats of a noise-aware classifier at random noise levels.

    The class is read from the classifier's own ``family``; samples that were dropped from it count nothing. The shot's
    answer is the law over classes, and ``accuracy`` among the parts says whether the likeliest one was right.

    Arguments:
        levels: where to train. None: ``LogNormal(1.3, 1.9)``, which is about what uniform times of DDPM's linear
            schedule, those of the paper, are in log(sigma / alpha), and means the same on every process.
    """

    denoises = False

    def __init__(self, levels: Levels | None = None) -> None:
        super().__init__()
        self.levels = LogNormal(1.3, 1.9) if levels is None else levels

    def forward(self, model: nn.Module, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, NoiseAwareClassifier):
            raise Refusal(f"Classification trains a rewards.NoiseAwareClassifier, not a {type(model).__name__}")
        t, weight = self.levels(model.process, tuple(x.shape[1:]), rng.at("levels"))
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        label, kept = model.wanted(cond)
        logs = model.logs(x_t, t)
        value = -model.pick(logs, label, kept) * weight.to(logs)
        value = torch.where(kept.to(value.device), value, 0.0)
        right = (logs.argmax(1) == label.to(logs.device)).to(value)
        return Loss(value, {"accuracy": right}, Shot(x, x_t, t, cond, Categorical(logs), weight))

    def update(self, model: Any, loss: Loss) -> None:
        self.levels.update(cast(Shot, loss.shot).t, loss.unweighted())
