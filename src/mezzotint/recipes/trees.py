"""What recipes on the fractal trees have in common: the usual energy trained on exact scores, and the exact judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core.condition import Condition
from mezzotint.data.fractal import Fractal as Points
from mezzotint.denoiser import Fractal, Preconditioned
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.metrics.energy import energy_distance
from mezzotint.networks import MLP, Potential, Sinusoid
from mezzotint.objectives import LogNormal, Towards
from mezzotint.processes.edm import EDM
from mezzotint.samplers.heun import Heun
from mezzotint.training import InverseRoot, Trainer

PROCESS = EDM(sigma_max=5.0)
SETTING: dict[str, int | float] = {
    "images": 4_194_304,  # 4,096 iterations
    "train_batch": 1_024,
    "width": 64,
    "guide_images": 524_288,  # 512 iterations
    "guide_width": 32,
    "depth": 5,
    "steps": 32,
    "scale": 3.0,
    "samples": 8_192,
    "batch": 1_024,
}
LARGE = SETTING | {
    "images": 16_777_216,
    "train_batch": 4_096,
    "guide_images": 2_097_152,
    "depth": 7,
    "samples": 32_768,
}
LESS = """A modulated MLP as the energy; gradients are clipped at norm 1, weights averaged with relative length 0.05;
Heun's method runs in sigma / (1 + sigma), not in sigma. Where CFG never has as few outliers as autoguidance, it is
judged where it has fewest."""
_JUDGED_BY = 20_000  # points that the 1 % quantile is taken of


def training(s: Setting, width: int, images: int, told: bool = True) -> Training:
    """The paper's toy model: levels, weight, rates and plateau of 512 iterations are its own.

    Arguments:
        width: of the energy's four layers.
        images: how long; the paper counts iterations of ``train_batch``.
        told: whether it ever hears the class.
    """
    energy = Potential(MLP((2,), width, ratio=1.0, vector=8, embedding=Sinusoid(16)))
    model = Preconditioned(energy, PROCESS, Encoder(label=Classes(2, 8)), sigma_data=0.5)
    exact = Towards(Fractal(PROCESS, s.depth), LogNormal(-2.3, 1.5), "noise", dropout=0.0 if told else 1.0)
    rate = InverseRoot(1e-2, plateau=512 * s.train_batch)
    trainer = Trainer(exact, images, s.train_batch, rate=rate, sampler=Heun(s.steps))
    return Training(model, Points(depth=s.depth), trainer)


def class_a(s: Setting) -> Condition:
    """Class A for every sample."""
    return Condition(label=torch.zeros(s.samples, dtype=torch.int64))


@cache
def _truth(depth: int, count: int) -> tuple[Fractal, float, Tensor]:
    """The law, the 1 % quantile of its log density at points of class A, and ``count`` other points of class A."""
    exact = Fractal(PROCESS, depth)
    # The last ones of many, so that they are not those that an arm of real points draws.
    points = Points("held_out", depth, held_out_size=100_000 + 4 * (count + _JUDGED_BY))
    x = points[(points.labels == 0).nonzero()[0][-count - _JUDGED_BY :]][0].double()
    log_p = exact.log_density(x[count:], Condition(label=torch.zeros(_JUDGED_BY, dtype=torch.int64)))
    return exact, float(log_p.quantile(0.01)), x[:count]


def measure(s: Setting, x: Tensor, cond: Condition, judge: None) -> Mapping[str, float]:
    """The share of ``outliers``, less likely than 99 % of true points, and the ``energy distance`` from true points."""
    exact, least, real = _truth(s.depth, s.samples)
    outliers = float((exact.log_density(x, cond) < least).double().mean())
    return {"outliers": outliers, "energy distance": energy_distance(x, real).value}


def level(rungs: Sequence[tuple[float, float]], outliers: float) -> float:
    """The second number of a ladder where its first comes down to ``outliers``, or is least.

    Between two rungs it is the lower of theirs: what lies between is not known, and the ladder gets the benefit.
    """
    for (many, before), (few, after) in zip(rungs, rungs[1:], strict=False):
        if few <= outliers < many:
            return after if outliers == few else min(before, after)
    return min(rungs)[1]
