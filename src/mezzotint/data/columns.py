"""Cells of a column as arrays: labels, captions, words and numbers, points, and which records are held out.

Each function answers with its arrays and with what is wrong, a sentence by row; the array holds zeros there. A cell may
be missing, and what that means is for the caller to say: :func:`missing` finds which are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.bounded import parse_json
from mezzotint.core.errors import Refusal
from mezzotint.core.text import LENGTH, written
from mezzotint.data.archive import LABELS
from mezzotint.data.data import Rows
from mezzotint.data.records import is_missing

Cells = Sequence[object]
Wrong = dict[int, str]
POINTS = 1024
"""The most keypoints of a picture."""
_TRAIN = ("train", "training")
_HELD_OUT = ("held_out", "test", "val", "valid", "validation", "dev")


def missing(cells: Cells) -> NDArray[np.bool_]:
    """Which cells say nothing, bool (N,)."""
    return np.fromiter(map(is_missing, cells), dtype=bool, count=len(cells))


def whole(cell: object) -> int | None:
    """A cell as a whole number, None where it is none; 3.0 is one, which is how tables with gaps keep 3."""
    if isinstance(cell, int):
        return int(cell)
    return int(cell) if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53 else None


def labels(cells: Cells, names: tuple[str, ...] | None, what: str) -> tuple[Rows, tuple[str, ...], Wrong]:
    """Labels int64 (N,) and the names of the classes.

    Words are numbered in sorted order; whole numbers are labels themselves, whose names are ``names`` or the digits.
    """
    wrong = {row: f"it has no {what}" for row, cell in enumerate(cells) if is_missing(cell)}
    said = [cell for row, cell in enumerate(cells) if row not in wrong]
    if said and all(isinstance(cell, str) for cell in said):
        found, classes = _numbered(cells)
        return found, classes, wrong
    out = np.zeros(len(cells), dtype=np.int64)
    most = LABELS if names is None else len(names)
    for row, cell in enumerate(cells):
        if row in wrong:
            continue
        number = whole(cell)
        if number is None:
            raise Refusal(f"{what} holds {_shown(cell)}, but labels are words throughout, or whole numbers throughout")
        if names is not None and number == -1:
            wrong[row] = f"it has no {what} (-1)"
        elif not 0 <= number < most:
            wrong[row] = f"its {what} is {_shown(number)}, but labels lie from 0 to {most - 1}"
        else:
            out[row] = number
    largest = int(out.max(initial=-1)) if len(wrong) < len(cells) else -1
    return out, tuple(map(str, range(largest + 1))) if names is None else names, wrong


def attribute(cells: Cells, names: tuple[str, ...] | None, what: str) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """An attribute as int64 (N,), words numbered in sorted order, or float32 (N,); zeros where it is missing."""
    gaps = missing(cells)
    said = [cell for cell, gap in zip(cells, gaps, strict=True) if not gap]
    if all(isinstance(cell, str) for cell in said):
        return _numbered(cells)
    odd = next((cell for cell in said if not _is_number(cell)), None)
    if odd is not None:
        raise Refusal(f"{what} holds {_shown(odd)}, but an attribute is words throughout, or numbers throughout")
    numbers = [0 if gap else cell for cell, gap in zip(cells, gaps, strict=True)]
    whole_ones = [whole(cell) for cell in numbers]
    if None not in whole_ones:
        return np.array(whole_ones, dtype=np.int64), names or ()
    return np.array(numbers, dtype=np.float64).astype(np.float32), ()


@dataclass(frozen=True)
class Texts:
    """Texts of any length behind one another: a table as wide as the longest would hold mostly zeros.

    Arguments:
        blob: their UTF-8 bytes.
        ends: where each ends, int64 (N + 1,), from 0 on.
    """

    blob: NDArray[np.uint8]
    ends: Rows

    @classmethod
    def of(cls, cells: Cells, what: str) -> tuple[Texts, Wrong]:
        """The texts of a column, empty where one is missing or wrong."""
        pieces, ends, wrong = [], [0], Wrong()
        for row, cell in enumerate(cells):
            text = "" if is_missing(cell) else cell
            try:
                written([text])  # type: ignore[list-item]
            except Refusal as refusal:
                wrong[row], text = f"its {what} cannot be told: {refusal}", ""
            pieces.append(str(text).encode())
            ends.append(ends[-1] + len(pieces[-1]))
        return cls(np.frombuffer(b"".join(pieces), dtype=np.uint8), np.array(ends, dtype=np.int64)), wrong

    @property
    def length(self) -> int:
        """Bytes of the longest, and at least 1."""
        longest = int(np.diff(self.ends).max(initial=1))
        assert longest <= LENGTH
        return max(1, longest)

    def at(self, rows: Rows) -> NDArray[np.uint8]:
        """The bytes of these texts, (B, L), zeros behind each; L is one for all texts."""
        out = np.zeros((len(rows), self.length), dtype=np.uint8)
        for place, row in enumerate(rows):
            text = self.blob[self.ends[row] : self.ends[row + 1]]
            out[place, : len(text)] = text
        return out


def points(cells: Cells, what: str) -> tuple[NDArray[np.float32], Wrong]:
    """Keypoints float32 (N, K, 3), K the most of a record: across, down, and 2 seen, 1 hidden, 0 not there.

    A cell is a list of [across, down] or [across, down, seen], or one list of all the numbers by threes, or either
    as JSON.
    """
    found: list[list[list[float]]] = []
    wrong = Wrong()
    for row, cell in enumerate(cells):
        found.append([])
        if is_missing(cell):
            continue
        try:
            found[-1] = _points(parse_json(cell, f"its {what}") if isinstance(cell, str) else cell, what)
        except Refusal as refusal:
            wrong[row] = str(refusal)
    out = np.zeros((len(cells), max((len(one) for one in found), default=0), 3), dtype=np.float32)
    for row, one in enumerate(found):
        if one:
            out[row, : len(one)] = one
    return out, wrong


def held_out(cells: Cells, what: str) -> tuple[NDArray[np.bool_], Wrong]:
    """Which records are held out, bool (N,): said by 0 and 1, or by the usual words for the two splits."""
    out, wrong = np.zeros(len(cells), dtype=bool), Wrong()
    for row, cell in enumerate(cells):
        word = cell.strip().lower() if isinstance(cell, str) else whole(cell)
        if word in _HELD_OUT or word == 1:
            out[row] = True
        elif word not in _TRAIN and word != 0:
            said = "is missing" if is_missing(cell) else f"is {_shown(cell)}"
            wrong[row] = (
                f"its {what} {said}, but a split is {_TRAIN[0]!r} or 0, or held out: {', '.join(_HELD_OUT)} or 1"
            )
    return out, wrong


def is_split(word: str) -> bool:
    """Whether a word is one of the usual ones for what is trained on or held out."""
    return word.strip().lower() in (*_TRAIN, *_HELD_OUT)


def _numbered(cells: Cells) -> tuple[Rows, tuple[str, ...]]:
    """Words by their number in sorted order, 0 where one is missing."""
    words = tuple(sorted({str(cell) for cell in cells if not is_missing(cell)}))
    number = {word: place for place, word in enumerate(words)}
    if len(words) > LABELS:
        raise Refusal(f"there are {len(words):,} different words in a column, and at most {LABELS:,} are numbered")
    return np.array([0 if is_missing(cell) else number[str(cell)] for cell in cells], dtype=np.int64), words


def _points(cell: object, what: str) -> list[list[float]]:
    rows = list(cell) if isinstance(cell, list | tuple) else [cell]
    if rows and len(rows) % 3 == 0 and all(_is_number(one) for one in rows):
        rows = [rows[at : at + 3] for at in range(0, len(rows), 3)]
    out = []
    for one in rows:
        one = list(one) if isinstance(one, list | tuple) else [one]
        if len(one) not in (2, 3) or not all(map(_is_number, one)) or (len(one) == 3 and one[2] not in (0, 1, 2)):
            raise Refusal(
                f"its {what} hold {_shown(one)}, but a point is [across, down] or [across, down, seen], the last 2 "
                "seen, 1 hidden or 0 not there"
            )
        out.append([float(number) for number in (*one, 2)[:3]])
    if len(out) > POINTS:
        raise Refusal(f"its {what} are {len(out)} points, and at most {POINTS} are read")
    return out


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 2**62


def _shown(cell: object) -> str:
    return repr(cell)[:60]
