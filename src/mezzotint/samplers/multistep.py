"""Multistep sampling: lean on the last answers instead of asking again.

DPM-Solver++ integrates the answer D as a polynomial in lambda = log(alpha / sigma) through the last evaluations, so an
interval costs one evaluation at second or third order. All of it is one extrapolation: the interval is walked as DDIM
walks it, towards

    D* = D_0 + (h / 2 h_1) (D_0 - D_1)                                            second order ("midpoint")
    D* = D_0 + (phi_2 / phi_1) E_1 + (phi_3 / phi_1) E_2                          third order, phi_k at -h

instead of D_0, with h = lambda_s - lambda_t, h_i the earlier steps and E_1, E_2 the divided differences that stand for
h D' and h^2 D''. With fresh noise (eta > 0) it is the bridge of the process towards D*: eta = 1 is SDE-DPM-Solver++.

The reference code and its ports halve E_2, which leaves the third order method with second order errors
(``compat="reference"``). The interval that ends at clean data, the first one, and any that begins where no data is left
have no finite polynomial in lambda and are of first order.

Source: Lu et al. 2022, "DPM-Solver++" (2211.01095, algorithm 2 and appendix A).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Dirac, Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.base import Continuous
from mezzotint.samplers.base import State, Transition, continuous
from mezzotint.samplers.history import History, left, phis, unbroken

_FEW = 10  # steps below which the reference lowers the order at the end


@dataclass(frozen=True)
class Multistep(Transition):
    """DPM-Solver++ in the data prediction: one evaluation an interval.

    Arguments:
        steps: intervals.
        order: 1 (DDIM, or DDPM with eta = 1), 2 (2M) or 3 (3M).
        eta: the share of fresh noise, in standard deviations: 0 none, 1 SDE-DPM-Solver++.
        compat: ``"reference"`` computes third order as the reference code does, with half the second difference.
        lower_order_final: lower the order towards clean data, by the intervals its own grid has left; None: with fewer
            than 10 steps, as the reference does.
    """

    order: int = 2
    eta: float = 0.0
    compat: str | None = None
    lower_order_final: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2, 3):
            raise Refusal(f"Multistep has the orders 1, 2 and 3, not {self.order!r}")
        if not 0 <= self.eta <= 1:
            raise Refusal(f"eta lies between 0 (no fresh noise) and 1 (SDE-DPM-Solver++), not {self.eta}")
        if self.compat not in (None, "reference"):
            raise Refusal(f"compat is None or 'reference', not {self.compat!r}")

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        return self.kernel(denoiser, state, s, cond)[0]

    def kernel(
        self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition
    ) -> tuple[Distribution, tuple[Tensor, ...]]:
        process = continuous(denoiser, self)
        answer, memory = denoiser(state.x, state.t, cond).mean, state.memory
        ahead = answer
        if self.order > 1:
            past = History.of(memory, self.order - 1, state.x, state.t)
            ahead, memory = self._ahead(process, answer, past, state.t, s), past.after(answer, state.t, s)
        return process.bridge(state.x, Dirac(ahead), state.t, s, self.eta), memory

    def _ahead(self, process: Continuous, answer: Tensor, past: History, t: Tensor, s: Tensor) -> Tensor:
        """D*, to which the interval is walked."""
        at, usable = past.lambdas(process, t, s)
        order = (unbroken(usable[2:]) + 1).clamp(max=self.order)
        if self.lower_order_final or (self.lower_order_final is None and self.steps < _FEW):
            order = torch.minimum(order, left(self.grid, process, self.steps, s) + 1)
        h = at[0] - at[1]
        order = torch.where(torch.isfinite(h) & (h > 0), order, 1)
        # Any finite numbers where they are not used.
        h = torch.where(order > 1, h, 1.0)
        gaps = torch.stack([torch.where(order > i, at[i] - at[i + 1], 1.0) for i in range(1, self.order)])
        q = h / gaps[0]
        first, second = 0.5 * q, torch.zeros_like(q)
        if self.order == 3:
            one, two, three = phis(3, -_decay(h, self.eta))
            both = gaps[0] + gaps[1]
            lean = two / one * gaps[0] / both
            bend = three / one * (1.0 if self.compat else 2.0) * h / both
            first = torch.where(order == 3, (two / one + lean + bend) * q, first)
            second = torch.where(order == 3, -(lean + bend) * h / gaps[1], 0.0)
        first = torch.where(order > 1, first, 0.0)
        newest = past.answers[0]
        ahead = answer + expand(first, answer).to(answer) * (answer - newest)
        if self.order == 3:
            ahead = ahead + expand(second, answer).to(answer) * (newest - past.answers[1])
        return ahead


def _decay(h: Tensor, eta: float) -> Tensor:
    """How fast the interval forgets x_t: e^-decay is the weight of the noise in it. h without fresh noise, 2 h with."""
    # Not by logaddexp, whose last bit depends on a row's place in the batch; the sum has no cancellation to avoid.
    return h - 0.5 * ((1 - eta**2) + eta**2 * (-2 * h).exp()).clamp(min=1e-300).log()
