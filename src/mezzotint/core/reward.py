"""A reward: how good a sample is, for search, guidance and selection.

Higher is better. ``NaN`` abstains: a judge that cannot read a sample says so, and search treats it as no opinion.
Several columns (B, R) are compared by their mean rank, so that judges with different units can sit together.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal


@runtime_checkable
class Reward(Protocol):
    """``(x, cond, t=None) -> (B,)`` or ``(B, R)``; ``t`` (B,) is the time of noisy samples, None for clean ones."""

    def __call__(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor: ...


def gradient(judge: Callable[[Tensor], Tensor], x: Tensor, connected: bool = False) -> Tensor:
    """The gradient of each row's own reward, (B, *shape), also where gradients are switched off.

    Rows are summed and never averaged, so a row's gradient does not shrink with its batch. A row that abstains (NaN)
    has none.

    Arguments:
        judge: x -> rewards (B,), differentiable.
        x: where, (B, *shape).
        connected: whether the caller will differentiate the gradient itself, so that its graph has to be kept.
    """
    if torch.is_inference_mode_enabled():
        raise Refusal("a reward has no gradient in torch.inference_mode, which cannot be undone: use torch.no_grad")
    with torch.enable_grad():
        at = x if connected and x.requires_grad else x.detach().requires_grad_()
        value = judge(at)
        if value.shape != x.shape[:1]:
            raise Refusal(
                f"a gradient climbs one reward per sample, ({len(x)},), but this one gives {tuple(value.shape)}; "
                "choose a column or add them up"
            )
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(value.sum(), at, create_graph=connected, allow_unused=True)
    if slope is None:
        raise Refusal(
            "this reward does not depend on the sample by operations that can be differentiated, so there is no "
            "gradient to climb; search needs none"
        )
    abstains = value.detach().isnan().reshape(-1, *(1 for _ in x.shape[1:]))
    return torch.where(abstains, torch.zeros_like(slope), slope)
