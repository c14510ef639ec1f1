"""Context decoders: what a site says of its neighbours, and how far off it is.

A decoder sees one vector a site and is thrown away with the objective that owns it. It makes its weights when it meets
a model, by a seed of its own, so that the model's weights and draws are the same with and without it.

Sources: Yang et al. 2023, ConPreDiff (2401.02015); the sampler and its layers: Tang et al. 2022, "Graph auto-encoder
via neighborhood Wasserstein reconstruction" (2202.09025), and its published code. Widths are ours: neither says them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Module
from mezzotint.core.transport import set_w2

_WIDEST, _DRAWS = 65_536, 256
_SPREAD = 8.0  # the logarithm of a learnt spread stays within -8 and 8, smoothly

_TOO_LARGE = ("allocate", "overflow")
"""What torch says of weights that are more than memory, or than an integer, holds."""


class ContextDecoder(Module, ABC):
    """(a vector a site, what stands around it) -> how far off, a number a site.

    Attributes:
        sizes: numbers of a vector, of a neighbour's value, and of neighbours, once it has met a model; None before.
        power: 2 where it answers with squared distances, summed over a value's numbers; 1 where with their root mean.
    """

    sizes: tuple[int, int, int] | None = None
    power: int = 2
    made: Tensor

    def meet(self, inputs: int, outputs: int, slots: int, seed: int = 0) -> None:
        """Make the weights anew, drawn by the seed and nothing else.

        Arguments:
            inputs: numbers of the vector of a site.
            outputs: d, numbers of a neighbour's value.
            slots: K, the most neighbours a site has.
            seed: of the weights.
        """
        before = torch.get_rng_state()
        self.sizes = (inputs, outputs, slots)
        try:
            torch.default_generator.manual_seed(seed)  # the CPU's alone: another device's could not be put back so
            with torch.device("cpu"):
                self.build(inputs, outputs, slots)
        except RuntimeError as error:
            if not any(word in str(error) for word in _TOO_LARGE):  # another fault of a decoder of one's own
                raise
            raise Refusal(f"a {type(self).__name__} of these widths does not fit into memory: {error}") from None
        finally:
            torch.set_rng_state(before)
        self.register_buffer("made", torch.tensor(self.sizes))

    def check(self, inputs: int, outputs: int, slots: int) -> None:
        """Refuse a model of other sizes than the one it has met."""
        made = self.sizes
        if made is None:
            raise Refusal(f"a {type(self).__name__} has no weights before it has met a model: call meet first")
        if (inputs, outputs) != made[:2] or slots > made[2]:
            raise Refusal(
                f"this decoder was made for {made[0]} numbers a site, {made[1]} a neighbour and {made[2]} neighbours, "
                f"and here are {inputs}, {outputs} and {slots}; give every model a decoder of its own"
            )

    @abstractmethod
    def build(self, inputs: int, outputs: int, slots: int) -> None:
        """Make the modules for these sizes."""

    @abstractmethod
    def forward(self, h: Tensor, clean: Tensor, there: Tensor, rng: Rng) -> Tensor:
        """How far off what is said lies, (B, n), as ``power`` says.

        Arguments:
            h: vectors of sites, (B, n, inputs).
            clean: what stands around them, (B, n, K, d), without gradients; K may be less than the slots.
            there: where there is a neighbour, bool (B, n, K); one at least a site.
            rng: a key a row.
        """

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        # A decoder that has met nobody takes its sizes from the weights that it is given.
        found = state_dict.get(f"{prefix}made")
        if found is not None:
            sizes = tuple(found.tolist()) if found.shape == (3,) and not found.is_floating_point() else ()
            if not sizes or not all(0 < size <= _WIDEST for size in sizes) or self.sizes not in (None, sizes):
                raise Refusal(f"these weights are not of this {type(self).__name__}: their sizes are {found.tolist()}")
            if self.sizes is None:
                self.meet(*sizes)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class OrderedDecoder(ContextDecoder):
    """Says the value at every offset: K heads of one hidden layer, so it grows with the neighbourhood.

        loss_i = mean over neighbours j of  | x_0^{i+j} - said_i^j |^2

    Arguments:
        width: of the hidden layer.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        _check(width=width)
        self.width = width

    def build(self, inputs: int, outputs: int, slots: int) -> None:
        self.body = nn.Sequential(nn.Linear(inputs, self.width), nn.ReLU())
        self.heads = nn.Linear(self.width, slots * outputs)

    def said(self, h: Tensor, count: int) -> Tensor:
        """The values at the first ``count`` offsets, (B, n, count, d)."""
        values: Tensor = self.heads(self.body(h))
        return values.reshape(*h.shape[:2], -1, (self.sizes or (0, 0))[1])[..., :count, :]

    def forward(self, h: Tensor, clean: Tensor, there: Tensor, rng: Rng) -> Tensor:
        off = (self.said(h, clean.shape[2]) - clean).square().sum(-1)
        return torch.where(there, off, 0.0).sum(-1) / there.sum(-1)


