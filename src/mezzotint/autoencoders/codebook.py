"""Codebooks: V vectors, and which of them is nearest.

    k(z) = argmin_k |z - e_k|^2,          q = z + sg[e_k(z) - z]          (gradients pass straight through to z)

Two ways to learn the vectors. By gradient, on the codebook loss, with the commitment loss for the encoder:

    |sg[z] - e_k|^2 + beta |z - sg[e_k]|^2                                 (1711.00937, equation 3)

or by moving averages of what each vector stands for, with the commitment loss alone:

    N_k <- d N_k + (1 - d) n_k,    m_k <- d m_k + (1 - d) sum of its z,    e_k = m_k / N_k     (its appendix A.1)

Here n_k and the sum are shares of the batch, so batches of all sizes count alike. A vector that hardly anything is
nearest to learns nothing in either way. It is *dead* once its averaged share N_k has fallen below ``revive`` / V, and
is put at an output of the encoder drawn from the batch at hand; in the first step all of them are. Draws are keyed by
sample, and sums and draws are over all processes, so that these agree whatever their number.

Sources: van den Oord et al. 2017, "Neural discrete representation learning" (1711.00937); Razavi et al. 2019
(1906.00446, section 2.1); revival from the batch: Dhariwal et al. 2020, "Jukebox" (2005.00341, section 3.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part

_CHUNK = 2**24  # distances at once
_FAINT = 1e-12  # an averaged share from which no mean can be told


@dataclass(frozen=True)
class CodebookRule(Part, ABC):
    """How a codebook is learnt.

    Arguments:
        commitment: beta, what it costs the encoder to stay away from the vectors.
        revive: share of an equal part of all uses below which a vector is dead; 0 revives none.
        decay: d, of the averaged shares, and of the sums where vectors are averages; per step.
    """

    commitment: float = 0.25
    revive: float = 0.05
    decay: float = 0.99
    averaged: ClassVar[bool]
    """Whether vectors are averages of what they stand for, and no gradient moves them."""

    def __post_init__(self) -> None:
        if not self.commitment >= 0 or not 0 <= self.revive < 1 or not 0 <= self.decay < 1:
            raise Refusal(
                "a codebook has a commitment of at least 0, and revive and decay in [0, 1), not "
                f"{self.commitment}, {self.revive} and {self.decay}"
            )

    @abstractmethod
    def cost(self, z: Tensor, e: Tensor) -> Tensor:
        """The loss (B,), a mean over entries, of encoder outputs z and their vectors e, both (B, D, *latent)."""


@dataclass(frozen=True)
class CodebookLoss(CodebookRule):
    """Vectors are learnt by gradient, on the codebook loss (1711.00937, equation 3)."""

    averaged: ClassVar[bool] = False

    def cost(self, z: Tensor, e: Tensor) -> Tensor:
        return _apart(z.detach(), e) + self.commitment * _apart(z, e.detach())


@dataclass(frozen=True)
class MovingAverages(CodebookRule):
    """Vectors are moving averages of the encoder outputs they stand for (1711.00937, appendix A.1)."""

    averaged: ClassVar[bool] = True

    def cost(self, z: Tensor, e: Tensor) -> Tensor:
        # The vectors are parameters, so that averages of the weights are averages of them too. No gradient moves them,
        # but processes that sum gradients wait for one of every parameter, and this is it: zero.
        return self.commitment * _apart(z, e.detach()) + 0.0 * e.flatten(1).sum(1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(1)


class Codebook(nn.Module):
    """V vectors of D features, with averages of how often each is used.

    Attributes:
        weight: the vectors (V, D).
        usage: averaged shares of use (V,), which sum to about 1; 0 before the first step.
        sums: of the encoder outputs (V, D), averaged alike; only where vectors are averages.

    Arguments:
        vocab: V.
        features: D.
        rule: how the vectors are learnt.
    """

    weight: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(self, vocab: int, features: int, rule: CodebookRule) -> None:
        super().__init__()
        if vocab < 1 or features < 1:
            raise Refusal(f"a codebook has at least one vector of at least one feature, not {vocab} of {features}")
        self.rule = rule
        self.weight = nn.Parameter(torch.randn(vocab, features))
        self.register_buffer("usage", torch.zeros(vocab))
        if rule.averaged:
            self.register_buffer("sums", torch.zeros(vocab, features))

    def nearest(self, z: Tensor) -> Tensor:
        """Codes int64 (B, *latent): the nearest vector to each of z (B, D, *latent), computed in float32 at least."""
        with torch.autocast(z.device.type, enabled=False):
            flat, e = _rows(z.detach()), self.weight.detach()
            kind = torch.promote_types(torch.promote_types(flat.dtype, e.dtype), torch.float32)
            # |z - e|^2 = |z|^2 - 2 z e + |e|^2, about the mean of the vectors, where products lose fewest digits.
            middle = e.to(kind).mean(0)
            e = e.to(kind) - middle
            squares = e.square().sum(1)
            pieces = torch.split(flat, max(1, _CHUNK // len(e)))
            found = [torch.addmm(squares, p.to(kind) - middle, e.T, alpha=-2).argmin(1) for p in pieces]
        return torch.cat(found).reshape(len(z), *z.shape[2:])

    def vectors(self, codes: Tensor) -> Tensor:
        """The vectors (B, D, *latent) of codes (B, *latent)."""
        return F.embedding(codes, self.weight).movedim(-1, 1)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes int64 (B, *latent) of z (B, D, *latent), vectors straight through (B, D, *latent), and the loss (B,).

        The vectors are those of the codes, to rounding; their gradient is that of z.
        """
        codes = self.nearest(z)
        with torch.autocast(z.device.type, enabled=False):
            z = z.to(self.weight.dtype)
            e = self.vectors(codes)
            return codes, z + (e - z).detach(), self.rule.cost(z, e)

    @torch.no_grad()
    def learn(self, z: Tensor, codes: Tensor, rng: Rng) -> None:
        """Take in a step's encoder outputs z (B, D, *latent) and their codes, of this process, under their keys.

        Raises:
            Refusal: if the weights are cut over processes.
        """
        if hasattr(self.weight, "full_tensor"):
            raise Refusal("a codebook cannot be cut over processes: train it with training.shard=false")
        vocab, decay, revive = len(self.weight), self.rule.decay, self.rule.revive
        z, fresh = z.to(torch.promote_types(self.weight.dtype, torch.float32)), not bool(self.usage.any())
        flat = _rows(z)
        counted = flat.new_zeros(vocab, flat.shape[1] + 1)
        for some, vectors in zip(
            *(torch.split(a, max(1, _CHUNK // vocab)) for a in (codes.flatten(), flat)), strict=True
        ):
            # A product and no scattered sum, whose order on a GPU is another every time.
            which = F.one_hot(some, vocab).to(flat).T
            counted += torch.cat([which.sum(1, keepdim=True), which @ vectors], 1)
        counted = ranks.total(counted)
        counted = (counted / counted[:, 0].sum()).to(self.usage)
        self.usage.lerp_(counted[:, 0], 1 - decay)
        if self.rule.averaged:
            self.sums.lerp_(counted[:, 1:], 1 - decay)
            told = self.usage > _FAINT
            self.weight.copy_(
                torch.where(told[:, None], self.sums / self.usage.clamp_min(_FAINT)[:, None], self.weight)
            )
        dead = (self.usage < revive / vocab) | (fresh and revive > 0)
        if bool(dead.any()):
            self._revive(dead.nonzero()[:, 0], flat.reshape(len(z), -1, z.shape[1]), rng)

    def _revive(self, dead: Tensor, z: Tensor, rng: Rng) -> None:
        """Put the vectors ``dead`` (n,) at encoder outputs of z (B, places, D), each drawn by itself."""
        ballots = rng.uniform("revived ballots", (len(dead),)).to(z.device)
        places = (rng.uniform("revived places", (len(dead),)) * z.shape[1]).long().to(z.device)
        best, row = ballots.max(0)
        drawn = z[row, places.gather(0, row[None])[0]]
        drawn = ranks.total(torch.where((best == ranks.largest(best))[:, None], drawn, 0.0))
        self.weight[dead] = drawn.to(self.weight)
        self.usage[dead] = 1 / len(self.weight)  # as good as used, until it is seen that it is not
        if self.rule.averaged:
            self.sums[dead] = drawn.to(self.sums) / len(self.weight)


def _rows(z: Tensor) -> Tensor:
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of how often each code occurs: V where all occur alike, 1 where there is but one.

    Arguments:
        counts: of each code (V,).

    Raises:
        Refusal: if none occurs.
    """
    shares = counts.double() / counts.double().sum()
    if not bool(shares.isfinite().all()):
        raise Refusal("a perplexity needs at least one code that occurs")
    return float(torch.special.entr(shares).sum().exp())
