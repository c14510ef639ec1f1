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
from mezzotint.metrics.following import following
from mezzotint.metrics.frechet import frechet
from mezzotint.metrics.judge import ROWS, Judge, classification_accuracy
from mezzotint.metrics.judge import SIDE as JUDGE_SIDE
from mezzotint.metrics.neighbours import SIDE as NEIGHBOUR_SIDE
from mezzotint.metrics.neighbours import close_share, nearest, neighbour_ratio
from mezzotint.metrics.pictures import Source, checked, fingerprint, flat, subset, table
from mezzotint.metrics.record import Record, estimate_of, origin

PIXEL_SIDE = 16
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
    samples: Tensor,
    labels: Tensor | None,
    train: Source,
    held_out: Source,
    *,
    captions: Sequence[str] | None = None,
    extractor: Extractor | None = None,
    rng: Rng | None = None,
    draws: int = 100,
    drawn: Mapping[str, Any] | None = None,
) -> Report:
    """Judge samples against a data set.

    Samples are clamped to [-1, 1], as they are when shown. Frechet distances are of n samples against the held-out
    pictures, beside n training pictures against the same, with n the smaller of the two counts; in pixels, of pictures
    shrunk by area to at most 16 a side. Without labels, only pixels and neighbours are measured.

    Arguments:
        samples: pictures (N, C, H, W).
        labels: the classes they were asked to show (N,), or None.
        train, held_out: splits of a data set; of more than 60,000 pictures a fixed random subset.
        captions: what the samples were asked to show, where they are scenes; a fixed random subset of at most
            ``FOLLOWED`` is read, beside as many held-out scenes with their own captions.
        extractor: one made before on this train split; else one is trained and its record is in the report.
        rng: one key for the bootstrap.
        draws: resamplings for each Frechet distance; four times as many for neighbours. 0 for no intervals there.
        drawn: how the samples were drawn (:func:`~mezzotint.metrics.record.origin`), for their records.
    """
    rng = Rng([0]) if rng is None else rng
    x, y = checked(*table(train, TRAIN_LIMIT), "the training pictures")
    z, w = checked(*table(held_out, TRAIN_LIMIT), "the held-out pictures")
    samples, labels = checked(samples, labels, "the samples")
    if not samples.shape[1:] == x.shape[1:] == z.shape[1:]:
        raise Refusal(
            f"samples are {tuple(samples.shape[1:])}, training pictures {tuple(x.shape[1:])} and held-out ones "
            f"{tuple(z.shape[1:])}; they must have one shape"
        )
    n = min(len(samples), len(x))
    mine, theirs = subset(len(samples), n), subset(len(x), n)
    fresh, like = samples[mine], x[theirs]
    measures: dict[str, Estimate] = {}
    real: dict[str, Estimate] = {}
    if labels is not None and y is not None and w is not None:
        judge = Judge.fit(x, y)
        measures["accuracy"] = judge.accuracy(samples, labels)
        real["accuracy"] = judge.accuracy(z, w)
        k = min(n, ROWS)
        few, some = subset(n, k), subset(len(x), k)
        measures["classification_score"] = classification_accuracy(fresh[few], labels[mine][few], z, w)
        real["classification_score"] = (
            classification_accuracy(x[some], y[some], z, w) if k < min(len(x), ROWS) else real["accuracy"]
        )
        if extractor is None:
            extractor = Extractor.train(x, y, (z, w))
        away = extractor.features(z)
        for found, pictures in ((measures, fresh), (real, like)):
            name = "frechet_features"
            found[name] = frechet(extractor.features(pictures), away, rng.at(name), draws, name)
    for found, pictures in ((measures, fresh), (real, like)):
        name = "frechet_pixels"
        found[name] = frechet(flat(pictures, PIXEL_SIDE), flat(z, PIXEL_SIDE), rng.at(name), draws, name)
    near, apart = nearest(samples, x), nearest(z, x)
    measures["neighbour_ratio"] = neighbour_ratio(near, apart, rng.at("neighbours"), 4 * draws)
    measures["close_share"] = close_share(near, apart, rng.at("neighbours"), 4 * draws)
    chance: dict[str, Estimate] = {}
    if captions is not None and isinstance(held_out, Scenes) and held_out.style == "photo":  # others cannot be read
        some = subset(len(samples), FOLLOWED)
        own, chance = following(samples[some], [captions[row] for row in some], rng.at("following"), 4 * draws)
        rows = subset(len(held_out), len(some))
        ceiling, _ = following(held_out[rows][0], held_out.texts(rows), rng.at("following"), 4 * draws)
        measures |= own
        real |= {name: found for name, found in ceiling.items() if name in own}
    counts = {
        "samples": len(samples),
        "train": len(x),
        "held_out": len(z),
        "compared": n,
        "train_sha256": fingerprint(x, torch.empty(0) if y is None else y),
        "held_out_sha256": fingerprint(z, torch.empty(0) if w is None else w),
    }
    asked = None if labels is None else fingerprint(labels)
    known = {} if drawn is None else {**drawn, "labels": asked}
    return Report(measures, real, None if extractor is None else extractor.record, counts, chance, known)
