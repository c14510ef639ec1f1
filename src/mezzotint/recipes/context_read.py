"""What the features of a network say of what stands around a place, read linearly."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng

RIDGE = 1e-4
"""In units of the mean variance of a feature."""


@torch.no_grad()
def read(model: Any, fit: Tensor, new: Tensor) -> tuple[float, float]:
    """R^2 of the eight neighbours of a place, read linearly from the last features there: as they are, which is what a
    decoder reads, and after the norm and the SiLU behind them, which is what the model's own last layer reads.

    Features are of pictures noised to sigma = alpha, the middle of the page's VP-cosine clock, t = T / 2; at places
    that have all eight neighbours.

    Arguments:
        model: a denoiser around a U-Net.
        fit, new: pictures (B, C, H, W) to fit a ridge regression on, and others to ask it about.
    """
    sums = [_moments(model, some, Rng([k]).at("read")) for k, some in enumerate((fit, new))]
    before, after = (_explained(*(each[way] for each in sums)) for way in (0, 1))
    return before, after


Moments = tuple[Tensor, Tensor, Tensor]


def _explained(fit: Moments, new: Moments) -> float:
    """The share of the variance of new values that a ridge regression on others explains; the last feature is one."""
    gram, with_y, _ = fit
    gram_new, with_new, squares = new
    C = len(gram) - 1
    penalty = torch.zeros(C + 1, dtype=torch.float64)
    penalty[:C] = RIDGE * (gram.diagonal()[:C] - gram[:C, C] ** 2 / gram[C, C]).mean()
    beta = torch.linalg.solve(gram + penalty.diag(), with_y)
    left = squares - 2 * (beta * with_new).sum(0) + ((gram_new @ beta) * beta).sum(0)
    spread = squares - with_new[C] ** 2 / gram_new[C, C]
    around = (torch.arange(len(left)) % 9 != 4).nonzero().flatten()
    return float(1 - left[around].sum() / spread[around].sum())


def _moments(model: Any, x: Tensor, rng: Rng) -> tuple[Moments, Moments]:
    """Sums over places of features h (C + 1) and values y (9 d), h h^T, h y^T, y^2, before and after the last norm."""
    device, keys = next(model.parameters()).device, rng.repeat(len(x)).at(torch.arange(len(x)))
    t, name = model.process.time(torch.tensor([0.5], dtype=torch.float64)), model.network.wants[-1]
    sums = [[torch.zeros(())] * 3 for _ in range(2)]
    for start in range(0, len(x), 250):
        rows = slice(start, min(start + 250, len(x)))
        here, when = x[rows].to(device), t.to(device).expand(rows.stop - start)
        noisy = model.process.corrupt(here, when).sample(keys[rows])
        found = model(noisy, when, NONE, want=(name,)).aux[name]
        y = F.unfold(x[rows], 3).movedim(1, 2).flatten(0, 1).double()
        for way, seen in enumerate((found, F.silu(model.network.norm(found)))):
            h = F.pad(seen[..., 1:-1, 1:-1].movedim(1, -1).flatten(0, -2).double().cpu(), (0, 1), value=1.0)
            sums[way] = [before + new for before, new in zip(sums[way], (h.T @ h, h.T @ y, (y**2).sum(0)), strict=True)]
    before, after = ((gram, with_y, squares) for gram, with_y, squares in sums)
    return before, after
