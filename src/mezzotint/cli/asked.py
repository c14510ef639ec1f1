"""What the samples of an evaluation are asked to show, and several of them asked the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mezzotint.cli import drawing
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.data import Data
from mezzotint.metrics.pictures import subset

ALIKE, MOST = 10, 32
"""Samples of one layout, as many as in the literature, and layouts of which so many are drawn."""


def asked(data: Data, count: int, families: tuple[str, ...]) -> tuple[Condition, list[int]]:
    """What is told of a fixed random subset of a set, of all of it over and over where it is too small.

    And the rows of which that is told.
    """
    rows = np.resize(subset(len(data), count), count)
    told, _ = data.condition(rows).take(*families)
    for family in families:
        if family not in told.families:
            raise Refusal(f"the model was trained with {family}s, but its data have none now")
    return told, [int(row) for row in rows]


def alike(
    pipeline: Pipeline, cond: Condition, seed: int, batch: int, meter: Callable[[int, int], None], rows: int
) -> tuple[Tensor, list[int]] | None:
    """Ten samples of one layout each, (layouts, samples, C, H, W), and which rows of the condition these are.

    At most 32 layouts, spread over all of them, and no more samples than the evaluation has.

    Arguments:
        pipeline, cond, batch, meter, rows: as of :func:`mezzotint.cli.drawing.draw`.
        seed: of the evaluation; the samples are others than those that are judged one by one.

    Returns:
        None in processes that are not the first.
    """
    layouts = max(1, min(MOST, len(cond) // ALIKE))
    chosen = torch.linspace(0, len(cond) - 1, layouts).round().long()
    each = chosen.repeat_interleave(ALIKE)
    keys = Rng([seed]).at("alike").repeat(len(each)).at(torch.arange(len(each)))
    x = drawing.draw(pipeline, cond[each], keys, batch, meter, rows)
    return None if x is None else (x.reshape(layouts, ALIKE, *x.shape[1:]), chosen.tolist())
