"""What recipes on Fashion-MNIST have in common: the pictures, the usual model of them, and their judge.

The model is trained on the train split, whatever a recipe chooses by looking is chosen on the validation split, and
what it reports is measured against the held-out split, in the features of a classifier that guides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.data.fashion import FashionMNIST
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.frechet import frechet
from mezzotint.processes.base import Continuous
from mezzotint.recipes.classes import usual

SETTING: dict[str, int | float] = {"size": 14, "width": 16, "images": 100_000, "samples": 2_000, "batch": 250}
LARGE: dict[str, int | float] = {"size": 28, "width": 64, "images": 5_000_000, "samples": 10_000, "batch": 1_000}
DEPARTURES = """Fashion-MNIST at 14 pixels (196 numbers), class-conditional, a U-Net of 0.1 M parameters, distances in
the features of a classifier of the same clothes, 2,000 samples."""
LESS = "Fashion-MNIST, class-conditional, distances in the features of a classifier of the same clothes."


@cache
def _pictures(size: int, split: str) -> FashionMNIST:
    return FashionMNIST(size, split)


def pictures(s: Setting, split: str = "train") -> FashionMNIST:
    """The pictures at the setting's ``size``."""
    return _pictures(s.size, split)


def sets(s: Setting) -> tuple[FashionMNIST, ...]:
    """Every split that is read."""
    return tuple(pictures(s, split) for split in ("train", "validation", "held_out"))


def training(s: Setting, process: Continuous | None = None) -> Training:
    """The usual class-conditional model, ``width`` channels wide, trained for ``images``."""
    return usual(pictures(s), s.images, s.width, process=process)


def labels(s: Setting) -> Condition:
    """Every class in turn, for ``samples`` samples."""
    return Condition(label=torch.arange(s.samples) % 10)


def judge(s: Setting) -> Extractor:
    """A classifier of the training pictures, whose features distances are taken in."""
    x, cond = pictures(s)[:]
    held_out, truth = pictures(s, "held_out")[:]
    return Extractor.train(x, cond["label"], (held_out, truth["label"]))


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``frechet``: the distance of the samples from the held-out pictures; ``validation``: from those, to choose by."""
    mine = judge.features(x.clamp(-1, 1))
    theirs = {"frechet": "held_out", "validation": "validation"}
    real = {name: judge.features(pictures(s, split)[:][0]) for name, split in theirs.items()}
    return {name: frechet(mine, features, draws=0).value for name, features in real.items()}
