"""What a run shows of itself on the way: samples of fixed seeds, and the error on pictures it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from mezzotint.conditions.captions import TextWarning
from mezzotint.core import ranks
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data, together
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.objectives.base import Objective
from mezzotint.samplers.base import Sampler
from mezzotint.training.levels import ErrorByLevel
from mezzotint.training.pictures import enlargement, grid, save_png
from mezzotint.training.points import scatter
from mezzotint.training.run import Run

_ROWS, _COLUMNS, _HELD_OUT, _POINTS = 4, 10, 512, 1000


@contextmanager
def quiet() -> Iterator[None]:
    """What an average does not hear of a text is for whoever asks it later; a training has seen the texts it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TextWarning)
        yield


@quiet()
def preview(run: Run, model: nn.Module, data: Data, sampler: Sampler, images: int) -> None:
    """Write ``samples/<images>.png``: one column a class (ten at most), seeds 0, 1, 2, ... row by row.

    Where more than a class is told of the data, such as a caption, a column is what is told of a held-out picture.
    Points in the plane are drawn as dots over real ones. A model that is no denoiser draws none, and samples that are
    neither pictures nor such points are not drawn.
    """
    plane = tuple(data.shape) == (2,)
    if not isinstance(model, Denoiser) or not (plane or len(data.shape) == 3):
        return
    more = data.examples
    columns = len(more) or min(_COLUMNS, len(data.classes) or _COLUMNS)
    rows = torch.arange(columns).repeat(max(1, _POINTS // columns) if plane else _ROWS)
    cond = more[rows] if more else Condition(label=rows) if data.classes else NONE
    x = sampler(model, cond, rng=Rng(range(len(rows))))
    if plane:
        real = data[list(range(min(_POINTS, len(data))))][0]
        drawn = scatter(x, rows if cond else None, real)
    else:
        height, width = data.shape[-2:]
        drawn = grid(x, columns, enlargement(height, width))
    if ranks.main():
        save_png(run.path / "samples" / f"{images:010d}.png", drawn)


@quiet()
@torch.no_grad()
def held_out(objective: Objective, model: nn.Module, data: Data, seed: int) -> dict[str, Any] | None:
    """The loss on up to 512 held-out pictures under fixed keys, and the error by level; None without any."""
    if not isinstance(model, Learner):
        return None
    try:
        others = data.held_out()
        few = min(_HELD_OUT, len(others))
    except Refusal:  # nothing was held out
        return None
    errors, total = ErrorByLevel(model.device), 0.0
    for rows in together(np.arange(few), others.buckets, 128):
        x, cond = others[rows]
        keys = Rng([seed]).at("held out").repeat(len(rows)).at(torch.from_numpy(rows))
        cond = model.prepare(cond.to(model.device))
        loss = objective(model, x.to(model.device), cond, keys)  # its own dropout included, as in training
        total += float(loss.value.double().sum())
        if loss.shot is not None and isinstance(model, Trainable):
            errors.add(model, loss.shot)
    return {"loss": total / few, "count": few, "levels": errors.rows()}
