"""The bound of a learnt chain: what it costs to say each finer map of symbols given the coarser one.

    -log p(x_0) <= sum over stages of  L_t  - log-likelihood lost at t = 1 (nothing: x_1 is uniform),

    soft    L_t = E sum_i KL( q(x_s^i | x_t, x_0) || p(. | x_s^{<i}, x_t) )
    hard    L_t = E [ log q(x_s | x_t, x_0) - log p(x_s | x_t) ],

x_s and x_t a pair of one forward run, and the prefix x_s^{<i} the *sampled* one in both. They have one mean: soft takes
the expectation over x_s^i in closed form (Rao-Blackwell) and has less variance. The published hard loss leaves out
log q, which no model changes; with it both are nats of the bound. In the stage that ends at 0 the posterior is the
data, and both are the plain log-likelihood. With one stage that is all: an autoregressive model's exact -log p(x_0).

One random stage per sample, T times its term, estimates the sum without bias.

Source: Esser et al. 2021, ImageBART (2108.08827), and its published code for the mixture of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Loss, Objective, Shot, probabilities
from mezzotint.objectives.bound import bits


class ChainBound(Objective):
    """Nats per sample that a chain of autoregressive laws takes, by one stage a sample drawn at random.

    ``parts`` holds the bound in ``bits`` per dimension. It trains ``denoiser.Chain`` and ``denoiser.Autoregressive``.

    Arguments:
        soft: the share of the soft loss, in [0, 1]; True is 1, False 0.
        stage: train this one alone, 0 that of t = 1, so that stages can be trained in runs of their own; its value is
            then that stage's term. None: all of them.
        dropout: probability of dropping a condition family, one number or one a family.
    """

    summed = True

    def __init__(self, soft: float = 1.0, stage: int | None = None, dropout: float | Mapping[str, float] = 0.0) -> None:
        super().__init__()
        if not 0 <= float(soft) <= 1:
            raise Refusal(f"soft is a share in [0, 1], not {soft}")
        if stage is not None and (isinstance(stage, bool) or not isinstance(stage, int) or stage < 0):
            raise Refusal(f"a stage is counted from 0, not {stage!r}")
        self.soft, self.stage, self.dropout = float(soft), stage, probabilities(dropout)

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        process: Any = model.process
        times = model.times
        if times is None or (model.clean and len(times) > 1):
            raise Refusal(
                "ChainBound trains what answers about the next of its own times, such as denoiser.Chain, or an "
                "autoregressive model at t = 1"
            )
        count, (t, s) = len(times), self._interval(times, len(x), rng.at("levels"))
        cond = cond.dropout(self.dropout, rng.at("dropout"))
        noise = rng.at("noise")
        x_s = process.corrupt(x, s).sample(noise.at("fine"))
        x_t = process.renoise(x_s, s, t).sample(noise.at("coarse"))
        answer: Any = model(x_t, t, cond)
        if answer.entrywise:
            raise Refusal(f"ChainBound reads laws of whole samples, but this model gives a {type(answer).__name__}")
        said, due = answer.conditionals(x_s), process.bridge(x_t, x, t, s)
        due = Categorical(due.logits[..., : said.logits.shape[-1]])  # at s = 0, where nothing is masked any more
        nats = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        if self.soft > 0:
            nats = nats + self.soft * due.kl(said)
        if self.soft < 1:
            nats = nats + (1 - self.soft) * (due.log_prob(x_s) - said.log_prob(x_s))
        value = (nats * (count if self.stage is None else 1) + self._idle(model)).float()
        parts = {"bits": bits(value.detach(), tuple(x.shape[1:]))}
        return Loss(value, parts, Shot(x, x_t, t, cond, answer, entries=said))

    def _interval(self, times: Tensor, rows: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """From where to where each row goes, float64 (B,) on the CPU."""
        count = len(times)
        if self.stage is not None and self.stage >= count:
            raise Refusal(f"this chain has the stages 0 .. {count - 1}, and no stage {self.stage}")
        if self.stage is not None:
            k = torch.full((rows,), self.stage)
        else:
            k = (rng.uniform("stage", ()) * count).long().clamp(max=count - 1)
        return times[k], torch.cat((times[1:], times.new_zeros(1)))[k]

    @staticmethod
    def _idle(model: Denoiser) -> Tensor | float:
        """Zero, which depends on every weight.

        A stage that no row of a batch is in has a gradient all the same, of zeros: several processes wait for one of
        every weight, and an optimiser that remembers would otherwise go on there or not by how a batch is shared.
        """
        if not torch.is_grad_enabled():
            return 0.0
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return 0.0 * torch.stack([weight.reshape(-1)[0] for weight in weights]).sum() if weights else 0.0
