"""Exact denoisers: the truth that samplers, guidance and search are tested against.

For a mixture p(x_0) = sum_k w_k N(mu_k, C_k), everything about q(x_0 | x_t) has a closed form: with
V_k = alpha^2 C_k + sigma^2 I,

    responsibilities r_k ~ w_k N(x_t; alpha mu_k, V_k),
    E[x_0 | x_t] = sum_k r_k (mu_k + alpha C_k V_k^-1 (x_t - alpha mu_k)).

With every C_k = 0 the mixture is the data set itself (:class:`Empirical`). The components may carry class labels; then
a ``label`` in the condition restricts the mixture to its class.

Everything is float64 and computed row by row in element-wise operations and reductions over trailing axes: a matrix
product over the batch would round differently for different batch sizes, and here a sample is the same to the last
bit alone and in a crowd.

Source: the standard Gaussian identities; Karras et al. 2022 (2206.00364), appendix B.3, for the data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.processes.base import Continuous

Numbers = Tensor | Sequence[float] | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]


class _Mixture(Denoiser):
    """What both exact denoisers share: components with labels, and the rows a condition allows."""

    process: Continuous
    labels: Tensor

    def _start(self, process: Continuous, count: int, labels: Sequence[int] | Tensor | None) -> None:
        if not isinstance(process, Continuous):
            raise Refusal(f"an exact mixture needs a continuous process, not {type(process).__name__}")
        self.process = process
        self.labelled = labels is not None
        labels = torch.zeros(count, dtype=torch.int64) if labels is None else torch.as_tensor(labels)
        if labels.shape != (count,):
            raise Refusal(f"{count} components need as many labels, not {tuple(labels.shape)}")
        self.register_buffer("labels", labels.to(torch.int64))

    @property
    def nulls(self) -> tuple[str, ...]:
        return ("label",) if self.labelled else ()

    def prepare(self, cond: Condition) -> Condition:
        known(cond, ("label",) if self.labelled else (), "this exact denoiser")
        return cond

    def _allowed(self, cond: Condition, count: int) -> Tensor:
        """Which components each row may come from, bool (B, K)."""
        self.prepare(cond)
        if "label" not in cond:
            return torch.ones(count, len(self.labels), dtype=torch.bool, device=self.labels.device)
        label, keep = cond["label"].to(self.labels.device), cond.kept("label").to(self.labels.device)
        allowed: Tensor = (self.labels[None] == label[:, None]) | ~keep[:, None]
        if not bool(allowed.any(1).all()):
            raise Refusal(f"a label is out of range: the components carry {sorted(set(self.labels.tolist()))}")
        return allowed

    def _aux(self, want: Want, have: dict[str, Tensor]) -> dict[str, Tensor]:
        for name in want:
            if name not in have:
                raise Refusal(f"this exact denoiser cannot answer {name!r}; it knows {', '.join(have)}")
        return {name: have[name] for name in want}

    def _classes(self, log_joint: Tensor) -> Tensor:
        """log p(class | x_t) from log p(component, x_t): (B, K) -> (B, classes)."""
        classes = int(self.labels.max()) + 1
        columns = [log_joint.masked_fill(self.labels[None] != c, -torch.inf).logsumexp(1) for c in range(classes)]
        return torch.stack(columns, 1).log_softmax(1)


class Mixture(_Mixture):
    """The exact denoiser of a Gaussian mixture with full covariances.

    Arguments:
        process: what corrupts the data.
        means: (K, D).
        covariances: (K, D, D), symmetric positive semi-definite.
        weights: (K,), positive; they are normalised. None: equal.
        labels: the class of each component, (K,); None: there are no classes.
        shape: of one sample, with D entries; None: (D,).

    With a label in the condition, ``log_density`` is the joint log p(x_t, label). ``want`` may ask for
    ``log_density`` log p(x_t) in nats (B,), ``responsibilities`` (B, K), ``classes``
    log p(class | x_t) (B, classes) of the whole mixture, and ``covariance`` of x_0 given x_t, (B, D, D).
    """

    means: Tensor
    axes: Tensor
    spreads: Tensor
    log_weights: Tensor

    def __init__(
        self,
        process: Continuous,
        means: Numbers,
        covariances: Numbers,
        weights: Sequence[float] | Tensor | None = None,
        labels: Sequence[int] | Tensor | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        mu = torch.as_tensor(means, dtype=torch.float64)
        cov = torch.as_tensor(covariances, dtype=torch.float64)
        if mu.ndim != 2 or cov.shape != (*mu.shape, mu.shape[1]):
            raise Refusal(f"means are (K, D) and covariances (K, D, D), not {tuple(mu.shape)} and {tuple(cov.shape)}")
        spreads, axes = torch.linalg.eigh(cov)
        if float(spreads.min()) < -1e-9 * max(1.0, float(spreads.max())):
            raise Refusal("a covariance has a negative eigenvalue")
        w = torch.as_tensor([1.0] * len(mu) if weights is None else weights, dtype=torch.float64)
        if w.shape != mu.shape[:1] or not bool((w > 0).all()):
            raise Refusal(f"{len(mu)} components need as many positive weights")
        self._start(process, len(mu), labels)
        self.shape = tuple(shape) if shape is not None else (mu.shape[1],)
        if math.prod(self.shape) != mu.shape[1]:
            raise Refusal(f"a sample of shape {self.shape} does not have {mu.shape[1]} entries")
        self.register_buffer("means", mu)
        self.register_buffer("axes", axes.transpose(1, 2).contiguous())  # (K, axis, D)
        self.register_buffer("spreads", spreads.clamp(min=0))  # (K, axis)
        self.register_buffer("log_weights", (w / w.sum()).log())

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        flat = x.double().flatten(1).contiguous()  # other strides would add up in another order
        alpha, sigma = self.process.scales(t, x)
        if alpha[0].numel() > 1:
            raise Refusal("an exact mixture answers one time per sample, not one per entry")
        a, s = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
        # In each component's own axes V is diagonal: a^2 spread + s^2.
        away = flat[:, None, :] - a * self.means  # (B, K, D)
        along = (self.axes * away[:, :, None, :]).sum(-1)  # (B, K, axis)
        v = a**2 * self.spreads + s**2
        safe = torch.where(v > 0, v, 1.0)
        log_joint = self.log_weights - 0.5 * ((along**2 / safe + safe.log() + math.log(2 * math.pi)).sum(-1))
        restricted = log_joint.masked_fill(~self._allowed(cond, len(x)), -torch.inf)
        share = restricted.softmax(1)  # (B, K)
        # Where v is 0 (no noise on an axis without spread) the component knows its own value: mu.
        pull = torch.where(v > 0, a * self.spreads / safe, 0.0) * along
        guess = self.means + (self.axes * pull[..., None]).sum(-2)  # (B, K, D)
        mean = (share[..., None] * guess).sum(1)
        # At the clean end the answer is x itself, also where x lies off every component.
        clean = (s == 0)[:, 0]
        mean = torch.where(clean, flat / torch.where(a[:, 0] > 0, a[:, 0], 1.0), mean)
        have = {}
        if want:
            left = torch.where(v > 0, self.spreads * s**2 / safe, 0.0)
            inner = (self.axes[:, :, :, None] * left[..., None, None] * self.axes[:, :, None, :]).sum(2)
            off = guess - mean[:, None]
            covariance = (share[..., None, None] * (inner + off[..., :, None] * off[..., None, :])).sum(1)
            have = {
                "log_density": restricted.logsumexp(1),
                "responsibilities": share,
                "classes": self._classes(log_joint),
                "covariance": covariance,
            }
        return Dirac(mean.reshape(x.shape).to(x.dtype), self._aux(want, have))


class Empirical(_Mixture):
    """The exact denoiser of a finite data set: what a network would answer that had learnt its data by heart.

    Arguments:
        process: what corrupts the data.
        data: (N, *shape).
        labels: the class of each item, (N,); None: there are no classes.

    With a label in the condition, ``log_density`` is the joint log p(x_t, label). ``want`` may ask for
    ``log_density`` of x_t in nats (B,), ``responsibilities`` (B, N) and ``classes``
    log p(class | x_t) (B, classes).
    """

    data: Tensor

    def __init__(self, process: Continuous, data: Tensor, labels: Sequence[int] | Tensor | None = None) -> None:
        super().__init__()
        if data.ndim < 2 or not len(data):
            raise Refusal(f"data are (N, *shape) with at least one item, not {tuple(data.shape)}")
        self._start(process, len(data), labels)
        self.shape = tuple(data.shape[1:])
        self.register_buffer("data", data.double().flatten(1))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        flat = x.double().flatten(1).contiguous()  # other strides would add up in another order
        alpha, sigma = self.process.scales(t, x)
        if alpha[0].numel() > 1:
            raise Refusal("the exact denoiser of a data set answers one time per sample, not one per entry")
        a, s = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        allowed = self._allowed(cond, len(x))
        # One row at a time: (B, N, D) at once would not fit for real data sets, and rows stay independent to the bit.
        squared = torch.stack([((row - scale * self.data) ** 2).sum(-1) for row, scale in zip(flat, a, strict=True)])
        safe = torch.where(s > 0, s, 1.0)
        size = flat.shape[1]
        log_norm = size * (safe.log() + 0.5 * math.log(2 * math.pi)) + math.log(len(self.data))
        log_joint = -0.5 * squared / safe**2 - log_norm
        restricted = log_joint.masked_fill(~allowed, -torch.inf)
        share = restricted.softmax(1)
        mean = torch.stack([(row[:, None] * self.data).sum(0) for row in share])
        mean = torch.where(s == 0, flat / torch.where(a > 0, a, 1.0), mean)
        have = {}
        if want:
            have = {
                "log_density": restricted.logsumexp(1),
                "responsibilities": share,
                "classes": self._classes(log_joint),
            }
        return Dirac(mean.reshape(x.shape).to(x.dtype), self._aux(want, have))
