"""What every encoder of text has in common: how it reads its family, what the null is, and what it says aloud.

The texts of a family travel as bytes (:mod:`mezzotint.core.text`) under the family's own name, whatever that is, and
what an encoder makes of them once per run stands beside them under dotted names, as ``caption.ids`` beside
``caption``. An empty text says nothing, so it is the null. Words that are not known and ends that are cut off are told
to people: a model that hears half of what it was asked for should not be silent about it.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mezzotint.conditions.part import ConditionPart
from mezzotint.core.condition import family
from mezzotint.core.errors import Refusal
from mezzotint.core.text import spoken
from mezzotint.networks.context import Context

_NAMED = 8  # unknown words in one sentence
_CUT = 3  # texts that have a sentence of their own


class TextWarning(UserWarning):
    """Part of a text does not reach the model: a word is unknown, an end is cut off, or nothing is said at all."""


class Captions(ConditionPart, ABC):
    """Texts -> tokens (B, length, width) with their mask, and perhaps a vector; what derives from it says how.

    Arguments:
        width: of a token.
        length: how many tokens are read; every text has as many rows, so that conditions prepared apart can be joined.
        pooled: of the vector, or None for tokens alone.

    Attributes:
        unit: what a token is, for people.
    """

    unit: str = "tokens"

    def __init__(self, width: int, length: int, pooled: int | None) -> None:
        super().__init__()
        if width < 1 or length < 1 or (pooled is not None and pooled < 1):
            raise Refusal(f"an encoder of text needs positive widths and lengths, not {width}, {length} and {pooled}")
        self.width, self.length, self.pooled = width, length, pooled
        self.null = nn.Parameter(torch.randn(width))
        self.null_vector = nn.Parameter(torch.zeros(pooled)) if pooled else None

    @abstractmethod
    def count(self, text: str) -> int:
        """How many tokens a text has, whatever is read of it."""

    def unknown(self, text: str) -> list[str]:
        """The words of a text that have no token."""
        return []

    def remarks(self, texts: Sequence[str]) -> list[str]:
        """What of these texts the model will not hear, in sentences; a text that is there twice is told once."""
        different, said = list(dict.fromkeys(texts)), []
        strange = list(dict.fromkeys(word for text in different for word in self.unknown(text)))
        if strange:
            named = ", ".join(map(repr, strange[:_NAMED]))
            more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
            said.append(f"this model does not know {named}{more}: it hears an unknown word there")
        long = {text: count for text in different if (count := self.count(text)) > self.length}
        for text, count in list(long.items())[:_CUT]:
            start, over = text if len(text) <= 40 else f"{text[:40].rstrip()}...", count - self.length
            lost = "the last is" if over == 1 else f"the last {over} are"
            said.append(
                f"the text {start!r} has {count} {self.unit}, of which this model reads {self.length}: {lost} lost"
            )
        if len(long) > _CUT:
            said.append(f"{len(long) - _CUT} more texts are longer than {self.length} {self.unit} and lose their ends")
        empty = sum(not text.strip() for text in texts)
        if empty:
            say = "says" if empty == 1 else "say"
            said.append(f"{empty} of {len(texts)} texts {say} nothing: the model is asked there as if it were not told")
        return said

    def told(self, values: Mapping[str, Tensor], *made: str) -> tuple[str, Tensor | None, dict[str, Tensor]]:
        """The family's name, its texts uint8 (B, L), None where it is absent, and what was made of them by last name.

        Arguments:
            values: of one family by dotted name.
            made: what :meth:`prepare` may have added.

        Raises:
            Refusal: the family is no text, or brings what this part does not know.
        """
        if not values:
            return "", None, {}
        name = family(next(iter(values)))
        found = {key.removeprefix(f"{name}."): value for key, value in values.items() if key != name}
        texts = values.get(name)
        if texts is None or found.keys() - set(made):
            raise Refusal(
                f"the condition {name!r} is one text a sample, not {', '.join(sorted(values))}; its part knows no more"
            )
        if texts.ndim != 2 or texts.dtype != torch.uint8:
            raise Refusal(
                f"the condition {name!r} is text, one string a sample, not {texts.dtype} of shape "
                f"{tuple(texts.shape)}: write mz.Condition({name}=['a red circle']), or its bytes, "
                f"mz.Condition({name}=mz.core.text.written(['a red circle']))"
            )
        return name, texts, found

    def heard(self, name: str, texts: Tensor) -> list[str]:
        """The strings of texts (B, L); outside of training, :meth:`remarks` about them become warnings.

        Raises:
            Refusal: outside of training, a text is empty and the null was never trained.
        """
        strings = spoken(texts)
        if not self.training:
            if not bool(self.null_trained) and not all(text.strip() for text in strings):
                raise Refusal(
                    f"an empty {name} says nothing, and this model needs the condition {name!r}: its null was never "
                    f"trained; write something, or train with dropout for {name!r}"
                )
            for sentence in self.remarks(strings):
                warnings.warn(sentence, TextWarning, stacklevel=2)
        return strings

    def masks(self, real: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows say something, bool (B,), and which of their tokens are to be read, bool (B, T).

        A row that says nothing has one token to read, the null: attention over none is not a number.

        Arguments:
            real: which tokens belong to a text and not to what fills it up, bool (B, T).
            keep: the rows kept, bool (B,).
        """
        said = keep & real.any(1)
        first = torch.arange(real.shape[1], device=real.device) == 0
        return said, torch.where(said[:, None], real, first)

    def answer(self, tokens: Tensor, vector: Tensor | None, said: Tensor, mask: Tensor) -> Context:
        """Tokens (B, T, width) and vector (B, pooled), the null in rows that say nothing, zeros behind each text."""
        rows = torch.where(said[:, None, None], tokens, self.null.expand_as(tokens))
        rows = torch.where(mask[..., None], rows, 0.0)
        self.saw(said, rows)
        if self.null_vector is not None:
            null = self.null_vector.expand(len(said), -1)
            vector = null if vector is None else torch.where(said[:, None], vector, null)
            self.saw(said, vector)
        return Context(vector=vector, tokens=rows, mask=mask)

    def nothing(self, keep: Tensor) -> Context:
        """The null in every row: what an absent family is."""
        empty = self.null.new_zeros(len(keep), self.length, self.width)
        return self.answer(empty, None, *self.masks(torch.zeros_like(empty[..., 0], dtype=torch.bool), keep))
