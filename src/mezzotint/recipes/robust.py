"""How much quality a model loses to errors put in while it samples; and the ideal denoisers of the digits under them.

A row of the table is a model at one size of error, in units of the noise where each step begins.
"""

from __future__ import annotations

from itertools import pairwise

import torch

from mezzotint.core.rng import Rng
from mezzotint.data.digits import Digits
from mezzotint.denoiser.exact import Empirical
from mezzotint.denoiser.exact_poisson import EmpiricalPoisson
from mezzotint.evidence import Figure, Numbers, Seen, Setting, Statistic, Verdict, at, ratio
from mezzotint.evidence.recipe import Value
from mezzotint.metrics.frechet import frechet
from mezzotint.processes.edm import EDM
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.samplers.churn import Churn
from mezzotint.samplers.perturbed import Perturbed

DIMENSIONS = {"D = 16": 16.0, "D = 64": 64.0, "D = 256": 256.0}
SETTING: dict[str, Value] = {"images": 600, "samples": 600, "steps": 18, "errors": (0.0, 0.8)}


def disturbed(s: Setting, error: float) -> Perturbed:
    """EDM's Heun, which is Churn without churn, with errors."""
    return Perturbed(Churn(s.steps), error)


def row(model: str, error: float) -> str:
    return f"{model}, error {error:g}"


def quality(model: str, error: float = 0.0) -> Statistic:
    return at(row(model, error), "frechet")


def loss(model: str, error: float) -> Statistic:
    """How many times its distance without errors a model's distance with them is."""
    return ratio(quality(model, error), quality(model))


def figures(seen: Seen) -> list[Figure]:
    found: dict[str, list[tuple[float, float]]] = {}
    for name in next(iter(seen.tables.values())):
        model, error = name.split(", error ")
        found.setdefault(model, []).append((float(error), seen.mean(at(name, "frechet"))))
    return [Figure("Quality against injected error", "error in units of the noise", "Fréchet distance", found)]


def measure(s: Setting, seed: int) -> Numbers:
    """The distance of samples of ideal denoisers from the digits they know, in pixels."""
    data, keys = Digits("all")[: s.images][0], Rng([seed]).at("samples").repeat(s.samples)
    real, keys = data.flatten(1).numpy(), keys.at(torch.arange(s.samples))
    models = {k: EmpiricalPoisson(PoissonFlow(d), data) for k, d in DIMENSIONS.items()} | {
        "EDM": Empirical(EDM(), data)
    }
    made = {row(k, e): disturbed(s, e)(model, rng=keys).flatten(1) for k, model in models.items() for e in s.errors}
    return {name: {"frechet": frechet(x.numpy(), real, draws=0).value} for name, x in made.items()}


def verdict(seen: Seen) -> Verdict:
    worst = {k: loss(k, 0.8) for k in (*DIMENSIONS, "EDM")}
    return seen.all(
        *(seen.within(f"{k} over EDM", ratio(quality(k), quality("EDM")), 1.0, 0.15) for k in DIMENSIONS),
        *(seen.at_least(f"loss of {b} over {a}", ratio(worst[b], worst[a]), 1.0) for a, b in pairwise(worst)),
        seen.at_most("loss of D = 16", worst["D = 16"], 1.6),
        seen.at_least("loss of EDM", worst["EDM"], 2.5),
    )
