"""Do the measures see what they are for? Flawed sets beside an untouched one, through every measure.

A measure that nothing fails is no measure. So real pictures are spoilt in ways whose name everybody knows, and every
measure is asked of the spoilt set and of an untouched one of the same count, against the same reference:

    noised copies      training pictures under a little noise
    blurred            fresh pictures, smoothed
    modes dropped      fresh pictures, three tenths of the classes missing
    memorised          training pictures, as they are
    shuffled labels    fresh pictures with each other's labels and captions
    nothing            other fresh pictures: what is caught here is caught by chance

A flaw is *caught* where the measure is worse than on the untouched set, in its own bad direction, by more than the
interval of the difference (:func:`mezzotint.metrics.compare`); by chance that happens in at most one of forty. Of each
measure it is said beforehand which flaws it is meant to catch, and which it cannot see by what it is: a distance of two
sets that looks at no label is the same for any, and training pictures are a fresh draw of the very law that they are
compared with. No measure catches all, which is the point: a model is judged by several.

Judge and extractor learn from pictures that are in no other set. Where an extractor has learnt from the training
pictures, its features of these are of another kind than of fresh ones, and it catches memorised sets for that alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.stop import poll
from mezzotint.metrics import (
    Difference,
    Estimate,
    Extractor,
    Judge,
    Record,
    classification_accuracy,
    close_share,
    compare,
    copying,
    coverage,
    density,
    energy_distance,
    following,
    frechet,
    kernel_distance,
    nearest,
    neighbour_ratio,
    pairwise_distance,
    patch_wasserstein,
    precision,
    recall,
    sliced_wasserstein,
)
from mezzotint.metrics.pictures import flat
from mezzotint.metrics.record import NEEDED, OF
from mezzotint.metrics.seen import SMALL_SIDE

NOISE = 0.7
"""Of the noised copies, over the standard deviation of a pixel."""
BLUR = 1 / 16
"""Standard deviation of what smooths, over the shorter side."""
DROPPED = 0.3
"""The share of classes that are missing."""
READ = 60
"""How many scenes are read, which takes longer than to look at them."""
COARSE = 512
"""At most so many pixels a picture, where sets are compared by the covariance of their pixels."""
NOTHING = "nothing"
"""The flaw that is none."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with what they were asked to show.

    Arguments:
        x: pictures (N, C, H, W).
        y: their classes (N,).
        texts: their captions, or ().
    """

    x: Tensor
    y: Tensor
    texts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Labelled:
        """Some of them."""
        rows = np.asarray(rows)
        texts = tuple(self.texts[row] for row in rows) if self.texts else ()
        return Labelled(self.x[torch.as_tensor(rows)], self.y[torch.as_tensor(rows)], texts)


@dataclass(frozen=True)
class Bench:
    """What flawed sets are held against: parts of one set of real pictures, none of which is in two of them.

    Arguments:
        train: what a model would have learnt from.
        reference: what samples are compared with.
        untouched: fresh pictures, as good as samples can be.
        faults: the flawed sets by name, as many pictures each as in ``untouched``.
        draws: resamplings of intervals.
        seen: pictures seen in training the extractor; None: as many as it usually sees.
        apart: what judge and extractor learn from; None, or none at all: the training pictures.
    """

    train: Labelled
    reference: Labelled
    untouched: Labelled
    faults: Mapping[str, Labelled]
    draws: int = 100
    seen: int | None = None
    apart: Labelled | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(
        cls, real: Labelled, count: int, seed: int = 0, draws: int = 100, seen: int | None = None, teach: int = 0
    ) -> Bench:
        """Cut real pictures into the parts of a bench and spoil some.

        Arguments:
            real: at least five times ``count``, and ``teach`` more.
            count: of every set but the training set, which is twice as large.
            seed: of the cut and of the noise.
            draws: resamplings of intervals.
            seen: pictures seen in training the extractor.
            teach: pictures, in no other set, that judge and extractor learn from; 0: they learn from the training set.
        """
        if len(real) < 5 * count + teach:
            raise Refusal(f"a bench of {count} pictures a set needs {5 * count + teach} real ones, not {len(real)}")
        rng = Rng([seed]).at("sanity")
        order = rng.uniform("cut", (len(real),))[0].numpy().argsort()
        train, reference = real.take(order[: 2 * count]), real.take(order[2 * count : 3 * count])
        pool = order[3 * count : len(order) - teach]
        untouched = real.take(pool[:count])
        classes = int(real.y.max()) + 1
        missing = round(DROPPED * classes)
        kept = [row for row in pool if int(real.y[row]) >= missing]
        if len(kept) < count:
            raise Refusal(f"without {missing} of its classes {len(kept)} fresh pictures are left, fewer than {count}")
        some = train.take(range(count))
        noise = rng.normal("noise", tuple(some.x.shape))[0].to(some.x)
        mixed = rng.uniform("labels", (count,))[0].numpy().argsort()
        told = untouched.take(mixed)
        faults = {
            "noised copies": replace(some, x=(some.x + NOISE * float(real.x.std()) * noise).clamp(-1, 1)),
            "blurred": replace(untouched, x=blurred(untouched.x)),
            "modes dropped": real.take(kept[:count]),
            "memorised": some,
            "shuffled labels": replace(untouched, y=told.y, texts=told.texts),
            NOTHING: real.take(pool[count : 2 * count]),
        }
        return cls(train, reference, untouched, faults, draws, seen, real.take(order[len(order) - teach :]))

    @cached_property
    def teacher(self) -> Labelled:
        """What judge and extractor learn from."""
        return self.apart or self.train

    @cached_property
    def judge(self) -> Judge:
        """Fitted to the teacher's pictures."""
        return Judge.fit(self.teacher.x, self.teacher.y)

    @cached_property
    def extractor(self) -> Extractor:
        """Trained on the teacher's pictures."""
        return Extractor.train(self.teacher.x, self.teacher.y, seen=self.seen)

    def features(self, pictures: Labelled) -> NDArray[np.float64]:
        """What the extractor makes of a set."""
        return self._once("features", pictures, lambda: self.extractor.features(pictures.x))

    def pixels(self, pictures: Labelled) -> NDArray[np.float64]:
        """The pixels of a set at 32 a side."""
        return self._once("pixels", pictures, lambda: flat(pictures.x, SMALL_SIDE))

    def coarse(self, pictures: Labelled) -> NDArray[np.float64]:
        """The pixels of a set, halved until a covariance can be known of them."""
        side = max(pictures.x.shape[-2:])
        while pictures.x.shape[1] * side**2 > COARSE:
            side = (side + 1) // 2
        return self._once("coarse", pictures, lambda: flat(pictures.x, side))

    def near(self, pictures: Labelled) -> NDArray[np.float64]:
        """How far each picture lies from its nearest training picture."""
        return self._once("near", pictures, lambda: nearest(pictures.x, self.train.x))

    def _once(self, what: str, pictures: Labelled, make: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        key = what, id(pictures.x)
        if key not in self._kept:
            self._kept[key] = pictures.x, make()  # the pictures too, so that no other gets their id
        found: NDArray[np.float64] = self._kept[key][1]
        return found


@dataclass(frozen=True)
class Measure:
    """A measure as the suite asks it.

    Arguments:
        ask: of a bench and a set.
        bad: 1 where more is worse, -1 where less is.
        meant: the flaws it is meant to catch.
        blind: the flaws that it cannot see by what it is.
    """

    ask: Callable[[Bench, Labelled], Estimate]
    bad: int
    meant: tuple[str, ...] = ()
    blind: tuple[str, ...] = ()


def _on(measure: Callable[..., Estimate], table: str) -> Callable[[Bench, Labelled], Estimate]:
    """A measure of the same table of a set and of the reference: of their features or of their pixels."""
    return lambda b, s: measure(getattr(b, table)(s), getattr(b, table)(b.reference))


def _frechet(table: str) -> Callable[[Bench, Labelled], Estimate]:
    return lambda b, s: frechet(getattr(b, table)(s), getattr(b, table)(b.reference), draws=b.draws)


def _near(measure: Callable[..., Estimate]) -> Callable[[Bench, Labelled], Estimate]:
    return lambda b, s: measure(b.near(s), b.near(b.reference), draws=4 * b.draws)


def _patches(bench: Bench, s: Labelled) -> Estimate:
    """Of the finest level; a level of less than eight pixels a side would hold little but one patch."""
    found = patch_wasserstein(s.x, bench.reference.x, 16, 64, smallest=8)
    return next(iter(found.values()))


_SETS, _COPIES = ("memorised", "shuffled labels"), ("shuffled labels",)
MEASURES: dict[str, Measure] = {
    "accuracy": Measure(
        lambda b, s: b.judge.accuracy(s.x, s.y), -1, ("shuffled labels",), ("modes dropped", "memorised")
    ),
    "classification score": Measure(
        lambda b, s: classification_accuracy(s.x, s.y, b.reference.x, b.reference.y),
        -1,
        ("shuffled labels", "modes dropped"),
        ("memorised",),
    ),
    "Frechet, features": Measure(_frechet("features"), 1, ("modes dropped",), _SETS),
    "Frechet, pixels": Measure(_frechet("coarse"), 1, ("noised copies", "blurred"), _SETS),
    "kernel distance": Measure(_on(kernel_distance, "features"), 1, ("modes dropped",), _SETS),
    "energy, pixels": Measure(_on(energy_distance, "pixels"), 1, ("blurred",), _SETS),
    "sliced, pixels": Measure(_on(sliced_wasserstein, "pixels"), 1, ("noised copies", "blurred"), _SETS),
    "patches": Measure(_patches, 1, ("noised copies", "blurred"), _SETS),
    "precision": Measure(_on(precision, "features"), -1, (), ("modes dropped", *_SETS)),
    # Not meant to see dropped modes, though it may: one far-off sample has a ball that recalls a whole class, which is
    # what coverage was made against.
    "recall": Measure(_on(recall, "features"), -1, (), _SETS),
    "density": Measure(_on(density, "features"), -1, (), ("modes dropped", *_SETS)),
    "coverage": Measure(_on(coverage, "features"), -1, ("modes dropped",), _SETS),
    "pairwise distance": Measure(lambda b, s: pairwise_distance(b.features(s), s.y), -1, (), ("modes dropped", *_SETS)),
    "neighbour ratio": Measure(_near(neighbour_ratio), -1, ("memorised",), _COPIES),
    "close share": Measure(_near(close_share), 1, ("memorised",), _COPIES),
    "copying": Measure(lambda b, s: copying(b.near(s), b.near(b.reference))[0], -1, ("memorised",), _COPIES),
    "follows": Measure(
        lambda b, s: following(s.x[:READ], s.texts[:READ])[0]["follows"],
        -1,
        ("shuffled labels",),
        ("modes dropped", "memorised"),
    ),
}
"""Every measure by name; a further one is a further line. ``follows`` is asked of sets with captions only."""


@dataclass(frozen=True)
class Cell:
    """One measure of one flaw.

    Arguments:
        estimate: of the flawed set.
        untouched: of the untouched one.
        difference: of the two.
        caught: whether it is worse, beyond the interval of the difference.
    """

    estimate: Estimate
    untouched: Estimate
    difference: Difference
    caught: bool


def verdict(measure: Measure, flaw: str, caught: bool) -> str:
    """What it means that a measure caught a flaw, or did not.

    Returns:
        ``caught`` and ``missed`` where it is meant to; ``chance`` and ``blind`` where it cannot; ``also`` and
        ``unseen`` where it may.
    """
    if flaw in measure.meant:
        return "caught" if caught else "missed"
    if flaw == NOTHING or flaw in measure.blind:
        return "chance" if caught else "blind"
    return "also" if caught else "unseen"


def suite(bench: Bench, measures: Mapping[str, Measure] = MEASURES) -> dict[str, dict[str, Cell]]:
    """Every measure of every flaw: ``found[measure][flaw]``.

    Arguments:
        bench: what is held against what.
        measures: which.
    """
    found: dict[str, dict[str, Cell]] = {}
    for name, measure in measures.items():
        if name == "follows" and not bench.untouched.texts:
            continue
        plain = replace(measure.ask(bench, bench.untouched), name=name)
        found[name] = {}
        for flaw, pictures in bench.faults.items():
            poll()
            spoilt = replace(measure.ask(bench, pictures), name=name)
            # They were measured with the same things: by this function.
            apart = compare(Record(spoilt), Record(plain), despite=(*NEEDED, *OF, "count", "against"))
            worse = apart.low > 0 if measure.bad > 0 else apart.high < 0
            found[name][flaw] = Cell(spoilt, plain, apart, worse)
    return found


def blurred(pictures: Tensor) -> Tensor:
    """Pictures (N, C, H, W) smoothed by a Gaussian of a sixteenth of the shorter side; the rim is mirrored."""
    height, width = pictures.shape[-2:]
    deviation = BLUR * min(height, width)
    reach = min(math.ceil(3 * deviation), height - 1, width - 1)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / deviation) ** 2).to(pictures)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps).expand(pictures.shape[1], 1, -1, -1)
    wide = torch.nn.functional.pad(pictures, (reach, reach, reach, reach), mode="reflect")
    return torch.nn.functional.conv2d(wide, kernel, groups=pictures.shape[1])
