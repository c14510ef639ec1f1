"""Averages of the weights, of several lengths at once, and of any length afterwards.

A power-function average after step t weighs step s by s^gamma, so its length grows with training and is stated
relative to it: sigma_rel is the width of the profile as a share of t. It is updated by

    theta_avg <- beta_t theta_avg + (1 - beta_t) theta,   beta_t = (1 - 1/t)^(gamma + 1),
    sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)).

Averages are linear in the history of the weights, so a length that was never tracked is a combination of snapshots
that were: the one whose profile is nearest in least squares, with

    <(t_a, g_a), (t_b, g_b)> = (g_a + 1)(g_b + 1)(t_a / t_b)^g_b / ((g_a + g_b + 1) t_b)   for t_a <= t_b.

Source: Karras et al. 2024, "Analyzing and improving the training dynamics of diffusion models" (2312.02696),
section 3.1 to 3.3 and appendix C.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mezzotint.core.errors import Refusal

Floats = NDArray[np.float64]
LONGEST = 0.28  # gamma >= 0: at gamma = 0 every step counts alike and sigma_rel = 1 / sqrt(12)


def gamma_of(sigma_rel: float) -> float:
    """The power whose profile has this relative width: the positive root of (g + 2)^2 (g + 3) s^2 = g + 1."""
    if not 0 < sigma_rel <= LONGEST:
        raise Refusal(f"the relative length of an average lies in (0, {LONGEST}], not {sigma_rel}")
    inverse = sigma_rel**-2
    return float(max(root.real for root in np.roots([1, 7, 16 - inverse, 12 - inverse]) if abs(root.imag) < 1e-9))


def sigma_rel_of(gamma: float) -> float:
    """The relative width of a power."""
    return float(np.sqrt(gamma + 1) / ((gamma + 2) * np.sqrt(gamma + 3)))


class PowerAverage:
    """One average beside a model in training.

    Arguments:
        model: whose weights are averaged; buffers are copied.
        sigma_rel: its relative length.
    """

    def __init__(self, model: nn.Module, sigma_rel: float) -> None:
        self.sigma_rel, self.gamma = sigma_rel, gamma_of(sigma_rel)
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after optimiser step ``step`` (1 for the first)."""
        beta = (1 - 1 / step) ** (self.gamma + 1)
        mine: list[Tensor] = list(self.model.parameters())
        if mine:
            torch._foreach_lerp_(mine, [p.detach() for p in model.parameters()], 1 - beta)
        for own, other in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(other)


def inner(t_a: Floats, gamma_a: Floats, t_b: Floats, gamma_b: Floats) -> Floats:
    """The inner product of two averaging profiles, elementwise."""
    early = t_a <= t_b
    t_low, t_high = np.where(early, t_a, t_b), np.where(early, t_b, t_a)
    g_high = np.where(early, gamma_b, gamma_a)
    result: Floats = (gamma_a + 1) * (gamma_b + 1) * (t_low / t_high) ** g_high / ((gamma_a + gamma_b + 1) * t_high)
    return result


def combination(steps: Sequence[float], gammas: Sequence[float], step: float, gamma: float) -> Floats:
    """The weights of snapshots (step, gamma) whose sum is nearest to the average (``step``, ``gamma``).

    The weights are not forced to sum to one: the least-squares solution does so by itself where it is good.
    """
    t, g = np.asarray(steps, np.float64), np.asarray(gammas, np.float64)
    gram = inner(t[:, None], g[:, None], t[None, :], g[None, :])
    goal = inner(t, g, np.full_like(t, step), np.full_like(g, gamma))
    return np.asarray(np.linalg.lstsq(gram, goal, rcond=None)[0], np.float64)


def combine(snapshots: Sequence[dict[str, Tensor]], weights: Floats) -> dict[str, Tensor]:
    """The weighted sum of snapshots, accumulated in float64; what is not floating point is the last snapshot's."""
    last = snapshots[-1]
    out: dict[str, Tensor] = {}
    for name, value in last.items():
        if value.is_floating_point():
            total = sum(float(w) * s[name].double() for w, s in zip(weights, snapshots, strict=True))
            out[name] = torch.as_tensor(total).to(value.dtype)
        else:
            out[name] = value
    return out
