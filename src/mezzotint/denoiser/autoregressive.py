"""An autoregressive model as a denoiser: at t = 1, where nothing of the data is left, it answers with a law of samples.

Other denoisers of a process of symbols answer entry by entry, because that is what a short step needs. At t = 1 there
is another answer: x_1 says nothing, p(x_0 | x_1) is p(x_0), and a causal network knows that law as a whole. One step
then draws a sample, and what conditions, guides, compares or trains denoisers serves language models, too.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Want
from mezzotint.denoiser.enumerated import check_discrete
from mezzotint.denoiser.networked import Encoder, Networked
from mezzotint.denoiser.raster import SLOTS, Raster, Term
from mezzotint.processes.discrete import Discrete


class Autoregressive(Networked):
    """Turns a causal network into a denoiser that answers at t = 1, and with ``Ancestral`` samples in one step.

    Train it by ``-model(x, t, cond).log_prob(x0)`` with t = 1, whatever x.

    Arguments:
        network: ``Causal``, or what has its ``forward``, ``start`` and ``decode``, with ``vocab`` and ``shape``.
        process: of the same vocabulary, under which no entry is alive at t = 1.
        encoder: from conditions to context; None for an unconditional model.

    Raises:
        Refusal: if network and process do not fit.
    """

    process: Discrete

    def __init__(self, network: torch.nn.Module, process: Discrete, encoder: Encoder | None = None) -> None:
        super().__init__()
        check_discrete(process, "Autoregressive")
        if not all(hasattr(network, name) for name in ("start", "decode", "vocab", "shape")):
            raise Refusal(f"Autoregressive needs a network that decodes, such as Causal, not {type(network).__name__}")
        if cast(Any, network).vocab != process.vocab:
            raise Refusal(f"a process of {process.vocab} symbols needs a network of as many, not {network.vocab}")
        left = float(process.alive(torch.ones((), dtype=torch.float64, device="cpu")))
        if left > 1e-6:
            raise Refusal(
                f"under this process {left:.2g} of the entries are alive at t = 1, and an autoregressive model does "
                "not read them: use a schedule that ends at 0, such as Linear()"
            )
        self.network = network
        self.process = process
        self.encoder = encoder
        self.shape = tuple(cast(Any, network).shape)
        self.times = torch.ones(1, dtype=torch.float64, device="cpu")

    @classmethod
    def example(cls) -> Autoregressive:
        """A small one, for contracts."""
        from mezzotint.networks.causal import Causal
        from mezzotint.processes.absorbing import Absorbing

        return cls(Causal(4, (3, 4), width=16, depth=2, heads=2), Absorbing(4))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Raster:
        """p(x_0), of the same shape as x.

        Arguments:
            x: (B, *shape); read at t = 0 only, where entries are what they are and are forced.
            t: 1, (B,) or of the rank of x with ones; or 0 where x is known.
        """
        if want:
            raise Refusal(
                f"an autoregressive law has no features before it is asked about a sample, such as {want[0]!r}"
            )
        at = expand(t.to(device=x.device, dtype=torch.float64), x)
        if not bool(((at == 1) | (at == 0)).all()):
            raise Refusal(
                "an autoregressive model answers at t = 1 (and t = 0 where entries are known) and at no other"
            )
        weight = torch.ones(len(x), dtype=torch.float64, device=x.device)
        context = self._context(cond, len(x))
        context.only(*SLOTS)
        term = Term(self.network, context, weight)
        nothing = torch.zeros(x.shape, dtype=torch.int64, device=x.device)
        law = Raster((term,), nothing, torch.zeros_like(nothing, dtype=torch.bool), self.inner_dtype)
        clean = (at == 0).expand(x.shape)
        return law.given(x, clean) if bool(clean.any()) else law
