"""Processes of symbols: each entry is kept, or lost and drawn anew from a fixed law.

An entry survives until t with probability alive(t); a lost one is drawn from ``rest``, which is all mass on a mask
(:class:`~mezzotint.processes.Absorbing`) or equal over the symbols (:class:`~mezzotint.processes.Multinomial`). With
a = alive and r = a_t / a_s, entry by entry and with one-hot vectors,

    q(x_t | x_0) = a_t x_0 + (1 - a_t) rest
    q(x_t | x_s) = r x_s + (1 - r) rest
    q(x_s | x_t, x_0) = q(x_t | x_s) q(x_s | x_0) / q(x_t | x_0),                        eta = 1
                        k x_t + (a_s - k a_t) x_0,  k = (1 - a_s) / (1 - a_t),           eta = 0

the second of which redraws as little as it can and has the same marginals. An answer about x_0 that is a law enters by
the *mean of posteriors*, sum_v p(v) q(x_s | x_t, x_0 = v), which is what a step of the true reverse process is, given
p(v) = p(x_0 = v | x_t). The kernel printed in D3PM (2107.03006, eq. 4), sum_v p(v) q(x_t | x_s) q(x_s | x_0 = v)
without its denominators, counts q(x_t | x_0) twice; it is the same only where the denominator does not depend on v, as
on a mask.

Clean symbols are 0 .. vocab - 1 and the mask, if there is one, is vocab; answers are over the vocabulary, states over
both. Entries are independent given x_0, so a step that draws them apart is exact only as steps grow small.

Sources: Hoogeboom et al. 2021, "Argmax flows and multinomial diffusion" (2102.05379, eq. 11 to 13); Austin et al. 2021,
D3PM (2107.03006); Song et al. 2021, DDIM (2010.02502, appendix A) for eta = 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.core.distribution import Categorical, Dirac, Distribution, expand
from mezzotint.core.errors import Refusal
from mezzotint.processes.base import Answer, Process

_TINY = torch.finfo(torch.float64).tiny


def logs(probabilities: Tensor) -> Tensor:
    """Logarithms in float64, minus infinity at zero, with gradients that are finite there.

    What is smaller than any normal number, 2e-308, is zero: one over it would be infinite, and so would its gradient.
    """
    there = probabilities >= _TINY
    return torch.where(there, probabilities, 1.0).log().masked_fill(~there, -torch.inf)


def check_vocab(vocab: int) -> None:
    """Refuse a vocabulary that is no number of symbols."""
    if isinstance(vocab, bool) or not isinstance(vocab, int) or vocab < 2:
        raise Refusal(f"a vocabulary has at least two symbols, not {vocab!r}")


def check_mask(process: object, who: str) -> Discrete:
    """The process, refused where lost symbols do not become masks."""
    if not isinstance(process, Discrete) or process.mask is None:
        raise Refusal(
            f"{who} is about masked symbols and needs a model of a process that masks, such as Absorbing, not of "
            f"{type(process).__name__}"
        )
    return process


class Discrete(Process, ABC):
    """Symbols int64 (B, *shape) that are kept or drawn anew; laws are ``Categorical`` over ``symbols``, in float64.

    Attributes:
        vocab: clean symbols.
        mask: the symbol of a lost entry, or None.
    """

    kind: ClassVar[str] = "token"
    vocab: int

    @property
    @abstractmethod
    def mask(self) -> int | None:
        """The symbol of a lost entry, where lost entries have one of their own."""

    @abstractmethod
    def alive(self, t: Tensor) -> Tensor:
        """The share of entries that were never lost, at t."""

    @abstractmethod
    def rate(self, t: Tensor) -> Tensor:
        """How fast they are lost, -d alive / dt."""

    @property
    def symbols(self) -> int:
        """How many symbols a state may hold: the vocabulary and the mask."""
        return self.vocab + (self.mask is not None)

    @property
    def rest(self) -> Tensor:
        """What a lost entry is drawn from, float64 (symbols,)."""
        if self.mask is None:
            return torch.full((self.vocab,), 1 / self.vocab, dtype=torch.float64)
        return F.one_hot(torch.tensor(self.mask), self.symbols).double()

    def level(self, t: Tensor) -> Tensor:
        return 1 - self.alive(t)

    def clock(self, t: Tensor, x: Tensor) -> Tensor:
        """The time of every entry of x (B, *shape), float64 on its device, broadcasting over it."""
        return expand(t.to(device=x.device, dtype=torch.float64), x)

    def _alive(self, t: Tensor, x: Tensor) -> Tensor:
        """alive, broadcasting over the laws of x, (B, *shape or ones, 1)."""
        return self.alive(self.clock(t, x))[..., None]

    def lost(self, t: Tensor, x: Tensor) -> Tensor:
        """The chance that an entry of x (B, *shape) is lost by t, float64, broadcasting over it."""
        return 1 - self._alive(t, x)[..., 0]

    def pace(self, t: Tensor, x: Tensor) -> Tensor:
        """How fast each entry of x (B, *shape) is lost at t by its own clock, -d alive / d clock, float64."""
        return self.rate(self.clock(t, x))

    def running(self, t: Tensor, x: Tensor) -> Tensor:
        """How fast the clock of each entry of x (B, *shape) runs at t, d clock / dt, float64."""
        return torch.ones_like(self.clock(t, x))

    def turn(self, x: Tensor) -> Tensor:
        """When, on the way down, each entry of x (B, *shape) is said: int64, broadcasting over it, the least first.

        Entries of one number are lost together; those of a higher one are lost before any of a lower one is.
        """
        return torch.zeros((1,) * x.ndim, dtype=torch.int64, device=x.device)

    def _hot(self, x: Tensor) -> Tensor:
        return F.one_hot(x.long(), self.symbols).double()

    def _mixed(self, x: Tensor, kept: Tensor) -> Categorical:
        return Categorical(logs(kept * self._hot(x) + (1 - kept) * self.rest.to(x.device)))

    def corrupt(self, x0: Tensor, t: Tensor) -> Categorical:
        return self._mixed(x0, self._alive(t, x0))

    def renoise(self, x: Tensor, s: Tensor, t: Tensor) -> Categorical:
        return self._mixed(x, self._ratio(x, s, t))

    def _ratio(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """alive(t) / alive(s): of what is alive at s, how much lives on."""
        a_s, a_t = self._alive(s, x), self._alive(t, x)
        return torch.where(a_s == a_t, 1.0, a_t / torch.where(a_s > 0, a_s, 1.0))

    def prior(self, shape: tuple[int, ...]) -> Categorical:
        return Categorical(logs(self.rest).expand(1, *shape, -1))

    def given(self, x: Tensor, x0: Tensor, known: Tensor) -> Tensor:
        """As in the base class: a mask whose symbol is known is replaced by it, at any time, and nothing else.

        Refuses x_t that says something else of a known entry: a symbol that was never lost stays, whatever is answered.
        """
        if self.mask is None:
            return x
        masked = x == self.mask
        if bool((known & ~masked & (x != x0)).any()):
            raise Refusal(
                "a known entry is another symbol already, and what is not masked never changes: start with masks there"
            )
        return torch.where(known & masked, x0, x)

    def likelihood(self, x: Tensor, t: Tensor) -> Tensor:
        """log q(x_t | x_0 = v) of every entry for every v, less its largest value: (B, *shape, vocab).

        A masked entry says nothing of v, so there it is zero whatever the time.
        """
        a = self._alive(t, x)
        seen = (1 - a) * self.rest.to(x.device)[x.long()][..., None]
        said = torch.where(self._hot(x)[..., : self.vocab] > 0, 0.0, logs(seen / (seen + a)))
        return said if self.mask is None else said.masked_fill((x == self.mask)[..., None], 0.0)

    def seen(self, x: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """q(x_t | x_s = v) of every entry of x_t for every clean v, float64 (B, *shape, vocab)."""
        kept = self._ratio(x, s, t)
        return kept * self._hot(x)[..., : self.vocab] + (1 - kept) * self.rest.to(x.device)[x.long()][..., None]

    def bridge(self, x: Tensor, x0: Answer, t: Tensor, s: Tensor, eta: float = 1.0) -> Categorical:
        """As in the base class: the mean of posteriors over the answer.

        An entry that could not have been drawn from ``rest`` was never lost and stays. Between its ends eta mixes the
        two laws.
        """
        p, aux = self._answered(x0, x)
        hot, rest = self._hot(x), self.rest.to(x.device)
        a_s, a_t = self._alive(s, x), self._alive(t, x)
        seen = rest[x.long()][..., None]  # the chance that a lost entry is drawn as this one
        lost = (1 - a_t) * seen
        there = hot > 0
        safe = torch.where(lost > 0, lost, 1.0)
        weight = p / torch.where(there, safe + a_t, safe)
        r = self._ratio(x, s, t)
        total = weight.sum(-1, keepdim=True)
        posterior = (r * hot + (1 - r) * seen) * (a_s * weight + (1 - a_s) * rest * total)
        law = posterior
        if eta != 1:
            k = torch.where(a_t < 1, (1 - a_s) / torch.where(a_t < 1, 1 - a_t, 1.0), 1.0)
            law = eta * posterior + (1 - eta) * (k * hot + (a_s - k * a_t) * p)
        return Categorical(logs(torch.where((a_s == a_t) | (lost <= 0), hot, law)), aux)

    def _answered(self, x0: Answer, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The answer's probabilities over all symbols, float64 (B, *shape, symbols), and what came with it."""
        if isinstance(x0, Dirac):
            return self._hot(x0.value), dict(x0.aux)
        if isinstance(x0, Categorical):
            if x0.logits.shape != (*x.shape, self.vocab):
                raise Refusal(
                    f"an answer about {tuple(x.shape)} symbols of a vocabulary of {self.vocab} has logits "
                    f"{(*x.shape, self.vocab)}, not {tuple(x0.logits.shape)}"
                )
            p = x0.logits.double().softmax(-1)
            return F.pad(p, (0, self.symbols - self.vocab)), dict(x0.aux)
        if isinstance(x0, Distribution):
            raise TypeError(f"a {type(self).__name__} process bridges Categorical answers, not {type(x0).__name__}")
        return self._hot(x0), {}
