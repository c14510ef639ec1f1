"""A data set that keeps to itself what is told of its items: for unconditional models of labelled pictures."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.data.data import Data, Rows
from mezzotint.data.digits import Digits
from mezzotint.data.wrapped import Wrapped


@dataclass(frozen=True)
class Untold(Wrapped):
    """The samples of another set, with no label and no other condition.

    Arguments:
        source: any data set.
    """

    source: Data

    @classmethod
    def example(cls) -> Untold:
        return cls(Digits())

    @property
    def classes(self) -> tuple[str, ...]:
        return ()

    @property
    def labels(self) -> Rows | None:
        return None

    @property
    def originals(self) -> Rows | None:
        return self.source.originals

    def resized(self, size: tuple[int, int]) -> Data | None:
        found = self.source.resized(size)
        return None if found is None else self._around(found)

    def condition(self, rows: Rows) -> Condition:
        """``NONE``, whatever the source tells."""
        return NONE

    def read(self, rows: Rows) -> Tensor:
        return self.source.read(rows)
