"""A report: every measure of a set of samples, beside the same measure of real pictures at equal counts.

No number stands alone. Each measure comes with its interval and with what real training pictures score in the samples'
place, from as many pictures, against the same held-out ones; so "1.3 times real" can be said, and the size of the sets
cancels. What was measured with what (extractor, judge, counts, fingerprints) is part of the report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.data.scenes.scenes import Scenes
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.extractor import SIDE, Extractor
from mezzotint.metrics.features import Features
from mezzotint.metrics.following import following
from mezzotint.metrics.layouts import (
    READ,
    SEGMENTED,
    VARIETY,
    Asked,
    lacks,
    layout_diversity,
    learnt,
    read,
    segmented,
    tells_layouts,
)
from mezzotint.metrics.measures import (
    EACH,
    FOLLOWS,
    NAMES,
    PATCHED,
    USUAL,
    Found,
    chosen,
    followed,
    group,
    laid,
    measured_with,
    needs,
    taken,
)
from mezzotint.metrics.patches import Patches
from mezzotint.metrics.pictures import Fingerprint, Source, checked, fingerprint, shown, shrink, subset
from mezzotint.metrics.record import Record, estimate_of, origin
from mezzotint.metrics.seen import Held, pieces, see
from mezzotint.metrics.segmenter import Segmenter
from mezzotint.metrics.sets import Sets

Tell = Callable[[str, int, int, str], None]
TRAIN_LIMIT = 60_000
RATIOS = ("frechet_features", "frechet_pixels", "patches", "sliced_pixels")
"""Distances of which only the ratio to that of real pictures travels."""
FOLLOWED = 1_000
"""How many pictures of scenes are read, which takes longer than to look at them."""


@dataclass(frozen=True)
class Report:
    """Measures of samples and of real pictures in their place.

    Arguments:
        measures: estimates of the samples by name (:mod:`mezzotint.metrics.measures`). Of scenes with captions also
            ``follows`` and its kin (:mod:`mezzotint.metrics.following`).
        real: estimates of real pictures by the same names, where they have a meaning.
        chance: what the samples score by accident, where that can be measured: held to the captions of others.
        extractor: the record of the feature extractor, or None.
        counts: pictures by role, and fingerprints of the sets.
        drawn: how the samples were drawn, as :func:`~mezzotint.metrics.record.origin` has it; what is not known is
            missing.
        segmenter: the record of what saw layouts in the pictures, or None.
        missing: things that no layout of the samples asks for, of which there is no ``iou``.
    """

    measures: dict[str, Estimate]
    real: dict[str, Estimate]
    extractor: dict[str, Any] | None
    counts: dict[str, Any]
    chance: dict[str, Estimate] = field(default_factory=dict)
    drawn: dict[str, Any] = field(default_factory=dict)
    segmenter: dict[str, Any] | None = None
    missing: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Estimate:
        return self.measures[name]

    def record(self, name: str, real: bool = False) -> Record:
        """A measure of the samples, or of real pictures in their place, with all that decides it."""
        found = (self.real if real else self.measures)[name]
        drawn = origin(None) if real else self.drawn
        how = measured_with(name, self.counts, self.extractor, self.segmenter)
        return Record(replace(found, name=name), {**how, **drawn})

    def times_real(self, name: str) -> float:
        """A measure of the samples over that of real pictures: of distances, 1 is as good as real."""
        real = self.real[name].value
        return self.measures[name].value / real if real else math.nan

    @property
    def ratios(self) -> dict[str, float]:
        """The same of every distance of which only this ratio travels."""
        found = {name: self.times_real(name) for name in self.measures if group(name) in RATIOS and name in self.real}
        return {name: value for name, value in found.items() if math.isfinite(value)}

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
            "times_real": self.ratios,
            "extractor": self.extractor,
            "counts": self.counts,
            **({} if self.segmenter is None else {"segmenter": self.segmenter, "missing": list(self.missing)}),
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
        eyes = document.get("extractor"), document.get("segmenter")
        how = said.get("how") or {**measured_with(name, counts, *eyes), **drawn}
        out[name] = Record(replace(estimate_of(said), name=name), dict(how))
    return out


def evaluate(
    samples: Tensor | Source,
    labels: Tensor | None,
    train: Source,
    held_out: Source,
    *,
    measures: str | Sequence[str] = USUAL,
    captions: Sequence[str] | None = None,
    layouts: Tensor | None = None,
    things: Sequence[str] = (),
    alike: Tensor | None = None,
    extractor: Features | None = None,
    segmenter: Segmenter | None = None,
    rng: Rng | None = None,
    draws: int = 100,
    drawn: Mapping[str, Any] | None = None,
    tell: Tell | None = None,
) -> Report:
    """Judge samples against a data set.

    Samples are clamped to [-1, 1], as they are when shown. Distances are of n samples against the held-out pictures,
    beside n training pictures against the same, with n the smaller of the two counts; in pixels, of pictures shrunk by
    area to at most 16 a side. Precision and its kin are of as many pictures of either set, and what looks at pairs, of
    at most 10,000. Without labels, features are those of an extractor that is given, or of the segmenter where the data
    tell layouts; else only pixels are measured.

    All sets are read a piece at a time, and of each picture only what the measures look at is kept.

    Arguments:
        samples: pictures (N, C, H, W), or a data set of them with their labels.
        labels: the classes they were asked to show (N,), or None.
        train, held_out: splits of a data set; of more than 60,000 pictures a fixed random subset.
        measures: names of measures, or of the groups ``usual`` and ``all``. What these pictures do not allow is left
            out of a group.
        captions: what the samples were asked to show, where they are scenes; a fixed random subset of at most
            ``FOLLOWED`` is read, beside as many held-out scenes with their own captions.
        layouts: what the samples were asked to show, whole numbers (N, H, W), 255 where nothing is said. Where the data
            tell layouts as well, a segmenter is asked (:mod:`mezzotint.metrics.layouts`), and of scenes the readers.
        things: the names of the numbers in layouts.
        alike: several samples of one layout each (layouts, samples, C, H, W), for ``layout_diversity``.
        extractor: one made before, on this train split or anything else; else one is trained where there are labels,
            and its record is in the report.
        segmenter: one made before; else one is trained where the data tell layouts, and its record is in the report.
        rng: one key for the bootstrap.
        draws: resamplings for each Frechet distance; four times as many for neighbours, a fifth of them at infinity. 0
            for no intervals there.
        drawn: how the samples were drawn (:func:`~mezzotint.metrics.record.origin`), for their records.
        tell: told how far it is: ``judging`` measures, then ``reading`` scenes, how many are done, of how many, a word.

    Raises:
        Refusal: a measure is unknown, or was named and these pictures lack what it needs.
    """
    rng, asked = Rng([0]) if rng is None else rng, chosen(measures)
    if isinstance(samples, Tensor):
        checked(samples[:2], None, "the samples")
        if labels is not None and labels.shape != samples.shape[:1]:
            raise Refusal(f"the samples are {len(samples)}, but their labels are of shape {tuple(labels.shape)}")
        samples = Held(samples, labels)
    elif labels is not None:
        raise Refusal("samples that are a data set bring their own labels; leave labels out")
    say: Tell = (lambda *_: None) if tell is None else tell
    request = Asked(layouts, tuple(things), alike)
    if layouts is not None:
        height, width = samples[subset(len(samples), 1)][0].shape[-2:]
        request.check(len(samples), (height, width))
    painted = request.layouts is not None or request.alike is not None
    eye = segmenter is not None or (painted and tells_layouts(train) and tells_layouts(held_out))
    wanted = tuple(name for name in laid(asked) if not lacks(name, request, eye, held_out))
    if absent := [name for name in laid(asked) if name in asked and name not in wanted]:
        raise Refusal(f"the measure {absent[0]!r} needs {lacks(absent[0], request, eye, held_out)}")
    labelled = needs(asked, "features") and all(_labelled(source) for source in (samples, train, held_out))
    if extractor is None and labelled:
        extractor = trained(train, held_out)
    looks = set(wanted) - {READ} or (extractor is None and needs(asked, "features"))
    if segmenter is None and eye and looks:
        segmenter = learnt(train, held_out, things=things)
    if extractor is None and needs(asked, "features"):
        extractor = segmenter
    kept, fresh = (min(len(source), TRAIN_LIMIT) for source in (train, held_out))
    n = min(len(samples), kept)
    cut = min(n, fresh, PATCHED) if needs(asked, "patches") else 0
    some, none = subset(n, cut), Patches.begin(EACH, rng.at("patches"))
    x = see(train, "the training pictures", TRAIN_LIMIT, extractor, subset(kept, n)[some], none)
    z = see(held_out, "the held-out pictures", TRAIN_LIMIT, extractor, subset(fresh, cut), none)
    s = see(samples, "the samples", None, extractor, subset(len(samples), n)[some], none)
    if not s.shape == x.shape == z.shape:
        raise Refusal(
            f"samples are {s.shape}, training pictures {x.shape} and held-out ones {z.shape}; they must have one shape"
        )
    sets, found = Sets(s, x, z, extractor, rng, draws), Found()
    jobs = taken(asked, sets)
    for place, (ask, names) in enumerate(jobs.items()):
        poll()
        say("judging", place, len(jobs), names[0])
        found |= {name: pair for name, pair in ask(sets).items() if group(name) in names}
    say("judging", len(jobs), len(jobs), "")
    missing: list[str] = []
    if segmenter is not None and (names := [name for name in wanted if name in SEGMENTED]):
        seen, missing = segmented(segmenter, samples, request, held_out, names, rng.at("layouts"), 4 * draws)
        found |= seen
    if READ in wanted:
        assert isinstance(held_out, Scenes)
        found |= read(
            samples, request, held_out, rng.at("layouts"), 4 * draws, lambda n, of: say("reading", n, of, "layouts")
        )
    if VARIETY in wanted and alike is not None:
        found[VARIETY] = layout_diversity(alike, segmenter), None
    order = sorted(found, key=lambda name: list(NAMES).index(group(name)))
    own = {name: found[name][0] for name in order}
    real = {name: other for name in order if (other := found[name][1]) is not None}
    chance: dict[str, Estimate] = {}
    # Scenes of another style cannot be read.
    if followed(asked) and captions is not None and isinstance(held_out, Scenes) and held_out.style == "photo":
        follows, chance, ceiling = _read(samples, captions, held_out, rng.at("following"), 4 * draws, say)
        own |= follows
        real |= {name: estimate for name, estimate in ceiling.items() if name in follows}
    elif FOLLOWS in asked:
        raise Refusal(f"the measure {FOLLOWS!r} needs captions of scenes, painted in the style 'photo'")
    if not own:
        raise Refusal(f"none of the measures {', '.join(asked)} can be taken of these pictures")
    counts = {
        "samples": len(s),
        "train": len(x),
        "held_out": len(z),
        "compared": sets.compared,
        "train_sha256": x.sha256,
        "held_out_sha256": z.sha256,
    }
    said = layouts if s.labels is None else s.labels
    known = {} if drawn is None else {**drawn, "labels": None if said is None else fingerprint(said)}
    features, eyes = (None if one is None else one.record for one in (extractor, segmenter))
    return Report(own, real, features, counts, chance, known, eyes, tuple(missing))


def _read(
    samples: Source, captions: Sequence[str], held_out: Scenes, rng: Rng, draws: int, tell: Tell
) -> tuple[dict[str, Estimate], dict[str, Estimate], dict[str, Estimate]]:
    """What readers find of the captions: in samples, by chance, and in real scenes."""
    some = subset(len(samples), FOLLOWED)
    rows = subset(len(held_out), len(some))
    both = len(some) + len(rows)
    pictures, texts = shown(samples[some][0], "the samples"), [captions[row] for row in some]
    own, chance = following(pictures, texts, rng, draws, lambda n: tell("reading", n, both, "samples"))
    real, said = held_out[rows][0], held_out.texts(rows)
    ceiling, _ = following(real, said, rng, draws, lambda n: tell("reading", len(some) + n, both, "real scenes"))
    return own, chance, ceiling


def trained(train: Source, held_out: Source, **given: Any) -> Extractor:
    """The extractor of a labelled train split, read a piece at a time; further arguments as of ``Extractor.train``."""
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
    return Extractor.train(torch.cat(small), classes, other, sha256=digest.hexdigest(), **given)


def _labelled(source: Source) -> bool:
    return len(source) > 1 and "label" in source[subset(2, None)][1]
