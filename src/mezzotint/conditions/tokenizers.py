"""How a text is cut into tokens, each a number: by its words, or by its bytes.

A model of words reads a caption in few tokens and knows exactly the words it was made for; every other word is one and
the same token, ``unknown``. A model of bytes knows every text of every language, five times as long. Neither is
trained: what the tokens mean is learnt by the encoder that embeds them (:class:`~mezzotint.conditions.Text`).
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mezzotint.core.bounded import is_text
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import NODES, Part

MOST = 2**13
"""The most words of a vocabulary: it is written into every config of its model, and a config holds 20,000 values."""
_LONGEST = 2**16  # bytes of a vocabulary altogether; a config is at most 256 KiB long, quotes and commas included
_ASCII = re.compile(r"\w+|[^\w\s]")


class Tokenizer(Part, ABC):
    """str -> numbers from 0 to ``size`` - 1, of which 0 stands for whatever the tokenizer does not know.

    Attributes:
        unit: what its tokens are, in words for people.
    """

    unit: str

    @property
    @abstractmethod
    def size(self) -> int:
        """How many different tokens there are."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The tokens of a text in their order; none of an empty one."""

    def unknown(self, text: str) -> list[str]:
        """The words of a text that have no token of their own, each once."""
        return []


def words(text: str) -> list[str]:
    """A text as lower-cased words and single marks: ``"A red, round one."`` is a, red, `,`, round, one and `.`.

    A word is a run of letters, digits, underscores and the accents on them in any script; whatever else is not a space
    stands alone. Characters that can be written in two ways are brought into one (NFC).
    """
    if text.isascii():  # the same by a quicker way: it is asked for every caption of every step
        return _ASCII.findall(text.lower())
    found: list[str] = []
    inside = False
    for character in unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower()):
        if character.isalnum() or character == "_" or (inside and unicodedata.category(character)[0] == "M"):
            if inside:
                found[-1] += character
            else:
                found.append(character)
            inside = True
        else:
            inside = False
            if not character.isspace():
                found.append(character)
    return found


@dataclass(frozen=True)
class Words(Tokenizer):
    """Lower-cased words and marks as tokens; the words of its vocabulary, and one token for every other.

    Arguments:
        vocabulary: the words it knows, each as :func:`words` cuts it; the i-th is token i + 1. :meth:`of` collects
            them.

    Raises:
        Refusal: a word twice or one that no text is cut into, or more words than a config should hold.
    """

    vocabulary: tuple[str, ...]
    unit = "words"

    def __post_init__(self) -> None:
        if isinstance(self.vocabulary, str) or not all(isinstance(word, str) for word in self.vocabulary):
            raise Refusal("a vocabulary is a sequence of words; Words.of(texts) makes one of texts")
        known = self._numbers
        if len(known) < len(self.vocabulary):
            word, _ = Counter(self.vocabulary).most_common(1)[0]
            raise Refusal(f"the vocabulary holds {word!r} twice, so it would have two tokens; give every word once")
        length = sum(len(word.encode()) for word in self.vocabulary if is_text(word))
        if len(known) > MOST or length > _LONGEST:
            raise Refusal(
                f"a vocabulary of {len(known):,} words in {length:,} bytes is more than the {MOST:,} in {_LONGEST:,} "
                f"that fit beside a model in its config, which holds {NODES:,} values; leave out rare words by "
                "Words.of(texts, least=5), or use Bytes(), which knows every text"
            )
        for word in self.vocabulary:
            if words(word) != [word] or not is_text(word):
                raise Refusal(
                    f"the vocabulary holds {word[:80]!r}, which no text is cut into; words are in lower case, and "
                    "marks stand alone: Words.of(texts) makes them so"
                )

    @classmethod
    def of(cls, texts: Iterable[str], least: int = 1) -> Words:
        """The words of these texts in alphabetical order.

        Arguments:
            texts: any number of strings.
            least: how often a word has to be there; what is rarer stays unknown.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        if not texts or least < 1:
            raise Refusal("a vocabulary is made of texts, one at least, and of words that are there once or more")
        found = Counter(word for text in texts for word in words(text))
        return cls(tuple(sorted(word for word, count in found.items() if count >= least)))

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary, start=1)}

    @property
    def size(self) -> int:
        return len(self.vocabulary) + 1

    def encode(self, text: str) -> list[int]:
        return [self._numbers.get(word, 0) for word in words(text)]

    def unknown(self, text: str) -> list[str]:
        return list(dict.fromkeys(word for word in words(text) if word not in self._numbers))


@dataclass(frozen=True)
class Bytes(Tokenizer):
    """The bytes of UTF-8 as tokens: nothing is unknown, and a text of n letters has n tokens or more."""

    unit = "bytes"

    @property
    def size(self) -> int:
        return 256

    def encode(self, text: str) -> list[int]:
        return list(text.encode())
