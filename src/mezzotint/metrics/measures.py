"""The measures that :func:`mezzotint.metrics.evaluate` knows by name, and which of them it takes unless told otherwise.

What is usual is what answers a question that no other one answers, at a cost that stays below that of drawing the
samples: are they of what was asked (``accuracy``, ``classification_score``), as a crowd where real ones are
(``frechet_features``, ``frechet_infinity``, ``frechet_pixels``, ``kid``), one by one (``precision``, ``density``) and
all over (``recall``, ``coverage``, ``diversity``), textured as they are (``patches``), and new (``neighbour_ratio``,
``close_share``, ``copying``)? ``all`` adds what says the same in another way. What pictures do not allow, such as
``accuracy`` without labels, is left out, and refused where it was asked for by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mezzotint.core.errors import Refusal, nearest
from mezzotint.metrics.coverage import BALLS, covering
from mezzotint.metrics.diversity import LEAST as OF_A_CLASS
from mezzotint.metrics.diversity import pairwise_distance
from mezzotint.metrics.energy import energy_distance
from mezzotint.metrics.estimate import Estimate
from mezzotint.metrics.extractor import SIDE, Extractor
from mezzotint.metrics.features import asked_of
from mezzotint.metrics.frechet import frechet, frechet_infinity
from mezzotint.metrics.judge import ROWS
from mezzotint.metrics.judge import SIDE as JUDGE_SIDE
from mezzotint.metrics.kernel import SIZE, SUBSETS, kid
from mezzotint.metrics.layouts import NAMES as LAID
from mezzotint.metrics.layouts import READ, VARIETY
from mezzotint.metrics.memorisation import LEAST, cells_of, copying
from mezzotint.metrics.neighbours import SIDE as NEIGHBOUR_SIDE
from mezzotint.metrics.neighbours import close_share, neighbour_ratio
from mezzotint.metrics.patches import between
from mezzotint.metrics.pictures import subset
from mezzotint.metrics.score import SPLITS, extractor_score
from mezzotint.metrics.seen import PIXEL_SIDE, Seen
from mezzotint.metrics.sets import Pair, Rows, Sets, Table
from mezzotint.metrics.sliced import DIRECTIONS, sliced_wasserstein
from mezzotint.metrics.train_on_synthetic import classification_accuracy

USUAL, ALL = "usual", "all"
IOU = "iou"
FOLLOWS = "follows"
PAIRED = 10_000
"""How many pictures of either set are looked at pair by pair."""
PATCHED, EACH, LINES = 1000, 16, 128
"""Pictures of either set whose patches are compared, patches of each, and directions."""
CELLS = 10
_WIDE, _ROOMY = 256, 5  # features of which distances at many counts are affordable, and rows for each of them

Found = dict[str, Pair]


def _always(sets: Sets) -> bool:
    return True


def _never(sets: Sets) -> bool:
    return False


def _nothing(sets: Sets) -> str:
    return ""


@dataclass(frozen=True)
class Measure:
    """A measure by name.

    Arguments:
        ask: of sets; several names may share one, which is asked once.
        looks: what it looks at beside the pixels: ``labels``, ``features``, ``patches``.
        lacks: what sets lack for it, in words; nothing where they lack nothing.
        usual: whether it is taken unless told otherwise.
        how: further things it is measured with, for its record.
    """

    ask: Callable[[Sets], Found]
    looks: tuple[str, ...] = ()
    lacks: Callable[[Sets], str] = _nothing
    usual: Callable[[Sets], bool] = _always
    how: Mapping[str, Any] = field(default_factory=dict)


def _pixels(seen: Seen) -> Table:
    return seen.coarse


def _features(seen: Seen) -> Table:
    assert seen.features is not None
    return seen.features


def _either(seen: Seen) -> Table:
    return seen.coarse if seen.features is None else seen.features


def _judged(sets: Sets) -> Found:
    s, z = sets.samples, sets.held_out
    assert s.labels is not None and z.labels is not None
    return {"accuracy": (sets.judge.accuracy(s.small, s.labels), sets.judge.accuracy(z.small, z.labels))}


def _learnt(sets: Sets) -> Found:
    s, x, z = sets.samples, sets.train, sets.held_out
    assert s.labels is not None and x.labels is not None and z.labels is not None
    k = min(sets.compared, ROWS)
    few, some = sets.mine[subset(sets.compared, k)], subset(len(x), k)
    own = classification_accuracy(s.small[few], s.labels[few], z.small, z.labels)
    if k < min(len(x), ROWS):
        real = classification_accuracy(x.small[some], x.labels[some], z.small, z.labels)
    else:
        real = sets.judge.accuracy(z.small, z.labels)
    return {"classification_score": (own, real)}


def _unlabelled(sets: Sets) -> str:
    labels = sets.samples.labels
    if labels is None or sets.train.labels is None or sets.held_out.labels is None:
        return "labels of the samples, of the training pictures and of the held-out ones"
    return "" if len(torch.unique(labels[sets.mine])) > 1 else "samples of two classes at least"


def _frechet(name: str, table: Callable[[Seen], Table]) -> Callable[[Sets], Found]:
    return lambda sets: {name: sets.both(table, lambda a, b: frechet(a, b, sets.rng.at(name), sets.draws, name))}


def _infinity(sets: Sets) -> Found:
    name, rng, draws = "frechet_infinity", sets.rng.at("frechet_infinity"), sets.draws // 5
    return {name: sets.both(_features, lambda a, b: frechet_infinity(a, b, rng, draws, name))}


def _straight(sets: Sets) -> bool:
    """Whether a line through distances at several counts is straight, and its price fair."""
    features = int(_features(sets.samples).shape[1])
    return features <= _WIDE and min(sets.compared, len(sets.held_out)) >= _ROOMY * features


def _unseen(least: int = 2) -> Callable[[Sets], str]:
    def lacks(sets: Sets) -> str:
        if sets.samples.features is None:
            return "features: an extractor that is given, or labels, from which one learns"
        enough = min(sets.compared, len(sets.held_out)) >= least
        return "" if enough else f"{least} samples and as many held-out pictures"

    return lacks


def _kid(sets: Sets) -> Found:
    return {"kid": sets.both(_features, lambda a, b: kid(a, b, rng=sets.rng.at("kid"), name="kid"), PAIRED)}


def _covering(sets: Sets) -> Found:
    k = min(sets.compared, len(sets.held_out), PAIRED)
    real, some = _features(sets.held_out)[subset(len(sets.held_out), k)], subset(sets.compared, k)
    own, other = covering(real, *(_features(seen)[rows[some]] for seen, rows in sets.drawn))
    return {name: (own[name], other[name]) for name in BALLS}


def _score(sets: Sets) -> Found:
    assert isinstance(sets.extractor, Extractor)
    head, rng = sets.extractor.classifier.head, sets.rng.at("extractor_score")

    def ask(seen: Seen, rows: Rows) -> Estimate:
        with torch.no_grad():
            logits = head(torch.from_numpy(_features(seen)[rows]).to(head.weight.dtype))
        return extractor_score(logits, rng=rng, name="extractor_score")

    own, other = (ask(seen, rows) for seen, rows in sets.drawn)
    return {"extractor_score": (own, other)}


def _unclassed(sets: Sets) -> str:
    if not isinstance(sets.extractor, Extractor):
        return "a classifier as the extractor"
    return "" if sets.compared >= SPLITS else f"{SPLITS} samples"


def _diversity(sets: Sets) -> Found:
    def ask(seen: Seen, rows: Rows) -> Estimate:
        some = rows[subset(len(rows), PAIRED)]
        return pairwise_distance(_either(seen)[some], _classes(sets, seen)[some], "diversity")

    # Beside held-out pictures: an extractor draws those together that it learnt from.
    return {"diversity": (ask(sets.samples, sets.mine), ask(sets.held_out, np.arange(len(sets.held_out))))}


def _classes(sets: Sets, seen: Seen) -> torch.Tensor:
    """The labels of a set, or one for all where the samples have none."""
    labels = None if sets.samples.labels is None else seen.labels
    return torch.zeros(len(seen), dtype=torch.int64) if labels is None else labels


def _lonely(sets: Sets) -> str:
    each = _classes(sets, sets.samples)[sets.mine], _classes(sets, sets.held_out)
    enough = min(int(torch.bincount(labels).max()) for labels in each) >= OF_A_CLASS
    return "" if enough else f"{OF_A_CLASS} samples of a class, and as many held-out pictures"


def _patches(sets: Sets) -> Found:
    s, x, z = (seen.patches for seen in (sets.samples, sets.train, sets.held_out))
    assert s is not None and x is not None and z is not None
    own, other = (between(some, z, LINES, sets.rng.at("patches")) for some in (s, x))
    return {name: (own[name], other[name]) for name in own}


def _sliced(sets: Sets) -> Found:
    name, rng = "sliced_pixels", sets.rng.at("sliced_pixels")
    return {name: sets.both(_pixels, lambda a, b: sliced_wasserstein(a, b, DIRECTIONS, rng, name))}


def _energy(sets: Sets) -> Found:
    name = "energy_pixels"
    return {name: sets.both(_pixels, lambda a, b: energy_distance(a, b, name), PAIRED)}


def _near(sets: Sets) -> Found:
    rng, draws = sets.rng.at("neighbours"), 4 * sets.draws
    return {
        "neighbour_ratio": (neighbour_ratio(sets.near, sets.apart, rng, draws), None),
        "close_share": (close_share(sets.near, sets.apart, rng, draws), None),
    }


def _copying(sets: Sets) -> Found:
    s, x, z = (_either(seen) for seen in (sets.samples, sets.train, sets.held_out))
    # As many cells as can have twice the pictures they need.
    count = max(1, min(CELLS, min(len(s), len(z)) // (2 * LEAST)))
    cells = cells_of(x[subset(len(x), PAIRED)], s, z, count=count)
    held = [min((some == cell).sum() for some in cells) for cell in range(count)]
    return {"copying": (copying(sets.near, sets.apart, (cells[0], cells[1]) if max(held) >= LEAST else None)[0], None)}


def _too_few(sets: Sets) -> str:
    enough = min(len(sets.samples), len(sets.held_out)) >= LEAST
    return "" if enough else f"{LEAST} samples and as many held-out pictures"


_BALLS = {
    name: Measure(_covering, ("features",), _unseen(max(BALLS.values()) + 1), how={"k": k}) for name, k in BALLS.items()
}
MEASURES: dict[str, Measure] = {
    "accuracy": Measure(_judged, ("labels",), _unlabelled),
    "classification_score": Measure(_learnt, ("labels",), _unlabelled),
    "frechet_features": Measure(_frechet("frechet_features", _features), ("features",), _unseen()),
    "frechet_infinity": Measure(_infinity, ("features",), _unseen(10), _straight),
    "frechet_pixels": Measure(_frechet("frechet_pixels", _pixels)),
    "kid": Measure(_kid, ("features",), _unseen(), how={"subsets": SUBSETS, "size": SIZE}),
    **_BALLS,
    "extractor_score": Measure(_score, ("features",), _unclassed, _never, {"splits": SPLITS}),
    "diversity": Measure(_diversity, ("features",), _lonely),
    "patches": Measure(_patches, ("patches",), how={"patches": EACH, "directions": LINES}),
    "sliced_pixels": Measure(_sliced, usual=_never, how={"directions": DIRECTIONS}),
    "energy_pixels": Measure(_energy, usual=_never),
    "neighbour_ratio": Measure(_near),
    "close_share": Measure(_near),
    "copying": Measure(_copying, ("features",), _too_few, how={"cells": CELLS}),
}
"""Every measure of pictures by name; ``patches`` is one number a level."""
NAMES = (*MEASURES, FOLLOWS, *LAID)
"""With the one that is asked of captions, which is one number a kind of question, and those that are of layouts."""


def chosen(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names of measures, and of the groups ``usual`` and ``all``, each once; one that is unknown is refused."""
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if name not in (*NAMES, USUAL, ALL):
            raise Refusal(f"{name!r} is no measure: {nearest(name, [*NAMES, USUAL, ALL])}")
    if not asked:
        raise Refusal(f"no measure is named; known: {', '.join((*NAMES, USUAL, ALL))}")
    return tuple(dict.fromkeys(asked))


