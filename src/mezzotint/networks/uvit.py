"""U-ViT: everything is a token, and long skips carry the fine detail straight across the network.

The noise level and the condition are not modulations but tokens that stand beside the patches and are attended to. The
first half of the blocks keep what they make; each block of the second half starts from its input beside the latest one
kept,

    h <- W [h, kept] + c;    h <- h + attention(norm(h));    h <- h + mlp(norm(h)),

with one block in the middle. Positions are learnt. At the end each token becomes its patch, and a convolution smooths
the seams between patches. Its weights start at zero here, as those of every network of the house do, so that a fresh
network answers exactly zero; the reference starts them at random.

Source: All are Worth Words: a ViT Backbone for Diffusion Models, arXiv 2209.12152.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.embed import Fourier, Sinusoid
from mezzotint.networks.feedforward import FeedForward
from mezzotint.networks.inputs import check_rank, check_vector, check_wanted, joined, per_sample, told
from mezzotint.networks.patches import cells, cut, grid, laid, put
from mezzotint.networks.space import convolution, zeroed
from mezzotint.networks.token_attention import TokenAttention

UVIT_SIZES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "S": {"width": 512, "depth": 12, "heads": 8},
        "M": {"width": 768, "depth": 16, "heads": 12},
        "L": {"width": 1024, "depth": 20, "heads": 16},
        "H": {"width": 1152, "depth": 28, "heads": 16},
    }
)
"""Arguments of :class:`UViT` by the name of a size; the paper's tables 1 count the middle block too."""

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class Block(nn.Module):
    """Attention and an MLP, after what was kept has been joined where ``skip`` says so."""

    def __init__(self, width: int, heads: int, ratio: float, skip: bool) -> None:
        super().__init__()
        self.join = nn.Linear(2 * width, width) if skip else None
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = TokenAttention(width, heads, bias=False)
        self.mlp = FeedForward(width, ratio, tanh=False)

    def forward(self, h: Tensor, mask: Tensor | None, kept: Tensor | None = None) -> Tensor:
        """Tokens (B, N, D) of tokens h and, at a skip, those kept."""
        if self.join is not None and kept is not None:
            h = self.join(torch.cat((h, kept), dim=-1))
        h = h + self.attention(self.norm1(h), mask=mask)
        y: Tensor = h + self.mlp(self.norm2(h))
        return y


