"""What recipes on the 8 x 8 digits have in common: the usual model of them, and a judge for fidelity and variety.

The judge is a classifier of the training digits. It says whether a sample shows the digit that was asked for, and in
its features samples are compared with the held-out digits.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mezzotint.core.condition import Condition
from mezzotint.data.digits import Digits
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.metrics.coverage import recall
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.frechet import frechet
from mezzotint.recipes.classes import usual

SETTING = {"images": 64_000, "samples": 2_000, "batch": 250, "width": 32, "steps": 18}
LARGE = SETTING | {"images": 2_000_000, "samples": 10_000, "width": 64}


def training(s: Setting) -> Training:
    """The usual class-conditional model, ``width`` channels wide, trained for ``images``."""
    return usual(Digits(), s.images, s.width)


def sets(s: Setting) -> tuple[Digits, ...]:
    """Every split that is read."""
    return Digits(), Digits("held_out")


def labels(s: Setting) -> Condition:
    """Every digit in turn, for ``samples`` samples."""
    return Condition(label=torch.arange(s.samples) % 10)


def judge(s: Setting) -> Extractor:
    """A classifier of the training digits."""
    (x, cond), (z, truth) = Digits()[:], Digits("held_out")[:]
    return Extractor.train(x, cond["label"], (z, truth["label"]))


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``accuracy`` on the digit asked for; ``frechet`` and ``recall`` in features, beside the held-out digits."""
    x = x.clamp(-1, 1)
    mine, real = judge.features(x), judge.features(Digits("held_out")[:][0])
    distance, covered = frechet(mine, real, draws=0), recall(mine, real)
    return {
        "accuracy": judge.accuracy(x, cond["label"]).value,
        "frechet": distance.value,
        "recall": covered.value,
    }
