"""A decoder-only transformer: what comes next, given what came before, in raster order.

    p(x) = prod_i p(x_i | x_1 .. x_{i-1}),        the last axis fastest.

The input is moved on by one, a learnt start token first, so that what stands at position i has seen the entries before
i and knows by its code that it is to say x_i. Teacher forcing asks about all positions at once; decoding asks about one
at a time and keeps keys and values of the others in a :class:`~mezzotint.networks.cache.Cache`.

Sources: Attention Is All You Need, arXiv 1706.03762, section 3.1; Improving Language Understanding by Generative
Pre-Training, Radford et al. 2018; for pictures, Image Transformer, arXiv 1802.05751.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.cache import Cache
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.inputs import check_wanted, told
from mezzotint.networks.patches import laid
from mezzotint.networks.positions import Turn, coordinates, sines, turn
from mezzotint.networks.token_attention import TokenAttention
from mezzotint.networks.token_block import Mix, Numbers, Projected, TokenBlock, TokenHead, check_sizes, check_symbols


class Causal(Module):
    """A causal pre-norm transformer: symbols (B, *shape) to logits (B, *shape, vocab), each from the entries before it.

    ``want`` knows ``block.k``: the features (B, width, *shape) that leave block k.

    Arguments:
        vocab: how many different symbols there are.
        shape: of one sample, (L,), (H, W) or more axes. Other sizes of as many axes may be given.
        width: features of a token.
        depth: blocks.
        heads: of the attention, a divisor of ``width``.
        vector: features of ``context.vector``, which modulates every block; None takes no vector. An absent vector
            counts as zeros.
        tokens: features of ``context.tokens``, which every block reads; None takes none.
        ratio: hidden features of the MLP over ``width``.
        positions: add sines and cosines of the position to each token.
        rotary: base of rotary positions in the attention; None has none.
        dropout: share of what each branch adds that is dropped while training.

    Attributes:
        symbols: as many as ``vocab``.
        told_level: False: there is no noise.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    told_level: bool = False

    def __init__(
        self,
        vocab: int,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        *,
        vector: int | None = None,
        tokens: int | None = None,
        ratio: float = 4.0,
        positions: bool = True,
        rotary: float | None = 100.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(shape, width, heads, rotary, vocab=vocab, depth=depth, vector=vector, tokens=tokens)
        if not 0 <= dropout < 1:
            raise Refusal(f"dropout is a share in [0, 1), not {dropout}")
        self.symbols, self.vocab, self.shape = vocab, vocab, tuple(shape)
        self.tokens, self.positions, self.rotary = tokens, positions, rotary
        self.enter = nn.Embedding(vocab + 1, width)  # the last one is the start
        nn.init.normal_(self.enter.weight, std=0.5**0.5)  # as large as the sines beside it
        self.vector = Projected(vector, width) if vector else None
        blocks = [TokenBlock(width, heads, ratio, vector is not None, tokens, dropout) for _ in range(depth)]
        self.blocks: Sequence[TokenBlock] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.head = TokenHead(width, vocab, vector is not None)

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        return tuple(f"block.{k}" for k in range(len(self.blocks)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The logits (B, *shape, vocab) at every position, by teacher forcing.

        Arguments:
            x: int64 (B, *shape) in 0 .. vocab - 1; the last entry is not read.
            noise: not read.
            context: ``vector`` and ``tokens`` with ``mask`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a symbol, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        check_symbols(x, self.shape, self.vocab)
        flat = x.flatten(1)
        numbers, keys, mask = self._told(len(x), context)
        codes, by = self._places(x.shape[1:], x.device)
        h: Tensor = self.enter(torch.cat((torch.full_like(flat[:, :1], self.vocab), flat[:, :-1]), dim=1))
        h = h if codes is None else h + codes
        aux: dict[str, Tensor] = {}
        for k, (name, block) in enumerate(zip(self.wants, self.blocks, strict=True)):
            h = block(h, numbers[k], partial(before, block.attention, by), _reader(block, keys, k, mask))
            if name in want:
                aux[name] = laid(h, x.shape[1:])
        sample: Tensor = self.head(h, numbers[-1]).unflatten(1, x.shape[1:])
        return Output(sample, aux) if want else sample

    def start(self, count: int, context: Context = EMPTY, shape: Sequence[int] | None = None) -> Cache:
        """An empty cache for ``count`` samples that are told ``context``.

        Arguments:
            count: rows.
            context: ``count`` rows.
            shape: of one sample; None takes the network's own.
        """
        shape = self.shape if shape is None else tuple(shape)
        check_sizes(shape, 1, 1, None)
        if len(shape) != len(self.shape):
            raise Refusal(f"this network takes samples of {len(self.shape)} axes, not of shape {shape}")
        weight = self.enter.weight
        numbers, keys, mask = self._told(count, context)
        codes, by = self._places(shape, weight.device)
        heads = self.blocks[0].attention.heads
        # In the precision the projections come out in, which under autocast is not that of the weights.
        low = torch.is_autocast_enabled(weight.device.type)
        dtype = torch.get_autocast_dtype(weight.device.type) if low else weight.dtype
        room = count, heads, torch.Size(shape).numel(), weight.shape[1] // heads
        held = [tuple(weight.new_zeros(room, dtype=dtype) for _ in self.blocks) for _ in range(2)]
        return Cache(held[0], held[1], tuple(numbers), tuple(keys), mask, 0, codes, by)

    def decode(self, last: Tensor | None, cache: Cache) -> tuple[Tensor, Cache]:
        """The logits (B, vocab) at position ``cache.length``, and the cache that has it.

        Nothing is checked but the order: symbols are those that were drawn or checked before.

        Arguments:
            last: the symbol (B,) at the position before; None at the first one.
            cache: of :meth:`start`, or what the step before returned.
        """
        n = cache.length
        if (last is None) != (n == 0) or n == cache.positions:
            raise Refusal(
                f"position {n} of {cache.positions} is decoded from the symbol before it: none at the first one, one a "
                "row at the others, and there is nothing after the last"
            )
        rows = len(cache)
        before = self.enter.weight[-1:].expand(rows, -1) if last is None else self.enter(last)
        h: Tensor = (before if cache.codes is None else before + cache.codes[n])[:, None]
        by = None if cache.turns is None else (cache.turns[0][n : n + 1], cache.turns[1][n : n + 1])
        for k, block in enumerate(self.blocks):
            attend = partial(_kept, block.attention, by, cache.keys[k], cache.values[k], n)
            h = block(h, cache.numbers[k], attend, _reader(block, cache.tokens, k, cache.mask))
        logits: Tensor = self.head(h, cache.numbers[-1])[:, 0]
        return logits, replace(cache, length=n + 1)

    def _told(
        self, rows: int, context: Context
    ) -> tuple[list[Numbers], Sequence[tuple[Tensor, Tensor]], Tensor | None]:
        """What each block and the head are told, and keys and values of the context's tokens with their mask."""
        context.only(
            *(("vector",) if self.vector is not None else ()),
            *(("tokens", "mask") if self.tokens is not None else ()),
        )
        e = None if self.vector is None else F.silu(self.vector(rows, context.vector))
        numbers = [*(block.numbers(e) for block in self.blocks), self.head.numbers(e)]
        said = told(context, rows, self.tokens)
        if said is None:
            return numbers, (), None
        return numbers, [block.cross.projected(said[0]) for block in self.blocks if block.cross is not None], said[1]

    def _places(self, shape: Sequence[int], device: torch.device) -> tuple[Tensor | None, Turn | None]:
        places = coordinates(shape, device)
        weight = self.enter.weight
        codes = sines(places, weight.shape[1]).to(weight.dtype) if self.positions else None
        if self.rotary is None:
            return codes, None
        return codes, turn(places, weight.shape[1] // self.blocks[0].attention.heads, self.rotary, weight.dtype)


def before(attention: TokenAttention, by: Turn | None, h: Tensor) -> Tensor:
    """Self-attention in which position i reads positions 0 .. i."""
    q, k, v = attention.projected(h, by)
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    out: Tensor = attention.out(mixed.transpose(1, 2).flatten(2))
    return out


def _kept(attention: TokenAttention, by: Turn | None, keys: Tensor, values: Tensor, n: int, h: Tensor) -> Tensor:
    """Self-attention of position n alone, whose key and value are written beside those before it."""
    q, k, v = attention.projected(h, by)
    keys[:, :, n : n + 1], values[:, :, n : n + 1] = k, v
    mixed = F.scaled_dot_product_attention(q, keys[:, :, : n + 1], values[:, :, : n + 1])
    out: Tensor = attention.out(mixed.transpose(1, 2).flatten(2))
    return out


def _reader(block: TokenBlock, keys: Sequence[tuple[Tensor, Tensor]], k: int, mask: Tensor | None) -> Mix | None:
    """What asks the context's tokens in block k; None where there are none."""
    if block.cross is None or not keys:
        return None
    key, value = keys[k]
    return partial(block.cross.asked, k=key, v=value, mask=mask)
