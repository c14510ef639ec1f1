"""The exact denoiser of the fractal trees of :mod:`mezzotint.data.fractal`, and their density.

What a perfect network would have learnt from :class:`mezzotint.data.Fractal`: the teacher of exact-score training
(:class:`mezzotint.objectives.Towards`), and the judge that says how likely a sample is under the law it should follow.

It is a :class:`Mixture` of hundreds of Gaussians that is asked thousands of times, so the usual question is answered
by formulas of the plane, component by component in its own two axes and only for the class that was told: the same
numbers to rounding, about twenty times as fast.

Source: Karras et al. 2024, "Guiding a diffusion model with a bad version of itself" (2406.02507, section 3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.data.fractal import tree
from mezzotint.denoiser.base import Want
from mezzotint.denoiser.exact import Mixture
from mezzotint.processes.base import Continuous

_ROWS = 4096
_EVERY = -1


class Fractal(Mixture):
    """The :class:`Mixture` of the two trees, told the class by a ``label`` or not told.

    Arguments:
        process: what corrupts the points.
        depth: levels of branches.
        seed: of the tree; that of the data.
    """

    def __init__(self, process: Continuous, depth: int = 5, seed: int = 0) -> None:
        with torch.device("cpu"):  # it is computed with at once, also where a model is only measured
            law = tree(depth, seed)
        super().__init__(process, law.means, law.covariances, law.weights, law.labels)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        if want:
            return super().forward(x, t, cond, want)
        alpha, sigma = self.process.scales(t, x)
        if alpha[0].numel() > 1:
            raise Refusal("an exact mixture answers one time per sample, not one per entry")
        points, a, s = x.double().contiguous(), alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        told = self._told(cond, len(x))
        mean = points.new_empty(points.shape)
        for label in sorted(set(told.tolist())):
            rows = (told == label).nonzero()[:, 0]
            mean = mean.index_copy(0, rows, self._mean(points[rows], a[rows], s[rows], label))
        clean = points / torch.where(a > 0, a, 1.0)
        return Dirac(torch.where(s == 0, clean, mean).to(x.dtype))

    def _told(self, cond: Condition, count: int) -> Tensor:
        """The class each row is told, int64 (B,); -1 where it is not."""
        self._allowed(cond, count)  # refuses labels and families it does not know
        every = torch.full((count,), _EVERY, device=self.labels.device)
        if "label" not in cond:
            return every
        return torch.where(cond.kept("label").to(every.device), cond["label"].to(every.device), every)

    def _mean(self, x: Tensor, a: Tensor, s: Tensor, label: int) -> Tensor:
        """E[x_0 | x_t] of rows (B, 2) that share a label; numbers of row b and component k are (B, K)."""
        own = slice(None) if label == _EVERY else self.labels == label
        (p0, p1), (q0, q1) = self.axes[own].unbind(1)[0].T, self.axes[own].unbind(1)[1].T
        (m0, m1), (c0, c1) = self.means[own].T, self.spreads[own].T
        away0, away1 = x[:, :1] - a * m0, x[:, 1:] - a * m1
        # What lies along each axis, over its variance: V^-1 (x - a mu) in the component's own axes.
        v0, v1 = a**2 * c0 + s**2, a**2 * c1 + s**2
        u0, u1 = away0 * p0 + away1 * p1, away0 * q0 + away1 * q1
        r0, r1 = u0 / v0, u1 / v1
        share = (self.log_weights[own] - 0.5 * (u0 * r0 + u1 * r1 + (v0 * v1).log())).softmax(1)
        pull0, pull1 = share * c0 * r0, share * c1 * r1
        mean0 = (share * m0 + a * (pull0 * p0 + pull1 * q0)).sum(1)
        mean1 = (share * m1 + a * (pull0 * p1 + pull1 * q1)).sum(1)
        return torch.stack([mean0, mean1], 1)

    @torch.no_grad()
    def log_density(self, x0: Tensor, cond: Condition = NONE) -> Tensor:
        """log p(x_0), or log p(x_0 | label) where the condition tells it, of clean points (B, 2): nats, float64 (B,).

        A row whose label is dropped is judged under both classes.
        """
        weights = self.log_weights.masked_fill(~self._allowed(cond, len(x0)), -torch.inf).log_softmax(1)  # (B, K)
        found = []
        for x, mine in zip(torch.split(x0.double(), _ROWS), torch.split(weights, _ROWS), strict=True):
            along = (self.axes * (x[:, None, :] - self.means)[:, :, None, :]).sum(-1)  # (B, K, axis)
            log_each = -0.5 * (along**2 / self.spreads + (2 * torch.pi * self.spreads).log()).sum(-1)
            found.append((mine + log_each).logsumexp(1))
        return torch.cat(found)