def needs(names: str | Iterable[str], what: str) -> bool:
    """Whether any of these measures looks at labels, features or patches."""
    asked = chosen(names)
    every = USUAL in asked or ALL in asked
    return any(what in measure.looks for name, measure in MEASURES.items() if every or name in asked)


def followed(names: str | Iterable[str]) -> bool:
    """Whether captions are to be read of."""
    return any(name in (FOLLOWS, USUAL, ALL) for name in chosen(names))


def laid(names: str | Iterable[str]) -> tuple[str, ...]:
    """Which measures of layouts are asked for."""
    asked = chosen(names)
    return tuple(name for name in LAID if USUAL in asked or ALL in asked or name in asked)


def group(name: str) -> str:
    """The measure a number belongs to: ``patches`` of ``patches_16``, ``iou`` of ``iou_sky``."""
    return next((one for one in ("patches", FOLLOWS, IOU) if name.startswith(f"{one}_")), name)


def taken(names: str | Iterable[str], sets: Sets) -> dict[Callable[[Sets], Found], list[str]]:
    """What to ask of these sets, and for which measures.

    Raises:
        Refusal: a measure was asked for by name, and these sets lack something for it.
    """
    asked, out = chosen(names), dict[Callable[[Sets], Found], list[str]]()
    for name, measure in MEASURES.items():
        if lacking := measure.lacks(sets):
            if name in asked:
                raise Refusal(f"the measure {name!r} needs {lacking}")
        elif name in asked or ALL in asked or (USUAL in asked and measure.usual(sets)):
            out.setdefault(measure.ask, []).append(name)
    return out


