"""Three sets that were looked at once: samples, the training pictures in whose place they stand, and held-out ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.rng import Rng
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.features import Features
from mezzotint.metrics.judge import Judge
from mezzotint.metrics.neighbours import nearest
from mezzotint.metrics.pictures import subset
from mezzotint.metrics.seen import Seen

Rows = NDArray[np.int64]
Table = NDArray[np.float64]
Pair = tuple[Estimate, Estimate | None]
"""A measure of the samples, and of real pictures in their place where that has a meaning."""


@dataclass(frozen=True)
class Sets:
    """What measures are asked of.

    Arguments:
        samples, train, held_out: each looked at once.
        extractor: what made features of them, or None.
        rng: one key.
        draws: resamplings of an interval.
    """

    samples: Seen
    train: Seen
    held_out: Seen
    extractor: Features | None
    rng: Rng
    draws: int

    @property
    def compared(self) -> int:
        """How many samples are compared, and real pictures in their place."""
        return min(len(self.samples), len(self.train))

    @cached_property
    def mine(self) -> Rows:
        """Which samples are compared."""
        return subset(len(self.samples), self.compared)

    @cached_property
    def theirs(self) -> Rows:
        """Which training pictures stand in their place."""
        return subset(len(self.train), self.compared)

    @cached_property
    def near(self) -> Table:
        """How far each sample lies from its nearest training picture."""
        return nearest(self.samples.small, self.train.small)

    @cached_property
    def apart(self) -> Table:
        """How far each held-out picture does."""
        return nearest(self.held_out.small, self.train.small)

    @cached_property
    def judge(self) -> Judge:
        """Fitted to the training pictures."""
        assert self.train.labels is not None
        return Judge.fit(self.train.small, self.train.labels)

    @property
    def drawn(self) -> tuple[tuple[Seen, Rows], tuple[Seen, Rows]]:
        """Both sets that are held against the held-out one, and which of either."""
        return (self.samples, self.mine), (self.train, self.theirs)

    def both(
        self, table: Callable[[Seen], Table], ask: Callable[[Table, Table], Estimate], limit: int | None = None
    ) -> Pair:
        """A measure of the samples, and of training pictures in their place, against the held-out ones.

        Arguments:
            table: of a set.
            ask: the measure of two tables.
            limit: of more rows, a fixed random subset.
        """
        some = subset(self.compared, limit)
        real = table(self.held_out)[subset(len(self.held_out), limit)]
        own, other = (ask(table(seen)[rows[some]], real) for seen, rows in self.drawn)
        return own, other
