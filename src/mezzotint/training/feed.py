"""How batches reach the loop: index lists from the order, read by a DataLoader, in this process or in workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mezzotint.core.condition import Condition
from mezzotint.core.stop import reader
from mezzotint.data.data import Data
from mezzotint.training.order import batches

Rows = NDArray[np.int64]


class _Reader(Dataset[tuple[Tensor, Condition]]):
    """Reads whole batches by their list of indices; pictures that are bytes stay so on their way to the device."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, rows: Any) -> tuple[Tensor, Condition]:
        return self.data.packed(rows)


class _Batches(Sampler[Rows]):
    """The index lists of the steps from ``step`` to ``total``, at the places of each batch that are this process's."""

    def __init__(self, rows: Callable[[int], Rows], step: int, total: int, mine: Rows) -> None:
        self.rows, self.step, self.total, self.mine = rows, step, total, mine

    def __iter__(self) -> Iterator[Rows]:
        for step in range(self.step, self.total):
            yield self.rows(step)[self.mine]

    def __len__(self) -> int:
        return max(0, self.total - self.step)


def feed(data: Data, seed: int, step: int, total: int, batch: int, mine: Rows, workers: int) -> DataLoader[Any]:
    """Batches ``(x, cond)`` of every step still to come, x packed (:func:`mezzotint.data.data.unpacked`)."""
    places: Any = _Batches(batches(data, seed, batch), step, total, mine)
    return DataLoader(_Reader(data), batch_size=None, sampler=places, num_workers=workers, worker_init_fn=reader)
