"""The diffusion transformer: a picture as a sequence of patches, all of which look at each other in every block.

There is no pyramid and no convolution. Patches become tokens, positions are added, and L equal blocks work on them,
each told the noise level (and the context's vector) by shifts, scales and gates for every feature:

    h <- h + g_1 attention(norm(h) (1 + k_1) + b_1)
    h <- h + cross(h, tokens)                               where the context's tokens, such as a text's, are read
    h <- h + g_2 mlp(norm(h) (1 + k_2) + b_2),        (b_1, k_1, g_1, b_2, k_2, g_2) = modulation(e)
    answer = patches(W (norm(h) (1 + k) + b)),        (b, k) = modulation(e).

The modulations and W start at zero, so a fresh network answers exactly zero and its blocks pass on what they get; so
does cross-attention, which is neither normed nor modulated nor gated. The noise may differ from place to place, as the
frames of a video may: each token is then modulated by its own level.

Source: Scalable Diffusion Models with Transformers, arXiv 2212.09748. Cross-attention: PixArt-alpha, arXiv 2310.00426,
section 2.3; its MLP on the tokens is left to the encoder that makes them. Register tokens: arXiv 2309.16588. The other
options are off in the reference sizes and are told in the files that hold them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.cross_attention import CrossAttention
from mezzotint.networks.embed import Fourier, Level, Sinusoid
from mezzotint.networks.feedforward import FeedForward
from mezzotint.networks.inputs import Told, check_rank, check_wanted, joined, per_patch, told
from mezzotint.networks.modulation import AdaLNZero, Modulation
from mezzotint.networks.patches import cells, cut, grid, laid, put
from mezzotint.networks.positions import Turn, coordinates, sines, turn
from mezzotint.networks.space import zeroed
from mezzotint.networks.token_attention import TokenAttention

DIT_SIZES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "xxs": {"width": 64, "depth": 4, "heads": 4},
        "xs": {"width": 96, "depth": 6, "heads": 4},
        "sm": {"width": 192, "depth": 8, "heads": 6},
        "S": {"width": 384, "depth": 12, "heads": 6},
        "B": {"width": 768, "depth": 12, "heads": 12},
        "L": {"width": 1024, "depth": 24, "heads": 16},
        "XL": {"width": 1152, "depth": 28, "heads": 16},
    }
)
"""Arguments of :class:`DiT` by the name of a size; S to XL are the paper's (table 1), the others for small machines."""


def plain_norm(width: int, rms: bool) -> nn.Module:
    """A norm over features without weights of its own; modulation brings them."""
    return (nn.RMSNorm if rms else nn.LayerNorm)(width, eps=1e-6, elementwise_affine=False)


class Block(nn.Module):
    """Attention and an MLP, each normed, modulated and gated; between them, what the context's tokens say."""

    def __init__(
        self,
        attention: TokenAttention,
        mlp: FeedForward,
        rms: bool,
        modulate: nn.Module,
        cross: CrossAttention | None = None,
    ) -> None:
        super().__init__()
        width = attention.out.out_features
        self.norm1, self.norm2 = plain_norm(width, rms), plain_norm(width, rms)
        self.attention, self.mlp, self.modulate, self.cross = attention, mlp, modulate, cross

    def forward(self, h: Tensor, e: Tensor, by: Turn | None, said: Told | None) -> Tensor:
        """Tokens (B, N, D) of tokens h and e (B, 1 or N, level)."""
        b1, k1, g1, b2, k2, g2 = self.modulate(e).chunk(6, dim=-1)
        h = h + g1 * self.attention(torch.addcmul(b1, self.norm1(h), 1 + k1), by)
        if self.cross is not None and said is not None:
            h = h + self.cross(h, *said)
        y: Tensor = h + g2 * self.mlp(torch.addcmul(b2, self.norm2(h), 1 + k2))
        return y


class Final(nn.Module):
    """The answer's numbers of each token: a norm, its modulation and a linear layer that starts at zero."""

    def __init__(self, width: int, outputs: int, rms: bool, modulate: nn.Module) -> None:
        super().__init__()
        self.norm, self.modulate = plain_norm(width, rms), modulate
        self.leave = zeroed(nn.Linear(width, outputs))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """(..., outputs) of h (..., D) and e, which broadcasts against it."""
        b, k = self.modulate(e).chunk(2, dim=-1)
        y: Tensor = self.leave(torch.addcmul(b, self.norm(h), 1 + k))
        return y


