"""Any-order autoregression: one symbol at a time, each given all that were said before.

An absorbing model knows p(x^i | any others), so it can say a text in any order, and one symbol a question is its joint
law with nothing lost: what entries drawn at once do not know of each other is never needed. The order is drawn, every
one alike, or that of reading; on a process of blocks it is an order within each, and the first block is said first.
Which symbols are said by which time is settled by the process's own schedule, so states on the way look like corrupted
data, and any grid makes the same law; it takes as many questions as there are entries.

Sources: Uria et al. 2014, "A deep and tractable density estimator" (1310.1757); Hoogeboom et al. 2021, "Autoregressive
diffusion models" (2110.02037, algorithm 1); Ou et al. 2024, RADD (2406.03736, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.discrete import check_mask
from mezzotint.samplers.base import Sampler, State
from mezzotint.samplers.unmasking import due, turns

ORDERS: Mapping[str, Callable[[Rng, int], Tensor]] = MappingProxyType(
    {
        "random": lambda rng, entries: rng.uniform("place", (entries,)),
        "raster": lambda rng, entries: torch.arange(entries, dtype=torch.float64).expand(len(rng), -1),
    }
)
"""By name: (rng, L) -> numbers (B, L), of which the least that is masked is said next."""


@dataclass(frozen=True)
class AnyOrder(Sampler):
    """x^i ~ p(x^i | what is said), one entry i after the other.

    Arguments:
        steps: intervals, in which the entries are said as the schedule has it; evaluations are as many as entries.
        order: ``random``, every order alike, or ``raster``, row by row.
    """

    order: str = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in ORDERS:
            raise Refusal(f"there is no order {self.order!r}: {nearest(self.order, list(ORDERS))}")

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = check_mask(denoiser.process, "AnyOrder")
        x, flat = state.x, state.x.flatten(1)
        masked, count = due(process, x, state.t, s)
        first = turns(process, x) * flat.shape[1]  # no rank is as large as the entries are many
        for turn in range(int(count.max())):
            rows = (count > turn).nonzero()[:, 0]
            here = rows.cpu()
            rng = state.rng[here].at(turn)
            answer = denoiser(flat[rows].reshape(-1, *x.shape[1:]), state.t[here], cond[here] if cond else cond)
            symbols = answer.sample(rng).flatten(1)
            rank = ORDERS[self.order](rng, flat.shape[1]).to(x.device)
            place = (rank + first).masked_fill(~masked[rows], torch.inf).argmin(1)
            flat = flat.index_put((rows, place), symbols.gather(1, place[:, None])[:, 0])
            masked = masked.index_put((rows, place), torch.zeros_like(place, dtype=torch.bool))
        return flat.reshape(x.shape), state.memory
