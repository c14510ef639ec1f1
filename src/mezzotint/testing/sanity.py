"""Do the measures see what they are for? Flawed sets beside an untouched one, through every measure.

A measure that nothing fails is no measure. So real pictures are spoilt in ways whose name everybody knows, and every
measure is asked of the spoilt set and of an untouched one of the same count, against the same reference:

    noised copies      training pictures under a little noise
    blurred            fresh pictures, smoothed
    modes dropped      fresh pictures, three tenths of the classes missing
    memorised          training pictures, as they are
    shuffled labels    fresh pictures with each other's labels and captions

A flaw is *caught* where the measure is worse than on the untouched set, in its own bad direction, by more than the
interval of the difference (:func:`mezzotint.metrics.compare`). No measure catches all five, which is the point: a
model is judged by several.
"""

from __future__ import annotations

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
from mezzotint.metrics.seen import PIXEL_SIDE

NOISE = 0.5
"""Of the noised copies, over the standard deviation of a pixel."""
DROPPED = 0.3
"""The share of classes that are missing."""
READ = 100
"""How many scenes are read, which takes longer than to look at them."""


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
    """

    train: Labelled
    reference: Labelled
    untouched: Labelled
    faults: Mapping[str, Labelled]
    draws: int = 100
    seen: int | None = None
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, real: Labelled, count: int, seed: int = 0, draws: int = 100, seen: int | None = None) -> Bench:
        """Cut real pictures into the parts of a bench and spoil some.

        Arguments:
            real: at least five times ``count``.
            count: of every set but the training set, which is twice as large.
            seed: of the cut and of the noise.
            draws: resamplings of intervals.
            seen: pictures seen in training the extractor.
        """
        if len(real) < 5 * count:
            raise Refusal(f"a bench of {count} pictures a set needs {5 * count} real ones, not {len(real)}")
        rng = Rng([seed]).at("sanity")
        order = rng.uniform("cut", (len(real),))[0].numpy().argsort()
        train, reference = real.take(order[: 2 * count]), real.take(order[2 * count : 3 * count])
        pool = order[3 * count :]
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
        }
        return cls(train, reference, untouched, faults, draws, seen)

    @cached_property
    def judge(self) -> Judge:
        """Fitted to the training pictures."""
        return Judge.fit(self.train.x, self.train.y)

    @cached_property
    def extractor(self) -> Extractor:
        """Trained on the training pictures."""
        return Extractor.train(self.train.x, self.train.y, seen=self.seen)

    def features(self, pictures: Labelled) -> NDArray[np.float64]:
        """What the extractor makes of a set."""
        return self._once("features", pictures, lambda: self.extractor.features(pictures.x))

    def pixels(self, pictures: Labelled) -> NDArray[np.float64]:
        """The pixels of a set at 16 a side."""
        return self._once("pixels", pictures, lambda: flat(pictures.x, PIXEL_SIDE))

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
    """

    ask: Callable[[Bench, Labelled], Estimate]
    bad: int
    meant: tuple[str, ...] = ()


def _fidelity(measure: Callable[..., Estimate]) -> Callable[[Bench, Labelled], Estimate]:
    return lambda bench, s: measure(bench.features(s), bench.features(bench.reference))


def _within(bench: Bench, s: Labelled) -> Estimate:
    return pairwise_distance(bench.features(s), s.y)


MEASURES: dict[str, Measure] = {
    "accuracy": Measure(lambda b, s: b.judge.accuracy(s.x, s.y), -1, ("shuffled labels",)),
    "classification score": Measure(
        lambda b, s: classification_accuracy(s.x, s.y, b.reference.x, b.reference.y),
        -1,
        ("shuffled labels", "modes dropped"),
    ),
    "Frechet, features": Measure(
        lambda b, s: frechet(b.features(s), b.features(b.reference), draws=b.draws), 1, ("modes dropped",)
    ),
    "Frechet, pixels": Measure(
        lambda b, s: frechet(b.pixels(s), b.pixels(b.reference), draws=b.draws), 1, ("noised copies", "blurred")
    ),
    "kernel distance": Measure(_fidelity(kernel_distance), 1, ("modes dropped",)),
    "energy, pixels": Measure(lambda b, s: energy_distance(b.pixels(s), b.pixels(b.reference)), 1, ("blurred",)),
    "sliced, pixels": Measure(
        lambda b, s: sliced_wasserstein(b.pixels(s), b.pixels(b.reference)), 1, ("noised copies", "blurred")
    ),
    "patches": Measure(
        lambda b, s: next(iter(patch_wasserstein(s.x, b.reference.x, 16, 64).values())), 1, ("noised copies", "blurred")
    ),
    "precision": Measure(_fidelity(precision), -1),
    "recall": Measure(_fidelity(recall), -1, ("modes dropped",)),
    "density": Measure(_fidelity(density), -1),
    "coverage": Measure(_fidelity(coverage), -1, ("modes dropped",)),
    "pairwise distance": Measure(_within, -1),
    "neighbour ratio": Measure(
        lambda b, s: neighbour_ratio(b.near(s), b.near(b.reference), draws=4 * b.draws), -1, ("memorised",)
    ),
    "close share": Measure(
        lambda b, s: close_share(b.near(s), b.near(b.reference), draws=4 * b.draws), 1, ("memorised",)
    ),
    "copying": Measure(lambda b, s: copying(b.near(s), b.near(b.reference))[0], -1, ("memorised",)),
    "follows": Measure(lambda b, s: following(s.x[:READ], s.texts[:READ])[0]["follows"], -1, ("shuffled labels",)),
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
    """Pictures (N, C, H, W) smoothed by (1, 2, 1) / 4 both ways, twice above 16 pixels a side; the rim is mirrored."""
    taps = torch.tensor([0.25, 0.5, 0.25]).to(pictures)
    kernel = (taps[:, None] * taps).expand(pictures.shape[1], 1, -1, -1)
    for _ in range(2 if min(pictures.shape[-2:]) > 16 else 1):
        wide = torch.nn.functional.pad(pictures, (1, 1, 1, 1), mode="reflect")
        pictures = torch.nn.functional.conv2d(wide, kernel, groups=pictures.shape[1])
    return pictures
