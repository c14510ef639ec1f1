"""The denoiser around a network of symbols.

The network says logits for every entry, and the answer is the law they stand for. On a process with a mask an entry
that is not masked is known, so the answer is certain there, whatever the network says, and nothing of it is learnt;
what is behind the masks does not depend on the time, so a network that is not told the noise gives a denoiser whose
answer depends on x alone (``uses_level = False``).

A network that is told the noise is told 4 u - 2, with u = 1 - alive the share that was lost: [-2, 2], the range that
:class:`~mezzotint.networks.Sinusoid` has its waves for, and even in the level, as the losses are.

Sources: Austin et al. 2021, D3PM (2107.03006); Ou et al. 2024, RADD (2406.03736); Sahoo et al. 2024 (2406.07524,
section 3.2.3) for carrying over what is known.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.denoiser.base import Want
from mezzotint.denoiser.enumerated import check_discrete
from mezzotint.denoiser.networked import Encoder, Networked
from mezzotint.processes.discrete import Discrete


class Tokens(Networked):
    """Turns a network of symbols into a denoiser of a process of symbols.

    ``want`` may ask for the network's features, and for ``output``: its logits before what is known was put in.

    Arguments:
        network: ``forward(x, noise, context, want=())``, int64 (B, *shape) to logits (B, *shape, vocab), with the
            attributes ``shape``, ``symbols``, ``vocab`` and ``told_level``, such as ``TokenTransformer``.
        process: what corrupts the data, of the same vocabulary.
        encoder: from conditions to context; None for an unconditional model.

    Raises:
        Refusal: if network and process do not speak of the same symbols.
    """

    process: Discrete

    def __init__(self, network: torch.nn.Module, process: Discrete, encoder: Encoder | None = None) -> None:
        super().__init__()
        check_discrete(process, "Tokens")
        due = {"symbols": process.symbols, "vocab": process.vocab}
        for name, number in due.items():
            found = getattr(network, name, None)
            if found != number:
                raise Refusal(
                    f"a {type(process).__name__} process of {process.vocab} symbols needs a network with "
                    f"{name}={number}, not {found}; a mask is one more symbol at the input only"
                )
        self.network = network
        self.process = process
        self.encoder = encoder
        self.shape = tuple(cast(Any, network).shape)
        self.uses_level = process.mask is None or bool(getattr(network, "told_level", True))

    @classmethod
    def example(cls) -> Tokens:
        """A small one, for contracts."""
        from mezzotint.networks.token_transformer import TokenTransformer
        from mezzotint.processes.absorbing import Absorbing

        return cls(TokenTransformer(5, 4, (3, 4), width=16, depth=2, heads=2, level=True), Absorbing(4))

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Categorical:
        """As in the base class; float32 logits at least, minus infinity at what a known entry is not.

        Arguments:
            x: int64 (B, *shape), of the process's symbols.
            t: float64, (B,), or of the rank of x with ones: the time of each entry, for a network told the level.
        """
        inner = tuple(name for name in want if name != "output")
        noise = (4 * self.process.level(t.to(device=x.device, dtype=torch.float64)) - 2).float()
        logits, aux = self._said(x, noise, cond, inner)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if "output" in want:
            aux["output"] = logits
        answer, mask = Categorical(logits, aux), self.process.mask
        return answer if mask is None else answer.given(x.clamp(max=mask - 1), x != mask)
