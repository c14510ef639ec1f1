"""The law of an autoregressive model: a product of conditionals, each given what came before it in raster order.

    p(x) = prod_i p(x_i | x_1 .. x_{i-1}),        the last axis fastest.

It is a law of whole samples: no entry is independent of another, so there is no closed form for its mean, but it is
drawn from exactly, one entry after the other, and its log-probability is exact.

Known entries are *forced* while decoding: what follows them is drawn given them, what comes before them is not. That is
the conditional law where they stand at the beginning, and short of it anywhere else, since a model that reads in one
order cannot look ahead.

Sources: Bengio and Bengio 2000, "Modeling high-dimensional discrete data with multi-layer neural networks"; Esser et
al. 2021, ImageBART (2108.08827) for forced entries; guidance position by position: Sanchez et al. 2023 (2306.17806).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from mezzotint.core.distribution import Categorical, Distribution, Weight, tempered
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng, inverted
from mezzotint.networks.context import Context

SLOTS = ("vector", "tokens", "mask")
"""What of a context a law takes along, row by row."""
OPTIONAL = ("evidence", "temperature", "top")
"""What a law may have beside its networks."""


@dataclass(frozen=True)
class Term:
    """One network's share in the logarithm of every conditional.

    Arguments:
        network: ``Causal``, or what has its ``forward``, ``start`` and ``decode``.
        context: what it is told, (B,) rows; ``vector``, ``tokens`` and ``mask``.
        weight: float64 (B,); over all terms of a law they sum to one.
    """

    network: Any
    context: Context
    weight: Tensor


@dataclass(frozen=True)
class Raster(Distribution):
    """p(x) ~ prod_i e_i(x_i) prod_k p_k(x_i | x_<i)^w_k, normalised position by position.

    Arguments:
        terms: one network with weight 1, or several between which a law was bent.
        value: int64 (B, *shape), what is known.
        known: bool (B, *shape), where.
        precision: in which the networks run; None: the one their weights are in.
        evidence: log e, what is known of every symbol apart from the networks, (B, *shape, V); None: nothing.
        temperature: by which every conditional's logits are divided, float64 (B,); None: 1.
        top: how many of the likeliest symbols every conditional keeps, int64 (B,); None: all. What is known is kept
            whatever it is.
        aux: what was asked for beside the law.
    """

    terms: tuple[Term, ...]
    value: Tensor
    known: Tensor
    precision: torch.dtype | None = None
    evidence: Tensor | None = None
    temperature: Tensor | None = None
    top: Tensor | None = None
    aux: Mapping[str, Tensor] = field(default_factory=dict)
    entrywise = False

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        return ("value", "known")

    def leaves(self) -> dict[str, Tensor]:
        told = {f"{k}:{slot}": getattr(term.context, slot) for k, term in enumerate(self.terms) for slot in SLOTS}
        weights = {f"{k}:weight": term.weight for k, term in enumerate(self.terms)}
        more = {**told, **{name: getattr(self, name) for name in OPTIONAL}}
        return {**super().leaves(), **{name: each for name, each in more.items() if each is not None}, **weights}

    def rebuild(self, leaves: Mapping[str, Tensor]) -> Raster:
        terms = []
        for k, term in enumerate(self.terms):
            vector, tokens, mask = (leaves.get(f"{k}:{slot}") for slot in SLOTS)
            terms.append(Term(term.network, Context(vector, tokens, mask), leaves[f"{k}:weight"]))
        own: dict[str, Any] = {name: leaves.get(name) for name in OPTIONAL}
        return replace(super().rebuild(leaves), terms=tuple(terms), **own)

    def joined(self, others: Sequence[Raster]) -> Raster:
        """This law followed by ``others``; where they are not of the same networks, each row has weight in its own."""
        laws = [self, *others]
        if len({(tuple(id(term.network) for term in law.terms), tuple(law.leaves())) for law in laws}) == 1:
            return super().joined(others)
        counts, terms = [len(law) for law in laws], []
        for k, law in enumerate(laws):
            around = sum(counts[:k]), sum(counts[k + 1 :])
            for term in law.terms:
                context = Context(*(_among(getattr(term.context, slot), *around) for slot in SLOTS))
                terms.append(replace(term, context=context, weight=_among(term.weight, *around)))
        plain = [replace(law, terms=(), **cast(Any, law._filled(laws))) for law in laws]
        return replace(Distribution.joined(plain[0], plain[1:]), terms=tuple(terms))

    def _filled(self, laws: Sequence[Raster]) -> dict[str, Tensor]:
        """What some of these laws have beside their networks, as it stands here: nothing is zeros, one and all."""
        like, vocab = self.value, laws[0].terms[0].network.vocab
        plain = {
            "evidence": torch.zeros((*like.shape, vocab), dtype=torch.float64, device=like.device),
            "temperature": torch.ones(len(like), dtype=torch.float64, device=like.device),
            "top": torch.full((len(like),), vocab, dtype=torch.int64, device=like.device),
        }
        wanted = [name for name in OPTIONAL if any(getattr(law, name) is not None for law in laws)]
        return {name: plain[name] if getattr(self, name) is None else getattr(self, name) for name in wanted}

    @property
    def mean(self) -> Tensor:
        raise TypeError("no closed form for the mean of an autoregressive law: average samples of it")

    def conditionals(self, x: Tensor) -> Categorical:
        """p(x_i | x_<i) at every position of x (B, *shape) by teacher forcing; differentiable by the weights."""
        with self._running():
            said = [self._said(term, x) for term in self.terms]
        return Categorical(self._bent(said), self.aux).given(self.value, self.known)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability in nats, (B,); what is known counts nothing, and minus infinity where x differs from it."""
        return self.conditionals(x).log_prob(x)

    def sample(self, rng: Rng) -> Tensor:
        """One draw per row, from caches and without gradients.

        Every position has its uniform number, the one that ``conditionals(x).sample(rng)`` has for it: that is x again,
        and laws drawn under one key share their noise, entry by entry or not.
        """
        u = rng.uniform("symbol", tuple(self.value.shape[1:])).flatten(1).to(self.value.device)
        x, known = self.value.flatten(1).clone(), self.known.flatten(1)
        shape = tuple(self.value.shape[1:])
        free = (~known).any(0).tolist()
        end = max((i + 1 for i, any_ in enumerate(free) if any_), default=0)
        with torch.no_grad(), self._running():
            caches = [term.network.start(len(x), term.context, shape) for term in self.terms]
            for i in range(end):
                said = []
                for k, term in enumerate(self.terms):
                    logits, caches[k] = term.network.decode(x[:, i - 1] if i else None, caches[k])
                    said.append(logits)
                if free[i]:
                    drawn = inverted(self._bent(said, i), u[:, i])
                    x[:, i] = torch.where(known[:, i], x[:, i], drawn)
        return x.reshape(self.value.shape)

    def lerp(self, other: Distribution, weight: Weight) -> Raster:
        """Log-probabilities of every conditional are interpolated, or beyond, and normalised position by position.

        It is a law again, drawn from by decoding both; the product of whole laws is another one, and intractable.
        """
        if not isinstance(other, Raster):
            raise TypeError(f"a Raster cannot be bent towards a {type(other).__name__}: both answers need one kind")
        if any(each is not None for each in (self.temperature, self.top, other.temperature, other.top)):
            raise Refusal("a law of a temperature is not bent any more: put Tempered around the guidance, not inside")
        same = torch.equal(self.known, other.known) and torch.equal(self.value[self.known], other.value[other.known])
        seen, also = self.evidence, other.evidence
        if seen is not also and (seen is None or also is None or not torch.equal(seen, also)):
            raise Refusal("two autoregressive laws can be bent where both were asked about the same x_t, not of others")
        if not same or self.precision != other.precision:
            raise Refusal(
                "two autoregressive laws are bent where the same is known of both: call given(...) afterwards"
            )
        if isinstance(weight, float | int) and weight in (0, 1):
            return replace(other if weight else self, aux=other.aux)
        w = torch.as_tensor(weight, dtype=torch.float64, device=self.value.device)
        if w.numel() not in (1, len(self)):
            raise Refusal(f"autoregressive laws are bent by one weight a sample, ({len(self)},), not {tuple(w.shape)}")
        w = w.reshape(-1).expand(len(self))
        mine = (replace(term, weight=term.weight * (1 - w)) for term in self.terms)
        theirs = (replace(term, weight=term.weight * w) for term in other.terms)
        return replace(self, terms=(*mine, *theirs), aux=other.aux)

    def tempered(self, temperature: Tensor | None = None, top: Tensor | None = None) -> Raster:
        """Every conditional p^(1 / temperature), of its ``top`` likeliest symbols alone; a temper replaces another."""
        where = self.value.device  # with the other rows of this law, or it could not be picked from or joined
        heat, most = (None if each is None else each.to(where) for each in (temperature, top))
        return replace(self, temperature=heat, top=most)

    def given(self, x: Tensor, mask: Tensor) -> Raster:
        """The law with these entries forced: those after them are drawn given them, those before them are not."""
        mask = mask.to(self.known.device).expand_as(self.known)
        inside = x.to(self.value)[mask] if x.shape == self.value.shape else x.to(self.value).expand_as(self.value)[mask]
        vocab = self.terms[0].network.vocab
        if inside.numel() and not bool(((inside >= 0) & (inside < vocab)).all()):
            raise Refusal(f"known entries are symbols 0 .. {vocab - 1}, and some of these are not")
        return replace(self, value=torch.where(mask, x.to(self.value), self.value), known=self.known | mask)

    def _said(self, term: Term, x: Tensor) -> Tensor:
        """The logits (B, *shape, V) of one network by teacher forcing.

        Of a batch in several stages each network has a few rows: it is asked about these alone, or every stage would
        cost as much as all of them.
        """
        noise = torch.zeros(len(x), device=x.device)
        share = term.weight != 0
        if len(self.terms) == 1 or bool(share.all()):
            said: Tensor = term.network(x, noise, term.context)
            return said
        rows = share.nonzero()[:, 0].to(x.device)
        if not len(rows):
            return torch.zeros(*x.shape, term.network.vocab, device=x.device)
        found: Tensor = term.network(x[rows], noise[rows], picked(term.context, rows))
        return found.new_zeros(len(x), *found.shape[1:]).index_copy(0, rows, found)

    def _running(self) -> torch.autocast:
        return torch.autocast(self.value.device.type, self.precision, enabled=self.precision is not None)

    def _bent(self, said: Sequence[Tensor], place: int | None = None) -> Tensor:
        """Unnormalised log-probabilities of what the terms say of one place, or of all, in float32 at least."""
        fine = [each.to(torch.promote_types(each.dtype, torch.float32)) for each in said]
        logits = fine[0]
        if len(fine) > 1:
            weights = [
                term.weight.to(each).reshape(-1, *(1,) * (each.ndim - 1))
                for term, each in zip(self.terms, fine, strict=True)
            ]
            logits = torch.stack([w * each.log_softmax(-1) for w, each in zip(weights, fine, strict=True)]).sum(0)
        if self.evidence is not None:
            seen = self.evidence if place is None else self.evidence.flatten(1, -2)[:, place]
            logits = logits + seen.to(logits)
        return tempered(logits, self.temperature, self.top)


def picked(context: Context, rows: Tensor) -> Context:
    """Some rows of what a law takes along of a context."""
    vector, tokens, mask = (None if each is None else each[rows] for each in (getattr(context, s) for s in SLOTS))
    return Context(vector, tokens, mask)


def _among(rows: Any, before: int, after: int) -> Any:
    """A tensor between rows of zeros."""
    if rows is None:
        return None
    return torch.cat((rows.new_zeros(before, *rows.shape[1:]), rows, rows.new_zeros(after, *rows.shape[1:])))
