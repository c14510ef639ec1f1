"""Each row is asked only what it needs.

Guidance is decided row by row: a row at scale 1 has no use for the weak answer, one outside the interval none for a
gradient. So a batch is parted into kinds, each kind is asked in its own way, and the answers are put back in their
places. An evaluation that is not needed is not made, and what one row asks for never changes another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import Condition
from mezzotint.core.distribution import Distribution

Ask = Callable[[Tensor, Tensor, Condition, Tensor | slice], Distribution]


def everywhere(values: Tensor, number: float) -> Tensor:
    """The rows of ``values`` (B, ...) in which every entry is ``number``, bool (B,)."""
    return (values.reshape(len(values), -1) == number).all(1)


def ask(kinds: Sequence[tuple[Tensor, Ask]], x: Tensor, t: Tensor, cond: Condition) -> Distribution:
    """The answers of all rows, in their order.

    Arguments:
        kinds: a mask bool (B,) and who answers under it, ``(x, t, cond, rows)``; the masks cover each row once.
        x: x_t, (B, *shape).
        t: (B,) or of the rank of x with ones.
        cond: (B,) rows or NONE.
    """
    for mask, one in kinds:
        if bool(mask.all()):
            return one(x, t, cond, slice(None))
    places, answers = [], []
    for mask, one in kinds:
        index = mask.nonzero()[:, 0]
        if len(index):
            few = x[index.to(x.device)], t[index.to(t.device)], cond[index] if cond else cond
            answers.append(one(*few, index))
            places.append(index)
    return cat(answers)[torch.cat(places).argsort()]
