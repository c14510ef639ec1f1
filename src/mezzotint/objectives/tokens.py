"""Three classes of one bound on -log p(x_0) of symbols that are masked: by level, by time, by count.

With c the answer about the masked entries M of x_t and lambda the share that is masked,

    LevelBound   lambda-DCE   E over lambda ~ U(0, 1) of         (1 / lambda) sum over M of  -log c
    TimeBound    t-DCE        E over t ~ U(0, 1) of       rate / (1 - alive)  sum over M of  -log c - log a
                 t-DSE        the same                                        without its log a (below)
    OrderBound   k-DCE, AO    E over k ~ U{1, .., L} of              (L / k)  sum over M of  -log c,  |M| = k

where a = alive / (1 - alive). All have the same mean, the mean over all orders of what an any-order autoregressive
model pays; with the exact conditionals that is -log p(x_0) itself. Sums are over entries, so a value is in nats per
sample. Averaging by the number of masked entries (MaskGIT) is another loss and bounds nothing.

The term log a has mean L int log(lambda / (1 - lambda)) d lambda = 0 over all levels, and no gradient; over a part of
them, [low, high], its mean is zero only where low = 1 - high. t-DSE adds to t-DCE, with scores c a,

    (rate / alive) sum over M of  [ sum_v c_v a + a (log a - 1) ]  =  rate / (1 - alive) sum over M of  log a,

as the c_v sum to one: it takes the log away draw by draw, and not only on average. So ``score=True`` is the estimator
of less variance.

Values are not bounded: one masked entry at a small level counts 1 / lambda, so the second moment of the first two
classes grows with the logarithm of the number of draws, and that of OrderBound does not.

Sources: Ou et al. 2024, RADD (2406.03736, eq. 3.4 to 3.8); Lou et al. 2023, SEDD (2310.16834) for the scores;
Hoogeboom et al. 2021, "Autoregressive diffusion models" (2110.02037, eq. 8) for orders.
"""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Categorical, expand, per_sample
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Levels, Loss, Objective, Shot, probabilities
from mezzotint.objectives.bound import bits
from mezzotint.objectives.levels import UniformTimes
from mezzotint.processes.absorbing import Absorbing
from mezzotint.processes.discrete import check_mask

_SMALLEST = 2.0**-53  # the least share that is alive: uniforms have 53 bits, and the logarithm of none is infinite


def together(model: Denoiser, who: str) -> Absorbing:
    """The process of a model, refused where its entries are not lost all alike."""
    process = check_mask(model.process, who)
    if not isinstance(process, Absorbing):
        raise Refusal(
            f"{who} masks all entries alike, and those of a {type(process).__name__} process are not: use TimeBound"
        )
    return process


