"""A stranger's recipe: two lengths of training and two samplers on real digits, small enough for a test."""

import torch

from mezzotint.core import Condition
from mezzotint.data import Digits
from mezzotint.evidence import Arm, Closed, Figure, Paper, Real, Recipe, Trained, at
from mezzotint.metrics import frechet
from mezzotint.recipes import usual
from mezzotint.samplers import Euler, Heun, Sampling


def arms(s):
    short = {"model": usual(Digits(), s.images // 2, s.width)}
    long = {"model": usual(Digits(), s.images, s.width)}
    return {
        "short": Arm(short, lambda models: Sampling(Heun(3), models["model"])),
        "long": Arm(long, lambda models: Sampling(Heun(3), models["model"])),
        "long, Euler": Arm(long, lambda models: Sampling(Euler(5), models["model"])),
        "real": Arm({}, lambda models: Real(Digits("held_out"))),
    }


def measure(s, x, cond, judge):
    pixels = x.flatten(1).double().numpy()
    return {"frechet": frechet(pixels, Digits()[:][0].flatten(1).double().numpy(), draws=0).value}


def verdict(seen):
    return seen.all(
        seen.at_most("real over 5", lambda n: n["real"]["frechet"] / 5, 1.0),
        seen.more_often("gain of the longer training", lambda n: n["short"]["frechet"] - n["long"]["frechet"]),
    )


def coin(s, seed):
    return {"coin": {"heads": (seed * s.step) % 7}}


RECIPE = Recipe(
    paper=Paper("A paper", "Somebody", 2026, "0000.00000"),
    claim="Longer training is better.",
    published={"Fréchet distance": {"short": 2.0, "long": 1.0}},
    sizes={
        "exact": Closed(
            criterion="Few heads.",
            measure=coin,
            verdict=lambda seen: seen.all(seen.at_most("heads", at("coin", "heads"), 100.0)),
            seeds=(1, 2, 3),
            setting={"step": 3},
            figures=lambda seen: [Figure("Heads", "seed", "heads", {"coin": [(1, 1.0), (2, 2.0)]})],
        ),
        "small": Trained(
            criterion="It is.",
            departures="Digits.",
            arms=arms,
            measure=measure,
            verdict=verdict,
            cond=lambda s: Condition(label=torch.arange(s.samples) % 10),
            seeds=(1, 2),
            minutes=2,
            setting={"images": 4_000, "width": 8, "samples": 48, "batch": 24},
        ),
    },
)
