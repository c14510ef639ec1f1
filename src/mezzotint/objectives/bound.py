"""The variational bound: how many nats it takes to send a sample down the chain of the model.

On times 0 = t_0 < t_1 < .. < t_T = 1 the model is a chain p(x_1) prod p(x_s | x_t), each link the bridge over what the
model says of x_0, and

    -log p(x_0) <= KL(q(x_1 | x_0) || p(x_1))
                   + sum over intervals of E KL(q(x_s | x_t, x_0) || p(x_s | x_t))  - E log p(x_0 | x_{t_1}),

where both laws of a KL are bridges of the process - towards x_0 itself, and towards the answer - and the interval that
ends at 0 is the answer's own log-probability. So one line serves reals and tokens, fixed variances and learnt ones.
With a Gaussian answer that is right, Gaussian data are coded with nothing lost at any T. An answer that is a point
loses what it does not say of its spread; in the interval that ends at 0 it counts as N(value, sigma^2 / (alpha^2 +
sigma^2)), which is DDPM's choice of beta_1. The loss vanishes in proportion to 1 / T on grids that make every interval
smaller in log-SNR (Karras, LogSNR). On equal intervals of a clock it does not: the last few before 0 halve sigma, take
a third off it, and so on, at any T.

One random interval per sample, T times its term, estimates the sum without bias.

Sources: Sohl-Dickstein et al. 2015 (1503.03585); Ho et al. 2020, DDPM (2006.11239, eq. 5 and 13); Nichol and Dhariwal
2021 (2102.09672, eq. 4 to 7); Kingma et al. 2021, "Variational diffusion models" (2107.00630, eq. 11 and 13).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mezzotint.conditions.augment import Augment
from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Dirac, Distribution, Gaussian, per_sample
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Levels, Loss, Objective, Shot, heard, probabilities
from mezzotint.objectives.levels import UniformTimes
from mezzotint.processes.base import Continuous, Process

_FINEST = 1e-12  # the least variance of x_0: data are known to six digits, and at t = 0 nothing else is left to say


def bits(nats: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Nats per sample of this shape in bits per dimension."""
    return nats / (math.prod(shape) * math.log(2))


def term(
    process: Process, x0: Tensor, x_t: Tensor, answer: Distribution, t: Tensor, s: Tensor, shades: int | None = None
) -> Tensor:
    """What the interval from t down to s costs, in nats, float64 (B,).

    Arguments:
        x0: clean data, (B, *shape).
        x_t: the same corrupted to t.
        answer: what the model said of x_0 given x_t.
        t, s: (B,); where s is 0, it is -log p(x_0 | x_t).
        shades: as in :class:`Bound`.
    """
    wide = x_t.double() if x_t.is_floating_point() else x_t  # both means lie close together: float32 would lose them
    answer = answer.rebuild({name: getattr(answer, name) for name in answer.parameters()}).to(wide.double())
    clean = x0.to(wide)
    last = s == 0
    # The branch that is not taken must be finite too, or its gradient is NaN: an interval that ends at 0 stands above.
    top, foot = torch.where(last, 1.0, t), torch.where(last, 0.5, s)
    nats = process.bridge(wide, clean, top, foot).kl(process.bridge(wide, answer, top, foot))
    law = _law(process, answer, t, wide)
    found = law.log_prob(clean) if shades is None else _log_mass(law, clean, shades)
    return torch.where(last.to(nats.device), -found, nats)


def _law(process: Process, answer: Distribution, t: Tensor, x: Tensor) -> Distribution:
    """The answer as a law with a spread, which a point does not have."""
    if isinstance(answer, Dirac) and isinstance(process, Continuous):
        alpha, sigma = process.scales(t, x)
        answer = Gaussian(answer.value, sigma**2 / (alpha**2 + sigma**2))
    if isinstance(answer, Gaussian):
        return Gaussian(answer.mean, answer.variance.clamp(min=_FINEST))
    return answer


def _log_mass(law: Distribution, x: Tensor, shades: int) -> Tensor:
    """log of the mass a Gaussian has in the cell of each entry: DDPM, eq. 13. The outermost cells are open."""
    if not isinstance(law, Gaussian):
        raise Refusal(f"shades are for real data, not for an answer that is a {type(law).__name__}")
    half, std = 1 / (shades - 1), law.variance.sqrt()
    away = x - law.mean
    # The cell as seen from the nearer tail: a difference of two numbers near 1 would have no digits.
    low, high = (-away.abs() - half) / std, (-away.abs() + half) / std
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    inner = upper + (-torch.expm1((lower - upper).clamp(max=-1e-300))).log()
    first, last = x < half - 1, x > 1 - half
    outer = torch.special.log_ndtr((half + torch.where(last, -away, away)) / std)
    return per_sample(torch.where(first | last, outer, inner))


