"""Pictures drawn small and enlarged by a second model: with its condition corrupted in training, or not.

Every cascade shares the base of its seed, and every arm draws with the same noise. A level is chosen on one half of the
held-out pictures and reported on the other; what a super-resolution stage makes of true small pictures, which are those
of training pictures, says what it loses to the base's faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from mezzotint.cascades import Cascade, Stage
from mezzotint.conditions.augment import Noised
from mezzotint.core.condition import Condition
from mezzotint.data.data import Data
from mezzotint.data.fashion import FashionMNIST
from mezzotint.data.scenes import Scenes
from mezzotint.evidence.recipe import Arm, Models, Setting, Training, Value
from mezzotint.evidence.verdict import Figure, Numbers, Seen, Statistic, Verdict, at, ratio
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.frechet import frechet
from mezzotint.metrics.train_on_synthetic import classification_accuracy
from mezzotint.operators.resize import BlockMean
from mezzotint.recipes import cascaded, classes
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.sampling import Sampling

SETTING: dict[str, Value] = {
    "pictures": "clothes", "sizes": (7, 14), "widths": (18, 26), "images": 90_000, "base": 48_000, "shorter": 3,
    "longer": 3, "levels": (0.0, 0.1, 0.2, 0.35, 0.5), "steps": 8, "samples": 2_000, "batch": 250,
}  # fmt: skip
LARGE = SETTING | {
    "sizes": (7, 28), "widths": (64, 96), "images": 4_000_000, "base": 1_000_000, "steps": 18, "samples": 10_000,
    "batch": 500,
}  # fmt: skip
DEPARTURES = """Fashion-MNIST, 7 to 14 pixels (the paper: ImageNet, 16 to 64). Class-conditional and not guided,
labels dropped a tenth of the time in every arm (the paper: never). U-Nets of 0.16 and 0.34 M parameters, a single
model of 0.32 M that costs as much to train, EDM in place of VP, Heun with 15 evaluations a stage and fewer of a base
that is stopped (the paper: 100 to 4,000); noise of levels sigma / (alpha + sigma) along the cosine process. A base
that is deliberately short, 375 steps of 128 beside 703. 2,000 samples, 200 a class; the level is chosen on the
samples it is reported for, against other pictures; distances in the features of a classifier of the same clothes, CAS
by support vectors. Intervals over seeds are stricter than the page's means of three."""
LESS = """Class-conditional without guidance, EDM in place of VP, Heun; distances in the features of a classifier of the
same pictures. Scenes in three stages by --set pictures=scenes sizes=[16,32,64] widths=[96,96,64]."""


@cache
def _pictures(kind: str, size: int, split: str) -> Data:
    return FashionMNIST(size, split) if kind == "clothes" else Scenes(split, size, ("label",))


def pictures(s: Setting, split: str = "train") -> Data:
    """The pictures at the last of the setting's ``sizes``."""
    return _pictures(s.pictures, s.sizes[-1], split)


def sets(s: Setting) -> tuple[Data, ...]:
    """What is read beside what is trained on."""
    return pictures(s), pictures(s, "held_out")


@cache
def _stages(kind: str, sizes: tuple[int, ...], images: tuple[int, ...], widths: tuple[int, ...], *rest: Any) -> Any:
    """The stages of a cascade; what is measured of the pictures is measured once."""
    steps, augment = rest
    return cascaded.usual(_pictures(kind, sizes[-1], "train"), sizes, images, widths, steps, augment=augment)


def trainings(s: Setting, augment: str = "noise", share: float = 1.0) -> dict[str, Training]:
    """The stages by name, the base's images times ``share``."""
    images = (round(int(s.base) * share), *[int(s.images)] * (len(s.sizes) - 1))
    made: dict[str, Training] = _stages(s.pictures, s.sizes, images, s.widths, s.steps, augment)
    return made


@cache
def _each(kind: str, sizes: tuple[int, ...], widths: tuple[int, ...], steps: int) -> tuple[int, ...]:
    """Multiply-accumulates of an evaluation of one picture, stage by stage, and of the single model."""
    stages = list(_stages(kind, sizes, (1_000,) * len(sizes), widths, steps, "noise").values())
    one = classes.usual(_pictures(kind, sizes[-1], "train"), 1_000, widths[-1], steps)
    models = [(cast(Any, training.model), training.data[:1][1]) for training in (*stages, one)]
    return tuple(model.cost(model.shape, model.prepare(cond)) for model, cond in models)


def macs(s: Setting) -> tuple[int, ...]:
    """Multiply-accumulates of an evaluation of one picture, stage by stage, and of the single model."""
    return _each(s.pictures, s.sizes, s.widths, s.steps)


def single(s: Setting) -> Training:
    """One model of the whole picture, as wide as the last stage, that costs as much to train as the cascade."""
    *stages, one = macs(s)
    seen = [int(s.base), *[int(s.images)] * (len(stages) - 1)]
    many = round(sum(images * cost for images, cost in zip(seen, stages, strict=True)) / one)
    return classes.usual(pictures(s), many, s.widths[-1], s.steps)


