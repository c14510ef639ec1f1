"""A reward that is the log-probability of a class: log p(c | x) in nats, the class read from the condition.

Whoever can say how likely each class is - a classifier of clean pictures, one that was trained on noisy ones, an exact
posterior - is a reward for the class a sample was asked for. Samples whose class was dropped are not judged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module


class ClassReward(Module, ABC):
    """log p(class | x), the class being the value of a condition family, integers (B,).

    Attributes:
        family: which family holds it.
    """

    family: str

    @abstractmethod
    def logs(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """log p(class | x) in nats for every class, (B, classes).

        Arguments:
            x: (B, *shape).
            t: the time of noisy samples, (B,); None: they are clean.
        """

    def wanted(self, cond: Condition) -> tuple[Tensor, Tensor]:
        """The class of each row (B,), and whether it was kept, bool (B,).

        Raises:
            Refusal: if the condition holds no such family, or something other than one integer per sample.
        """
        if self.family not in cond:
            raise Refusal(
                f"the class to reward is read from {self.family!r}, but the condition holds "
                f"{', '.join(cond.families) or 'nothing'}"
            )
        label: Tensor = cond[self.family]
        if label.ndim != 1 or label.is_floating_point() or label.dtype == torch.bool:
            raise Refusal(f"classes are integers (B,), not {label.dtype} of shape {tuple(label.shape)}")
        return label.long(), cond.kept(self.family)

    def forward(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        """log p(class | x) of each row's own class (B,), and NaN where it was dropped."""
        label, kept = self.wanted(cond)
        return self.pick(self.logs(x, t), label, kept)

    def pick(self, logs: Tensor, label: Tensor, kept: Tensor) -> Tensor:
        """The entries (B,) of ``logs`` (B, classes) at the classes of :meth:`wanted`, and NaN where they are not kept.

        Raises:
            Refusal: if a class is out of range.
        """
        label, kept = label.to(logs.device), kept.to(logs.device)
        if label.device.type == "cpu":  # on an accelerator this would wait for it
            wrong = label[kept & ((label < 0) | (label >= logs.shape[1]))]
            if len(wrong):
                raise Refusal(f"class {int(wrong[0])} is out of range: there are the classes 0 to {logs.shape[1] - 1}")
        chosen = logs.gather(1, label.clamp(0, logs.shape[1] - 1)[:, None])[:, 0]
        return torch.where(kept, chosen, torch.nan)
