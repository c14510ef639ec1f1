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

from dataclasses import dataclass
from pathlib import Path

from mezzotint.core.errors import Refusal, nearest
from mezzotint.data.licence import Licence
from mezzotint.data.root import find
from mezzotint.data.written import Written, check_symbols

NAMES = ("tiny_shakespeare", "war_and_peace", "war_and_peace_27", "wikitext2_valid")


@dataclass(frozen=True)
class Corpus(Written):
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
        check_symbols(self)

    @property
    def _file(self) -> Path:
        return find(f"text/{self.name}.txt")
