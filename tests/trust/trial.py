"""A tiny training that has everything a run can hold, and whether two run folders hold the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import mezzotint as mz
from mezzotint.core.folder import check_folder
from mezzotint.objectives import Denoising, Importance, LogNormal
from mezzotint.objectives.base import Loss, Objective
from mezzotint.training import preview

TIMES = ("images_per_second",)


class Stateful(Objective):
    """Denoising at levels that remember, weighed by a parameter of the objective's own: exp(-a) loss + a."""

    def __init__(self, bins: int = 4, window: int = 2) -> None:
        super().__init__()
        self.inner = Denoising(Importance(bins, window), dropout=0.1)
        self.log_variance = nn.Parameter(torch.randn(()) * 0.1)

    def forward(self, model: Any, x: Tensor, cond: Any, rng: Any, player: str = "model") -> Loss:
        loss = self.inner(model, x, cond, rng)
        value = loss.value * (-self.log_variance).exp() + self.log_variance
        return Loss(value, {"inner": loss.value.detach()}, loss.shot)

    def update(self, model: Any, loss: Loss) -> None:
        if loss.shot is not None:
            self.inner.levels.update(loss.shot.t, loss.parts["inner"])


def config(steps: int = 12, save: int = 4, batch: int = 16, **changes: Any) -> dict[str, Any]:
    """A config on the digits: a log line every third step, so that it does not fall on checkpoints."""
    tree = mz.recipes.of_data(mz.data.Digits(), images=1_024, width=8, steps=1)
    tree["model"]["network"] |= {"multipliers": [1], "blocks": 1}
    timing = {"images": steps * batch, "batch": batch, "save": save * batch, "log": 3 * batch, "picture": 4 * batch}
    tree["training"] |= timing | {"objective": mz.spec(Denoising(LogNormal(), dropout=0.1))} | changes
    return tree


def differences(run: Path, truth: Path) -> list[str]:
    """What is in an undisturbed run and not the same in another: weights, states, log, pictures, exported model.

    A run that was stopped may hold checkpoints that the undisturbed one does not.
    """
    found = []
    for folder in (*sorted((truth / "checkpoints").iterdir()), truth / "model"):
        mine = run / folder.relative_to(truth)
        for name in check_folder(folder):
            if not (mine / name).is_file() or (mine / name).read_bytes() != (folder / name).read_bytes():
                found.append(f"{mine.relative_to(run)}/{name}")
        if mine.is_dir():
            check_folder(mine)
    if log(run) != log(truth):
        found.append("metrics.jsonl")
    pictures = {path.name: path.read_bytes() for path in (truth / "samples").iterdir()}
    found += [name for name, held in pictures.items() if (run / "samples" / name).read_bytes() != held]
    return found


def log(run: Path) -> list[dict[str, Any]]:
    """The lines of the log without what tells time."""
    rows = mz.training.Run(run).metrics()
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def left_over(run: Path) -> list[str]:
    """Names that only a killed writer leaves."""
    return [str(path.relative_to(run)) for path in run.rglob(".*")]


def readable(path: Path) -> list[dict[str, Any]]:
    """JSON lines, the last of which may be cut short."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@contextmanager
def few() -> Iterator[None]:
    """Fewer samples in pictures and fewer held-out pictures than people want to see."""
    usual = {"_ROWS": 1, "_COLUMNS": 4, "_HELD_OUT": 16, "_POINTS": 16}
    before = {name: getattr(preview, name) for name in usual}
    for name, value in usual.items():
        setattr(preview, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(preview, name, value)
