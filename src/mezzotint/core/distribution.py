"""Laws: what a process, a denoiser and a transition answer with.

A distribution is a value over a batch: q(x_t | x_0) of a process, q(x_0 | x_t, c) of a denoiser, p(x_s | x_t) of a
sampler's step. It can be drawn from under named keys, compared, bent towards another (guidance) and conditioned on
entries that are known (inpainting, prompts). What has no closed form raises; ``aux`` carries what was asked for beside
the law itself.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from mezzotint.core.batched import Batched
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng

Weight = float | Tensor


def expand(values: Tensor, x: Tensor) -> Tensor:
    """``values`` of shape (B,), or already of the rank of ``x``, with ones behind so that it broadcasts over ``x``."""
    return values if values.ndim == x.ndim else values.reshape(-1, *(1 for _ in range(x.ndim - 1)))


def per_sample(values: Tensor) -> Tensor:
    """Sum over everything but the batch: (B, ...) -> (B,)."""
    return values.flatten(1).sum(1)


def lerp(a: Tensor, b: Tensor, weight: Weight) -> Tensor:
    """``a + weight (b - a)``, exactly ``a`` at 0 and exactly ``b`` at 1; ``weight`` is a number or (B,)."""
    w = weight if isinstance(weight, Tensor) else torch.full((), float(weight), dtype=torch.float64)
    w = expand(w, a) if w.ndim else w
    return torch.lerp(a, b, w.to(device=a.device, dtype=a.dtype))


class Distribution(Batched):
    """A law over samples, one per row.

    Attributes:
        entrywise: whether the entries of a sample are independent of each other; a process bridges such laws only.
    """

    aux: Mapping[str, Tensor]
    entrywise: ClassVar[bool] = True

    if TYPE_CHECKING:  # a field in some laws and a property in others; a property here would become a field's default

        @property
        def mean(self) -> Tensor:
            """The expectation, (B, *shape); of symbols, their probabilities (B, *shape, V)."""

    @abstractmethod
    def sample(self, rng: Rng) -> Tensor:
        """One draw per row, (B, *shape); two laws drawn under one key share their noise."""

    @abstractmethod
    def lerp(self, other: Self, weight: Weight) -> Self:
        """The law between self (0) and other (1) in natural parameters, or beyond; ``weight`` a number or (B,)."""

    @abstractmethod
    def given(self, x: Tensor, mask: Tensor) -> Distribution:
        """The same law with the entries of ``x`` under ``mask`` (bool, broadcasts) known."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density or log-probability in nats, (B,)."""
        raise TypeError(f"a {type(self).__name__} has no log-density")

    def kl(self, other: Distribution) -> Tensor:
        """Kullback-Leibler divergence from self to other in nats, (B,)."""
        raise TypeError(f"no closed form for KL({type(self).__name__} || {type(other).__name__})")

    def tempered(self, temperature: Tensor | None = None, top: Tensor | None = None) -> Self:
        """Symbols by p^(1 / temperature), of the ``top`` likeliest alone, each (B,); None changes nothing."""
        if temperature is None and top is None:
            return self
        raise Refusal(f"a {type(self).__name__} has no symbols to choose from, so it takes no temperature")

    def with_aux(self, **aux: Tensor) -> Self:
        """The same law carrying further tensors (B, ...) beside it."""
        return replace(self, aux={**self.aux, **aux})  # type: ignore[type-var]

    def to(self, target: Tensor) -> Self:
        """The same law with floating-point leaves in the dtype of ``target``, all on its device."""
        return self.rebuild(
            {n: v.to(target) if v.is_floating_point() else v.to(target.device) for n, v in self.leaves().items()}
        )

    def leaves(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name) for name in self.parameters()}
        return {**own, **{f"aux:{name}": value for name, value in self.aux.items()}}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> Self:
        changes: dict[str, Any] = {name: leaves[name] for name in self.parameters()}
        changes["aux"] = {n.removeprefix("aux:"): v for n, v in leaves.items() if n.startswith("aux:")}
        return replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    @abstractmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of the tensors that make the law."""


@dataclass(frozen=True)
class Dirac(Distribution):
    """All mass at one point.

    Arguments:
        value: the point, (B, *shape).
        aux: what was asked for beside the law.
    """

    value: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("value",)

    @property
    def mean(self) -> Tensor:
        return self.value

    def sample(self, rng: Rng) -> Tensor:
        return self.value

    def lerp(self, other: Distribution, weight: Weight) -> Dirac:
        if not isinstance(other, Dirac):
            raise TypeError(f"a Dirac cannot be bent towards a {type(other).__name__}: both answers need one kind")
        return Dirac(lerp(self.value, other.value, weight), other.aux)

    def given(self, x: Tensor, mask: Tensor) -> Dirac:
        return replace(self, value=torch.where(mask, x, self.value))


@dataclass(frozen=True)
class Gaussian(Distribution):
    """Independent normals: N(mean, variance) entry by entry.

    Arguments:
        mean: (B, *shape).
        variance: broadcasts over ``mean`` with the batch first, (B, 1, ..) or (B, *shape); zero is a point mass.
        aux: what was asked for beside the law.
    """

    mean: Tensor
    variance: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.variance.ndim != self.mean.ndim:
            object.__setattr__(self, "variance", expand(self.variance, self.mean))
        if len(self.variance) != len(self.mean):
            object.__setattr__(self, "variance", self.variance.expand(len(self.mean), *self.variance.shape[1:]))

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("mean", "variance")

    def sample(self, rng: Rng) -> Tensor:
        noise = rng.normal("normal", tuple(self.mean.shape[1:])).to(self.mean)
        return self.mean + self.variance.sqrt() * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density in nats, (B,); infinite or minus infinity where the variance is zero."""
        mean, var, x = self.mean.double(), self.variance.double().expand_as(self.mean), x.double()
        density = -0.5 * ((x - mean) ** 2 / var + var.log() + math.log(2 * math.pi))
        point = torch.where(x == mean, torch.inf, -torch.inf).to(density)
        return per_sample(torch.where(var > 0, density, point))

    def kl(self, other: Distribution) -> Tensor:
        """KL in nats, (B,), in float64; entries that are the same point mass in both count nothing."""
        if not isinstance(other, Gaussian):
            return super().kl(other)
        m, n = self.mean.double(), other.mean.double()
        v, w = self.variance.double().expand_as(m), other.variance.double().expand_as(m)
        nats = 0.5 * ((v + (m - n) ** 2) / w - 1 + w.log() - v.log())
        same = (v == 0) & (w == 0) & (m == n)
        return per_sample(torch.where(same, torch.zeros_like(nats), torch.where(w == 0, torch.inf, nats)))

    def lerp(self, other: Distribution, weight: Weight) -> Gaussian:
        """Means are interpolated; the spread is the other's, so that guidance never makes a variance negative."""
        if not isinstance(other, Gaussian):
            raise TypeError(f"a Gaussian cannot be bent towards a {type(other).__name__}: both answers need one kind")
        return Gaussian(lerp(self.mean, other.mean, weight), other.variance, other.aux)

    def given(self, x: Tensor, mask: Tensor) -> Gaussian:
        variance = self.variance.expand_as(self.mean)
        return replace(
            self, mean=torch.where(mask, x, self.mean), variance=torch.where(mask, torch.zeros_like(variance), variance)
        )


