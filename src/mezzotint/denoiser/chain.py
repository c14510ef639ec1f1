"""A short chain of autoregressive models: each says a finer map of symbols, given all of the coarser one.

    p(x_0) = U(x_1) prod over stages of p(x_s | x_t),      p(x_s | x_t) = prod_i p(x_s^i | x_s^{<i}, x_t),

x_t multinomially corrupted data. No stage takes symbols for independent, so two to five stages do what hundreds of
steps of independent symbols approach; and each looks at x_t from both sides, which one autoregressive model of x_0
cannot. ``clean`` is False: what it answers is a law of x_s, not of x_0, and only :class:`~mezzotint.samplers.Chain`
walks it. The law of whole samples is a :class:`~mezzotint.denoiser.Raster`, drawn from with a cache; known entries are
forced by its ``given``.

At t = 1 nothing is left of the data, so the first stage reads no x_t: a decoder alone. With one stage the chain is the
plain autoregressive model.

Stages may have a network each, which the bound trains independently of each other (the paper's choice), or one for all
that is told the time. A network with ``residual`` has the observed symbol's likelihood added (Bayes' rule):

    log p(x_s^i = v | ..) = exp(a) f(x_t, x_s^{<i})_v + log q(x_t^i | x_s^i = v) + const.

Source: Esser et al. 2021, ImageBART (2108.08827), and its published code for the residual form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Want
from mezzotint.denoiser.enumerated import check_discrete
from mezzotint.denoiser.networked import Encoder, Networked
from mezzotint.denoiser.raster import SLOTS, Raster, Term, picked
from mezzotint.denoiser.stages import check_chain, following, stages, times_of
from mezzotint.networks.context import Context
from mezzotint.networks.cost import cost
from mezzotint.processes.discrete import Discrete

_FLOOR = 1e-30


class Chain(Networked):
    """Turns a network a stage, or one for all stages, into a denoiser that answers p(x_s | x_t).

    Arguments:
        networks: the first is that of t = 1: ``Causal``, which reads no x_t, or an ``EncoderDecoder``; the others are
            ``EncoderDecoder``. A single one serves every time, and is told it where there are several.
        process: of the same vocabulary, without a mask, under which no entry is alive at t = 1.
        encoder: from conditions to context; None for an unconditional model.
        times: of the stages, falling from 1; None: as many equal steps of the process's clock as there are networks.

    Raises:
        Refusal: if networks, process and times do not fit.
    """

    process: Discrete
    clean = False

    def __init__(
        self,
        networks: Sequence[nn.Module],
        process: Discrete,
        encoder: Encoder | None = None,
        times: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        check_chain(check_discrete(process, "Chain"), "Chain")
        if isinstance(networks, nn.Module) or not len(networks):
            raise Refusal("a chain takes a sequence of networks, one for each of its times or one for all")
        found = times_of(times, len(networks))
        if len(networks) not in (1, len(found)):
            raise Refusal(f"a chain of {len(found)} times takes as many networks, or one, not {len(networks)}")
        self.networks = nn.ModuleList(networks)
        for place, network in enumerate(self.networks):
            _check(network, place, process, len(found), len(networks))
        shapes = {tuple(cast(Any, network).shape) for network in self.networks}
        if len(shapes) > 1:
            raise Refusal(f"the networks of a chain make samples of one shape, not of {sorted(shapes)}")
        self.process, self.encoder = process, encoder
        (self.shape,) = shapes
        self.times = found

    @classmethod
    def assembled(cls, chains: Sequence[Chain]) -> Chain:
        """One chain of stages that were trained in runs of their own, the k-th of the k-th (``ChainBound(stage=k)``).

        Arguments:
            chains: trained alike but for the stage, one a stage; the encoder of conditions is that of the first, so
                stages are trained apart where there are no conditions, or with encoders that are not learnt.
        """
        if not chains:
            raise Refusal("a chain is assembled of one run a stage at least")
        first, *_ = chains
        assert first.times is not None
        alike = all(c.process == first.process and torch.equal(_times(c), _times(first)) for c in chains)
        if not alike or len(chains) != len(first.times) or any(len(c.networks) != len(chains) for c in chains):
            raise Refusal(
                f"a chain of {len(first.times)} stages is assembled of as many chains of the same process and times, "
                "with a network a stage"
            )
        learnt = [
            c.encoder for c in chains if isinstance(c.encoder, nn.Module) and any(True for _ in c.encoder.parameters())
        ]
        if learnt:
            raise Refusal("each of these runs learnt an encoder of its own, and a chain has one: train stages together")
        networks = [chain.networks[k] for k, chain in enumerate(chains)]
        return cls(networks, first.process, first.encoder, first.times.tolist())

    @classmethod
    def example(cls) -> Chain:
        """A small one of two stages, for contracts."""
        from mezzotint.networks.causal import Causal
        from mezzotint.networks.encoder_decoder import EncoderDecoder
        from mezzotint.processes.multinomial import Multinomial

        last = EncoderDecoder(4, (3, 4), width=16, depth=(1, 1), heads=2)
        return cls((Causal(4, (3, 4), width=16, depth=1, heads=2), last), Multinomial(4))

    @property
    def network(self) -> nn.Module:  # type: ignore[override]
        """The networks of all stages."""
        return self.networks

    def cost(self, shape: tuple[int, ...], cond: Condition = NONE) -> int | None:
        """Multiply-accumulates of one stage by teacher forcing, the mean over stages."""
        with torch.no_grad():
            context = self._context(cond, 1)
            spent = [cost(_Whole(network), shape, context).macs for network in self.networks]
        return sum(spent) // len(spent)

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Raster:
        """p(x_s | x_t), s the next of the chain's times after each row's.

        Arguments:
            x: int64 (B, *shape).
            t: float64, one of ``times``, (B,) or of the rank of x with ones; 0 where an entry is known.
        """
        if want:
            raise Refusal(f"a chain has no features before it is asked about a finer map, such as {want[0]!r}")
        assert self.times is not None
        stage, clean = stages(t, x, self.times)
        context = self._context(cond, len(x))
        context.only(*SLOTS)
        present = torch.unique(stage).tolist()
        if len(present) == 1:
            law = self._law(x, present[0], context)
        else:
            rows = [(stage == k).nonzero()[:, 0].to(x.device) for k in present]
            laws = [self._law(x[at], k, picked(context, at)) for k, at in zip(present, rows, strict=True)]
            law = cat(laws)[torch.cat(rows).argsort()]
        return law if clean is None else law.given(x, clean)

    def _law(self, x: Tensor, stage: int, context: Context) -> Raster:
        """p(x_s | x_t) of rows that are all in one stage."""
        assert self.times is not None
        network: Any = self.networks[stage if len(self.networks) > 1 else 0]
        t, s = self.times[stage], following(self.times, torch.tensor(stage))
        evidence = None
        if hasattr(network, "encode"):
            noise = (4 * self.process.level(t) - 2).float().to(x.device).expand(len(x))
            with torch.autocast(x.device.type, self.inner_dtype, enabled=self.inner_dtype is not None):
                context = network.encode(x, noise, context)
            evidence = self._evidence(x, t, s) if network.residual else None
        weight = torch.ones(len(x), dtype=torch.float64, device=x.device)
        nothing = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
        known = torch.zeros_like(nothing, dtype=torch.bool)
        return Raster((Term(network, context, weight),), nothing, known, self.inner_dtype, evidence)

    def _evidence(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor | None:
        """log q(x_t | x_s = v) of every entry for every v, float32 (B, *shape, vocab); None where it says nothing."""
        if float(self.process.alive(t)) == 0:
            return None
        seen = self.process.seen(x, s.expand(len(x)), t.expand(len(x)))
        return seen.clamp(min=_FLOOR).log().float()


class _Whole(nn.Module):
    """A stage's network with its encoder, asked about one map as both, to be counted."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.symbols = network, network.vocab

    def forward(self, x: Tensor, noise: Tensor, context: Context) -> Tensor:
        told = self.network.encode(x, noise, context) if hasattr(self.network, "encode") else context
        said: Tensor = self.network(x, noise, told)
        return said


def _check(network: Any, place: int, process: Discrete, stages: int, networks: int) -> None:
    """Refuse a network that cannot be the one of this place."""
    if not all(hasattr(network, name) for name in ("start", "decode", "vocab", "shape")):
        raise Refusal(f"a chain needs networks that decode, such as EncoderDecoder, not {type(network).__name__}")
    if network.vocab != process.vocab:
        raise Refusal(f"a process of {process.vocab} symbols needs a network of as many, not {network.vocab}")
    if not hasattr(network, "encode") and (place or stages > networks):
        raise Refusal(
            f"network {place} of a chain reads x_t, which a {type(network).__name__} does not: use an EncoderDecoder; "
            "only the first stage, at t = 1, has nothing to read"
        )
    if stages > networks and not network.told_level:
        raise Refusal("one network for several stages has to be told which: make it with level=True")


def _times(chain: Chain) -> Tensor:
    assert chain.times is not None
    return chain.times
