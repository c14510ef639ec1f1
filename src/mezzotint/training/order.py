"""The order of the data as a function of (seed, position), so that resuming never repeats or skips a picture.

Each pass over the data is one permutation, keyed by the seed and the number of the pass. Position p of training is
entry p mod N of permutation p div N: nothing has to be remembered but p.

Where pictures have several sizes, a batch is of one (:class:`Bucketed`). Each bucket then has such an order of its own,
and after P passes over n pictures, batches of B, it has had floor(P n / B) batches: what does not fill a batch waits
for the next pass, so no picture is left out or comes more often than another. Which bucket comes when is a permutation
of the batches of a pass.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mezzotint.data.data import Data

Rows = NDArray[np.int64]


class Order:
    """Indices into a data set by position.

    Arguments:
        size: items in the data set.
        seed: of the run.
        stream: which of many orders under one seed.
    """

    def __init__(self, size: int, seed: int, stream: int = 0) -> None:
        self.size, self.seed, self.stream = size, seed, stream
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def at(self, start: int, count: int) -> Rows:
        """The indices at positions start .. start + count - 1."""
        out = np.empty(count, np.int64)
        done = 0
        while done < count:
            epoch, offset = divmod(start + done, self.size)
            if epoch != self._epoch:
                self._permutation = _drawn(self.seed, epoch, self.stream).permutation(self.size)
                self._epoch = epoch
            few = min(count - done, self.size - offset)
            out[done : done + few] = self._permutation[offset : offset + few]
            done += few
        return out


class Bucketed:
    """Batches of indices by step, each of one bucket.

    Arguments:
        buckets: of every item, int64 (N,).
        batch: items a step.
        seed: of the run.
    """

    def __init__(self, buckets: Rows, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed
        self._items = [np.flatnonzero(buckets == bucket) for bucket in np.unique(buckets)]
        self._orders = [Order(len(items), seed, stream) for stream, items in enumerate(self._items, 1)]
        self._pass, self._turns = -1, np.empty(0, np.int64)

    def at(self, step: int) -> Rows:
        """The indices of a step."""
        # The last pass that begins at this step or before it; a pass has N / B batches, give or take one a bucket.
        latest = (step + len(self._items)) * self.batch // sum(map(len, self._items)) + 1
        number = bisect_right(range(latest + 1), step, key=lambda n: int(self._before(n).sum())) - 1
        before = self._before(number)
        if number != self._pass:
            turns = np.repeat(np.arange(len(before)), self._before(number + 1) - before)
            self._turns, self._pass = _drawn(self.seed, number, 0).permutation(turns), number
        place = step - int(before.sum())
        bucket = int(self._turns[place])
        batches = int(before[bucket]) + int((self._turns[:place] == bucket).sum())
        return self._items[bucket][self._orders[bucket].at(batches * self.batch, self.batch)]

    def _before(self, number: int) -> Rows:
        """Batches that each bucket has had before a pass."""
        return np.array([number * len(items) // self.batch for items in self._items])


def batches(data: Data, seed: int, batch: int) -> Callable[[int], Rows]:
    """The indices of a batch by its step."""
    if data.buckets is not None:
        return Bucketed(data.buckets, batch, seed).at
    order = Order(len(data), seed)
    return lambda step: order.at(step * batch, batch)


def _drawn(seed: int, number: int, stream: int) -> np.random.Generator:
    key = np.array([seed & (2**64 - 1), number], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], np.uint64)))
