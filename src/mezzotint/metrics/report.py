"""A report: every measure of a set of samples, beside the same measure of real pictures at equal counts.

No number stands alone. Each measure comes with its interval and with what real training pictures score in the samples'
place, from as many pictures, against the same held-out ones; so "1.3 times real" can be said, and the size of the sets
cancels. What was measured with what (extractor, judge, counts, fingerprints) is part of the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.extractor import SIDE, Extractor
from mezzotint.metrics.features import Features, asked_of
from mezzotint.metrics.following import following
from mezzotint.metrics.frechet import frechet
from mezzotint.metrics.judge import ROWS, Judge, classification_accuracy
from mezzotint.metrics.judge import SIDE as JUDGE_SIDE
from mezzotint.metrics.neighbours import SIDE as NEIGHBOUR_SIDE
from mezzotint.metrics.neighbours import close_share, nearest, neighbour_ratio
from mezzotint.metrics.pictures import Fingerprint, Source, checked, fingerprint, shown, shrink, subset
from mezzotint.metrics.record import Record, estimate_of, origin
from mezzotint.metrics.seen import PIXEL_SIDE, Held, pieces, see

TRAIN_LIMIT = 60_000
FOLLOWED = 1_000
"""How many pictures of scenes are read, which takes longer than to look at them."""


@dataclass(frozen=True)
class Report:
    """Measures of samples and of real pictures in their place.

    Arguments:
        measures: estimates of the samples by name: ``accuracy``, ``classification_score``, ``frechet_features``,
            ``frechet_pixels``, ``neighbour_ratio``, ``close_share``; the first three need labels.
            Of scenes with captions also ``follows`` and its kin (:mod:`mezzotint.metrics.following`).
        real: estimates of real pictures by the same names, where they have a meaning.
        chance: what the samples score by accident, where that can be measured: held to the captions of others.
        extractor: the record of the feature extractor, or None.
        counts: pictures by role, and fingerprints of the sets.
        drawn: how the samples were drawn, as :func:`~mezzotint.metrics.record.origin` has it; what is not known is
            missing.
    """

    measures: dict[str, Estimate]
    real: dict[str, Estimate]
    extractor: dict[str, Any] | None
    counts: dict[str, Any]
    chance: dict[str, Estimate] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Estimate:
        return self.measures[name]

    def record(self, name: str, real: bool = False) -> Record:
        """A measure of the samples, or of real pictures in their place, with all that decides it."""
        found = (self.real if real else self.measures)[name]
        drawn = origin(None) if real else self.drawn
        return Record(replace(found, name=name), {**measured_with(name, self.counts, self.extractor), **drawn})

    def times_real(self, name: str) -> float:
        """A measure of the samples over that of real pictures: for Frechet distances, 1 is as good as real."""
        return self.measures[name].value / self.real[name].value

    def plain(self) -> dict[str, Any]:
        """The report as plain data for JSON."""
        return {
            "measures": {
                name: {
                    **found.plain(),
                    "how": dict(self.record(name).how),
                    "real": self.real[name].plain() if name in self.real else None,
                    **({"chance": self.chance[name].plain()} if name in self.chance else {}),
                }
                for name, found in self.measures.items()
            },
            "times_real": {name: self.times_real(name) for name in self.measures if name.startswith("frechet")},
            "extractor": self.extractor,
            "counts": self.counts,
        }


def measured_with(name: str, counts: Mapping[str, Any], extractor: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a measure of :func:`evaluate` was measured with.

    Arguments:
        name: of the measure.
        counts: of the report.
        extractor: the record of the extractor, or None.
    """
    own = {} if extractor is None or name != "frechet_features" else extractor
    asked = asked_of(own)
    train, held_out = counts.get("train_sha256"), counts.get("held_out_sha256")
    reference: Any = [train, held_out]
    side: int | None = None
    if name == "frechet_features":
        reference, side = held_out, SIDE
    elif name == "frechet_pixels":
        reference, side = held_out, PIXEL_SIDE
    elif name in ("accuracy", "classification_score"):
        reference, side = train if name == "accuracy" else held_out, JUDGE_SIDE
    elif name in ("neighbour_ratio", "close_share"):
        side = NEIGHBOUR_SIDE
    elif name.startswith("follows"):
        reference = None  # the readers were fitted to nothing
    return {
        "reference": reference,
        "extractor": own.get("sha256"),
        **({"features": asked} if asked else {}),
        "resize": own.get("resize") or (None if side is None else f"by area to at most {side} a side"),
        "clamping": "[-1, 1]",
    }


