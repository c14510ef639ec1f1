"""Windows of a written text, whichever file it lies in: a symbol is a byte.

A symbol is told by its number among the bytes that the text has, in the order of their values, or as the byte itself,
one vocabulary of 256 for all texts. A letter beyond ASCII is several bytes of UTF-8, so several symbols.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.windows import BUDGET, Cut, Windowed, check_windows, starts, stretches

SYMBOLS = ("own", "bytes")


class Written(Windowed, ABC):
    """Windows x (L,) of a text, int64 from 0 to ``vocab - 1``; the last tenth of the text is held out.

    A frozen dataclass with the fields ``length``, ``stride``, ``symbols`` and ``split`` that says which file it is.
    """

    length: int
    stride: int | None
    symbols: str
    split: str

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

    def numbered(self, text: str) -> Tensor:
        """A text as symbols, int64 (bytes of it,): what :meth:`spelt` takes back.

        Raises:
            Refusal: the text has a character that these symbols cannot spell.
        """
        known = set(self.alphabet)
        for character in text:
            if not known.issuperset(character.encode()):
                raise Refusal(f"{character!r} is not among the {self.vocab} symbols of these texts; write without it")
        return torch.from_numpy(self._number[np.frombuffer(text.encode(), dtype=np.uint8)])

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

    @cached_property
    def _number(self) -> NDArray[np.int64]:
        """The symbol of every byte; 0 of those that are none."""
        number = np.zeros(256, dtype=np.int64)
        number[np.frombuffer(self.alphabet, dtype=np.uint8)] = np.arange(self.vocab)
        return number

    def _cutting(self) -> Cut:
        total = len(self._text)
        inside = stretches(self.split, total * 9 // 10, total)
        return Cut(self._number[self._text], starts(inside, self.length, self.stride or self.length))


def check_symbols(data: Written) -> None:
    """Refuse symbols that there are not, and a split, a length or a stride that is none."""
    if data.symbols not in SYMBOLS:
        raise Refusal(f"the symbols of a text are 'own' or 'bytes', not {data.symbols!r}")
    check_windows(data.split, data.length, data.length if data.stride is None else data.stride)
