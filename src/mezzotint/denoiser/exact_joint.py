"""The exact denoiser of x that is told a corrupted z, its low resolution: what a super-resolution stage learns.

Let (x, z) be a mixture, p(x, z) = sum_k w_k N((m, n), [[C, G], [G', E]]), and z_u = beta z + rho noise what is told
of z, at the level u of a process of its own. Given z_u, x is again a mixture, of components with

    W_k = beta^2 E + rho^2 I,
    weights      ~ w_k N(z_u; beta n, W_k),
    means        m + beta G W_k^-1 (z_u - beta n),
    covariances  C - beta^2 G W_k^-1 G',

and what is known of x_0 given x_t is the answer of :class:`~mezzotint.denoiser.Mixture` about that one. At level 0 z is
told itself, at level 1 of a process that ends in noise nothing is. The levels, and so the covariances, differ from row
to row.

Source: the standard Gaussian identities; Ho et al. 2022, "Cascaded diffusion models" (2106.15282), for what
is told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, known
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Want
from mezzotint.denoiser.exact import Gaussians, Mixture, Numbers, numbers
from mezzotint.operators.base import Operator
from mezzotint.processes.base import Continuous

_EXACT = 1e-7  # of the spread of z: to that much a z that is told without noise is read, which is what float32 holds

_UNTOLD = 2.0


class JointMixture(Gaussians):
    """The exact denoiser of x, told the z of a joint Gaussian mixture of (x, z) with noise.

    The condition holds z_u under ``family`` (B, *low), and the level u under ``family.level`` (B,), in [0, 1]; absent
    levels are 0. Rows in which the family is dropped, and conditions without it, are told nothing of z.

    Arguments:
        process: what corrupts x.
        means: (K, D + E), those of x first.
        covariances: (K, D + E, D + E), symmetric positive semi-definite.
        shape: of one x, with D entries.
        low: of one z, with E entries.
        corruption: what corrupts z, ``Noised(corruption)``; None: nothing does, and a level is refused.
        weights: (K,), positive; they are normalised. None: equal.
        labels: the class of each component, (K,); None: there are no classes.
        family: where the condition carries z.

    ``want`` is as for :class:`~mezzotint.denoiser.Mixture`, with everything given z_u: ``log_density`` is
    log p(x_t | z_u), with a label log p(x_t, label | z_u).
    """

    means: Tensor
    own: Tensor
    cross: Tensor
    low_means: Tensor
    low_axes: Tensor
    low_spreads: Tensor
    log_weights: Tensor

    def __init__(
        self,
        process: Continuous,
        means: Numbers,
        covariances: Numbers,
        shape: tuple[int, ...],
        low: tuple[int, ...],
        corruption: Continuous | None = None,
        weights: Sequence[float] | Tensor | None = None,
        labels: Sequence[int] | Tensor | None = None,
        family: str = "low",
    ) -> None:
        super().__init__()
        mu, cov = numbers(means), numbers(covariances)
        self.shape, self.low, self.family, self.corruption = tuple(shape), tuple(low), family, corruption
        size, below = math.prod(self.shape), math.prod(self.low)
        if mu.ndim != 2 or mu.shape[1] != size + below:
            raise Refusal(
                f"means are (K, {size + below}), the entries of x {self.shape} and then of z {self.low}, "
                f"not {tuple(mu.shape)}"
            )
        whole = Mixture(process, mu, cov, weights, labels)  # which also refuses what is no mixture
        self._start(process, len(mu), labels)
        if corruption is not None:
            Mixture(corruption, mu[:, size:], cov[:, size:, size:])
        spreads, axes = torch.linalg.eigh(cov[:, size:, size:])
        self.register_buffer("means", mu[:, :size])
        self.register_buffer("own", cov[:, :size, :size])
        self.register_buffer("cross", cov[:, :size, size:] @ axes)  # (K, D, axis)
        self.register_buffer("low_means", mu[:, size:])
        self.register_buffer("low_axes", axes.transpose(1, 2).contiguous())  # (K, axis, E)
        self.register_buffer("low_spreads", spreads.clamp(min=0))  # (K, axis)
        self.register_buffer("log_weights", whole.log_weights)
        spread = float(self.low_spreads.max()) + float((self.low_means - self.low_means.mean(0)).square().max())
        self._floor = _EXACT**2 * (spread or 1.0)

    @classmethod
    def of(
        cls,
        process: Continuous,
        means: Numbers,
        covariances: Numbers,
        shape: tuple[int, ...],
        operator: Operator,
        corruption: Continuous | None = None,
        weights: Sequence[float] | Tensor | None = None,
        labels: Sequence[int] | Tensor | None = None,
        family: str = "low",
    ) -> JointMixture:
        """Of a mixture of x with the means (K, D), and z = A x, the low resolution of x by an operator."""
        mu, cov, size = numbers(means), numbers(covariances), math.prod(shape)
        columns = operator.forward(torch.eye(size, dtype=torch.float64, device=mu.device).reshape(size, *shape))
        both = torch.cat([torch.eye(size, dtype=torch.float64, device=mu.device), columns.flatten(1)], 1)
        low, joint = tuple(columns.shape[1:]), both.T @ cov @ both
        return cls(process, mu @ both, (joint + joint.mT) / 2, shape, low, corruption, weights, labels, family)

    @classmethod
    def example(cls) -> JointMixture:
        from mezzotint.processes.edm import EDM
        from mezzotint.processes.flow import Flow

        cov = ((0.3, 0.1, 0.2), (0.1, 0.2, 0.1), (0.2, 0.1, 0.3))
        return cls(EDM(), ((-1.0, 0.5, -0.5), (1.0, 0.0, 0.5)), (cov, cov), (2,), (1,), Flow())

    def before(self, process: Continuous) -> Mixture:
        """The exact denoiser of z alone: the stage before."""
        cov = self.low_axes.mT @ (self.low_spreads[..., None] * self.low_axes)
        return Mixture(process, self.low_means, cov, self.log_weights.exp(), self._classed, self.low)

    def alone(self, process: Continuous) -> Mixture:
        """The exact denoiser of x that is told nothing of z."""
        return Mixture(process, self.means, self.own, self.log_weights.exp(), self._classed, self.shape)

    @property
    def _classed(self) -> Tensor | None:
        return self.labels if self.labelled else None

    @property
    def nulls(self) -> tuple[str, ...]:
        return (self.family, *super().nulls)

    def prepare(self, cond: Condition) -> Condition:
        known(cond, self.nulls, "this exact denoiser")
        told, name = cond.take(self.family)[0], f"{self.family}.level"
        for found in told.values:
            if found not in (self.family, name):
                raise Refusal(f"this exact denoiser reads {self.family!r} and {name!r}, not {found!r}")
        if self.family in told and tuple(told[self.family].shape[1:]) != self.low:
            raise Refusal(f"each {self.family!r} is {self.low}, not {tuple(told[self.family].shape[1:])}")
        if name in told:
            if self.family not in told or self.corruption is None:
                raise Refusal(f"{name!r} says how {self.family!r} was corrupted: give it, and the corruption")
            level = told[name]
            if level.ndim != 1 or not bool(((level >= 0) & (level <= 1)).all()):
                raise Refusal(f"{name!r} is a level in [0, 1] for each row, (B,)")
        return cond

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Dirac:
        z, level = self._told(cond, len(x))
        levels, place = torch.unique(level, return_inverse=True)
        beta, rho = self._scales(levels)
        laws = [self._law(*each) for each in zip(beta, rho, strict=True)]
        axes, spreads = (torch.stack(each)[place] for each in zip(*laws, strict=True))
        b, r = beta[place][:, None, None], rho[place][:, None, None]
        away = z[:, None, :] - b * self.low_means  # (B, K, E)
        along = (self.low_axes * away[:, :, None, :]).sum(-1)  # (B, K, axis)
        w = self._seen(b, r)
        means = self.means + (self.cross * (b / w * along)[:, :, None, :]).sum(-1)  # (B, K, D)
        log_weights = self.log_weights - 0.5 * (along**2 / w + w.log()).sum(-1)
        return self._answer(x, t, cond, want, means, axes, spreads, log_weights.log_softmax(1))

    def _told(self, cond: Condition, count: int) -> tuple[Tensor, Tensor]:
        """z_u (B, E) and its level (B,) in float64; where nothing is told, 0 and a level beyond all."""
        self.prepare(cond)
        like = self.means
        if self.family not in cond:
            return like.new_zeros(count, self.low_means.shape[1]), like.new_full((count,), _UNTOLD)
        kept, z = (each.to(like.device) for each in (cond.kept(self.family), cond[self.family]))
        name = f"{self.family}.level"
        level = cond[name].to(like) if name in cond else like.new_zeros(count)
        return torch.where(kept[:, None], z.to(like.dtype).flatten(1), 0.0), torch.where(kept, level, _UNTOLD)

    def _scales(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(beta, rho) at each level: 1 and 0 where nothing corrupts, 0 and 1 where nothing is told."""
        beta, rho = torch.ones_like(level), torch.zeros_like(level)
        if self.corruption is not None:
            t = self.corruption.time(level.clamp(max=1))
            beta, rho = self.corruption.alpha(t), self.corruption.sigma(t)
        return torch.where(level > 1, 0.0, beta), torch.where(level > 1, 1.0, rho)

    def _seen(self, beta: Tensor, rho: Tensor) -> Tensor:
        """The variance of z_u along the axes of each component's z: positive, as noise is never quite 0."""
        return beta**2 * self.low_spreads + torch.maximum(rho**2, beta**2 * self._floor)

    def _law(self, beta: Tensor, rho: Tensor) -> tuple[Tensor, Tensor]:
        """The axes (K, axis, D) of x given z_u and the variances (K, axis) along them, at one level.

        One level at a time: products of one size round alike in any batch.
        """
        w = self._seen(beta, rho)
        spreads, axes = torch.linalg.eigh(self.own - (self.cross * (beta**2 / w)[:, None, :]) @ self.cross.mT)
        return axes.mT.contiguous(), spreads.clamp(min=0)
