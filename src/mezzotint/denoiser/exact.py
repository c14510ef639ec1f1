"""Exact denoisers: the truth that samplers, guidance and search are tested against.

For a mixture p(x_0) = sum_k w_k N(mu_k, C_k), everything about q(x_0 | x_t) has a closed form: with
V_k = alpha^2 C_k + sigma^2 I,

    responsibilities r_k ~ w_k N(x_t; alpha mu_k, V_k),
    E[x_0 | x_t] = sum_k r_k (mu_k + alpha C_k V_k^-1 (x_t - alpha mu_k)).

With every C_k = 0 the mixture is the data set itself (:class:`Empirical`). The components may carry class labels; then
a ``label`` in the condition restricts the mixture to its class. All of this is for normal noise; a process with another
law needs another exact denoiser, of a data set from :class:`DataSet` and the law's density.

Everything is float64 and computed row by row in element-wise operations and reductions over trailing axes, or in matrix
products of one size: over the whole batch they would round differently for different batch sizes, and here a sample is
the same to the last bit alone and in a crowd.

Source: the standard Gaussian identities; Karras et al. 2022 (2206.00364), appendix B.3, for the data set.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Denoiser, Want
from mezzotint.processes.base import Continuous

_ROWS = 128
_LANES = 8
_NEAREST = 8
_LOW = 1e-4  # above, the rounding of a squared distance is below 1e-11 of the noise's variance
Numbers = Tensor | Sequence[float] | Sequence[Sequence[float]] | Sequence[Sequence[Sequence[float]]]


def numbers(values: Numbers, dtype: torch.dtype = torch.float64) -> Tensor:
    """A tensor where it lies, numbers on the CPU whatever the device of the moment: they are computed with at once."""
    return values.to(dtype) if isinstance(values, Tensor) else torch.as_tensor(values, dtype=dtype, device="cpu")


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a (B, K) times b (K, M), the rows of ``a`` in tables of one size, so that each is summed alike in any batch.

    K and M are filled up to whole vectors of a processor. In what is left over the order of a sum hangs on the place of
    the row on some, such as AMD's with AVX2: a row was then another one by its last bit in another batch.
    """
    width, (k, m) = b.shape[1], (-size % _LANES for size in b.shape)
    a, b = torch.nn.functional.pad(a, (0, k)) if k else a, torch.nn.functional.pad(b, (0, m, 0, k)) if k or m else b
    full = len(a) - len(a) % _ROWS
    parts = [a[i : i + _ROWS] @ b for i in range(0, full, _ROWS)]
    if full < len(a):
        rest = a[full:]
        parts.append((torch.nn.functional.pad(rest, (0, 0, 0, _ROWS - len(rest))) @ b)[: len(rest)])
    return torch.cat(parts)[:, :width]


class _Mixture(Denoiser):
    """What all exact denoisers share: components with labels, and the rows a condition allows."""

    process: Continuous
    labels: Tensor

    def _start(self, process: Continuous, count: int, labels: Sequence[int] | Tensor | None) -> None:
        if not isinstance(process, Continuous):
            raise Refusal(f"an exact mixture needs a continuous process, not {type(process).__name__}")
        self.process = process
        self.labelled = labels is not None
        labels = numbers([0] * count if labels is None else labels, torch.int64)
        if labels.shape != (count,):
            raise Refusal(f"{count} components need as many labels, not {tuple(labels.shape)}")
        self.register_buffer("labels", labels)

    def _normal(self) -> None:
        """Refuse a process whose noise is not normal: the closed forms here would be silently wrong on it."""
        with torch.device("cpu"):  # a draw on the meta device would load torch's compiler first
            normal = self.process.gaussian
        if not normal:
            raise Refusal(
                f"{type(self).__name__} is exact for normal noise, but {type(self.process).__name__} has another: "
                "take an exact denoiser made for it"
            )

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


class Gaussians(_Mixture, ABC):
    """What exact denoisers of Gaussian mixtures share: the answer, once the components are known."""

    def _answer(
        self,
        x: Tensor,
        t: Tensor,
        cond: Condition,
        want: Want,
        means: Tensor,
        axes: Tensor,
        spreads: Tensor,
        log_weights: Tensor,
    ) -> Dirac:
        """Of components with means (.., K, D), variances (.., K, axis) along axes (.., K, axis, D), and log-weights.

        They are the same for all rows, or (B, ...).
        """
        flat = x.double().flatten(1).contiguous()  # other strides would add up in another order
        alpha, sigma = self.process.scales(t, x)
        if alpha[0].numel() > 1:
            raise Refusal("an exact mixture answers one time per sample, not one per entry")
        a, s = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
        # In each component's own axes V is diagonal: a^2 spread + s^2.
        away = flat[:, None, :] - a * means  # (B, K, D)
        along = (axes * away[:, :, None, :]).sum(-1)  # (B, K, axis)
        v = a**2 * spreads + s**2
        safe = torch.where(v > 0, v, 1.0)
        log_joint = log_weights - 0.5 * ((along**2 / safe + safe.log() + math.log(2 * math.pi)).sum(-1))
        restricted = log_joint.masked_fill(~self._allowed(cond, len(x)), -torch.inf)
        share = restricted.softmax(1)  # (B, K)
        # Where v is 0 (no noise on an axis without spread) the component knows its own value: mu.
        pull = torch.where(v > 0, a * spreads / safe, 0.0) * along
        guess = means + (axes * pull[..., None]).sum(-2)  # (B, K, D)
        mean = (share[..., None] * guess).sum(1)
        # At the clean end the answer is x itself, also where x lies off every component.
        clean = (s == 0)[:, 0]
        mean = torch.where(clean, flat / torch.where(a[:, 0] > 0, a[:, 0], 1.0), mean)
        have = {}
        if want:
            left = torch.where(v > 0, spreads * s**2 / safe, 0.0)
            inner = (axes[..., :, None] * left[..., None, None] * axes[..., None, :]).sum(-3)
            off = guess - mean[:, None]
            covariance = (share[..., None, None] * (inner + off[..., :, None] * off[..., None, :])).sum(1)
            have = {
                "log_density": restricted.logsumexp(1),
                "responsibilities": share,
                "classes": self._classes(log_joint),
                "covariance": covariance,
            }
        return Dirac(mean.reshape(x.shape).to(x.dtype), self._aux(want, have))


