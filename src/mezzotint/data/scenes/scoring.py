"""How right readers are, where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mezzotint.data.scenes.captions import place_of, relation_of
from mezzotint.data.scenes.numbers import Array, Ints
from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.reading import ABSTAINS, UNSURE, Reading
from mezzotint.data.scenes.words import COLOURS

OF_OBJECTS = ("form", "colour", "size", "texture", "place")
ATTRIBUTES = (*OF_OBJECTS, "count", "relation", "ground", "tint")
_NEAR = 0.2
"""How far, in units of the shorter side, an object may be read from where it is."""


@dataclass(frozen=True)
class Score:
    """Answers of a reader, by attribute (``ATTRIBUTES``).

    A true object that is not read is wrong in all of its attributes, and so is a read one that is not there.

    Arguments:
        asked: how many there are.
        right: how many are right.
        abstained: of how many the reader did not say.
        both, either: (7,), pixels of the background and of every colour, in truth and as read, and in one of these.
    """

    asked: Ints
    right: Ints
    abstained: Ints
    both: Ints
    either: Ints

    def __add__(self, other: Score) -> Score:
        return Score(
            *(getattr(self, name) + getattr(other, name) for name in ("asked", "right", "abstained", "both", "either"))
        )

    def share(self, names: Sequence[str] = ATTRIBUTES[:7], answered: bool = False) -> float:
        """Right among all that is asked of these attributes, or among what was answered."""
        at = [ATTRIBUTES.index(name) for name in names]
        asked = int(self.asked[at].sum()) - (int(self.abstained[at].sum()) if answered else 0)
        return int(self.right[at].sum()) / max(asked, 1)

    @property
    def overlap(self) -> float:
        """Mean over the background and the colours of the intersection of truth and reading over their union."""
        there = self.either > 0
        return float((self.both[there] / self.either[there]).mean())


def scored(reading: Reading, plan: Plan, row: int, layout: Array) -> Score:
    """A reading held against the scene.

    Arguments:
        reading: of a picture.
        plan, row: the scene.
        layout: (H, W), the true map of colours.
    """
    asked, right, abstained = (dict.fromkeys(ATTRIBUTES, 0) for _ in range(3))

    def ask(name: str, truth: int | None, read: int | None) -> None:
        asked[name] += 1
        right[name] += read is not None and read == truth
        abstained[name] += read == ABSTAINS

    true = [int(k) for k in np.flatnonzero(plan.there[row])]
    pairs = _paired(reading, plan, row, true)
    height, width = plan.aspect
    for k in true:
        seen = reading.objects[pairs[k]] if k in pairs else None
        for name in OF_OBJECTS:
            place = place_of(plan.x[row, k] / width, plan.y[row, k] / height)
            truth = place if name == "place" else int(getattr(plan, name)[row, k])
            ask(name, truth, None if seen is None else getattr(seen, name))
    for j, seen in enumerate(reading.objects):
        if j not in pairs.values():
            for name in OF_OBJECTS:
                if getattr(seen, name) != ABSTAINS:
                    ask(name, None, getattr(seen, name))
    ask("count", len(true), reading.count)
    for i in true:
        for k in true:
            relation = relation_of(float(plan.x[row, i] - plan.x[row, k]), float(plan.y[row, i] - plan.y[row, k]))
            if i < k and relation:
                read = reading.relation(pairs[i], pairs[k]) if i in pairs and k in pairs else None
                ask("relation", relation, ABSTAINS if read == 0 else read)
    ask("ground", int(plan.ground[row]), reading.ground)
    ask("tint", int(plan.tint[row]), reading.tint)
    read_map = reading.layout.numpy()
    classes = range(len(COLOURS) + 1)
    both = np.array([((layout == c) & (read_map == c)).sum() for c in classes])
    either = np.array([((layout == c) | (read_map == c)).sum() for c in classes])
    assert UNSURE not in classes
    answers = [np.array([table[name] for name in ATTRIBUTES]) for table in (asked, right, abstained)]
    return Score(answers[0], answers[1], answers[2], both, either)


def _paired(reading: Reading, plan: Plan, row: int, true: Sequence[int]) -> dict[int, int]:
    """Which object of the reading is which of the scene: the nearest pairs first."""
    ways = sorted(
        (float(np.hypot(seen.x - plan.x[row, k], seen.y - plan.y[row, k])), k, j)
        for k in true
        for j, seen in enumerate(reading.objects)
    )
    found: dict[int, int] = {}
    for way, k, j in ways:
        if way < _NEAR and k not in found and j not in found.values():
            found[k] = j
    return found