class _Masked(Objective, ABC):
    """What the three have in common: ask about masked data and add up what the masked entries cost."""

    summed = True

    def __init__(self, dropout: float | Mapping[str, float]) -> None:
        super().__init__()
        self.dropout = probabilities(dropout)

    def _asked(
        self,
        model: Denoiser,
        shot: tuple[Tensor, Tensor, Tensor],
        each: Tensor,
        cond: Condition,
        rng: Rng,
        weight: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Loss:
        """The loss of one question.

        Arguments:
            shot: x_0, x_t and t.
            each: what a masked entry's nats count, float64, broadcasting over x_0.
            weight: of the levels, (B,).
            extra: nats added to every masked entry's own.
        """
        x, x_t, t = shot
        cond = cond.dropout(self.dropout, rng.at("dropout"))
        answer = model(x_t, t, cond)
        if not isinstance(answer, Categorical):
            raise Refusal(
                f"{type(self).__name__} reads answers that are Categorical, but this model gives a "
                f"{type(answer).__name__}"
            )
        lost = x_t != x
        nats = -answer.logits.double().log_softmax(-1).gather(-1, x[..., None])[..., 0]
        if extra is not None:
            nats = nats + extra.to(nats)
        value = per_sample(torch.where(lost, each.to(nats) * nats, 0.0))  # 0 and not NaN where nothing is masked
        if weight is not None:
            value = value * weight.to(value)
        return Loss(value, {"bits": bits(value.detach(), tuple(x.shape[1:]))}, Shot(x, x_t, t, cond, answer, weight))


class _OfLevels(_Masked, ABC):
    """What of the bound is a mean over levels."""

    def __init__(self, levels: Levels | None, dropout: float | Mapping[str, float]) -> None:
        super().__init__(dropout)
        if levels is not None and not levels.unbiased:
            raise Refusal(
                f"a bound is a mean over all levels, but {type(levels).__name__} draws some more often than others "
                "without weighing them down: use UniformTimes(low=0) or Importance"
            )
        if getattr(levels, "steps", None) is not None:
            raise Refusal("a bound of masked symbols is a mean over all levels, not over those of a list: use Bound")
        self.levels = UniformTimes(low=0.0) if levels is None else levels


class LevelBound(_OfLevels):
    """lambda-DCE: mask every entry with probability lambda ~ U(0, 1), count (1 / lambda) sum over masked of -log c.

    The schedule plays no part. ``parts`` holds the bound in ``bits`` per dimension.

    Arguments:
        levels: which lambda to draw; one whose weights undo its preferences (``unbiased``). None: all alike.
        dropout: probability of dropping a condition family, one number or one a family.

    Source: Ou et al. 2024, RADD (2406.03736, eq. 3.6).
    """

    def __init__(self, levels: Levels | None = None, dropout: float | Mapping[str, float] = 0.0) -> None:
        super().__init__(levels, dropout)

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        process, shape = together(model, "LevelBound"), tuple(x.shape[1:])
        share, weight = self.levels(process, shape, rng.at("levels"))
        lost = rng.at("noise").uniform("lost", shape) < expand(share, x)
        x_t = x.masked_fill(lost.to(x.device), process.mask)
        each = torch.where(share > 0, 1 / torch.where(share > 0, share, 1.0), 0.0)
        return self._asked(model, (x, x_t, process.time(share)), expand(each, x), cond, rng, weight)

    def update(self, model: Denoiser, loss: Loss) -> None:
        if loss.shot is not None:
            self.levels.update(model.process.level(loss.shot.t), loss.unweighted())


class TimeBound(_OfLevels):
    """t-DCE and t-DSE: corrupt to t ~ U(0, 1), count what is lost at t by how fast it is lost there.

    On any schedule, and block by block (:class:`~mezzotint.processes.Blockwise`): every entry has its own alive and
    rate. t-DCE keeps its log a, whose mean is zero and which has no gradient, so values may be negative. ``parts``
    holds the bound in ``bits`` per dimension.

    Arguments:
        score: False: t-DCE; True: t-DSE, which is the same without log a.
        low: the smallest time. 0 is unbiased; RADD draws from (1e-3, 1], which leaves log a a mean of 8e-3 nats an
            entry unless alive(1) is 1e-3 as well.
        levels: which times to draw, in place of ``low``; one whose weights undo its preferences (``unbiased``).
        dropout: probability of dropping a condition family, one number or one a family.

    Source: Ou et al. 2024, RADD (2406.03736, eq. 3.4 and 3.5).
    """

    def __init__(
        self,
        score: bool = False,
        low: float = 0.0,
        levels: Levels | None = None,
        dropout: float | Mapping[str, float] = 0.0,
    ) -> None:
        if levels is not None and low:
            raise Refusal("low is the smallest time where none are given: say it to the levels")
        super().__init__(levels, dropout)
        self.score, self.low = score, low
        if levels is None:
            self.levels = UniformTimes(low=low)

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        process = check_mask(model.process, "TimeBound")
        t, weight = self.levels(process, tuple(x.shape[1:]), rng.at("levels"))
        lost = process.lost(t, x)
        some = lost > 0
        each = torch.where(some, process.pace(t, x) * process.running(t, x) / torch.where(some, lost, 1.0), 0.0)
        # minus log a, with a = alive / (1 - alive)
        extra = None if self.score else torch.where(some, (lost / (1 - lost).clamp(min=_SMALLEST)).log(), 0.0)
        x_t = process.corrupt(x, t).sample(rng.at("noise"))
        return self._asked(model, (x, x_t, t), each, cond, rng, weight, extra)

    def update(self, model: Denoiser, loss: Loss) -> None:
        if loss.shot is not None:
            self.levels.update(loss.shot.t, loss.unweighted())


class OrderBound(_Masked):
    """k-DCE, the loss of any-order models: mask k ~ U{1, .., L} entries, any k alike, count (L / k) sum of -log c.

    The time the model is told is that at which the share k / L is masked. ``parts`` holds the bound in ``bits`` per
    dimension.

    Arguments:
        dropout: probability of dropping a condition family, one number or one a family.

    Sources: Ou et al. 2024, RADD (2406.03736, eq. 3.8); Hoogeboom et al. 2021 (2110.02037, eq. 8).
    """

    def __init__(self, dropout: float | Mapping[str, float] = 0.0) -> None:
        super().__init__(dropout)

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        process, shape = together(model, "OrderBound"), tuple(x.shape[1:])
        entries = math.prod(shape)
        count = (rng.at("levels").uniform("count", ()) * entries).floor() + 1
        order = rng.at("noise").uniform("order", (entries,)).argsort(dim=1, stable=True).argsort(dim=1)
        lost = (order < count[:, None]).reshape(x.shape)
        x_t = x.masked_fill(lost.to(x.device), process.mask)
        share = count / entries
        return self._asked(model, (x, x_t, process.time(share)), expand(1 / share, x), cond, rng)
