"""The contract of a reward: how good each sample is, by itself and the same every time; higher is better."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.reward import Reward
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part
from mezzotint.testing.expect import close, expect, finite, same, works
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import SHAPE, labels

_COUNT = 5


def check_reward(reward: Reward, x: Tensor | None = None, cond: Condition | None = None) -> None:
    """Check that a reward keeps the promises search and guidance rely on.

    Arguments:
        reward: an instance, or a function.
        x: samples, five rows; None: noise of the reward's own shape, or (1, 2, 3).
        cond: five rows; None: labels.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(reward).__name__
    if isinstance(reward, Part):
        check_made(reward)
    shape = cast(tuple[int, ...], tuple(getattr(reward, "shape", SHAPE)))
    x = 0.5 * Rng(range(_COUNT)).normal("x", shape) if x is None else x
    told = labels(len(x)) if cond is None else cond
    with works(f"asking {who}", "search asks about every candidate"):
        times = [None, torch.full((len(x),), 0.4, dtype=torch.float64)]
        answered = [_judges(reward, x, told, t, who) for t in times]
    expect(any(answered), f"{who} should judge clean samples or noisy ones but refuses both; nothing could use it")


def _judges(reward: Reward, x: Tensor, cond: Condition, t: Tensor | None, who: str) -> bool:
    """Check one way of asking; False where the reward refuses it."""
    what = f"{who} of {'clean' if t is None else 'noisy'} samples"
    try:
        value = reward(x, cond, t)
    except Refusal:
        return False
    fits = value.shape == (len(x),) or (value.ndim == 2 and len(value) == len(x))
    expect(
        fits,
        f"{what} should be (B,) or (B, R) for {len(x)} samples but is {tuple(value.shape)}; rows are compared",
    )
    expect(value.is_floating_point(), f"{what} should be floating point but is {value.dtype}; NaN abstains")
    expect(not bool(torch.isinf(value).any()), f"{what} should not be infinite; NaN says that there is no opinion")
    value, again = value.detach(), reward(x, cond, t).detach()
    same(f"{what} asked twice", again.nan_to_num(), value.nan_to_num(), "a search compares candidates over time")
    for rows in ([3], [4, 0]):
        few = reward(x[rows], cond[rows] if cond else cond, None if t is None else t[rows]).detach()
        close(
            f"rows {rows} of {what} in a batch of their own",
            few.nan_to_num(),
            value[rows].nan_to_num(),
            1e-5,
            "a sample is judged by itself",
        )
    at = x.clone().requires_grad_()
    climbed = reward(at, cond, t)
    if climbed.requires_grad:  # only then can guidance climb it
        (gradient,) = torch.autograd.grad(climbed.nan_to_num().sum(), at)
        finite(f"the gradient of {what}", gradient, "guidance climbs it")
    return True
