"""A record: an estimate together with how it was measured, so that it can be held to be like another, or refused.

Two Frechet distances with the same name are two different measures where one was taken of 5,000 pictures and the other
of 50,000, in other features, after another resizing, or against another reference. So a number is kept with all that
decides it. What a record says is of two kinds:

    measured with   reference, extractor, resize, clamping, count, against, and whatever a measure adds: these must
                    agree, or the difference is one of rulers
    measured of     weights, sampler, grid, guidance, average, seeds, labels: one of these may differ, and is then what
                    is compared; where two do, neither explains the difference alone

What differs beyond that refuses the comparison until it is named. The interval of a difference takes its two halves
from those of the estimates (method of variance estimates recovery),

    low = d - sqrt((a - low_a)^2 + (high_b - b)^2),    high = d + sqrt((high_a - a)^2 + (b - low_b)^2),    d = a - b,

which keeps a lopsided interval, such as Wilson's near 1, lopsided. It takes the two for independent; estimates that
share their seeds or their reference are not, and their difference is then known better than it says.

Source: Newcombe 1998, "Interval estimation for the difference between independent proportions" (method 10); Zou and
Donner 2008, "Construction of confidence limits about effect measures".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mezzotint.core.errors import Refusal, nearest
from mezzotint.metrics.estimate import Estimate

NEEDED = ("reference", "extractor", "resize", "clamping")
"""What a record has to say of what it was measured with; None where there is no such thing."""
OF = ("weights", "sampler", "grid", "guidance", "average", "seeds", "labels")
"""What may be the very thing that is compared."""
UNSAID = "(unsaid)"
"""What stands for an entry that a record lacks."""
_FIELDS = ("name", "count", "against")


@dataclass(frozen=True)
class Record:
    """An estimate and how it was measured.

    Arguments:
        estimate: the number, its interval and its counts.
        how: plain data. ``reference`` (SHA-256 of the pictures it was held against, or several), ``extractor``
            (SHA-256), ``resize`` and ``clamping`` in words; of what was drawn ``weights`` (SHA-256, None for real
            pictures), ``sampler``, ``grid``, ``guidance``, ``average`` (the relative length), ``seeds`` and ``labels``
            (SHA-256); further keys a measure wants to see agree. A key that is missing is unsaid, which is not None.
    """

    estimate: Estimate
    how: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # As it will be read back: a pair that became a list would be unlike itself.
        object.__setattr__(self, "how", _plain(dict(self.how)))

    def plain(self) -> dict[str, Any]:
        """The record as plain data for JSON."""
        return {**self.estimate.plain(), "how": dict(self.how)}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Record:
        """The record of plain data, as :meth:`plain` wrote it."""
        return cls(estimate_of(said), dict(said.get("how") or {}))

    def __str__(self) -> str:
        return str(self.estimate)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Difference:
    """What one record says more than another.

    Arguments:
        name: of the measure.
        value: the first minus the second.
        low, high: its 95 % interval; NaN where one of the two has none.
        between: what differs, by name; nothing for a repetition.
    """

    name: str
    value: float
    low: float
    high: float
    between: tuple[str, ...] = ()

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        by = f" by {_listed(self.between)}" if self.between else ""
        return f"{self.name} differs by {self.value:.4g} [{self.low:.4g}, {self.high:.4g}]{by}"


def estimate_of(said: Mapping[str, Any]) -> Estimate:
    """The estimate of plain data, as :meth:`Estimate.plain` wrote it; an interval of None is one of NaN."""
    try:
        low, high = (math.nan if said[key] is None else float(said[key]) for key in ("low", "high"))
        against = said.get("against")
        value = math.nan if said["value"] is None else float(said["value"])
        return Estimate(
            str(said["name"]), value, low, high, int(said["count"]), None if against is None else int(against)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Refusal(
            f"an estimate has name, value, low, high, count and against, and this is {str(said)[:100]!r}"
        ) from None


def origin(
    weights: str | None,
    sampler: Mapping[str, Any] | None = None,
    guidance: Any = None,
    average: float | None = None,
    seeds: Any = None,
    labels: str | None = None,
) -> dict[str, Any]:
    """What a record says of how its samples were drawn.

    Arguments:
        weights: SHA-256 of the model's weights; None: nobody drew, the pictures are real.
        sampler: its spec; the grid inside it becomes an entry of its own.
        guidance: its spec, None for the plain model.
        average: the relative length of the average of the weights; None for the exported ones.
        seeds: what the keys of the samples were made from.
        labels: SHA-256 of what the samples were asked to show, or None.
    """
    rule = None if sampler is None else {key: value for key, value in sampler.items() if key != "grid"}
    grid = None if sampler is None else sampler.get("grid")
    return dict(zip(OF, (weights, rule, grid, guidance, average, seeds, labels), strict=True))


def unlike(a: Record, b: Record) -> dict[str, tuple[Any, Any]]:
    """What differs between two records, or is needed and unsaid in one of them: by name, what either says."""
    out: dict[str, tuple[Any, Any]] = {}
    for key in _FIELDS:
        mine, theirs = getattr(a.estimate, key), getattr(b.estimate, key)
        if mine != theirs:
            out[key] = mine, theirs
    keys = dict.fromkeys((*NEEDED, *OF, *a.how, *b.how))
    for key in keys:
        both = a.how.get(key, UNSAID), b.how.get(key, UNSAID)
        if both[0] != both[1] or (key in NEEDED and both[0] == UNSAID):
            out[key] = both
    return out


def hindered(a: Record, b: Record, despite: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """What forbids two records of one measure to be compared: unlike rulers, and what was drawn unlike, if two or more.

    Labels are not asked for where the counts differ: of more samples they are others of necessity. Nothing that was
    drawn with forbids to hold real pictures beside drawn ones.

    Arguments:
        a, b: the records.
        despite: names of what may differ.
    """
    differ = unlike(a, b)
    rulers = [key for key in differ if key not in OF and key not in despite]
    # Some measures count the samples, others count real pictures against them.
    others = {"labels"} if {"count", "against"} & set(differ) else set()
    subjects = [key for key in differ if key in OF and key not in despite and key not in others]
    one_is_real = (a.how.get("weights", UNSAID) is None) != (b.how.get("weights", UNSAID) is None)
    return rulers, subjects if len(subjects) > 1 and not one_is_real else []


def compare(a: Record, b: Record, despite: str | Sequence[str] = ()) -> Difference:
    """How much more the first says than the second, refused where they were not measured alike.

    One thing that the samples were drawn with may differ: that is what is compared. Real pictures (``weights`` None)
    may stand beside drawn ones.

    Arguments:
        a, b: two records of one measure.
        despite: names of what may differ besides, because you know what it does: ``("seeds", "guidance")``.

    Raises:
        Refusal: they are of two measures, were not measured with the same things, or more than one thing differs.
    """
    allowed = (despite,) if isinstance(despite, str) else tuple(despite)
    known = {*_FIELDS, *NEEDED, *OF, *a.how, *b.how} - {"name"}
    for name in allowed:
        if name not in known:
            raise Refusal(f"despite={name!r} is nothing that a record says: {nearest(name, sorted(known))}")
    differ = unlike(a, b)
    if "name" in differ:
        raise Refusal(f"{a.estimate.name!r} and {b.estimate.name!r} are two measures, so there is nothing to compare")
    name = a.estimate.name
    rulers, subjects = hindered(a, b, allowed)
    both = _listed(subjects) if subjects else ""
    if rulers:
        said = "; ".join(f"{key} is {_short(differ[key][0])} and {_short(differ[key][1])}" for key in rulers)
        besides = f"; besides, {both} differ, so neither explains the difference alone" if subjects else ""
        raise Refusal(
            f"these two values of {name} were not measured alike: {said}{besides}; measure both with the same, or pass "
            f"despite={_tuple([*rulers, *subjects[1:]])} where you know that it makes no difference"
        )
    if subjects:
        raise Refusal(
            f"of these two values of {name}, {both} differ, so neither explains the difference alone; "
            f"change one at a time, or pass despite={_tuple(subjects[1:])} to compare them all the same"
        )
    x, y = a.estimate, b.estimate
    value = x.value - y.value
    low = value - math.hypot(x.value - x.low, y.high - y.value)
    high = value + math.hypot(x.high - x.value, y.value - y.low)
    return Difference(name, value, low, high, tuple(key for key, (mine, theirs) in differ.items() if mine != theirs))


def _short(value: Any) -> str:
    """A value in a sentence; of a hash, as much as tells it from others."""
    text = str(value)
    if isinstance(value, str) and len(text) == 64 and " " not in text:
        return text[:12]
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(repr(name) for name in names)}{',' if len(names) == 1 else ''})"