class Bound(Objective):
    """The variational bound on -log p(x_0) in nats per sample, by one random interval of the chain.

    ``parts`` holds the ``prior``'s share, which no model changes, and the whole in ``bits`` per dimension.

    Arguments:
        steps: T, how many intervals.
        grid: where they lie, ``(process, steps) -> times`` falling from 1 to 0; None: equal on the process's own clock,
            which are the steps of DDPM.
        levels: where on the grid to look: the k-th interval from the clean end for draws in ((k - 1) / T, k / T]; one
            whose weights undo its preferences (``unbiased``). None: everywhere alike.
        shades: the data are whole shades, so many from -1 to 1 in equal distances (256 for pictures of 8 bits), and
            the interval that ends at 0 counts the mass of the answer in a shade's cell; None: the data are real
            numbers, and it counts the density.
        dropout: probability of dropping a condition family, one number or one a family.
        augment: what is done to a condition before the model hears it, such as ``conditions.Noised``; None: nothing.
    """

    summed = True

    def __init__(
        self,
        steps: int,
        grid: Callable[[Process, int], Tensor] | None = None,
        levels: Levels | None = None,
        shades: int | None = None,
        dropout: float | Mapping[str, float] = 0.0,
        augment: Augment | None = None,
    ) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise Refusal(f"a bound has at least one interval, not {steps!r}")
        if shades is not None and shades < 2:
            raise Refusal(f"data in shades have at least two of them, not {shades}")
        if levels is not None and not levels.unbiased:
            raise Refusal(
                f"a bound is a sum over all intervals, but {type(levels).__name__} draws some more often than others "
                "without weighing them down: use UniformTimes(low=0) or Importance"
            )
        self.steps, self.grid, self.shades = steps, grid, shades
        self.levels = UniformTimes(low=0.0) if levels is None else levels
        self.dropout, self.augment = probabilities(dropout), augment

    def times(self, process: Process) -> Tensor:
        """The times of the chain from 0 up to 1, float64 (steps + 1,)."""
        if self.grid is None:
            return torch.arange(self.steps + 1, dtype=torch.float64) / self.steps
        times = self.grid(process, self.steps).double().flip(0)
        falls = times.shape == (self.steps + 1,) and bool((times.diff() > 0).all())
        if not falls or times[0] != 0 or times[-1] != 1:
            raise Refusal(
                f"a bound needs a grid of {self.steps} intervals that fall from 1 to 0, the same in every row"
            )
        return times

    def prior(self, process: Process, x: Tensor) -> Tensor:
        """KL(q(x_1 | x_0) || p(x_1)) in nats, (B,): what of x_0 the prior does not know."""
        x = x.double() if x.is_floating_point() else x
        end = process.corrupt(x, torch.ones(len(x), dtype=torch.float64))
        return end.kl(process.prior(tuple(x.shape[1:])).to(end.mean).repeat(len(x)))

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        process, times = model.process, self.times(model.process)
        place, weight = self.levels(process, tuple(x.shape[1:]), rng.at("levels"))
        k = (place * self.steps).ceil().long().clamp(1, self.steps)
        t, s = times[k], times[k - 1]
        cond = heard(cond, t, self.dropout, self.augment, rng)
        x_t = process.corrupt(x, t).sample(rng.at("noise"))
        answer = model(x_t, t, cond)
        nats = term(process, x, x_t, answer, t, s, self.shades)
        prior = self.prior(process, x)
        value = prior + self.steps * nats * weight.to(nats)
        kind = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32
        parts = {"prior": prior.to(kind), "bits": bits(value.detach(), tuple(x.shape[1:])).to(kind)}
        return Loss(value.to(kind), parts, Shot(x, x_t, t, cond, answer, weight))

    def update(self, model: Denoiser, loss: Loss) -> None:
        shot = loss.shot
        if shot is not None and shot.weight is not None:
            k = torch.searchsorted(self.times(model.process), shot.t.cpu())
            drawn = loss.value.detach() - loss.parts["prior"]
            self.levels.update((k.double() - 0.5) / self.steps, replace(loss, value=drawn).unweighted())
