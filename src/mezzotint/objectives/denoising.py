"""Denoising: corrupt, ask, compare - the loss of nearly every diffusion model.

    E over t, noise of  w(t) | F - F* |^2  per entry,

where F is what the network said and F* what it should have said (``model.target``), so the preconditioning is part of
the weight. The standard weights are written on the error of the clean estimate, w_x0, and carried over:

| name      | on squared x_0 error     | is                                                                    |
|-----------|---------------------------|-----------------------------------------------------------------------|
| output    | 1 / out^2                 | plain error of the network's output                                   |
| x0        | 1                         |                                                                       |
| noise     | SNR                       | "simple", Ho et al. 2020 (2006.11239, eq. 14)                         |
| v         | SNR + 1                   | Salimans and Ho 2022 (2202.00512)                                     |
| velocity  | (1 + 1 / kappa)^2         | flow matching, kappa = sigma / alpha; Lipman et al. 2022 (2210.02747) |
| edm       | SNR + 1 / d^2             | Karras et al. 2022 (2206.00364, table 1); "output" of an "edm" network |
| min_snr   | min(SNR, 5)               | Hang et al. 2023 (2303.09556, gamma = 5): min(SNR, 5) / SNR on noise  |
| p2        | SNR / (1 + SNR)           | Choi et al. 2022 (2204.00227, k = gamma = 1): 1 / (1 + SNR) on noise  |

Each is a function of the SNR alone (d is the standard deviation of the data), so it means the same on every process and
for every prediction; v is that of the process scaled to alpha^2 + sigma^2 = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.conditions.augment import Augment
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.objectives.base import Levels, Loss, Objective, Shot, heard, probabilities
from mezzotint.objectives.levels import LogNormal

WEIGHTS: Mapping[str, Callable[[Tensor, float], Tensor]] = MappingProxyType(
    {
        "x0": lambda snr, d: torch.ones_like(snr),
        "noise": lambda snr, d: snr,
        "v": lambda snr, d: snr + 1,
        "velocity": lambda snr, d: (1 + snr.sqrt()) ** 2,
        "edm": lambda snr, d: snr + d**-2,
        "min_snr": lambda snr, d: snr.clamp(max=5.0),
        "p2": lambda snr, d: snr / (1 + snr),
    }
)
"""Weights on the squared error of the clean estimate, by (SNR, sigma_data)."""
_LARGEST_SNR = 1e12  # an infinite one times a vanishing error of the estimate would be undefined


def weigh(weight: str, model: Trainable, t: Tensor, drawn: Tensor) -> Tensor:
    """The weight (B,) on the squared error of the network's output: a standard one carried over, times the levels'."""
    if weight == "output":
        return drawn
    snr = model.process.log_snr(t).exp().clamp(max=_LARGEST_SNR)  # type: ignore[attr-defined]
    return drawn * WEIGHTS[weight](snr, model.sigma_data) * model.sharpness(t) ** 2


class Denoising(Objective):
    """Mean squared error of the network's answer at random noise levels.

    Arguments:
        levels: where to train.
        weight: ``output`` or one of the standard weights above.
        dropout: probability of dropping a condition family, one number or one a family; it trains the null that
            classifier-free guidance needs. 0 trains none.
        augment: what is done to a condition before the model hears it, such as ``conditions.Noised``; None: nothing.
    """

    def __init__(
        self,
        levels: Levels | None = None,
        weight: str = "output",
        dropout: float | Mapping[str, float] = 0.1,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        if weight != "output" and weight not in WEIGHTS:
            raise Refusal(f"there is no weight {weight!r}: {nearest(weight, ['output', *WEIGHTS])}")
        self.levels = LogNormal() if levels is None else levels
        self.weight, self.dropout, self.augment = weight, probabilities(dropout), augment

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, Trainable):
            raise Refusal(f"Denoising trains a denoiser with a network (Preconditioned), not {type(model).__name__}")
        t, drawn = self.levels(model.process, tuple(x.shape[1:]), rng.at("levels"))
        cond = heard(cond, t, self.dropout, self.augment, rng)
        x_t = model.process.corrupt(x, t).sample(rng.at("noise"))
        due = model.target(x, x_t, t)
        answer = model(x_t, t, cond, want=("output",))
        error = (answer.aux["output"] - due).square().flatten(1).mean(1)
        weight = weigh(self.weight, model, t, drawn)
        return Loss(error * weight.to(error), {}, Shot(x, x_t, t, cond, answer, drawn))

    def update(self, model: Denoiser, loss: Loss) -> None:
        if loss.shot is not None:
            self.levels.update(loss.shot.t, loss.unweighted())