def records(document: Mapping[str, Any]) -> dict[str, Record]:
    """The records of a report in JSON by the names of its measures; a report without records is given those it implies.

    Reports of version 0.1.0 name the model, the sampler, the guidance and the sets beside the measures, so what they
    lack is the hash of the labels only; their guidance is a number.

    Raises:
        Refusal: the document is no report.
    """
    measures, counts = document.get("measures"), document.get("counts") or {}
    if not isinstance(measures, Mapping) or not isinstance(counts, Mapping):
        raise Refusal("this is no report of mezzotint evaluate: it has no measures")
    model = document.get("model") or {}
    drawn = {}
    if "sha256" in model and isinstance(document.get("sampler"), Mapping):
        guided = document.get("guidance")
        if isinstance(guided, int | float):
            guided = None if guided == 1 else {"part": "guidance.CFG", "scale": float(guided)}
        drawn = origin(model["sha256"], document["sampler"], guided, model.get("average"), document.get("seed"))
        del drawn["labels"]
    out = {}
    for name, said in measures.items():
        how = said.get("how") or {**measured_with(name, counts, document.get("extractor")), **drawn}
        out[name] = Record(replace(estimate_of(said), name=name), dict(how))
    return out


def evaluate(
    samples: Tensor | Source,
    labels: Tensor | None,
    train: Source,
    held_out: Source,
    *,
    captions: Sequence[str] | None = None,
    extractor: Features | None = None,
    rng: Rng | None = None,
    draws: int = 100,
    drawn: Mapping[str, Any] | None = None,
) -> Report:
    """Judge samples against a data set.

    Samples are clamped to [-1, 1], as they are when shown. Frechet distances are of n samples against the held-out
    pictures, beside n training pictures against the same, with n the smaller of the two counts; in pixels, of pictures
    shrunk by area to at most 16 a side. Without labels, only pixels and neighbours are measured, and the features of
    an extractor that is given.

    All sets are read a piece at a time, and of each picture only what the measures look at is kept.

    Arguments:
        samples: pictures (N, C, H, W), or a data set of them with their labels.
        labels: the classes they were asked to show (N,), or None.
        train, held_out: splits of a data set; of more than 60,000 pictures a fixed random subset.
        captions: what the samples were asked to show, where they are scenes; a fixed random subset of at most
            ``FOLLOWED`` is read, beside as many held-out scenes with their own captions.
        extractor: one made before, on this train split or anything else; else one is trained where there are labels,
            and its record is in the report.
        rng: one key for the bootstrap.
        draws: resamplings for each Frechet distance; four times as many for neighbours. 0 for no intervals there.
        drawn: how the samples were drawn (:func:`~mezzotint.metrics.record.origin`), for their records.
    """
    rng = Rng([0]) if rng is None else rng
    if isinstance(samples, Tensor):
        checked(samples[:2], None, "the samples")
        if labels is not None and labels.shape != samples.shape[:1]:
            raise Refusal(f"the samples are {len(samples)}, but their labels are of shape {tuple(labels.shape)}")
        samples = Held(samples, labels)
    elif labels is not None:
        raise Refusal("samples that are a data set bring their own labels; leave labels out")
    if extractor is None and all(_labelled(source) for source in (samples, train, held_out)):
        extractor = trained(train, held_out)
    x = see(train, "the training pictures", TRAIN_LIMIT, extractor)
    z = see(held_out, "the held-out pictures", TRAIN_LIMIT, extractor)
    s = see(samples, "the samples", None, extractor)
    if not s.shape == x.shape == z.shape:
        raise Refusal(
            f"samples are {s.shape}, training pictures {x.shape} and held-out ones {z.shape}; they must have one shape"
        )
    n = min(len(s), len(x))
    mine, theirs = subset(len(s), n), subset(len(x), n)
    measures: dict[str, Estimate] = {}
    real: dict[str, Estimate] = {}
    if s.labels is not None and x.labels is not None and z.labels is not None:
        judge = Judge.fit(x.small, x.labels)
        measures["accuracy"] = judge.accuracy(s.small, s.labels)
        real["accuracy"] = judge.accuracy(z.small, z.labels)
        k = min(n, ROWS)
        few, some = mine[subset(n, k)], subset(len(x), k)
        measures["classification_score"] = classification_accuracy(s.small[few], s.labels[few], z.small, z.labels)
        real["classification_score"] = (
            classification_accuracy(x.small[some], x.labels[some], z.small, z.labels)
            if k < min(len(x), ROWS)
            else real["accuracy"]
        )
    for found, seen, taken in ((measures, s, mine), (real, x, theirs)):
        for name, table, other in (
            ("frechet_features", seen.features, z.features),
            ("frechet_pixels", seen.coarse, z.coarse),
        ):
            if table is not None and other is not None:
                found[name] = frechet(table[taken], other, rng.at(name), draws, name)
    near, apart = nearest(s.small, x.small), nearest(z.small, x.small)
    measures["neighbour_ratio"] = neighbour_ratio(near, apart, rng.at("neighbours"), 4 * draws)
    measures["close_share"] = close_share(near, apart, rng.at("neighbours"), 4 * draws)
    chance: dict[str, Estimate] = {}
    if captions is not None and isinstance(held_out, Scenes) and held_out.style == "photo":  # others cannot be read
        some = subset(len(samples), FOLLOWED)
        own, chance = following(
            shown(samples[some][0], "the samples"), [captions[row] for row in some], rng.at("following"), 4 * draws
        )
        rows = subset(len(held_out), len(some))
        ceiling, _ = following(held_out[rows][0], held_out.texts(rows), rng.at("following"), 4 * draws)
        measures |= own
        real |= {name: found for name, found in ceiling.items() if name in own}
    counts = {
        "samples": len(s),
        "train": len(x),
        "held_out": len(z),
        "compared": n,
        "train_sha256": x.sha256,
        "held_out_sha256": z.sha256,
    }
    known = {} if drawn is None else {**drawn, "labels": None if s.labels is None else fingerprint(s.labels)}
    return Report(measures, real, None if extractor is None else extractor.record, counts, chance, known)


def trained(train: Source, held_out: Source) -> Extractor:
    """The extractor of a labelled train split, read a piece at a time."""
    small, labels, digest = list[Tensor](), list[Tensor](), Fingerprint()
    count = len(subset(len(train), TRAIN_LIMIT))
    for pictures, told in pieces(train, "the training pictures", TRAIN_LIMIT):
        if not small:
            digest.begin(pictures.dtype, (count, *pictures.shape[1:]))
        digest.add(pictures)
        small.append(shrink(pictures, SIDE))
        labels += [] if told is None else [told]
    if not labels:
        raise Refusal("an extractor is trained on labelled pictures, and the training pictures have no labels")
    digest.whole(classes := torch.cat(labels))
    fresh = [(shrink(x, SIDE), y) for x, y in pieces(held_out, "the held-out pictures", TRAIN_LIMIT) if y is not None]
    other = (torch.cat([x for x, _ in fresh]), torch.cat([y for _, y in fresh])) if fresh else None
    return Extractor.train(torch.cat(small), classes, other, sha256=digest.hexdigest())


def _labelled(source: Source) -> bool:
    return len(source) > 1 and "label" in source[subset(2, None)][1]
