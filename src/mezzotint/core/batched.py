"""Batched values: what is per sample travels in one of four types that all slice alike.

Conditions, random keys, distributions and sampler states are values over a batch. They share four verbs, so that a
search can branch them, guidance can stack them and a sampler can take rows out and put them back without knowing what
is inside: ``len(v)``, ``v[index]`` (an integer keeps the axis), ``cat(values)`` and ``v.repeat(n)`` row by row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor

Index = int | slice | Sequence[int] | Tensor


def rows(tensor: Tensor, index: Index) -> Tensor:
    """Rows of ``tensor`` (B, ...) under ``index``; an integer keeps the batch axis: one row is (1, ...)."""
    if isinstance(index, Integral) or (isinstance(index, Tensor) and not index.ndim and index.dtype != torch.bool):
        index = int(index)
        if not -len(tensor) <= index < len(tensor):
            raise IndexError(f"row {index} of a batch of {len(tensor)}")
        index = index % len(tensor)
        return tensor[index : index + 1]
    if isinstance(index, slice):
        return tensor[index]
    places = torch.as_tensor(index, device=tensor.device)
    return tensor[places if len(places) else places.long()]  # an empty list would be a tensor of floats


class Batched(ABC):
    """A value whose every tensor has the batch first."""

    @abstractmethod
    def leaves(self) -> Mapping[str, Tensor]:
        """Every tensor of the value by name, each (B, ...)."""

    @abstractmethod
    def rebuild(self, leaves: Mapping[str, Tensor]) -> Self:
        """The same value over other rows."""

    def __len__(self) -> int:
        for leaf in self.leaves().values():
            return len(leaf)
        return 0

    def __getitem__(self, index: Index) -> Self:
        return self.rebuild({name: rows(leaf, index) for name, leaf in self.leaves().items()})

    def repeat(self, n: int) -> Self:
        """Every row ``n`` times in place (a a b b), so that ``reshape(B, n, ...)`` undoes it."""
        return self.rebuild({name: leaf.repeat_interleave(n, 0) for name, leaf in self.leaves().items()})

    def joined(self, others: Sequence[Self]) -> Self:
        """This value followed by ``others``; called by :func:`cat`."""
        mine = self.leaves()
        for other in others:
            if set(other.leaves()) != set(mine):
                raise ValueError(f"cannot join values that hold {sorted(mine)} and {sorted(other.leaves())}")
        parts = [mine, *(other.leaves() for other in others)]
        return self.rebuild({name: torch.cat([part[name] for part in parts]) for name in mine})


T = TypeVar("T", bound=Batched)


def cat(values: Sequence[T]) -> T:
    """Join batched values of one kind along the batch, in order."""
    if not values:
        raise ValueError("cat needs at least one value")
    first, *others = values
    if not others:
        return first
    return cast(T, cast(Any, first).joined(others))
