"""What to do when a loss is not a number: skip the step, count, name where it began, stop when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.core import ranks
from mezzotint.core.errors import Refusal

NOWHERE = "the loss itself"


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        value = value.to_local() if hasattr(value, "to_local") else value  # of a gradient in pieces, the piece here
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, tuple | list):
        return all(_finite(item) for item in value)
    return True


def culprit(model: nn.Module, again: Callable[[], object]) -> str:
    """The first place where something is not finite: a weight, a module's answer when ``again`` runs, or a gradient.

    Processes look at their own part of the batch; they agree on what the first of them found that found anything.
    """
    found = ranks.texts(_culprit(model, again))
    return next((where for where in found if where != NOWHERE), NOWHERE)


def _culprit(model: nn.Module, again: Callable[[], object]) -> str:
    for name, parameter in model.named_parameters():
        if not _finite(ranks.whole(parameter)):  # the same on all processes, so that all of them go on or none
            return f"the weight {name}"
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and not _finite(output):
                found.append(f"the answer of {name} ({type(module).__name__})")

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            again()
    finally:
        for handle in hooks:
            handle.remove()
    if found:
        return found[0]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not _finite(parameter.grad):
            return f"the gradient of {name}"
    return NOWHERE


class Skips:
    """Counts skipped steps and stops a run that does not recover.

    Arguments:
        patience: how many in a row are too many.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.total, self.running = patience, 0, 0

    def good(self) -> None:
        """A step went through."""
        self.running = 0

    def restore(self, total: int, running: int) -> None:
        """Go on counting where a checkpoint was written."""
        self.total, self.running = total, running

    def bad(self, where: str) -> None:
        """A step was skipped; refuses to go on after ``patience`` in a row."""
        self.total += 1
        self.running += 1
        if self.running >= self.patience:
            raise Refusal(
                f"training stopped: {self.running} steps in a row were not finite, beginning in {where}; "
                "the last checkpoint is intact - lower training.rate.peak, clip harder, or use precision fp32"
            )

    def end(self, steps: int) -> None:
        """All ``steps`` are done; refuses to call a run trained of which not one was finite."""
        if steps and self.total >= steps:
            raise Refusal(
                f"nothing was trained: not one of {steps} steps was finite, so the model is what it was at the start; "
                "mezzotint doctor says where it began"
            )
