"""Pictures drawn small and enlarged by a second model: with its condition corrupted in training, or not.

Every cascade shares the base of its seed, and every arm draws with the same noise. A level is chosen on one half of the
held-out pictures and reported on the other; what a super-resolution stage makes of true small pictures, which are those
of training pictures, says what it loses to the base's faults.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, cast

import numpy as np
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
    "pictures": "clothes", "sizes": (7, 14), "widths": (18, 26), "images": 80_000, "base": 120_000, "shorter": 4,
    "longer": 3, "levels": (0.0, 0.1, 0.2, 0.35, 0.5), "steps": 8, "samples": 2_000, "batch": 250,
}  # fmt: skip
LARGE = SETTING | {
    "sizes": (7, 28), "widths": (64, 96), "images": 4_000_000, "base": 2_000_000, "steps": 18, "samples": 10_000,
    "batch": 500,
}  # fmt: skip
DEPARTURES = """Fashion-MNIST, 7 to 14 pixels (the paper: ImageNet, 16 to 64), class-conditional, not guided, U-Nets
of 0.16 and 0.34 M parameters, EDM in place of VP, Heun with 15 evaluations a stage (the paper: 100 to 4,000), noise of
levels sigma / (alpha + sigma) along the cosine process, distances in the features of a classifier of the same clothes,
a base that is deliberately short."""
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


def trainings(s: Setting, augment: str = "noise", share: float = 1.0) -> dict[str, Training]:
    """The stages by name, the base's images times ``share``."""
    images = [round(int(s.base) * share)] + [int(s.images)] * (len(s.sizes) - 1)
    return cascaded.usual(pictures(s), s.sizes, images, s.widths, s.steps, augment=augment)


def macs(training: Training) -> float:
    """Multiply-accumulates of a training: three times those of an evaluation an image."""
    model: Any = training.model
    found: int = model.cost(model.shape, model.prepare(training.data[:1][1]))
    return 3.0 * found * int(training.training.images)


def single(s: Setting) -> Training:
    """One model of the whole picture, as wide as the last stage, that costs as much to train as the cascade."""
    one = classes.usual(pictures(s), 1000, s.widths[-1], s.steps)
    many = sum(map(macs, trainings(s).values())) / macs(one) * 1000
    return classes.usual(pictures(s), round(many), s.widths[-1], s.steps)