class Mixture(Gaussians):
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
        mu, cov = numbers(means), numbers(covariances)
        if mu.ndim != 2 or cov.shape != (*mu.shape, mu.shape[1]):
            raise Refusal(f"means are (K, D) and covariances (K, D, D), not {tuple(mu.shape)} and {tuple(cov.shape)}")
        spreads, axes = torch.linalg.eigh(cov)
        if float(spreads.min()) < -1e-9 * max(1.0, float(spreads.max())):
            raise Refusal("a covariance has a negative eigenvalue")
        w = numbers([1.0] * len(mu) if weights is None else weights)
        if w.shape != mu.shape[:1] or not bool((w > 0).all()):
            raise Refusal(f"{len(mu)} components need as many positive weights")
        self._start(process, len(mu), labels)
        self._normal()
        self.shape = tuple(shape) if shape is not None else (mu.shape[1],)
        if math.prod(self.shape) != mu.shape[1]:
            raise Refusal(f"a sample of shape {self.shape} does not have {mu.shape[1]} entries")
        self.register_buffer("means", mu)
        self.register_buffer("axes", axes.transpose(1, 2).contiguous())  # (K, axis, D)
        self.register_buffer("spreads", spreads.clamp(min=0))  # (K, axis)
        self.register_buffer("log_weights", (w / w.sum()).log())

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        return self._answer(x, t, cond, want, self.means, self.axes, self.spreads, self.log_weights)


class DataSet(_Mixture, ABC):
    """The exact denoiser of a finite data set; what derives from it says how noise of a length is distributed.

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

    @abstractmethod
    def log_kernel(self, squared: Tensor, sigma: Tensor, size: int) -> Tensor:
        """Log-density of noise of ``size`` entries by its squared length (B, N), at a scale sigma > 0, (B, 1)."""

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        flat = x.double().flatten(1).contiguous()  # other strides would add up in another order
        alpha, sigma = self.process.scales(t, x)
        if alpha[0].numel() > 1:
            raise Refusal("the exact denoiser of a data set answers one time per sample, not one per entry")
        a, s = alpha.reshape(-1, 1), sigma.reshape(-1, 1)
        allowed = self._allowed(cond, len(x))
        squared = self._squared(flat, a, s)
        log_joint = self.log_kernel(squared, torch.where(s > 0, s, 1.0), flat.shape[1])  # but for log N
        restricted = log_joint.masked_fill(~allowed, -torch.inf) if "label" in cond else log_joint
        share = restricted.softmax(1)
        mean = _product(share, self.data)
        mean = torch.where(s == 0, flat / torch.where(a > 0, a, 1.0), mean)
        have = {}
        if want:
            have = {
                "log_density": restricted.logsumexp(1) - math.log(len(self.data)),
                "responsibilities": share,
                "classes": self._classes(log_joint),
            }
        return Dirac(mean.reshape(x.shape).to(x.dtype), self._aux(want, have))

    def _squared(self, x: Tensor, a: Tensor, s: Tensor) -> Tensor:
        """|x - a y|^2 for every row and every item y, (B, N)."""
        middle = self.data.mean(0)
        away, items = x - a * middle, self.data - middle
        of_x, of_y = (away**2).sum(1, keepdim=True), (items**2).sum(1, keepdim=True)
        left, right = (-2 * a * away, of_x, a**2), (items, torch.ones_like(of_y), of_y)
        squared = _product(torch.cat(left, 1), torch.cat(right, 1).T)
        # At low noise little is left of that sum for the nearest items, which alone count there: a few of them are
        # measured again. Where more items than that lie equally near, the others keep their rounding.
        rows = (s**2 < _LOW * (of_x + a**2 * of_y.max()))[:, 0].nonzero()[:, 0]
        if not len(rows):
            return squared
        few, x, a = squared[rows], x[rows], a[rows]
        near = few.topk(min(_NEAREST, len(items)), largest=False).indices
        exact = ((x[:, None] - a[:, :, None] * self.data[near]) ** 2).sum(-1)
        return squared.index_copy(0, rows, few.scatter(1, near, exact))


class Empirical(DataSet):
    """The exact denoiser of a finite data set: what a network would answer that had learnt its data by heart.

    Arguments as for :class:`DataSet`; the process is one of normal noise.
    """

    def __init__(self, process: Continuous, data: Tensor, labels: Sequence[int] | Tensor | None = None) -> None:
        super().__init__(process, data, labels)
        self._normal()

    def log_kernel(self, squared: Tensor, sigma: Tensor, size: int) -> Tensor:
        return squared * (-0.5 / sigma**2) - size * (sigma.log() + 0.5 * math.log(2 * math.pi))