def asked(s: Setting) -> Condition:
    """Training pictures, as many of every class: their ``label``, ``low`` (their true small pictures) and, as ``real``,
    themselves.
    """
    labels = pictures(s).labels
    assert labels is not None
    kinds = np.unique(labels)
    shares = np.bincount(np.arange(s.samples) % len(kinds), minlength=len(kinds))
    places = [np.flatnonzero(labels == kind) for kind in kinds]
    rows = np.concatenate(
        [at[np.linspace(0, len(at) - 1, n).astype(int)] for at, n in zip(places, shares, strict=True)]
    )
    x, cond = pictures(s)[rows]
    return Condition(label=cond["label"], low=BlockMean(s.sizes[-1] // s.sizes[-2]).forward(x), real=x)


def judge(s: Setting) -> Extractor:
    """A classifier of the training pictures, whose features distances are taken in."""
    x, cond = pictures(s)[: 60_000 if s.sizes[-1] <= 32 else 20_000]
    held_out, truth = pictures(s, "held_out")[:]
    return Extractor.train(x, cond["label"], (held_out, truth["label"]))


_REAL: dict[str, Any] = {}
"""Features of the two halves of the held-out pictures, by judge: a worker measures many arms."""


def halves(s: Setting) -> list[tuple[Tensor, Tensor]]:
    """The held-out pictures and their classes in two halves with as many of every class."""
    x, cond = pictures(s, "held_out")[:]
    order = torch.argsort(cond["label"], stable=True)
    return [(x[order[half::2]], cond["label"][order[half::2]]) for half in (0, 1)]


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``frechet`` from one half of the held-out pictures, ``validation`` from the other, and ``CAS``: how well a judge
    that has seen samples alone reads real pictures.
    """
    held_out = halves(s)
    if judge.sha256 not in _REAL:
        _REAL[judge.sha256] = [judge.features(real) for real, _ in held_out]
    x = x.clamp(-1, 1)
    mine = judge.features(x)
    reported, other = (frechet(mine, half, draws=0).value for half in _REAL[judge.sha256])
    score = classification_accuracy(x, cond["label"], *held_out[0]).value
    return {"frechet": reported, "validation": other, "CAS": score}


def sampling(s: Setting, model: Any) -> Sampling:
    """A stage's own pipeline."""
    return Sampling(Heun(s.steps), model)


def enlarging(s: Setting, augment: str, level: float = 0.0, truncated: bool = False, share: float = 1.0) -> Arm:
    """A cascade at one level of every hand-over."""
    stages = trainings(s, augment, share)

    def pipeline(models: Models) -> Cascade:
        noise = cascaded.augmentation("noise") if augment == "noise" else None
        made = [Stage(name, sampling(s, models[name]), None, noise, ("label",)) for name in stages]
        return Cascade(tuple(made)).at([level] * (len(made) - 1), truncated)

    def facts(models: Models) -> Mapping[str, float]:
        seen = [round(int(s.base) * share), *[int(s.images)] * (len(stages) - 1)]
        return cost(macs(s)[:-1], seen, pipeline(models))

    return Arm(stages, pipeline, facts)


def true(s: Setting, augment: str, level: float = 0.0) -> Arm:
    """The last stage alone, handed true small pictures."""
    name, training = list(trainings(s, augment).items())[-1]

    def pipeline(models: Models) -> Cascade:
        noise = Noised(level=level) if augment == "noise" else None
        return Cascade((Stage(name, sampling(s, models[name]), augment=noise, told=("label", "low")),))

    return Arm({name: training}, pipeline, lambda models: cost(macs(s)[-2:-1], [int(s.images)], pipeline(models)))


def alone(s: Setting) -> Arm:
    """The single model, drawing under the keys of the last stage."""
    training, name = single(s), str(s.sizes[-1])

    def pipeline(models: Models) -> Cascade:
        return Cascade((Stage(name, sampling(s, models[name]), told=("label",)),))

    def facts(models: Models) -> Mapping[str, float]:
        return cost(macs(s)[-1:], [int(training.training.images)], pipeline(models))

    return Arm({name: training}, pipeline, facts)


def cost(each: Sequence[int], seen: Sequence[int], cascade: Cascade) -> Mapping[str, float]:
    """Weights; multiply-accumulates of training, three times those of an evaluation an image, and of a sample by Heun's
    method, which asks twice a step but for the last to 0; and images the first stage has seen.
    """
    pipelines = [cast(Sampling, stage.pipeline) for stage in cascade.stages]
    weights = sum(weight.numel() for p in pipelines for weight in p.denoiser.parameters())
    asked = [2 * (p.sampler.steps if p.times is None else len(p.times) - 1) - (p.ends == 0) for p in pipelines]
    return {
        "M parameters": weights / 1e6,
        "T MACs": 3e-12 * sum(macs * images for macs, images in zip(each, seen, strict=True)),
        "M MACs a sample": 1e-6 * sum(macs * many for macs, many in zip(each, asked, strict=True)),
        "k images, first stage": seen[0] / 1e3,
    }


REAL, NONE, BLUR, SINGLE = "real pictures", "no augmentation", "blur", "single model"
TRUE = "{}, true small pictures"
SHORTER, LONGER = "{}, shorter base", "{}, longer base"


def noise(level: float, truncated: bool = False) -> str:
    """The row of a level."""
    return f"{'truncated' if truncated else 'noise'} {level:g}"


def arms(s: Setting) -> dict[str, Arm]:
    """Every cascade and its rival; at level 0 truncated and not are the same."""
    made = {
        REAL: Arm({}, lambda models: lambda cond, rng: cond["real"]),
        SINGLE: alone(s),
        NONE: enlarging(s, "none"),
        BLUR: enlarging(s, "blur"),
    }
    made |= {noise(level): enlarging(s, "noise", level) for level in s.levels}
    made |= {noise(level, True): enlarging(s, "noise", level, True) for level in s.levels if level}
    made |= {TRUE.format(NONE): true(s, "none")}
    made |= {TRUE.format(noise(level)): true(s, "noise", level) for level in s.levels}
    for name, share in ((SHORTER, 1 / s.shorter), (LONGER, float(s.longer))):
        made |= {name.format(NONE): enlarging(s, "none", share=share)}
        made |= {name.format(noise(level)): enlarging(s, "noise", level, share=share) for level in s.levels[1::2]}
    return made


def levels(numbers: Numbers) -> list[float]:
    """Those that a table was swept over."""
    return [float(row.removeprefix("noise ")) for row in numbers if row.startswith("noise ") and "," not in row]


def best(numbers: Numbers, least: float = 0.0) -> float:
    """The level that is nearest to the half of the held-out pictures that nothing is reported on."""
    swept = [level for level in levels(numbers) if level >= least]
    return min(swept, key=lambda level: numbers[noise(level)]["validation"])


def chosen(column: str = "frechet", row: str = "{}") -> Statistic:
    """A number at the level that was chosen."""
    return lambda numbers: numbers[row.format(noise(best(numbers)))][column]


def stopped(numbers: Numbers) -> float:
    """Truncated over not truncated, at the best level above 0; at 0 they are one."""
    level = best(numbers, 1e-9)
    return numbers[noise(level, True)]["frechet"] / numbers[noise(level)]["frechet"]


def lost(row: Statistic, kept: Statistic) -> Statistic:
    """What a stage loses to the base's faults: its distance from its base's pictures less that from true ones."""
    return lambda numbers: row(numbers) - kept(numbers)


def verdict(seen: Seen) -> Verdict:
    """What the page of the method asks of trained cascades, and the paper's order of the three."""
    plain, one = at(NONE, "frechet"), at(SINGLE, "frechet")
    ours = lost(chosen(), chosen(row=TRUE))
    theirs = lost(plain, at(TRUE.format(NONE), "frechet"))
    return seen.all(
        seen.at_most("distance with noise over that without", ratio(chosen(), plain), 0.9),
        seen.at_least("CAS with noise less that without", lambda n: chosen("CAS")(n) - n[NONE]["CAS"], 0.0),
        seen.within("truncated over not truncated", stopped, 1.0, 0.1),
        seen.at_most("what is lost to the base, with noise less without", lambda n: ours(n) - theirs(n), 0.0),
        seen.always("less than 0 by the level that is chosen", lambda n: -best(n), -0.01),
        seen.at_most("distance with noise over the single model's", ratio(chosen(), one), 1.0),
        seen.at_least("distance without over the single model's", ratio(plain, one), 1.0),
    )


def figures(seen: Seen) -> list[Figure]:
    """The distance by level, and by how long the base was trained."""
    table = next(iter(seen.tables.values()))
    swept = levels(table)

    def line(row: str) -> list[tuple[float, float]]:
        return [(level, seen.mean(at(row.format(noise(level)), "frechet"))) for level in swept]

    early = [(level, seen.mean(at(noise(level, level > 0), "frechet"))) for level in swept]
    flat = {
        name: [(level, seen.mean(at(name, "frechet"))) for level in (swept[0], swept[-1])]
        for name in (NONE, BLUR, SINGLE)
    }
    by_level = {"not truncated": line("{}"), "truncated": early, "true small pictures": line(TRUE), **flat}
    by_base: dict[str, list[tuple[float, float]]] = {}
    for name in (NONE, *map(noise, swept)):
        rows = [row.format(name) for row in (SHORTER, "{}", LONGER)]
        if all(row in table for row in rows):
            by_base[name] = [(table[row]["k images, first stage"], seen.mean(at(row, "frechet"))) for row in rows]
    return [
        Figure("By level", "level of the noise, sigma / (alpha + sigma)", "Fréchet distance", by_level),
        Figure("By the base's training", "thousands of images it has seen", "Fréchet distance", by_base),
    ]
