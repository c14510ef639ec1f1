"""From a recipe's tree to a finished run: build the parts under the seed, then fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from mezzotint.core.blueprint import PARAMETERS, blueprint
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.learner import Learner
from mezzotint.core.spec import build
from mezzotint.core.store import MODEL, SCHEMA
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.training.recorder import Progress
from mezzotint.training.run import Run
from mezzotint.training.trainer import Trainer

KEYS = ("model", "data", "training")


def check(tree: Mapping[str, Any]) -> None:
    """Refuse a tree whose entries are not those of a training config."""
    for key in tree:
        if key not in (*KEYS, "schema"):
            raise Refusal(f"a training config has no entry {key!r}: {nearest(str(key), KEYS)}")
    if tree.get("schema", SCHEMA) != SCHEMA:
        raise Refusal(f"this config has schema {repr(tree['schema'])[:50]}, this version of mezzotint reads {SCHEMA}")
    missing = [key for key in KEYS if key not in tree]
    if missing:
        raise Refusal(f"a training config needs {', '.join(KEYS)}; this one lacks {', '.join(missing)}")


def train(
    tree: Mapping[str, Any],
    folder: str | Path,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    saved: Callable[[Run], None] | None = None,
    parameters: int = PARAMETERS,
) -> Run:
    """Train what a config describes.

    Arguments:
        tree: ``model``, ``data`` and ``training``, each the spec of a part.
        folder: where the run is written.
        resume: go on with the run that is there.
        progress: called at every log line.
        saved: called after every checkpoint.
        parameters: how many the model may have; it is measured before it is made.
    """
    check(tree)
    blueprint(tree["model"], MODEL, parameters)
    trainer, data = build(tree["training"]), build(tree["data"])
    if not isinstance(trainer, Trainer) or not isinstance(data, Data):
        raise Refusal("'training' must be a training.Trainer and 'data' a data set")
    torch.manual_seed(trainer.seed)  # initial weights are the one draw left to torch's own generator
    model = build(tree["model"], MODEL)
    if not isinstance(model, Denoiser | Learner):
        raise Refusal("'model' must be a denoiser such as denoiser.Preconditioned")
    if any(True for _ in trainer.objective.parameters()):  # which are drawn as well: after those of the model
        trainer = cast(Trainer, build(tree["training"]))
    return trainer.fit(model, data, folder, resume=resume, progress=progress, saved=saved)
