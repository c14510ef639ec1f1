"""UniPC: a multistep prediction, mended by the next evaluation, which is needed anyway.

An interval t -> s of length h = lambda_s - lambda_t (lambda = log(alpha / sigma)) is walked by a predictor of order p
from the last p answers. When the model is asked at s - as it is for the next interval - its answer also says how wrong
the prediction was, and the corrector adds the difference: one order more for no further evaluation. With z = -h,
differences D_k = (m_k - m_0) / r_k, r_k = (lambda_k - lambda_t) / h for earlier answers and r_p = 1 for the new one,

    base      = (sigma_s / sigma_t) x_t - alpha_s expm1(z) m_0
    predictor = base - alpha_s B sum_{k < p} rho_k D_k
    corrector = base - alpha_s B sum_{k <= p} rho'_k D_k,     sum_k rho_k r_k^(q-1) = q! z phi_{q+1}(z) / B

and B = z (``bh1``) or expm1(z) (``bh2``). The two share their base, so only answers and times are remembered; a state
that was changed between intervals keeps its change. The last interval is not corrected.

Source: Zhao et al. 2023, "UniPC: a unified predictor-corrector framework" (2302.04867, eq. 3 to 10, algorithms 5, 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Dirac, expand
from mezzotint.core.errors import Refusal, nearest
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.base import Continuous
from mezzotint.samplers.base import Sampler, State, continuous
from mezzotint.samplers.history import History, left, phis, unbroken

VARIANTS = ("bh1", "bh2")
_FEW = 10


@dataclass(frozen=True)
class UniPC(Sampler):
    """UniPC in the data prediction: one evaluation an interval, order p + 1.

    Arguments:
        steps: intervals.
        order: p of the predictor, 1, 2 or 3; the corrector brings one more.
        variant: ``bh1`` (few steps, unguided) or ``bh2``.
        lower_order_final: lower the order towards clean data, by the intervals its own grid has left; None: with fewer
            than 10 steps.
    """

    order: int = 2
    variant: str = "bh2"
    lower_order_final: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2, 3):
            raise Refusal(f"UniPC has the orders 1, 2 and 3, not {self.order!r}")
        if self.variant not in VARIANTS:
            raise Refusal(f"there is no variant {self.variant!r} of UniPC: {nearest(self.variant, list(VARIANTS))}")

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = continuous(denoiser, self)
        x, t = state.x, state.t
        past = History.of(state.memory, self.order, x, t)
        answer = denoiser(x, t, cond).mean
        at, usable = past.lambdas(process, t, s)
        (alpha, _), (alpha_s, _) = process.scales(t, x), process.scales(s, x)
        if state.memory:
            # The interval that led here began at t_1 with m_1, and `answer` is the new evidence about it.
            wrong = self._lean(self._order(process, at[1:], usable[1:], t), at[1:], past.answers, answer)
            arrived = expand((past.times[0] > t) & (t != s), x).to(x.device)
            x = x - torch.where(arrived, alpha.to(x) * wrong, 0.0)
        base = process.bridge(x, Dirac(answer), t, s, 0.0).mean
        told = self._lean(self._order(process, at[:-1], usable[:-1], s), at[:-1], (answer, *past.answers[:-1]), None)
        moved = base - alpha_s.to(x) * told
        return torch.where(expand(t == s, x).to(x.device), state.x, moved), past.after(answer, t, s)

    def _order(self, process: Continuous, at: Tensor, usable: Tensor, s: Tensor) -> Tensor:
        """p of an interval; ``at`` and ``usable`` as from the history: where it ends, where it begins, and before."""
        order = (unbroken(usable[2:]) + 1).clamp(max=self.order)
        if self.lower_order_final or (self.lower_order_final is None and self.steps < _FEW):
            order = torch.minimum(order, left(self.grid, process, self.steps, s) + 1)
        h = at[0] - at[1]
        return torch.where(torch.isfinite(h) & (h > 0), order, 1)

    def _lean(self, order: Tensor, at: Tensor, answers: tuple[Tensor, ...], new: Tensor | None) -> Tensor:
        """B sum_k rho_k D_k of the predictor; with a ``new`` answer, by how much the corrector's is larger."""
        h = at[0] - at[1]
        # From pure noise expm1(z) = -1: there the corrector of order 1 is the trapezium rule in alpha / sigma.
        finite = torch.isfinite(h) & (h > 0)
        z = -torch.where(finite, h, 1.0)
        size = torch.where(finite, z if self.variant == "bh1" else torch.expm1(z), -1.0)
        functions = phis(self.order + 1, z) if self.order > 1 else []
        first, total = answers[0], torch.zeros_like(answers[0])
        for p in range(1, self.order + 1):
            use = order == p
            if not bool(use.any()):
                continue
            r = [torch.where(use, (at[k + 2] - at[1]) / -z, -1.0 - k) for k in range(p - 1)]
            shares = [torch.zeros_like(z)] * p
            if new is not None:
                shares = _weights([*r, torch.ones_like(z)], z, size, functions)
            for k, weight in enumerate(_weights(r, z, size, functions)):
                shares[k] = shares[k] - weight if new is not None else weight
            for share, ratio, other in zip(shares, [*r, torch.ones_like(z)], [*answers[1:p], new], strict=True):
                if other is not None:
                    total = total + expand(torch.where(use, size * share / ratio, 0.0), first).to(first) * (
                        other - first
                    )
        return total


def _weights(r: list[Tensor], z: Tensor, size: Tensor, phi: list[Tensor]) -> list[Tensor]:
    """rho_k of the sum over ``r``; a single one is 1/2 by the paper's choice, right to the same order."""
    if len(r) < 2:
        return [torch.full_like(z, 0.5)] * len(r)
    rows = [torch.stack([at**q for at in r], -1) for q in range(len(r))]
    right = [math.factorial(q) * z * phi[q] / size for q in range(1, len(r) + 1)]
    solved = torch.linalg.solve(torch.stack(rows, -2), torch.stack(right, -1))
    return list(solved.unbind(-1))
