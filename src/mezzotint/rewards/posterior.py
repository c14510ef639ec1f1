"""The exact class posterior of a mixture: the classifier that classifier guidance would have, had it no error.

log p(class | x_t) of an exact denoiser, with gradients by autograd. On it guidance has identities and not only trends:
climbing it from the unconditional denoiser by scale 1 gives the conditional one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mezzotint.rewards.base import ClassReward


class Posterior(ClassReward):
    """log p(class | x_t) of an exact denoiser whose components carry labels.

    Arguments:
        mixture: an exact denoiser, such as :class:`~mezzotint.denoiser.Mixture`; it is asked for ``classes``.
        family: the condition family that holds the class.
    """

    def __init__(self, mixture: torch.nn.Module, family: str = "label") -> None:
        super().__init__()
        self.mixture, self.family = mixture, family

    def logs(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        t = x.new_zeros(len(x), dtype=torch.float64) if t is None else t
        answer: Any = self.mixture(x, t, want=("classes",))
        logs: Tensor = answer.aux["classes"]
        return logs
