"""How strongly: a number, a function of the noise level, or a family of the condition.

A function takes levels u in [0, 1] and returns scales of the same shape; it is asked at the level of every evaluation,
so it means the same on every process and at every step count. A family holds one scale per sample. NaN leaves the plain
model alone, whatever number says so elsewhere: 1 for a contrast, 0 for a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.core.condition import Condition, family
from mezzotint.core.errors import Refusal

Scale = float | str | Callable[[Tensor], Tensor]


def read_from(scale: Scale) -> tuple[str, ...]:
    """The condition family a scale is read from, if it is read from one."""
    return (family(scale),) if isinstance(scale, str) else ()


def evaluate(scale: Scale, u: Tensor, cond: Condition, plain: float) -> Tensor:
    """The scale of every row (or entry) at levels ``u``, float64 in the shape of ``u``.

    Arguments:
        scale: what to read.
        u: levels, (B,) or of the rank of x with ones.
        cond: where a family would be.
        plain: the scale of the plain model, which stands in for NaN.

    Raises:
        Refusal: if the condition does not hold the family, or the values do not fit the levels.
    """
    if isinstance(scale, str):
        if scale not in cond:
            raise Refusal(f"the scale is to be read from {scale!r}, which the condition does not hold")
        values: Tensor = cond[scale]
        if values.numel() != len(u):
            raise Refusal(f"{scale!r} holds scales of shape {tuple(values.shape)}, but one per sample is read: (B,)")
        found = values.to(device=u.device, dtype=torch.float64).reshape(-1, *(1 for _ in range(u.ndim - 1)))
    elif callable(scale):
        found = torch.as_tensor(scale(u), dtype=torch.float64, device=u.device)
        if found.shape not in (u.shape, ()):
            raise Refusal(
                f"a scale that is a function of the level was given levels {tuple(u.shape)} and returned "
                f"{tuple(found.shape)}: return one scale per level"
            )
    else:
        found = torch.full_like(u, float(scale), dtype=torch.float64)
    return torch.where(found.isnan(), plain, found).expand_as(u)