def measured_with(
    name: str,
    counts: Mapping[str, Any],
    extractor: Mapping[str, Any] | None,
    segmenter: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What a measure of :func:`mezzotint.metrics.evaluate` was measured with.

    Arguments:
        name: of the measure.
        counts: of the report.
        extractor: the record of the extractor, or None.
        segmenter: the record of what sees layouts, or None.
    """
    measure = group(name)
    if measure in LAID:
        eye = segmenter if segmenter is not None and measure != READ else {}
        return {
            "reference": None,
            "extractor": eye.get("sha256"),
            "resize": eye.get("resize") or (f"by area to at most {PIXEL_SIDE} a side" if measure == VARIETY else None),
            "clamping": "[-1, 1]",
        }
    known = MEASURES.get(measure)
    own = extractor if extractor is not None and known is not None and "features" in known.looks else {}
    train, held_out = counts.get("train_sha256"), counts.get("held_out_sha256")
    both = known is None or measure in ("neighbour_ratio", "close_share", "copying")
    reference: Any = [train, held_out] if both else held_out
    side: int | None = None
    if known is not None and "features" in known.looks:
        side = PIXEL_SIDE if measure in ("diversity", "copying") and not own else SIDE
    elif measure in ("frechet_pixels", "sliced_pixels", "energy_pixels"):
        side = PIXEL_SIDE
    elif measure in ("accuracy", "classification_score"):
        reference, side = train if measure == "accuracy" else held_out, JUDGE_SIDE
    elif measure in ("neighbour_ratio", "close_share"):
        side = NEIGHBOUR_SIDE
    if measure in (FOLLOWS, "diversity", "extractor_score"):
        reference = None  # the readers were fitted to nothing, and the others look at the samples alone
    return {
        "reference": reference,
        "extractor": own.get("sha256"),
        **({"features": said} if (said := asked_of(own)) else {}),
        "resize": own.get("resize") or (None if side is None else f"by area to at most {side} a side"),
        "clamping": "[-1, 1]",
        **({} if known is None else known.how),
    }
