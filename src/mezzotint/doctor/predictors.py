"""What a model is measured against: predictors that need no training, from the mean up to the data set itself.

The squared error of the clean estimate at a level of noise says little alone. Between three closed forms it says a lot:

    mean      E[x_0]                                  the data's mean picture, whatever the noisy one looks like
    linear    mu + alpha C (alpha^2 C + sigma^2 I)^-1 (x_t - alpha mu)
                                                      the best guess linear in x_t: mean mu and covariance C alone
    by heart  E[x_0 | x_t] over the training pictures the exact denoiser of the training set, and so of who memorised it

A model that learnt something beats the mean, one that learnt more than two moments beats the linear guess, and one that
comes near the third *on training pictures*, but not on others, repeats them.

The covariance comes from at most 2,048 pictures. Where there are fewer than four pictures an entry, it is that of
probabilistic PCA: as many principal axes as a quarter of the pictures, and one variance for all the rest.

Sources: the linear minimum mean-squared-error estimate is the Wiener filter; Tipping and Bishop 1999, "Probabilistic
principal component analysis", for the rest; Karras et al. 2022 (2206.00364), appendix B.3, for the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.processes.base import Continuous

Answer = Callable[[Tensor, Tensor, Condition], Tensor]
"""(x_t, t, cond) -> a guess of x_0, each (B, *shape)."""

PICTURES = 2_048
_AN_AXIS = 4
_BATCH = 128


class Linear:
    """The best guess of x_0 that is linear in x_t, for normal noise.

    Arguments:
        process: what corrupts the data.
        x: pictures (N, *shape) whose mean and covariance are taken, at least two.
    """

    def __init__(self, process: Continuous, x: Tensor) -> None:
        if len(x) < 2:
            raise Refusal(f"a covariance needs two pictures at least, not {len(x)}")
        flat = x.double().flatten(1)
        count, size = flat.shape
        self.process, self.mean = process, flat.mean(0)
        away = flat - self.mean
        total = float(away.square().sum() / count)
        keep = min(size, max(1, count // _AN_AXIS))
        if size <= count:
            spreads, axes = torch.linalg.eigh(away.T @ away / count)
        else:  # the covariance has the eigenvalues of the smaller table of products, and axes that follow from its own
            spreads, inner = torch.linalg.eigh(away @ away.T / count)
            axes = away.T @ inner / (count * spreads.clamp(min=1e-300)).sqrt()
        self.spreads, self.axes = spreads[-keep:].clamp(min=0), axes[:, -keep:]  # ascending: the largest are last
        left = max(0.0, total - float(self.spreads.sum()))
        self.rest = left / (size - keep) if size > keep else 0.0

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        a, s = (scale.reshape(-1, 1) for scale in self.process.scales(t, x))
        away = x.double().flatten(1) - a * self.mean

        def pull(spread: Tensor | float) -> Tensor:
            return a * spread / (a**2 * spread + s**2).clamp(min=1e-300)

        along = away @ self.axes
        inside = ((pull(self.spreads) - pull(self.rest)) * along) @ self.axes.T
        guess: Tensor = self.mean + inside + pull(self.rest) * away
        return guess.reshape(x.shape).to(x.dtype)


class Mean:
    """The mean of pictures (N, *shape), whatever is asked."""

    def __init__(self, x: Tensor) -> None:
        self.mean = x.double().mean(0)

    def __call__(self, x: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.mean.to(x).expand_as(x)


@torch.no_grad()
def errors(
    answers: Mapping[str, Answer], process: Continuous, x0: Tensor, cond: Condition, levels: Tensor, rng: Rng
) -> dict[str, list[float]]:
    """The squared error per entry of every answer at every level, all on the same noise.

    Arguments:
        answers: what to ask, by name.
        process: what corrupts the data.
        x0: clean pictures (B, *shape).
        cond: their conditions, (B,) rows or NONE.
        levels: shares of noise u, (L,); each is the process's own time for it.
        rng: keys of the pictures, (B,).
    """
    found: dict[str, list[float]] = {name: [] for name in answers}
    for number, level in enumerate(levels.double()):
        sums = dict.fromkeys(answers, 0.0)
        for start in range(0, len(x0), _BATCH):
            rows = slice(start, start + _BATCH)
            clean = x0[rows]
            t = process.time(level).expand(len(clean))
            x_t = process.corrupt(clean, t).sample(rng[rows].at(number, "noise"))
            for name, answer in answers.items():
                guess = answer(x_t, t, cond[rows] if cond else cond)
                sums[name] += float((guess - clean).double().square().sum())
        for name, total in sums.items():
            found[name].append(total / x0.numel())
    return found