class SetDecoder(ContextDecoder):
    """Draws from the law of a neighbour, whichever it is, and is matched with draws of the neighbours themselves.

        mu, log s = linear in h;    xi_q = mu + s eps_q,  eps_q ~ N(0, 1);    said_q = FNN(xi_q),
        loss_i = min over permutations pi of  mean_q | said_q - y_pi(q) |^2,

    four linear layers with ReLU between, Q draws on both sides, so neither its weights nor the work of its layers grow
    with the neighbourhood; only choosing Q of it does. The y are neighbours without replacement while there are enough;
    where there are fewer than Q, all of them equally often to within one. Two draws of one law differ, so the loss is
    not 0 at its best.

    Arguments:
        draws: Q.
        hidden: m, numbers of xi.
        width: of the FNN.
        cost: ``squared``, or ``rms`` as the code of the set decoder's source has it: the root mean square over a
            value's numbers, in units of the data's standard deviation and not of its variance.
    """

    def __init__(self, draws: int = 8, hidden: int = 32, width: int = 64, cost: str = "squared") -> None:
        super().__init__()
        _check(hidden=hidden, width=width)
        _check(_DRAWS, draws=draws)
        if cost not in ("squared", "rms"):
            raise Refusal(f"cost is squared or rms, not {cost!r}")
        self.draws, self.hidden, self.width, self.cost = draws, hidden, width, cost
        self.power = 2 if cost == "squared" else 1

    def build(self, inputs: int, outputs: int, slots: int) -> None:
        w = self.width
        self.law = nn.Linear(inputs, 2 * self.hidden)
        self.body = nn.Sequential(
            nn.Linear(self.hidden, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU(),
            nn.Linear(w, outputs),
        )  # fmt: skip

    def said(self, h: Tensor, rng: Rng) -> Tensor:
        """Q draws a site, (B, n, Q, d)."""
        mean, spread = self.law(h).chunk(2, -1)
        # One noise for all sites of a sample: every site's mean is the same, and drawing costs a tenth.
        eps = rng.normal("draws", (1, self.draws, self.hidden)).to(h)
        spread = (_SPREAD * torch.tanh(spread / _SPREAD)).exp()
        values: Tensor = self.body(mean[:, :, None] + spread[:, :, None] * eps)
        return values

    def drawn(self, clean: Tensor, there: Tensor, rng: Rng) -> Tensor:
        """Q of the neighbours, (B, n, Q, d)."""
        order = rng.uniform("neighbours", tuple(there.shape[1:])).to(there.device)
        order = torch.where(there, order, 2.0).argsort(-1)
        turn = torch.arange(self.draws, device=there.device) % there.sum(-1, keepdim=True)
        return clean.gather(2, order.gather(2, turn)[..., None].expand(-1, -1, -1, clean.shape[-1]))

    def forward(self, h: Tensor, clean: Tensor, there: Tensor, rng: Rng) -> Tensor:
        said, due = self.said(h, rng), self.drawn(clean, there, rng)
        # Between numbers that are not finite there is no distance; the step that has them is the trainer's to skip.
        whole = (said.isfinite() & due.isfinite()).flatten(2).all(-1)
        held = whole[..., None, None]
        off = set_w2(torch.where(held, said, 0.0), torch.where(held, due, 0.0), cost=self.cost)
        return torch.where(whole, off, torch.nan)


def _check(most: int = _WIDEST, **counts: int) -> None:
    for name, value in counts.items():
        if type(value) is not int or not 1 <= value <= most:
            raise Refusal(f"{name} is a whole number from 1 to {most:,}, not {value!r:.60}")
