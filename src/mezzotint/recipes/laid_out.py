"""Pictures painted to layouts: told after every norm of the decoder, or beside the noisy picture, and guided or not.

Every arm paints the same held-out layouts with the same noise, most of them once and some several times. A segmenter
that was trained on real pictures finds the layouts again in the samples; its features are what distances are taken in,
between samples and pictures of which no layout was asked for. Arms are compared along their training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mezzotint.conditions.layout import UNSAID, edges_of
from mezzotint.core.condition import Condition
from mezzotint.core.errors import Refusal
from mezzotint.data.camvid import CamVid
from mezzotint.data.data import Data
from mezzotint.data.facades import Facades
from mezzotint.data.flipped import Flipped
from mezzotint.data.scenes import Reader, Scenes
from mezzotint.evidence.recipe import Arm, Models, Setting, Training, Value
from mezzotint.evidence.verdict import Criterion, Figure, Numbers, Seen, Statistic, Verdict, at, ratio
from mezzotint.guidance.clipped import Clipped
from mezzotint.guidance.contrast import CFG
from mezzotint.metrics.diversity import pairwise_distance
from mezzotint.metrics.frechet import frechet
from mezzotint.metrics.segmentation import class_iou
from mezzotint.metrics.segmenter import Segmenter
from mezzotint.recipes import layouts
from mezzotint.samplers.heun import Heun
from mezzotint.samplers.sampling import Sampling

SETTING: dict[str, Value] = {
    "pictures": "scenes", "size": 16, "things": "colour", "images": 65_536, "train_batch": 64, "widths": (16, 22),
    "hidden": 16, "channels": 24, "peak": 2e-3, "steps": 8, "scale": 1.5, "samples": 1_270, "again": 30, "several": 10,
    "read": 24, "judged_by": 12_000, "batch": 254,
}  # fmt: skip
LARGE = SETTING | {
    "size": 32, "things": "form", "images": 1_048_576, "widths": (40, 54), "hidden": 64, "steps": 18, "samples": 5_900,
    "again": 100, "judged_by": 40_000, "batch": 590,
}  # fmt: skip
SECOND, SAVES = 3 / 8, 8
"""The share of a training that is its second phase, and checkpoints of all of it."""
SHARES = tuple(k / SAVES for k in range(1, round(SAVES * (1 - SECOND)) + 1))
"""Where arms are compared: at every checkpoint of the first phase."""
ENOUGH = 0.8
"""The share of the ceiling from which on a model counts as following its layouts."""
FLOOR = 2.0
"""Up to so many times the distance of real pictures, distances tell nothing apart."""
REFERENCE = 4_000  # pictures that samples are set beside
TRAIN, HELD_OUT = 20_000, 10_000  # scenes
DEPARTURES = """Painted scenes of 16 pixels with 2 to 5 objects in place of photographs, their colours being the things
of a layout: no two objects of one colour touch there, so the page's fifth criterion, touching objects of one thing told
apart by edges, cannot be asked here and is asked at full, of forms. U-Nets of 0.51 (SPADE, width 16, hidden 16) and
0.53 M parameters (concatenation, width 22; SPADE costs a quarter more a step) that see 65,536 pictures in 1,024 steps
of 64, 3 of 8 parts of them in the second phase (the page: 256,000 in 8,000 of 32, 3 of 16 parts); one rate, 2e-3, for
both, which at seed 0 was better for each than half of it, and put them in the same order. Things are learnt vectors
that begin orthonormal and the null is learnt (the paper: one-hot and zeros); both arms are told edges. EDM and Heun
with 15 evaluations, clipped, no learnt variance (the paper: VP with a learnt range, 1,000 steps); averages of relative
length 0.05. Distances and mean IoU by one segmenter of the same pictures, whose features see hues more than form. 1,000
layouts, 30 of them painted ten times. Lengths, the way layouts begin, rates and clipping were settled on seed 0.
Intervals over three seeds are stricter than a gap of one standard error."""
LESS = """Painted scenes of 32 pixels whose things are forms, EDM and Heun, no learnt variance; photographs by --set
pictures=camvid size=64 or pictures=facades, of which there are a few hundred, so that a network soon knows them by
heart; the fifth criterion by pixels on edges that only instances tell, not by counts of components."""

SPADE, CONCAT, REAL = "SPADE", "concatenation", "real pictures"
GUIDED, NOTHING, WITHOUT = "{} and guidance", "SPADE, told nothing", "SPADE, no edges"
PORTS = {SPADE: "decoder", CONCAT: "input"}


@cache
def _pictures(kind: str, size: int, things: str, split: str, edges: bool) -> Data:
    if kind == "scenes":
        told = ("layout", "layout.instances") if edges else ("layout",)
        return Scenes(
            split, size, told, objects=(2, 5), overlap=0.6 if things == "colour" else 1.0, layout=things,
            pictures=TRAIN, held_out_pictures=HELD_OUT,
        )  # fmt: skip
    found = CamVid(size, split) if kind == "camvid" else Facades(size, split)
    return Flipped(found) if split == "train" else found


def pictures(s: Setting, split: str = "train", edges: bool = True) -> Data:
    """The pictures of a split, with what they tell."""
    return _pictures(s.pictures, s.size, s.things, split, edges)


def sets(s: Setting) -> tuple[Data, ...]:
    """What is read beside what is trained on."""
    return pictures(s), pictures(s, "held_out")


@cache
def _training(kind: str, size: int, things: str, images: int, rest: tuple[Any, ...]) -> Training:
    width, steps, peak, batch, port, hidden, channels, edges = rest
    return layouts.usual(
        _pictures(kind, size, things, "train", edges), images, width, steps, peak, batch,
        port=port, hidden=hidden, channels=channels, second=SECOND, saves=SAVES,
    )  # fmt: skip


def training(s: Setting, kind: str, edges: bool = True) -> Training:
    """Both phases of a network that is told its layout in one way or the other."""
    width = s.widths[0 if kind == SPADE else 1]
    rest = (width, s.steps, s.peak, s.train_batch, PORTS[kind], s.hidden, s.channels, edges)
    return _training(s.pictures, s.size, s.things, s.images, rest)


def once(s: Setting) -> int:
    """How many layouts are painted; the first ``again`` of them ``several`` times."""
    many = s.samples - s.again * (s.several - 1)
    if many < max(s.again, 2) or s.several < 3:
        raise Refusal(
            f"{s.samples} samples are too few for {s.again} layouts painted {s.several} times (at least 3) each beside "
            "the rest; ask for more samples, or for fewer again"
        )
    return int(many)


def asked(s: Setting) -> Condition:
    """Held-out layouts, each once and then the first of them again, and as ``real`` the pictures that they are of."""
    rows = np.arange(once(s))
    rows = np.concatenate([rows, *[rows[: s.again]] * (s.several - 1)]) % len(held := pictures(s, "held_out"))
    x, cond = held[rows]
    return cond | Condition(real=x)


def judge(s: Setting) -> Segmenter:
    """A segmenter of the training pictures, which nobody draws with."""
    x, cond = pictures(s)[:]
    held_out, truth = pictures(s, "held_out")[:REFERENCE]
    return Segmenter.train(x, target(s, cond), (held_out, target(s, truth)), seen=s.judged_by)


def target(s: Setting, cond: Condition) -> Tensor:
    """What the segmenter learns of a place: its thing, and where instances of one thing may touch also whether one ends
    there, as thing + things * edge.
    """
    layout: Tensor = cond["layout"]
    if separate(s):
        layout = layout + len(pictures(s).things) * edges_of(cond["layout.instances"]).to(layout.dtype)
    return layout


def separate(s: Setting) -> bool:
    """Whether instances of one thing touch in these pictures, and are known."""
    return bool(s.pictures == "scenes" and s.things == "form")


_SEEN: dict[tuple[str, str], Any] = {}
"""Features of the reference by judge: a worker measures many arms."""


def reference(s: Setting) -> Tensor:
    """Pictures of which no layout is painted, or where there are hardly any, those that were trained on."""
    held = pictures(s, "held_out")
    return held[once(s) :][0][:REFERENCE] if len(held) > 2 * once(s) else pictures(s)[:][0]


def measure(s: Setting, x: Tensor, cond: Condition, judge: Segmenter) -> Mapping[str, float]:
    """``mIoU`` of layouts that the judge finds and its worst thing, ``frechet`` from other real pictures, ``diversity``
    under one layout, ``chroma`` of things, and where they can be asked for, ``mIoU, read`` by the exact reader and
    ``hidden edges``.
    """
    key = judge.sha256, repr(s)
    if key not in _SEEN:
        _SEEN[key] = judge.features(reference(s))
    many, things = once(s), len(pictures(s).things)
    x = x.clamp(-1, 1)
    layout, seen = cond["layout"][:many], torch.from_numpy(judge.segment(x[:many])).long()
    found = class_iou(seen % things, layout, things)
    features = judge.features(x)
    which = torch.cat([torch.arange(s.again), torch.arange(s.samples - many) % s.again])
    several = np.concatenate([features[: s.again], features[many:]])
    numbers = {
        "mIoU": float(np.nanmean(found)),
        "worst IoU": float(np.nanmin(found)),
        "frechet": frechet(features[:many], _SEEN[key], draws=0).value,
        "diversity": pairwise_distance(several, which).value,
        "chroma": chroma(x[:many], layout),
    }
    if s.pictures == "scenes" and s.things == "colour":
        read = Reader().segment(x[: s.read]).long()
        unsure = torch.where(read == UNSAID, things, read)  # what cannot be read shows nothing
        numbers["mIoU, read"] = float(np.nanmean(class_iou(unsure, layout[: s.read], things + 1)))
    if separate(s):
        numbers["hidden edges"] = hidden(seen // things, layout, cond["layout.instances"][:many])
    return numbers


def chroma(x: Tensor, layout: Tensor) -> float:
    """How far the colours of things are from grey: the mean over their pixels of the largest channel less the least."""
    shown = (layout != 0) & (layout != UNSAID)
    return float((x.amax(1) - x.amin(1))[shown].double().mean())


def hidden(seen: Tensor, layout: Tensor, instances: Tensor) -> float:
    """The share of places on an edge between two instances of one thing where the judge sees an edge: what the layout
    itself does not tell.
    """
    told = edges_of(instances) & ~edges_of(layout)
    return float(seen[told].double().mean())


def early(name: str, share: float) -> str:
    """What an arm is called at a share of its training."""
    return f"{name}, {100 * share:.3g} %"


def arms(s: Setting) -> dict[str, Arm]:
    """Both ways to tell, along the first phase and after the second, guided and not."""
    made = {REAL: Arm({}, lambda models: lambda cond, rng: cond["real"])}
    for name in PORTS:
        made |= {early(name, share): arm(s, name, share=share) for share in SHARES}
        made |= {name: arm(s, name), GUIDED.format(name): arm(s, name, s.scale)}
    made[NOTHING] = arm(s, SPADE, 0.0)
    return made | ({WITHOUT: arm(s, SPADE, edges=False)} if separate(s) else {})


def arm(s: Setting, name: str, scale: float = 1.0, share: float | None = None, edges: bool = True) -> Arm:
    """One network at one share of its training and one scale of guidance."""
    chosen = training(s, name, edges)

    def pipeline(models: Models) -> Any:
        model = models["model"]
        sampling = Sampling(Heun(s.steps), Clipped(model if scale == 1 else CFG(model, scale)))
        families = ("layout",) if edges else ()
        return lambda cond, rng: sampling(cond.take(*families)[0] if families else only(cond), rng)

    def facts(models: Models) -> Mapping[str, float]:
        model = models["model"]
        cost = model.cost(model.shape, model.prepare(chosen.data[:1][1]))
        asked = (2 * s.steps - 1) * (1 if scale in (0, 1) else 2)
        weights = sum(weight.numel() for weight in model.parameters())
        return {"M parameters": weights / 1e6, "M MACs": cost / 1e6, "M MACs a sample": cost * asked / 1e6}

    return Arm({"model": chosen}, pipeline, facts, {} if share is None else {"model": share})


def only(cond: Condition) -> Condition:
    """A layout without its instances."""
    return Condition(layout=cond["layout"])


def common(seen: Seen) -> float | None:
    """The earliest checkpoint at which the better way to tell reaches enough of the ceiling, by the means over seeds;
    None where neither ever does.
    """
    enough = ENOUGH * seen.mean(at(REAL, "mIoU"))
    most = {share: max(seen.mean(at(early(name, share), "mIoU")) for name in PORTS) for share in SHARES}
    return next((share for share, found in most.items() if found >= enough), None)


def gained(share: float | None) -> Statistic:
    """How much higher the mean IoU of SPADE is than that of concatenation; NaN where nobody follows."""
    if share is None:
        return lambda numbers: math.nan
    return lambda n: n[early(SPADE, share)]["mIoU"] - n[early(CONCAT, share)]["mIoU"]


def nearer(share: float | None) -> Statistic:
    """SPADE's distance over that of concatenation; NaN where nobody follows, or both are as near as real pictures."""

    def statistic(n: Numbers) -> float:
        if share is None:
            return math.nan
        mine, theirs = (n[early(name, share)]["frechet"] for name in PORTS)
        return mine / theirs if max(mine, theirs) > FLOOR * n[REAL]["frechet"] else math.nan

    return statistic