def tempered(logits: Tensor, temperature: Tensor | None, top: Tensor | None) -> Tensor:
    """Logits (B, .., V) divided by ``temperature`` (B,), then minus infinity but for the ``top`` (B,) largest of each.

    Of symbols that are equally likely the ones with the lower numbers are kept.
    """
    if temperature is not None:
        logits = logits / expand(temperature.to(logits), logits)
    if top is not None:
        rank = logits.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        logits = logits.masked_fill(rank >= expand(top.to(logits.device), logits), -torch.inf)
    return logits


@dataclass(frozen=True)
class Categorical(Distribution):
    """Independent symbols.

    Arguments:
        logits: unnormalised log-probabilities (B, *shape, V); minus infinity is a hard zero.
        aux: what was asked for beside the law.
    """

    logits: Tensor
    aux: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("logits",)

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1)

    def sample(self, rng: Rng) -> Tensor:
        return rng.categorical("symbol", self.logits)

    def log_prob(self, x: Tensor) -> Tensor:
        return per_sample(self.logits.double().log_softmax(-1).gather(-1, x[..., None])[..., 0])

    def kl(self, other: Distribution) -> Tensor:
        if not isinstance(other, Categorical):
            return super().kl(other)
        p, q = self.logits.double().log_softmax(-1), other.logits.double().log_softmax(-1)
        # What self never says counts nothing; both are replaced there, or the gradient of inf - inf would be NaN.
        never = p == -torch.inf
        terms = p.exp() * (p.masked_fill(never, 0.0) - q.masked_fill(never, 0.0))
        return per_sample(terms.sum(-1))

    def lerp(self, other: Distribution, weight: Weight) -> Categorical:
        """Log-probabilities are interpolated; a hard zero stands if either has it in between, the nearer end beyond.

        Where in between no symbol is allowed by both, there is nothing to interpolate: the nearer end's own law stands,
        from one half on the other's.
        """
        if not isinstance(other, Categorical):
            raise TypeError(f"a Categorical cannot be bent towards a {type(other).__name__}: both need one kind")
        a, b = self.logits.log_softmax(-1), other.logits.log_softmax(-1)
        w = weight if isinstance(weight, Tensor) else torch.full((len(a),), float(weight), dtype=torch.float64)
        w = expand(w, a[..., 0])[..., None].to(a)
        zero_a, zero_b = a == -torch.inf, b == -torch.inf
        # Beyond an end, a symbol that only the far end forbids would come out infinitely likely: there is no finite
        # contrast to extrapolate, so the nearer end's own log-probability stands.
        near = torch.where(w > 1, b, a)
        clean_a = torch.where(zero_a, near.masked_fill(near == -torch.inf, 0.0), a)
        clean_b = torch.where(zero_b, near.masked_fill(near == -torch.inf, 0.0), b)
        bent = torch.lerp(clean_a, clean_b, w)
        forbidden = torch.where(w <= 0, zero_a, torch.where(w >= 1, zero_b, zero_a | zero_b))
        bent = torch.where(
            forbidden.all(-1, keepdim=True), torch.where(w < 0.5, a, b), bent.masked_fill(forbidden, -torch.inf)
        )
        return Categorical(bent, other.aux)

    def tempered(self, temperature: Tensor | None = None, top: Tensor | None = None) -> Categorical:
        return replace(self, logits=tempered(self.logits, temperature, top))

    def given(self, x: Tensor, mask: Tensor) -> Categorical:
        certain = torch.full_like(self.logits, -torch.inf).scatter(-1, x[..., None], 0.0)
        return replace(self, logits=torch.where(mask[..., None], certain, self.logits))