class UViT(Module):
    """A transformer with long skips over the patches of one, two or three axes of space.

    ``want`` knows ``in.k``, ``mid`` and ``out.k``: the features (B, width, *grid) that leave each block, in this order;
    ``out.k`` is the block that reads what ``in.k`` kept.

    Arguments:
        shape: of one sample, (C, L), (C, H, W) or (C, T, H, W). Other sizes that the patch divides may be given to
            ``forward``; positions are then interpolated linearly.
        width: features of a token, even.
        depth: blocks beside the middle one, even.
        heads: of the attention, a divisor of ``width``.
        patch: entries of a patch, one number for all axes or one an axis.
        ratio: hidden features of the MLP over ``width``.
        vector: features of ``context.vector``, which becomes one token; None takes no vector. An absent vector counts
            as zeros.
        tokens: features of ``context.tokens``; None takes none. They stand beside the patches without positions of
            their own, which whoever made them has given them; those that ``context.mask`` leaves out are not read.
        maps: channels of ``context.maps["input"]``, concatenated to x; they come at x's size, or as (B, maps).
        outputs: channels of the answer; None: as many as ``shape`` has.
        embedding: waves of the noise, as many as ``width``, which are the token of the noise as they are; None for
            ``Sinusoid(width)``, which fits ln(sigma)/4 in about [-2, 2].
        skips: join what the first half kept; without, the network is a plain transformer.
        smooth: a convolution at the end.

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
        skips: bool = True,
        smooth: bool = True,
    ) -> None:
        super().__init__()
        self.patch = cells(patch, shape)
        if depth < 0 or depth % 2:
            raise Refusal(f"half of the blocks lie on either side of the middle one, so depth is even, not {depth}")
        for name, least, given in (
            ("width", 1, width),
            ("outputs", 1, outputs),
            ("maps", 0, maps),
            ("tokens", 1, tokens),
        ):
            if given is not None and given < least:
                raise Refusal(f"{name} is at least {least}, not {given}")
        self.waves = Sinusoid(width) if embedding is None else embedding
        if self.waves.width != width:
            raise Refusal(f"the waves of the noise are a token, so there are {width} of them, not {self.waves.width}")
        numbers, channels = math.prod(self.patch), outputs or shape[0]

        self.shape = tuple(shape)
        self.maps = maps
        self.counts = grid(self.shape[1:], self.patch)
        self.enter = nn.Linear(numbers * (shape[0] + maps), width)
        self.vector = nn.Linear(vector, width, bias=False) if vector else None
        self.tokens = nn.Linear(tokens, width) if tokens else None
        self.places = nn.Parameter(torch.empty(math.prod(self.counts), width))
        self.kinds = nn.Parameter(torch.empty(1 if vector is None else 2, width))  # positions of the noise, the vector
        ahead = [Block(width, heads, ratio, skip=False) for _ in range(depth // 2)]
        self.ahead: Sequence[Block] = nn.ModuleList(ahead)  # type: ignore[assignment]
        self.mid = Block(width, heads, ratio, skip=False)
        behind = [Block(width, heads, ratio, skip=skips) for _ in range(depth // 2)]
        self.behind: Sequence[Block] = nn.ModuleList(behind)  # type: ignore[assignment]
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, numbers * channels)
        self.smooth = convolution(len(self.patch), channels, channels, zero=True) if smooth else None
        self._start()

    def _start(self) -> None:
        """The reference's first weights, but for the last layer."""
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.enter:
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for table in (self.places, self.kinds):
            nn.init.trunc_normal_(table, std=0.02)
        if self.smooth is None:
            zeroed(self.leave)

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        half = range(len(self.ahead))
        return (*(f"in.{k}" for k in half), "mid", *(f"out.{k}" for k in reversed(half)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The answer (B, outputs, *space), with features in an :class:`Output` where ``want`` names some.

        Arguments:
            x: (B, C, *space), sizes that the patch divides.
            noise: (B,), or one value per sample in any shape of B entries, or one value for all.
            context: ``vector``, ``tokens`` with ``mask`` and ``maps["input"]`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        check_rank(x, self.shape)
        counts = grid(x.shape[2:], self.patch)
        patches = self.enter(cut(joined(x, context, self.maps), self.patch)).to(self.enter.weight.dtype)
        extra, mask = self._told(per_sample(noise, x), context)
        h = torch.cat((*extra, patches + self._places(counts)), dim=1)
        before = h.shape[1] - patches.shape[1]
        if mask is not None:
            mask = torch.cat((mask, mask.new_ones(len(x), h.shape[1] - mask.shape[1])), dim=1)

        aux: dict[str, Tensor] = {}
        kept: list[Tensor] = []
        for name, block in zip(self.wants, (*self.ahead, self.mid, *self.behind), strict=True):
            h = block(h, mask, kept.pop() if name.startswith("out") else None)
            if name.startswith("in"):
                kept.append(h)
            if name in want:
                aux[name] = laid(h[:, before:], counts)
        sample = put(self.leave(self.norm(h))[:, before:], self.patch, counts)
        if self.smooth is not None:
            sample = self.smooth(sample)
        return Output(sample, aux) if want else sample

    def _told(self, noise: Tensor, context: Context) -> tuple[list[Tensor], Tensor | None]:
        """What stands before the patches - the context's tokens, its vector, the noise - and which of it is read."""
        context.only(
            "maps",
            *(("vector",) if self.vector is not None else ()),
            *(("tokens", "mask") if self.tokens is not None else ()),
        )
        dtype, extra = self.enter.weight.dtype, []
        said = told(context, len(noise), None if self.tokens is None else self.tokens.in_features)
        mask = None
        if self.tokens is not None and said is not None:
            extra.append(self.tokens(said[0].to(dtype)).to(dtype))
            mask = said[1]
        if self.vector is not None:
            vector = self.kinds[1].expand(len(noise), -1)
            if context.vector is not None:
                check_vector(context.vector, len(noise), self.vector.in_features)
                vector = vector + self.vector(context.vector.to(dtype))
            extra.append(vector[:, None])
        extra.append((self.waves(noise).to(dtype) + self.kinds[0])[:, None])
        return extra, mask

    def _places(self, counts: Sequence[int]) -> Tensor:
        """Positions (N, D) for a grid of patches, between the learnt ones where it is another grid."""
        if tuple(counts) == self.counts:
            return self.places
        learnt = self.places.T.reshape(1, -1, *self.counts)
        mode = _MODES[len(counts)]
        return F.interpolate(learnt, tuple(counts), mode=mode, align_corners=False)[0].flatten(1).T