def follows(numbers: Numbers) -> float:
    """How far guidance passes what is asked of it: 0.01 more than without it, or 0.01 less than the ceiling."""
    guided, plain, most = (numbers[row]["mIoU"] for row in (GUIDED.format(SPADE), SPADE, REAL))
    return guided - min(plain + 0.01, most - 0.01)


def verdict(seen: Seen) -> Verdict:
    """The five criteria of the method's page, and that the arms are as large."""
    guided, table = GUIDED.format(SPADE), next(iter(seen.tables.values()))
    share = common(seen)
    where = "where one of them first follows" if share is None else f"at {100 * share:.3g} % of the training"
    distances, spreads = (ratio(at(guided, column), at(SPADE, column)) for column in ("frechet", "diversity"))
    sizes = ratio(at(SPADE, "M parameters"), at(CONCAT, "M parameters"))
    criteria: list[Criterion] = [
        seen.at_least(f"mIoU, SPADE less concatenation, {where}", gained(share), 0.0),
        seen.at_most(f"distance, SPADE over concatenation, {where}", nearer(share), 1.0),
        seen.at_least("mIoU with guidance over 0.01 more than without, or 0.01 below real", follows, 0.0),
        seen.at_most("distance with guidance over without", distances, 1.05),
        seen.within("diversity with guidance over without", spreads, 0.8, 0.2),
        seen.always("parameters, off from equal", lambda n: abs(sizes(n) - 1), 0.05),
    ]
    if WITHOUT in table:
        criteria.append(
            seen.at_least(
                "hidden edges seen, told less not told",
                lambda n: n[SPADE]["hidden edges"] - n[WITHOUT]["hidden edges"],
                0.0,
            )
        )
    return seen.all(*criteria)


def figures(seen: Seen) -> list[Figure]:
    """What follows, and how far off, along the training."""

    def lines(column: str) -> dict[str, Sequence[tuple[float, float]]]:
        found: dict[str, Sequence[tuple[float, float]]] = {}
        for name in PORTS:
            way = [(share, seen.mean(at(early(name, share), column))) for share in SHARES]
            found[name] = [*way, (1.0, seen.mean(at(name, column)))]
        return {**found, REAL: [(share, seen.mean(at(REAL, column))) for share in (SHARES[0], 1.0)]}

    across = "share of the training; the second phase is the last step"
    return [
        Figure("What follows its layout", across, "mIoU by the segmenter", lines("mIoU")),
        Figure("How far from real pictures", across, "Fréchet distance", lines("frechet")),
    ]
