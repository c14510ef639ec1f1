"""The order of the data as a function of (seed, position), so that resuming never repeats or skips a picture.

Each pass over the data is one permutation, keyed by the seed and the number of the pass. Position p of training is
entry p mod N of permutation p div N: nothing has to be remembered but p.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Order:
    """Indices into a data set by position.

    Arguments:
        size: items in the data set.
        seed: of the run.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def at(self, start: int, count: int) -> NDArray[np.int64]:
        """The indices at positions start .. start + count - 1."""
        out = np.empty(count, np.int64)
        done = 0
        while done < count:
            epoch, offset = divmod(start + done, self.size)
            if epoch != self._epoch:
                key = np.array([self.seed & (2**64 - 1), epoch], np.uint64)
                self._permutation = np.random.Generator(np.random.Philox(key=key)).permutation(self.size)
                self._epoch = epoch
            few = min(count - done, self.size - offset)
            out[done : done + few] = self._permutation[offset : offset + few]
            done += few
        return out
