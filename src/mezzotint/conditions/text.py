"""Text, by a small transformer that is trained with the model: what a caption means is learnt from the pictures.

A caption is cut into tokens, each becomes a vector with its position added, and a few blocks of attention over all of
them - there is no order in which a caption would have to be read - let every word hear the others,

    h_i = E[token_i] + P_i;    h <- h + attention(norm(h));    h <- h + mlp(norm(h));    tokens = norm(h).

The network attends to these tokens, and where it is modulated by a vector, too, that is a linear layer of their mean.
Where a caption was dropped, or is empty, one learnt token (and vector) stands in. What fills up a short caption is
read by nobody and leaves as zeros.

Sources: Attention Is All You Need, arXiv 1706.03762, eq. (1), with the norm before each layer; a transformer over the
text for a diffusion model, its tokens attended to and one of its vectors added to the embedding of the step: GLIDE,
arXiv 2112.10741, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mezzotint.conditions.captions import Captions
from mezzotint.conditions.tokenizers import Tokenizer
from mezzotint.core.errors import Refusal
from mezzotint.core.text import spoken
from mezzotint.networks.context import Context
from mezzotint.networks.uvit import Block

_PADDING = -1  # in `ids`: no token is there


class Text(Captions):
    """Captions of any family: values are strings, or their bytes uint8 (B, L).

    ``prepare`` cuts them into tokens once per run and adds ``<family>.ids``, int64 (B, length), -1 behind each. In
    evaluation mode it also warns (:class:`~mezzotint.conditions.TextWarning`) of what :meth:`remarks` has to say.

    Arguments:
        tokenizer: ``Words.of(captions)`` or ``Bytes()``.
        width: of a token.
        depth: blocks of attention; 0 leaves every word to itself.
        heads: of the attention, a divisor of ``width``.
        length: how many tokens are read; the rest of a longer caption is cut off.
        pooled: of the network's ``vector``, made of the mean over the tokens; None fills ``tokens`` alone.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
        length: int = 32,
        pooled: int | None = None,
    ) -> None:
        super().__init__(width, length, pooled)
        if not isinstance(tokenizer, Tokenizer):
            raise Refusal(f"Text needs a tokenizer such as Words.of(captions) or Bytes(), not {tokenizer!r:.60}")
        if depth < 0:
            raise Refusal(f"the depth of an encoder of text is 0 or more, not {depth}")
        self.tokenizer, self.unit = tokenizer, tokenizer.unit
        self.table = nn.Embedding(tokenizer.size, width)
        self.places = nn.Parameter(torch.randn(length, width))
        blocks = [Block(width, heads, 4.0, skip=False) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.pool = nn.Linear(width, pooled) if pooled else None
        with torch.no_grad():
            self.table.weight[0].zero_()  # a word it never met adds nothing but its place

    def count(self, text: str) -> int:
        return len(self.tokenizer.encode(text))

    def unknown(self, text: str) -> list[str]:
        return self.tokenizer.unknown(text)

    def prepare(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        name, texts, made = self.told(values, "ids")
        if texts is None:
            return {}
        ids = self._ids(spoken(texts) if made else self.heard(name, texts)).to(texts.device)
        if made:
            if not torch.equal(made["ids"].to(ids.device), ids):
                raise Refusal(
                    f"{name}.ids were made of other texts or by another tokenizer than this model has: prepare the "
                    f"{name} alone; models that share one in a guidance need the same tokenizer and length"
                )
            return {}
        return {f"{name}.ids": ids}

    def _ids(self, strings: list[str]) -> Tensor:
        """Tokens int64 (B, length), -1 behind."""
        known: dict[str, list[int]] = {}
        for text in strings:
            if text not in known:
                row = self.tokenizer.encode(text)[: self.length] if text.strip() else []
                known[text] = row + [_PADDING] * (self.length - len(row))
        return torch.tensor([known[text] for text in strings], dtype=torch.int64).reshape(-1, self.length)

    def forward(self, values: Mapping[str, Tensor], keep: Tensor) -> Context:
        name, texts, made = self.told(values, "ids")
        if texts is None:
            return self.nothing(keep)
        ids = made["ids"] if "ids" in made else self.prepare(values)[f"{name}.ids"]
        real = ids != _PADDING
        said, mask = self.masks(real, keep)
        h = self.table(ids.clamp(min=0)) + self.places  # (B, length, width)
        for block in self.blocks:
            h = block(h, mask)
        h = self.norm(h)
        vector = None
        if self.pool is not None:
            shares = mask.to(h.dtype) / mask.sum(1, keepdim=True)
            vector = self.pool((h * shares[..., None]).sum(1))
        return self.answer(h, vector, said, mask)
