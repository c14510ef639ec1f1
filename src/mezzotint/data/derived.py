"""What can be computed from a sample as a condition of it, or in its place: a low resolution, a grey copy, a part.

A super-resolution model is told a low resolution that nobody stored: it is its own sample, measured. The measurement is
an operator that is handed in (:mod:`mezzotint.operators`), so the low resolution that one model draws and that another
is told are made by one filter from the same pictures, without the rounding of a file in between.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition, family
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part, spec
from mezzotint.data.data import Data, Rows
from mezzotint.data.wrapped import Wrapped


class Measurement(Protocol):
    """What is seen of samples, a part; ``mezzotint.operators`` has the usual ones."""

    def forward(self, x: Tensor, cond: Condition = NONE) -> Tensor:
        """(B, *shape) to (B, *seen)."""
        ...


class _Measuring(Wrapped, ABC):
    """A set around another, and a measurement of its samples."""

    operator: Measurement

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.operator, Part) or not callable(getattr(self.operator, "forward", None)):
            raise Refusal(
                f"data.{type(self).__name__} takes an operator, such as operators.BlockMean(2), "
                f"not {repr(self.operator)[:60]}"
            )
        if self.source.vocab is not None:
            raise Refusal(
                f"data.{type(self).__name__} measures real samples such as pictures, and those of "
                f"data.{type(self.source).__name__} are symbols"
            )

    def seen(self, x: Tensor, cond: Condition) -> Tensor:
        """What the operator sees of samples (B, *shape)."""
        return self.operator.forward(x, cond)

    def _marks(self) -> Iterator[bytes]:
        yield repr(spec(self.operator)).encode()


@dataclass(frozen=True)
class Derived(_Measuring):
    """The samples of another set, and what an operator sees of each as a further condition.

    Arguments:
        source: whose samples these are; what it tells is told beside it.
        operator: what is told of a sample, such as ``operators.BlockMean(2)``.
        family: under which name.

    Raises:
        Refusal: the source tells something under that name already.
    """

    source: Data
    operator: Measurement
    family: str = "low"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.family.isidentifier():
            raise Refusal(f"a family is a name such as low, not {self.family!r}")

    @property
    def originals(self) -> Rows | None:
        return self.source.originals

    def read(self, rows: Rows) -> Tensor:
        return self.source.read(rows)

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        x, cond = self.source.items(rows)
        if self.family in map(family, cond.values):
            raise Refusal(f"{self.family!r} is told of these samples already; take another family")
        return x, cond | Condition(**{self.family: self.seen(x, cond)})

    def condition(self, rows: Rows) -> Condition:
        return self.items(rows)[1]

    def _marks(self) -> Iterator[bytes]:
        yield self.family.encode()
        yield from super()._marks()


@dataclass(frozen=True)
class Measured(_Measuring):
    """What an operator sees of the samples of another set, as samples; what is told of them is the source's.

    Arguments:
        source: the samples that are measured.
        operator: what is seen of them, such as ``operators.BlockMean(2)``: a base model's pictures.
    """

    source: Data
    operator: Measurement

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(self.seen(torch.zeros(1, *shape), NONE).shape[1:]) for shape in self.source.shapes)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.shapes[self.source.shapes.index(tuple(self.source.shape))]

    def drawn(self, x: Tensor) -> Tensor | None:
        return Data.drawn(self, x)

    def coded(self, x: Tensor) -> Tensor | None:
        return Data.coded(self, x)

    def read(self, rows: Rows) -> Tensor:
        return self.items(rows)[0]

    def items(self, rows: Rows) -> tuple[Tensor, Condition]:
        x, cond = self.source.items(rows)
        return self.seen(x, cond), cond

    @cached_property
    def _moments(self) -> tuple[float, float]:
        train = self.sibling("train")
        return train._moments if train is not self else self._measured()
