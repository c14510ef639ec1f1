"""Written texts as windows of symbols, for models of tokens.

A symbol is a byte of the text. It is told by its number among the bytes that the text has, in the order of their
values: ``war_and_peace_27`` has a space and the letters a to z, so a space is 0 and a letter its place in the alphabet,
as in text8. Or it is told as the byte itself, one vocabulary of 256 for all texts.

The files, ``text/<name>.txt``, lie in the folder that the environment variable ``MEZZOTINT_DATA`` names:
``tiny_shakespeare`` (65 symbols), ``war_and_peace`` (Tolstoy, translated by the Maudes), ``war_and_peace_27`` (the same
in 27 symbols) and ``wikitext2_valid`` (Merity et al. 2016, 1609.07843, with ``<unk>`` for rare words).

Licence: public domain, but for wikitext2_valid, which is CC BY-SA 3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest
from mezzotint.data.licence import Licence
from mezzotint.data.root import find
from mezzotint.data.windows import BUDGET, Cut, Windowed, check_windows, starts, stretches

NAMES = ("tiny_shakespeare", "war_and_peace", "war_and_peace_27", "wikitext2_valid")
_SYMBOLS = ("own", "bytes")


@dataclass(frozen=True)
class Corpus(Windowed):
    """Windows of a text, x (L,) int64 from 0 to ``vocab - 1``; the last tenth of the text is held out.

    Arguments:
        name: of the text.
        length: L, symbols of a window.
        stride: symbols from a window to the next; None: ``length``, so that windows share none.
        symbols: ``"own"``: the bytes that the text has, numbered; ``"bytes"``: the bytes themselves.
        split: ``"train"``, ``"held_out"`` or ``"all"``.
    """

    name: str = "war_and_peace_27"
    length: int = 256
    stride: int | None = None
    symbols: str = "own"
    split: str = "train"
    licence = Licence("public domain", "but for wikitext2_valid, CC BY-SA 3.0")

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise Refusal(f"there is no text {self.name!r}: {nearest(str(self.name), NAMES)}")
        if self.symbols not in _SYMBOLS:
            raise Refusal(f"the symbols of a text are 'own' or 'bytes', not {self.symbols!r}")
        check_windows(self.split, self.length, self.length if self.stride is None else self.stride)

    @cached_property
    def alphabet(self) -> bytes:
        """The byte that each symbol is, by number."""
        return bytes(range(256)) if self.symbols == "bytes" else np.unique(self._text).tobytes()

    @property
    def vocab(self) -> int:
        """How many symbols there are."""
        return len(self.alphabet)

    def spelt(self, x: Tensor) -> list[str]:
        """Symbols (B, L) as text; bytes that are no UTF-8, as where a window cuts a character, become U+FFFD."""
        rows = np.frombuffer(self.alphabet, dtype=np.uint8)[x.cpu().numpy()]
        return [row.tobytes().decode(errors="replace") for row in rows]

    @property
    def _file(self) -> Path:
        return find(f"text/{self.name}.txt")

    @property
    def _steps(self) -> int:
        return self.length

    def _marks(self) -> Iterator[bytes]:
        yield from super()._marks()
        yield self.alphabet

    @cached_property
    def _text(self) -> NDArray[np.uint8]:
        file = self._file
        if file.stat().st_size > BUDGET:
            raise Refusal(f"the text {str(file)!r} has more than {BUDGET} bytes, which are not kept at once")
        return np.fromfile(file, dtype=np.uint8)

    def _cutting(self) -> Cut:
        number = np.zeros(256, dtype=np.int64)
        number[np.frombuffer(self.alphabet, dtype=np.uint8)] = np.arange(self.vocab)
        total = len(self._text)
        inside = stretches(self.split, total * 9 // 10, total)
        return Cut(number[self._text], starts(inside, self.length, self.stride or self.length))