def asked(s: Setting) -> Condition:
    """The classes of training pictures, spread evenly over them, and their true small pictures (``low``)."""
    rows = np.linspace(0, len(pictures(s)) - 1, s.samples).astype(np.int64)
    x, cond = pictures(s)[rows]
    return Condition(label=cond["label"], low=BlockMean(s.sizes[-1] // s.sizes[-2]).forward(x))


def judge(s: Setting) -> Extractor:
    """A classifier of the training pictures, whose features distances are taken in."""
    x, cond = pictures(s)[:60_000]
    held_out, truth = pictures(s, "held_out")[:]
    return Extractor.train(x, cond["label"], (held_out, truth["label"]))


_REAL: dict[str, Any] = {}
"""Features of the two halves of the held-out pictures, by judge: a worker measures many arms."""


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``frechet`` from one half of the held-out pictures, ``validation`` from the other, and ``CAS``: how well a judge
    that has seen samples alone reads real pictures.
    """
    real, truth = pictures(s, "held_out")[:]
    if judge.sha256 not in _REAL:
        _REAL[judge.sha256] = [judge.features(real[half::2]) for half in (0, 1)]
    mine = judge.features(x.clamp(-1, 1))
    reported, other = (frechet(mine, half, draws=0).value for half in _REAL[judge.sha256])
    score = classification_accuracy(x.clamp(-1, 1), cond["label"], real[::2], truth["label"][::2]).value
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

    return Arm(stages, pipeline, lambda models: facts(stages.values()))


def true(s: Setting, augment: str, level: float = 0.0) -> Arm:
    """The last stage alone, handed true small pictures."""
    name, training = list(trainings(s, augment).items())[-1]

    def pipeline(models: Models) -> Cascade:
        noise = Noised(level=level) if augment == "noise" else None
        return Cascade((Stage(name, sampling(s, models[name]), augment=noise),))

    return Arm({name: training}, pipeline, lambda models: facts([training]))


def facts(stages: Iterable[Training]) -> Mapping[str, float]:
    """What models cost: all their weights, and all of their training."""
    made = list(stages)
    weights = sum(weight.numel() for training in made for weight in cast(Any, training.model).parameters())
    return {"M parameters": weights / 1e6, "T MACs": sum(map(macs, made)) / 1e12}


NONE, BLUR, SINGLE, TRUE = "no augmentation", "blur", "single model", "{}, true small pictures"
SHORTER, LONGER = "{}, shorter base", "{}, longer base"


def noise(level: float, truncated: bool = False) -> str:
    """The row of a level."""
    return f"{'truncated' if truncated else 'noise'} {level:g}"


def arms(s: Setting) -> dict[str, Arm]:
    """Every cascade and its rival; noise of level 0 is truncated or not the same."""
    one = single(s)
    made = {
        SINGLE: Arm(
            {"model": one},
            lambda models: Cascade((Stage("model", sampling(s, models["model"]), told=("label",)),)),
            lambda models: facts([one]),
        ),
        NONE: enlarging(s, "none"),
        BLUR: enlarging(s, "blur"),
    }
    made |= {noise(level): enlarging(s, "noise", level) for level in s.levels}
    made |= {noise(level, True): enlarging(s, "noise", level, True) for level in s.levels if level}
    made |= {TRUE.format(NONE): true(s, "none")}
    made |= {TRUE.format(noise(level)): true(s, "noise", level) for level in s.levels}
    for name, share in ((SHORTER, 1 / s.shorter), (LONGER, float(s.longer))):
        made |= {name.format(NONE): enlarging(s, "none", share=share)}
        made |= {name.format(noise(level)): enlarging(s, "noise", level, share=share) for level in s.levels if level}
    return made


def levels(numbers: Numbers) -> list[float]:
    """Those that a table was swept over."""
    return [float(row.removeprefix("noise ")) for row in numbers if row.startswith("noise ") and "," not in row]


def best(numbers: Numbers) -> float:
    """The level that is nearest to the half of the held-out pictures that nothing is reported on."""
    return min(levels(numbers), key=lambda level: numbers[noise(level)]["validation"])


def chosen(column: str = "frechet", row: str = "{}", truncated: bool = False) -> Statistic:
    """A number at the level that was chosen; at 0 both ways of handing over are one."""

    def read(numbers: Numbers) -> float:
        level = best(numbers)
        return numbers[row.format(noise(level, truncated and level > 0))][column]

    return read


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
        seen.within("truncated over not truncated", ratio(chosen(truncated=True), chosen()), 1.0, 0.1),
        seen.at_most("what is lost to the base, with noise less without", lambda n: ours(n) - theirs(n), 0.0),
        seen.at_least("the level that is chosen", best, 0.01),
        seen.at_most("distance with noise over the single model's", ratio(chosen(), one), 1.0),
        seen.at_least("distance without over the single model's", ratio(plain, one), 1.0),
    )


def figures(seen: Seen) -> list[Figure]:
    """The distance by level, and by the length of the base's training."""
    swept = levels(next(iter(seen.tables.values())))

    def line(row: str, over: Sequence[float] = swept) -> list[tuple[float, float]]:
        return [(level, seen.mean(at(row.format(noise(level)), "frechet"))) for level in over]

    stopped = [(level, seen.mean(at(noise(level, level > 0), "frechet"))) for level in swept]
    flat = {
        name: [(level, seen.mean(at(name, "frechet"))) for level in (swept[0], swept[-1])]
        for name in (NONE, BLUR, SINGLE)
    }
    by_level = {"not truncated": line("{}"), "truncated": stopped, "true small pictures": line(TRUE), **flat}
    lengths = {"shorter": SHORTER, "as chosen": "{}", "longer": LONGER}
    ends = swept[1], swept[-1]
    by_base = {f"{name} base": line(row, [level for level in swept if level]) for name, row in lengths.items()}
    for name, row in lengths.items():
        plain = seen.mean(at(row.format(NONE), "frechet"))
        by_base[f"{name} base, no augmentation"] = [(level, plain) for level in ends]
    axes = ("level of the noise, sigma / (alpha + sigma)", "Fréchet distance")
    return [Figure("By level", *axes, by_level), Figure("By the base's training", *axes, by_base)]
