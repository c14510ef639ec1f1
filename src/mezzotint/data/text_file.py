"""A text of one's own as windows of symbols."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data.written import Written, check_symbols


@dataclass(frozen=True)
class TextFile(Written):
    """Windows of a file of text, x (L,) int64 from 0 to ``vocab - 1``; the last tenth of the text is held out.

    Arguments:
        path: of a file of UTF-8 text.
        length: L, symbols of a window.
        stride: symbols from a window to the next; None: ``length``, so that windows share none. What is held out is
            cut in the same way.
        symbols: ``"own"``: the bytes that the text has, numbered; ``"bytes"``: the bytes themselves, which a model of
            another text can share.
        split: ``"train"``, ``"held_out"`` or ``"all"``.

    Raises:
        Refusal: when it is first read, that there is no such file, that it is empty, or no UTF-8 text.
    """

    path: str
    length: int = 256
    stride: int | None = None
    symbols: str = "own"
    split: str = "train"

    @classmethod
    def example(cls) -> TextFile:
        return cls(os.fspath(Path(__file__)), length=32)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))
        check_symbols(self)

    @property
    def _file(self) -> Path:
        file = Path(self.path)
        if not file.is_file():
            raise Refusal(f"there is no file of text {self.path!r}")
        return file

    @cached_property
    def _text(self) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = super()._text
        if not len(found):
            raise Refusal(f"the file {self.path!r} is empty: a model of texts needs one to read")
        try:
            found.tobytes().decode()
        except UnicodeDecodeError as error:
            raise Refusal(
                f"the file {self.path!r} is no UTF-8 text: byte {error.start:,} is none of a character; save it as "
                "UTF-8"
            ) from None
        return found
