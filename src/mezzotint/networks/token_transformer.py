"""A transformer over symbols: every position sees every other and says which symbol may stand at each.

Symbols become vectors, positions are added, pre-norm blocks work on them, and a linear layer that starts at zero gives
a logit for each symbol of the vocabulary: a fresh network finds all of them equally likely. What a mask needs is one
more symbol at the input than at the output.

A network for masked data need not be told the noise: what stands behind a mask, given the entries that are known, is
the same at every level (RADD, theorem 1). It is then no argument of the function, and the answer may be reused until
an entry changes. ``level=True`` tells it, by AdaLN-zero as in :class:`~mezzotint.networks.dit.DiT`: uniform noise needs
it, and it is what earlier masked models did.

Source: Your Absorbing Discrete Diffusion Secretly Models the Conditional Distributions of Clean Data (RADD), arXiv
2406.03736; its network is that of arXiv 2310.16834 (SEDD) without the time, whose norms start at bias 1: ours at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module
from mezzotint.networks.context import EMPTY, Context, Output
from mezzotint.networks.embed import Level, Sinusoid
from mezzotint.networks.inputs import check_wanted, per_patch, told
from mezzotint.networks.patches import laid
from mezzotint.networks.positions import coordinates, sines, turn
from mezzotint.networks.token_block import Projected, TokenBlock, TokenHead, check_sizes, check_symbols


class TokenTransformer(Module):
    """A bidirectional pre-norm transformer: symbols (B, *shape) to logits (B, *shape, vocab).

    ``want`` knows ``block.k``: the features (B, width, *shape) that leave block k.

    Arguments:
        symbols: how many different ones x may hold: ``vocab``, or one more with a mask (``process.symbols``).
        vocab: how many different ones the answer chooses from.
        shape: of one sample, (L,), (H, W) or more axes. Other sizes of as many axes may be given to ``forward``.
        width: features of a token.
        depth: blocks.
        heads: of the attention, a divisor of ``width``.
        level: whether it is told the noise, in about [-2, 2]; otherwise the answer depends on x and context alone.
        vector: features of ``context.vector``, which modulates every block; None takes no vector. An absent vector
            counts as zeros.
        tokens: features of ``context.tokens``, which every block reads; None takes none.
        ratio: hidden features of the MLP over ``width``.
        positions: add sines and cosines of the position to each token. Without them a network asked about nothing but
            masks says the same everywhere, because rotary positions only tell differences.
        rotary: base of rotary positions in the attention; None has none.
        dropout: share of what each branch adds that is dropped while training.

    Attributes:
        told_level: whether the noise is an argument of the function.

    Raises:
        Refusal: if the arguments do not describe a network.
    """

    def __init__(
        self,
        symbols: int,
        vocab: int,
        shape: Sequence[int],
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        *,
        level: bool = False,
        vector: int | None = None,
        tokens: int | None = None,
        ratio: float = 4.0,
        positions: bool = True,
        rotary: float | None = 100.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(
            shape, width, heads, rotary, symbols=symbols, vocab=vocab, depth=depth, vector=vector, tokens=tokens
        )
        if not 0 <= dropout < 1:
            raise Refusal(f"dropout is a share in [0, 1), not {dropout}")
        self.symbols, self.vocab, self.shape = symbols, vocab, tuple(shape)
        self.tokens, self.positions, self.rotary, self.told_level = tokens, positions, rotary, level
        self.enter = nn.Embedding(symbols, width)
        # As large as the sines beside it: neither what a symbol is nor where it stands drowns in the other.
        nn.init.normal_(self.enter.weight, std=0.5**0.5)
        self.level = Level(Sinusoid(256), width, vector, early=False) if level else None
        self.vector = Projected(vector, width) if vector and not level else None
        modulated = level or vector is not None
        blocks = [TokenBlock(width, heads, ratio, modulated, tokens, dropout) for _ in range(depth)]
        self.blocks: Sequence[TokenBlock] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.head = TokenHead(width, vocab, modulated)

    @property
    def wants(self) -> tuple[str, ...]:
        """The names ``want`` knows, in the order they are computed."""
        return tuple(f"block.{k}" for k in range(len(self.blocks)))

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Sequence[str] = ()) -> Tensor | Output:
        """The logits (B, *shape, vocab), with features in an :class:`Output` where ``want`` names some.

        Arguments:
            x: int64 (B, *shape) in 0 .. symbols - 1.
            noise: (B,), or one value for all, or of x's rank with ones where it does not differ. Not read without
                ``level``.
            context: ``vector`` and ``tokens`` with ``mask`` as declared.
            want: names from ``wants``.

        Raises:
            Refusal: if a shape, a symbol, a slot of the context or a wanted name does not fit.
        """
        check_wanted(want, self.wants)
        check_symbols(x, self.shape, self.symbols)
        context.only(
            *(("vector",) if self.level is not None or self.vector is not None else ()),
            *(("tokens", "mask") if self.tokens is not None else ()),
        )
        said = told(context, len(x), self.tokens)
        e = self._told(x, noise, context.vector)
        places = coordinates(x.shape[1:], x.device)
        h: Tensor = self.enter(x.flatten(1))
        width = h.shape[-1]
        if self.positions:
            h = h + sines(places, width).to(h.dtype)
        by = None
        if self.rotary is not None:
            by = turn(places, width // self.blocks[0].attention.heads, self.rotary, h.dtype)

        aux: dict[str, Tensor] = {}
        for name, block in zip(self.wants, self.blocks, strict=True):
            read = None if block.cross is None or said is None else partial(_read, block, *said)
            h = block(h, block.numbers(e), partial(block.attention, by=by), read)
            if name in want:
                aux[name] = laid(h, x.shape[1:])
        sample: Tensor = self.head(h, self.head.numbers(e)).unflatten(1, x.shape[1:])
        return Output(sample, aux) if want else sample

    def _told(self, x: Tensor, noise: Tensor, vector: Tensor | None) -> Tensor | None:
        """The activated e, (B, 1 or N, width), or None where nothing is told."""
        if self.level is not None:
            # As DiT has its levels: x with one channel, patches of one entry.
            noise = noise[:, None] if noise.ndim == x.ndim else noise
            levels = per_patch(noise, x[:, None], (1,) * len(self.shape))
            if levels[0].numel() > 1:
                levels = levels.expand(x.shape)
            return nn.functional.silu(self.level(levels, vector)).flatten(1, -2)
        return None if self.vector is None else nn.functional.silu(self.vector(len(x), vector))


def _read(block: TokenBlock, tokens: Tensor, mask: Tensor | None, h: Tensor) -> Tensor:
    assert block.cross is not None
    said: Tensor = block.cross(h, tokens, mask)
    return said
