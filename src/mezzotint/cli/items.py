"""What a model is told that no command line can say, such as a layout: taken from pictures of its data.

The items are of the held-out split, which the model has not seen, or of the train split where nothing was held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.cli.maps import maps
from mezzotint.cli.source import of_run
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import spec
from mezzotint.data.data import Data, Rows
from mezzotint.data.licence import said

USUAL = 8
"""How many items are drawn, where none is named."""


@dataclass(frozen=True)
class Items:
    """A data set that says what to draw.

    Arguments:
        data: one split of it.
        families: what of it the model is told.
        shape: of what is drawn.
    """

    data: Data
    families: tuple[str, ...]
    shape: tuple[int, ...]
    key = "items"
    remarks = ()

    @classmethod
    def of_run(cls, run: str, families: Sequence[str], shape: Sequence[int], changes: Sequence[str]) -> Items:
        """Those of the data that the config of a run names, brought to the size that is drawn."""
        data: Data = of_run(run, changes)
        try:
            data = data.held_out()
        except Refusal:  # nothing was held out
            pass
        if tuple(shape) not in data.shapes:
            brought = data.resized((shape[-2], shape[-1]))
            if brought is None:
                sizes = ", ".join(f"{high}x{wide}" for *_, high, wide in data.shapes)
                raise Refusal(
                    f"what is told of the data of {run!r} has the size {sizes} and cannot be brought to "
                    f"{shape[-2]}x{shape[-1]}; leave --size out, or take one of these"
                )
            data = brought
        found = cls(data, tuple(families), tuple(shape))
        told = data.condition(np.zeros(1, dtype=np.int64)).families
        for family in families:
            if family not in told:
                raise Refusal(f"the model in {run!r} was trained with {family}s, but its data tell none now")
        return found

    @cached_property
    def _fitting(self) -> list[int]:
        """The items of the size that is drawn."""
        rows = np.arange(len(self.data))
        if self.data.buckets is not None:
            rows = np.flatnonzero(self.data.buckets == self.data.shapes.index(self.shape))
        return [int(row) for row in rows]

    def usual(self) -> list[int]:
        """A few items."""
        if not self._fitting:
            size = "x".join(map(str, self.shape[1:]))
            raise Refusal(f"none of the {len(self.data)} items has the size {size}; ask for another --size")
        return self._fitting[:USUAL]

    def check(self, rows: Sequence[int]) -> None:
        """Refuse rows that are none."""
        for row in rows:
            if 0 <= row < len(self.data) and self.data.buckets is not None and row not in self._fitting:
                raise Refusal(
                    f"item {row} is of another size than {' x '.join(map(str, self.shape[1:]))}; items of this one are "
                    f"{', '.join(map(str, self._fitting[:USUAL]))}, ..., and others have another --size"
                )
            if not 0 <= row < len(self.data):
                what = "held-out pictures" if self.data.split == "held_out" else "pictures"
                raise Refusal(
                    f"--items names {row}, but the items are the {len(self.data)} {what} of the data: "
                    f"there are the items 0 to {len(self.data) - 1}"
                )

    def cond(self, rows: Sequence[int]) -> Condition:
        """What is told of these rows, as far as the model listens."""
        index: Rows = np.asarray(rows, dtype=np.int64)
        return self.data.condition(index).take(*self.families)[0]

    @property
    def mark(self) -> str:
        """By which the data are told from others."""
        return self.data.mark

    def arrays(self, rows: Sequence[int]) -> dict[str, Any]:
        """What an .npz says of these rows."""
        return {"items": np.array(rows, np.int64)}

    @property
    def licence(self) -> str:
        """What a sheet that holds some of it says of it."""
        return said(spec(self.data))

    def record(self, rows: Sequence[int]) -> dict[str, Any]:
        """What a picture says of them."""
        return {"rows": list(rows), "split": self.data.split, "mark": self.data.mark}


def above(x: Tensor, cond: Condition, columns: int) -> Tensor:
    """The pictures (N, C, H, W) under what the first row of them was told, a row a map, as far as it can be drawn."""
    size = (x.shape[-2], x.shape[-1])
    drawn = [one for one in maps(cond[:columns], size).values() if one.shape[-2:] == size]
    rows = [one.expand(-1, 3, -1, -1) for one in (*drawn, x)] if drawn else [x]
    return torch.cat(rows)
