"""What a run shows of itself on the way: samples of fixed seeds, and the error on pictures it never saw."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mezzotint.autoencoders.base import Autoencoder
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
from mezzotint.training.texts import save_texts, sheet

_ROWS, _COLUMNS, _HELD_OUT, _POINTS, _PAIRS = 4, 10, 512, 1000, 2


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
    Points in the plane are drawn as dots over real ones, and texts are written one below the other, as ``.txt``. Of an
    autoencoder, held-out pictures stand above what comes back of them. Any other model that is no denoiser draws none,
    and samples that are nothing of this are not drawn.
    """
    if isinstance(model, Autoencoder):
        _there_and_back(run, model, data, images)
        return
    if not isinstance(model, Denoiser) or not _shown(data):
        return
    cond, columns, rows = _asked(data)
    x = sampler(model, cond, rng=Rng(range(len(rows))))
    place = run.path / "samples" / f"{images:010d}"
    pictures, texts = data.drawn(x), data.spelt(x)
    if texts is not None:
        titles = [f"seed {seed}" for seed in range(len(rows))]
        if data.classes and "label" in cond:
            labels = cond["label"].tolist()
            titles = [f"{data.classes[label]}, {title}" for label, title in zip(labels, titles, strict=True)]
        if ranks.main():
            save_texts(place.with_suffix(".txt"), sheet(texts, titles))
        return
    if pictures is not None:
        drawn = grid(pictures, columns, enlargement(*pictures.shape[-2:]))
    else:
        drawn = scatter(x, rows if cond else None, data[list(range(min(_POINTS, len(data))))][0])
    if ranks.main():
        save_png(place.with_suffix(".png"), drawn)


@torch.no_grad()
def _there_and_back(run: Run, model: Autoencoder, data: Data, images: int) -> None:
    """Rows of held-out pictures, each above its reconstruction from the mean of the code."""
    try:
        others = data.held_out()
        others = others if len(others) else data
    except Refusal:  # nothing was held out
        others = data
    rows = (
        np.arange(len(others))
        if others.buckets is None
        else np.flatnonzero(others.buckets == others.shapes.index(others.shape))
    )
    x, cond = others[rows[: _PAIRS * _COLUMNS]]
    law = model.encode(x.to(model.device), cond.to(model.device))
    came, back = data.drawn(x), data.drawn(model.decode(law.mean, cond.to(model.device)).cpu())
    if came is None or back is None or not ranks.main():
        return
    pairs = torch.cat([
        torch.cat([came[at : at + _COLUMNS], back[at : at + _COLUMNS]]) for at in range(0, len(x), _COLUMNS)
    ])  # fmt: skip
    place = run.path / "samples" / f"{images:010d}.png"
    save_png(place, grid(pairs, min(_COLUMNS, len(x)), enlargement(*pairs.shape[-2:])))


@quiet()
@torch.no_grad()
def tried(model: nn.Module, data: Data, sampler: Sampler) -> None:
    """Take the first interval of a preview of one sample, so that a sampler that does not suit the model is refused
    before the training and not at its first picture."""
    if not isinstance(model, Denoiser) or model.times is not None or not _shown(data):
        return
    cond, _, _ = _asked(data)
    try:
        times = sampler.grid(model.process, sampler.steps)[:2]
        for _ in sampler.trajectory(model, cond[:1] if cond else cond, rng=Rng([0]), times=times):
            pass
    except Refusal as refusal:
        raise Refusal(f"training.sampler cannot draw from this model: {refusal}") from None


def noun(data: Data) -> str:
    """What samples of this kind are called: pictures, texts, or no more than samples."""
    one = data[0][0]
    return "texts" if data.spelt(one) is not None else "samples" if data.drawn(one) is None else "pictures"


def _shown(data: Data) -> bool:
    """Whether samples of this kind can be shown."""
    if tuple(data.shape) == (2,) and data.vocab is None:
        return True
    one = data[0][0]
    return data.drawn(one) is not None or data.spelt(one) is not None


def _asked(data: Data) -> tuple[Condition, int, Tensor]:
    """What the samples of a preview are told, its columns, and the column of each."""
    more = data.examples
    columns = len(more) or min(_COLUMNS, len(data.classes) or _COLUMNS)
    dots = tuple(data.shape) == (2,) and data.vocab is None
    rows = torch.arange(columns).repeat(max(1, _POINTS // columns) if dots else _ROWS)
    return more[rows] if more else Condition(label=rows) if data.classes else NONE, columns, rows


@quiet()
@torch.no_grad()
def held_out(objective: Objective, model: nn.Module, data: Data, seed: int) -> dict[str, Any] | None:
    """The loss on up to 512 held-out pictures under fixed keys, its parts, and the error by level; None without any."""
    if not isinstance(model, Learner):
        return None
    try:
        others = data.held_out()
        few = min(_HELD_OUT, len(others))
    except Refusal:  # nothing was held out
        return None
    errors, total, parts = ErrorByLevel(model.device), 0.0, dict[str, float]()
    for rows in together(np.arange(few), others.buckets, 128):
        x, cond = others[rows]
        keys = Rng([seed]).at("held out").repeat(len(rows)).at(torch.from_numpy(rows))
        cond = model.prepare(cond.to(model.device))
        loss = objective(model, x.to(model.device), cond, keys)  # its own dropout included, as in training
        total += float(loss.value.double().sum())
        for name, part in loss.parts.items():
            parts[name] = parts.get(name, 0.0) + float(part.double().sum()) / few
        if loss.shot is not None and isinstance(model, Trainable):
            errors.add(model, loss.shot)
    return {"loss": total / few, **({"parts": parts} if parts else {}), "count": few, "levels": errors.rows()}
