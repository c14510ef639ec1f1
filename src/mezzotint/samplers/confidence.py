"""Confidence decoding: say every masked symbol, keep those the model is surest of, mask the others again.

In each interval all masked entries are drawn from the answer; of them as many stay as the schedule has it, those with
the largest

    log p(drawn symbol) + temperature s Gumbel noise,

so early choices are loose and late ones greedy. On a process of blocks that goes for each, and a block is said before
the next one is begun. It takes few steps where entries hang together, and pays with a law that is not the model's: sure
symbols are preferred, at any number of steps, unless they are said one at a time at a temperature without end.

Source: Chang et al. 2022, MaskGIT (2202.04200, section 3.3); the noise and its linear annealing are those of the
authors' code, with 4.5 for ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.discrete import check_mask
from mezzotint.samplers.base import Sampler, State
from mezzotint.samplers.unmasking import due, turns


@dataclass(frozen=True)
class Confidence(Sampler):
    """MaskGIT's parallel decoding; the schedule is the process's own, with ``Sine()`` the paper's cosine.

    Arguments:
        steps: intervals, one evaluation each; every one says at least one symbol while there are masked ones.
        temperature: of the Gumbel noise at t = 1, falling linearly to 0 at t = 0; 0 draws symbols but never places.
    """

    temperature: float = 4.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.temperature < float("inf"):
            raise Refusal(f"a temperature is a finite number of 0 or more, not {self.temperature}")

    def move(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> tuple[Tensor, tuple[Tensor, ...]]:
        process = check_mask(denoiser.process, "Confidence")
        x, flat = state.x, state.x.flatten(1)
        masked, count = due(process, x, state.t, s)
        count = torch.minimum(count.clamp(min=1), masked.sum(1))
        answer = denoiser(x, state.t, cond)
        symbols = answer.sample(state.rng)
        sure = answer.mean.double().gather(-1, symbols[..., None])[..., 0].log().flatten(1)
        gumbel = -(-state.rng.uniform("gumbel", (flat.shape[1],)).clamp(min=1e-300).log()).log()
        noise = self.temperature * expand(s, x).expand(x.shape).flatten(1) * gumbel
        rank = (sure + noise.to(sure)).masked_fill(~masked, -torch.inf)
        order = rank.argsort(dim=1, descending=True, stable=True)
        turn = turns(process, x).expand(x.shape[0], -1).masked_fill(~masked, flat.shape[1])
        place = order.gather(1, turn.gather(1, order).argsort(dim=1, stable=True)).argsort(dim=1)
        said = torch.where(masked & (place < count[:, None]), symbols.flatten(1), flat)
        return said.reshape(x.shape), state.memory
