"""Denoising: corrupt, ask, compare - the loss of nearly every diffusion model.

    E over t, noise of  w(t) | F - F* |^2  per entry,

where F is what the network said and F* what it should have said (``model.target``), so the preconditioning is part of
the weight. The standard weights are written on the error of the clean estimate, w_x0, and carried over:

| name      | on squared x_0 error     | is                                                                    |
|-----------|---------------------------|-----------------------------------------------------------------------|
| output    | 1 / out^2                 | plain error of the network's output; EDM's own with prediction "edm"  |
| x0        | 1                         |                                                                       |
| noise     | SNR                       | "simple", Ho et al. 2020 (2006.11239, eq. 14)                         |
| v         | SNR + 1                   | Salimans and Ho 2022 (2202.00512)                                     |
| velocity  | (1 + 1 / kappa)^2         | flow matching, kappa = sigma / alpha                                  |
| min_snr   | min(SNR, 5)               | Hang et al. 2023 (2303.09556, gamma = 5)                              |
| p2        | SNR / (1 + SNR)           | Choi et al. 2022 (2204.00227, k = gamma = 1)                          |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.objectives.base import Levels, Loss, Objective, Shot
from mezzotint.objectives.levels import LogNormal

WEIGHTS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "x0": lambda snr: torch.ones_like(snr),
        "noise": lambda snr: snr,
        "v": lambda snr: snr + 1,
        "velocity": lambda snr: (1 + snr.sqrt()) ** 2,
        "min_snr": lambda snr: snr.clamp(max=5.0),
        "p2": lambda snr: snr / (1 + snr),
    }
)
_LARGEST_SNR = 1e12  # an infinite one times a vanishing error of the estimate would be undefined


class Denoising(Objective):
    """Mean squared error of the network's answer at random noise levels.

    Arguments:
        levels: where to train.
        weight: ``output`` or one of the standard weights above.
        dropout: probability of dropping a condition family, one number or one a family; it trains the null that
            classifier-free guidance needs. 0 trains none.
    """

    def __init__(
        self,
        levels: Levels | None = None,
        weight: str = "output",
        dropout: float | Mapping[str, float] = 0.1,
    ) -> None:
        super().__init__()
        if weight != "output" and weight not in WEIGHTS:
            raise Refusal(f"there is no weight {weight!r}: {nearest(weight, ['output', *WEIGHTS])}")
        rates = list(dropout.values()) if isinstance(dropout, Mapping) else [dropout]
        if not all(0 <= rate < 1 for rate in rates):
            raise Refusal(f"dropout is a probability below 1, not {dropout}")
        self.levels = LogNormal() if levels is None else levels
        self.weight, self.dropout = weight, dropout

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, Trainable):
            raise Refusal(f"Denoising trains a denoiser with a network (Preconditioned), not {type(model).__name__}")
        t, weight = self.levels(model.process, tuple(x.shape[1:]), rng.at("levels"))
        cond = cond.dropout(self.dropout, rng.at("dropout"))
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        answer = model(x_t, t, cond, want=("output",))
        error = (answer.aux["output"] - model.target(x, x_t, t)).float().square().flatten(1).mean(1)
        if self.weight != "output":
            snr = model.process.log_snr(t).exp().clamp(max=_LARGEST_SNR)  # type: ignore[attr-defined]
            weight = weight * WEIGHTS[self.weight](snr) * model.sharpness(t) ** 2
        return Loss(error * weight.to(error), {}, Shot(x, x_t, t, cond, answer))

    def update(self, model: Denoiser, loss: Loss) -> None:
        if loss.shot is not None:
            self.levels.update(loss.shot.t, loss.value.detach())
