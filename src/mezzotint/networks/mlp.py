"""A residual MLP for data without space: vectors, poses, tables, points in the plane.

It is the diffusion transformer with a single token and nothing to attend to: all entries of a sample enter one wide
layer, and L blocks work on it, each told the noise level (and the context's vector) by a shift, a scale and a gate for
every feature,

    h <- h + g * mlp(norm(h) (1 + k) + b),        (b, k, g) = modulation(e).

The modulations and the last layer start at zero, so a fresh network answers exactly zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.dit import Final, plain_norm
from mezzotint.networks.embed import Fourier, Level, Sinusoid
from mezzotint.networks.feedforward import FeedForward
from mezzotint.networks.inputs import check_wanted, joined, per_sample
from mezzotint.networks.modulation import AdaLNZero, Modulation


class Block(nn.Module):
    """A normed, modulated and gated MLP beside a straight path."""

    def __init__(self, width: int, ratio: float, modulate: nn.Module) -> None:
        super().__init__()
        self.norm = plain_norm(width, rms=False)
        self.mlp, self.modulate = FeedForward(width, ratio), modulate

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """Features (B, D) of features h and e (B, level)."""
        b, k, g = self.modulate(e).chunk(3, dim=-1)
        y: Tensor = h + g * self.mlp(torch.addcmul(b, self.norm(h), 1 + k))
        return y


class MLP(Module):
    """A residual MLP over all entries of a sample, whatever its shape.

    ``want`` knows ``block.k``: the features (B, width) that leave block k.

    Arguments:
        shape: of one sample, (D,) or any other, which is flattened; no other size may be given to ``forward``.
        width: features of a block, and of e.
        depth: blocks.
        ratio: hidden features of a block's MLP over ``width``.
        vector: features of ``context.vector``; None takes no vector. An absent vector counts as zeros.
        maps: channels of ``context.maps["input"]``, concatenated to x; they come at x's size, or as (B, maps).
        outputs: channels of the answer, its first size; None: as many as ``shape`` has.
        embedding: waves of the noise, or None for ``Sinusoid(64)``, which fits ln(sigma)/4 in about [-2, 2].
        modulation: how e reaches the blocks; None for ``AdaLNZero()``.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        *,
        ratio: float = 4.0,
        vector: int | None = 128,
        maps: int = 0,
        outputs: int | None = None,
        embedding: Sinusoid | Fourier | None = None,
        modulation: Modulation | None = None,
    ) -> None:
        super().__init__()
        if not shape or min(shape) < 1:
            raise Refusal(f"an MLP takes shapes such as (D,) with positive sizes, not {tuple(shape)}")
        for name, least, given in (
            ("width", 1, width),
            ("depth", 1, depth),
            ("outputs", 1, outputs),
            ("maps", 0, maps),
        ):
            if given is not None and given < least:
                raise Refusal(f"{name} is at least {least}, not {given}")
        modulation = AdaLNZero() if modulation is None else modulation
        self.shape = tuple(shape)
        self.maps = maps
        self.answer = (outputs or shape[0], *shape[1:])
        self.level = Level(Sinusoid(64) if embedding is None else embedding, width, vector, early=False)
        self.trunk = modulation.trunk(width, width)
        self.enter = nn.Linear((shape[0] + maps) * math.prod(shape[1:]), width)
        blocks = [Block(width, ratio, modulation.branch(width, width, 3)) for _ in range(depth)]
        self.blocks: Sequence[Block] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.final = Final(width, math.prod(self.answer), False, modulation.branch(width, width, 2))

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        return tuple(f"block.{k}" for k in range(len(self.blocks)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The answer (B, outputs, ...), with features in an :class:`Output` where ``want`` names some.

        Arguments:
            x: (B, *shape).
            noise: (B,), or one value per sample in any shape of B entries, or one value for all.
            context: ``vector`` and ``maps["input"]`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        if tuple(x.shape[1:]) != self.shape:
            raise Refusal(f"this network takes (B, *{self.shape}), not a tensor {tuple(x.shape)}")
        context.only("vector", "maps")
        e = self.trunk(self.level(per_sample(noise, x), context.vector))
        h = self.enter(joined(x, context, self.maps).flatten(1)).to(self.enter.weight.dtype)
        aux: dict[str, Tensor] = {}
        for name, block in zip(self.wants, self.blocks, strict=True):
            h = block(h, e)
            if name in want:
                aux[name] = h
        sample = self.final(h, e).reshape(len(x), *self.answer)
        return Output(sample, aux) if want else sample
