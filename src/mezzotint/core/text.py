"""Text as tensors: every string is its UTF-8 bytes, so that a condition can hold it.

A caption travels through data, guidance and search as uint8 (B, L), each row filled up with zeros, and no part on the
way knows a vocabulary. Whoever encodes it reads the strings back and cuts them into tokens of its own, so one data set
serves a model of words, a model of bytes and a frozen encoder with a vocabulary of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mezzotint.core.errors import Refusal

LENGTH = 2**14
"""The most bytes a text may have; a caption is a sentence or a page, and a batch is as wide as its longest."""


def written(texts: Sequence[str], length: int | None = None) -> Tensor:
    """Strings as their bytes, uint8 (B, L), zeros behind each.

    Arguments:
        texts: one string a sample, without the character NUL.
        length: L in bytes; None: that of the longest, and at least 1.

    Raises:
        Refusal: a text is no string, holds a NUL or half of a surrogate pair, or is longer than ``length``.
    """
    if isinstance(texts, str):
        raise Refusal(f"texts is a sequence of strings, one a sample; for a single one write [{texts!r}]")
    most = LENGTH if length is None else length
    rows = []
    for text in texts:
        if not isinstance(text, str):
            raise Refusal(f"a text is a string, not {type(text).__name__}")
        try:
            row = text.encode()
        except UnicodeEncodeError:
            raise Refusal(f"the text {ascii(text)[:80]} holds half a character, which UTF-8 cannot write") from None
        if b"\0" in row:
            raise Refusal(f"the text {text[:80]!r} holds the character NUL, which marks the end of a text")
        if len(row) > most:
            raise Refusal(f"the text {text[:40]!r}... has {len(row)} bytes, more than the {most} that fit")
        rows.append(row)
    width = max([1, *map(len, rows)]) if length is None else length
    out = np.zeros((len(rows), width), dtype=np.uint8)
    for place, row in enumerate(rows):
        out[place, : len(row)] = np.frombuffer(row, dtype=np.uint8)
    return torch.from_numpy(out)


def spoken(rows: Tensor) -> list[str]:
    """The strings of bytes (B, L): what :func:`written` wrote; bytes that are no UTF-8 become U+FFFD.

    Raises:
        Refusal: the tensor is not uint8 (B, L).
    """
    if rows.ndim != 2 or rows.dtype != torch.uint8:
        raise Refusal(
            f"a text is bytes (B, L) as core.text.written makes them, not {rows.dtype} of shape {tuple(rows.shape)}"
        )
    return [bytes(row).split(b"\0", 1)[0].decode(errors="replace") for row in rows.cpu().numpy()]


def filled(rows: Tensor, length: int) -> Tensor:
    """Bytes (B, L) as the same texts in ``length`` bytes, which is L or more: zeros behind."""
    return torch.nn.functional.pad(rows, (0, length - rows.shape[1]))
