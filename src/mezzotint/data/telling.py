"""What records tell without a picture being opened: declared columns as arrays, and which of them say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.condition import family
from mezzotint.data import columns
from mezzotint.data.columns import Texts, Wrong
from mezzotint.data.data import Rows
from mezzotint.data.records import Records

Array = NDArray[Any]
_FILES = ("layout", "image", "mask")
"""Families whose cells are picture files."""
_FAR = 2.0


@dataclass(frozen=True)
class Telling:
    """Of all N records of a source, whichever split they are in.

    Arguments:
        labels: int64 (N,), or None.
        classes: names of the labels.
        captions: their texts, or None.
        attributes: (N,) by column, int64 or float32.
        words: what the numbers of an attribute mean, where they are words.
        points: float32 (N, K, 3), in the units of the source.
        held_out: bool (N,), or None where the source does not say.
        gaps: which records say nothing, bool (N,), by family, where any does not.
    """

    labels: Rows | None
    classes: tuple[str, ...]
    captions: Texts | None
    attributes: Mapping[str, Array]
    words: Mapping[str, tuple[str, ...]]
    points: NDArray[np.float32]
    held_out: NDArray[np.bool_] | None
    gaps: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def read(cls, records: Records, named: Mapping[str, str], unit: str) -> tuple[Telling, Wrong]:
        """The declared columns of records, and what is wrong with some of them, by row.

        Arguments:
            records: all of them.
            named: a column by what it tells.
            unit: what keypoints are given in, ``"shares"`` or ``"pixels"``.
        """
        count, wrong = len(records), Wrong()
        gaps: dict[str, NDArray[np.bool_]] = {}
        labels, classes = None, tuple[str, ...]()
        captions, held_out = None, records.held_out()
        attributes, words = dict[str, Array](), dict[str, tuple[str, ...]]()
        points = np.zeros((count, 0, 3), dtype=np.float32)
        for name, column in named.items():
            what, odd = repr(column), Wrong()
            if name == "picture":
                continue
            if name == "instances":  # where there are none, nothing is told of them, and the layout counts alone
                continue
            if name in _FILES:
                gaps[name] = records.without(column)
                continue
            cells = records.cells(column)
            gap = columns.missing(cells)
            if name == "label":
                labels, classes, odd = columns.labels(cells, records.classes(column), what)
            elif name == "split_by":
                held_out, odd = columns.held_out(cells, what)
            elif name == "caption":
                captions, odd = Texts.of(cells, what)
                gaps["caption"] = gap
            elif name == "keypoints":
                points, odd = columns.points(cells, what)
                odd |= _far(points, what) if unit == "shares" else {}
                gaps["keypoints"] = gap
            else:
                attributes[column], found = columns.attribute(cells, records.classes(column), what)
                words |= {column: found} if found else {}
                gaps["attributes"] = gap | gaps.get("attributes", np.zeros(count, dtype=bool))
            wrong = odd | wrong
        gaps = {name: rows for name, rows in gaps.items() if rows.any()}
        return cls(labels, classes, captions, attributes, words, points, held_out, gaps), wrong

    def values(self, rows: Rows) -> dict[str, Array]:
        """What is told of these records that is no map: label, caption, attributes."""
        out: dict[str, Array] = {} if self.labels is None else {"label": self.labels[rows]}
        if self.captions is not None:
            out["caption"] = self.captions.at(rows)
        return out | {f"attributes.{name}": values[rows] for name, values in self.attributes.items()}

    def marks(self, rows: Rows) -> Iterator[bytes]:
        """What tells these records from others, the labels left out."""
        if self.captions is not None:
            for row in rows:
                yield self.captions.at(np.array([row])).tobytes()
        for name, values in self.attributes.items():
            yield f"{family(name)} {name} {self.words.get(name, ())} ".encode() + values[rows].tobytes()
        yield self.points[rows].tobytes()
        for name, gaps in self.gaps.items():
            yield name.encode() + gaps[rows].tobytes()


def _far(points: NDArray[np.float32], what: str) -> Wrong:
    """Which records have points that no share of a side can be."""
    far = np.flatnonzero((np.abs(points[..., :2] - 0.5) > _FAR).any((1, 2)))
    why = f"its {what} are no shares of a side; if they are pixels, pass points='pixels'"
    return {int(row): why for row in far}