class DiT(Module):
    """A transformer over the patches of one, two or three axes of space.

    ``want`` knows ``block.k``: the features (B, width, *grid) that leave block k.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W). Other sizes that the patch divides may be given to
            ``forward``.
        width: features of a token, and of e.
        depth: blocks.
        heads: of the attention, a divisor of ``width``.
        patch: entries of a patch, one number for all axes or one an axis; (1, 2, 2) leaves time uncut.
        ratio: hidden features of the MLP over ``width``.
        vector: features of ``context.vector``; None takes no vector. An absent vector counts as zeros.
        tokens: features of ``context.tokens``, which every block reads; None takes none. Where they are absent, or
            ``context.mask`` leaves out all of a row's, nothing is read.
        maps: channels of ``context.maps["input"]``, concatenated to x; they come at x's size, or as (B, maps).
        outputs: channels of the answer; None: as many as ``shape`` has.
        embedding: waves of the noise, or None for ``Sinusoid(256)``, which fits ln(sigma)/4 in about [-2, 2].
        modulation: how e reaches the blocks; None for ``AdaLNZero()``.
        positions: add sines and cosines of the position to each token.
        rotary: base of rotary positions in the attention, such as 100; None has none.
        rms: divide by the root mean square instead of subtracting a mean first (RMSNorm).
        qk_norm: normalise queries and keys.
        swiglu: gate the MLP.
        registers: learnt tokens beside the patches that carry no part of the answer. They read the context's tokens as
            the patches do: what is said of the whole picture is theirs to keep.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    def __init__(
        self,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 6,
        heads: int = 4,
        patch: int | Sequence[int] = 2,
        *,
        ratio: float = 4.0,
        vector: int | None = 128,
        tokens: int | None = None,
        maps: int = 0,
        outputs: int | None = None,
        embedding: Sinusoid | Fourier | None = None,
        modulation: Modulation | None = None,
        positions: bool = True,
        rotary: float | None = None,
        rms: bool = False,
        qk_norm: bool = False,
        swiglu: bool = False,
        registers: int = 0,
    ) -> None:
        super().__init__()
        self.patch = cells(patch, shape)
        for name, least, given in (
            ("width", 1, width),
            ("depth", 1, depth),
            ("outputs", 1, outputs),
            ("maps", 0, maps),
            ("registers", 0, registers),
            ("tokens", 1, tokens),
        ):
            if given is not None and given < least:
                raise Refusal(f"{name} is at least {least}, not {given}")
        modulation = AdaLNZero() if modulation is None else modulation
        numbers = math.prod(self.patch)

        self.shape = tuple(shape)
        self.maps, self.tokens, self.positions, self.rotary = maps, tokens, positions, rotary
        self.level = Level(Sinusoid(256) if embedding is None else embedding, width, vector, early=False)
        self.trunk = modulation.trunk(width, width)
        self.enter = nn.Linear(numbers * (shape[0] + maps), width)
        self.registers = nn.Parameter(0.02 * torch.randn(registers, width)) if registers else None
        blocks = [
            Block(
                TokenAttention(width, heads, qk_norm=qk_norm),
                FeedForward(width, ratio, swiglu),
                rms,
                modulation.branch(width, width, 6),
                None if tokens is None else CrossAttention(width, heads, tokens, qk_norm),
            )
            for _ in range(depth)
        ]
        self.blocks: Sequence[Block] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.head = width // heads
        if rotary is not None and (rotary <= 0 or self.head < 2 * len(self.patch)):
            raise Refusal(
                f"rotary positions need a positive base and a pair of a head's features for each axis, "
                f"not base {rotary} and {self.head} features for {len(self.patch)} axes; use fewer heads"
            )
        self.final = Final(width, numbers * (outputs or shape[0]), rms, modulation.branch(width, width, 2))
        self._start()

    def _start(self) -> None:
        """The reference's first weights, but for the vector's projection, which it lacks; what starts at zero stays."""
        layers = [self.enter]
        for block in self.blocks:
            layers += [block.attention.qkv, block.attention.out, block.mlp.first, block.mlp.second]
            if block.cross is not None:
                layers += [block.cross.q, block.cross.kv]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.level.first, self.level.second):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        return tuple(f"block.{k}" for k in range(len(self.blocks)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The answer (B, outputs, *space), with features in an :class:`Output` where ``want`` names some.

        Arguments:
            x: (B, C, *space), sizes that the patch divides.
            noise: (B,), or one value for all, or of x's rank with ones where it does not differ: (B, 1, T, 1, 1) gives
                each frame its own level. Levels that differ inside one patch are averaged over it.
            context: ``vector``, ``tokens`` with ``mask`` and ``maps["input"]`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        check_rank(x, self.shape)
        context.only("vector", "maps", *(("tokens", "mask") if self.tokens is not None else ()))
        counts = grid(x.shape[2:], self.patch)
        e = self.level(per_patch(noise, x, self.patch), context.vector)  # (B, *counts or ones, D)
        if math.prod(e.shape[1:-1]) > 1:
            e = e.expand(len(x), *counts, -1)
        e = self.trunk(e.flatten(1, -2))  # (B, 1 or N, D)

        # In the precision of the weights: under autocast the sum over the blocks stays in float32.
        said = told(context, len(x), self.tokens)
        h = self.enter(cut(joined(x, context, self.maps), self.patch)).to(self.enter.weight.dtype)
        by = None
        if self.positions or self.rotary is not None:
            places = coordinates(counts, x.device)
            if self.positions:
                h = h + sines(places, h.shape[-1]).to(h.dtype)
            if self.rotary is not None:
                by = turn(places, self.head, self.rotary, h.dtype)
        h, e, by = self._registered(h, e, by)

        aux: dict[str, Tensor] = {}
        extra = 0 if self.registers is None else len(self.registers)
        for name, block in zip(self.wants, self.blocks, strict=True):
            h = block(h, e, by, said)
            if name in want:
                aux[name] = laid(h[:, extra:], counts)
        sample = put(self.final(h, e)[:, extra:], self.patch, counts)
        return Output(sample, aux) if want else sample

    def _registered(self, h: Tensor, e: Tensor, by: Turn | None) -> tuple[Tensor, Tensor, Turn | None]:
        """Registers before the tokens: at no place, so they are not turned, and at the mean level of all places."""
        if self.registers is None:
            return h, e, by
        count = len(self.registers)
        h = torch.cat((self.registers.expand(len(h), -1, -1), h), dim=1)
        if e.shape[1] > 1:
            e = torch.cat((e.mean(1, keepdim=True).expand(-1, count, -1), e), dim=1)
        if by is not None:
            cosine, sine = by
            still = cosine.new_ones(count, cosine.shape[1])
            by = torch.cat((still, cosine)), torch.cat((torch.zeros_like(still), sine))
        return h, e, by
