"""A small world in which a few seconds of training are enough to be healthy, and enough to be ill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import mezzotint as mz

SHAPE = (1, 4, 4)


def pictures(path: Path, count: int, seed: int = 0) -> Path:
    """Three classes of 4 x 4 pictures, each two shapes that go together with a class: no linear guess sees through."""
    rng = np.random.default_rng(seed)
    shapes = np.random.default_rng(7).integers(0, 2, (3, 2, 4, 4))
    labels = np.arange(count) % 3
    clean = shapes[labels, rng.integers(0, 2, count)] * 170 + 40
    images = clean + rng.normal(0, 12, (count, 4, 4))
    np.savez(path, images=images.clip(0, 255).astype(np.uint8), labels=labels.astype(np.int64))
    return path


def recipe(data: Path, **training: Any) -> dict[str, Any]:
    """The config of a run on these pictures; ``training`` changes the trainer, ``dropout`` its objective, ``width``
    the network."""
    found = mz.data.Arrays(str(data), held_out_share=0.2)
    dropout, width = training.pop("dropout", 0.1), training.pop("width", 48)
    network = mz.networks.MLP(SHAPE, width, 2, vector=16)
    encoder = mz.conditions.Encoder(label=mz.conditions.Classes(3, 16))
    model = mz.denoiser.Preconditioned(network, mz.processes.EDM(), encoder, sigma_data=round(found.std, 3))
    objective = mz.objectives.Denoising(mz.objectives.LogNormal(-0.8, 1.2), dropout=dropout)
    settings = {
        "images": 12_800,
        "batch": 64,
        "rate": mz.training.Rate(1e-2, 640, 0.5),
        "picture": "1M",
        "save": 6_400,
    }
    trainer = mz.training.Trainer(objective, **{**settings, **training})
    return {"model": mz.spec(model), "data": mz.spec(found), "training": mz.spec(trainer)}
