"""How much of a caption a picture shows: the measure of models that paint what a sentence says.

Every word of a caption (:func:`.captions.claims`) is a question to the reader's :class:`.reading.Reading`. Each object
that is named is looked for among those that are read, no two in one, such that most of what is said holds. An object
that is not there answers nothing, and what a reader does not say is counted for itself; so nothing is won by pictures
that cannot be read. What is won by accident is measured: hold the picture to another picture's caption.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations
from math import perm

import numpy as np
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.data.scenes.captions import Claim, Claims, claims
from mezzotint.data.scenes.reader import Reader
from mezzotint.data.scenes.reading import ABSTAINS, Reading, Seen
from mezzotint.data.scenes.words import COLOURS, FORMS, GROUNDS, PLACES, RELATIONS, SIZES, TEXTURES, TINTS

WORDS = {"form": FORMS, "colour": COLOURS, "size": SIZES, "texture": TEXTURES, "place": PLACES}
KINDS = (*WORDS, "count", "relation", "ground", "tint")
_MOST = 2000  # assignments that are tried one by one


@dataclass(frozen=True)
class Following:
    """Answers to the questions of captions, by kind of question (``KINDS``).

    Arguments:
        asked: how many questions there were.
        met: how many of them the picture answers as the caption does.
        abstained: of how many the reader did not say.
        captions, whole: how many captions there were, and of how many every question was met.
    """

    asked: tuple[int, ...]
    met: tuple[int, ...]
    abstained: tuple[int, ...]
    captions: int = 1
    whole: int = 0

    @property
    def share(self) -> float:
        """Of the questions that were asked, those that were met; what was not said is not met."""
        return sum(self.met) / max(sum(self.asked), 1)

    def shares(self) -> dict[str, float]:
        """The same for every kind of question that was asked."""
        return {kind: met / asked for kind, asked, met in zip(KINDS, self.asked, self.met, strict=True) if asked}

    def __add__(self, other: Following) -> Following:
        asked, met, abstained = (
            tuple(a + b for a, b in zip(getattr(self, name), getattr(other, name), strict=True))
            for name in ("asked", "met", "abstained")
        )
        return Following(asked, met, abstained, self.captions + other.captions, self.whole + other.whole)


NOTHING = Following((0,) * len(KINDS), (0,) * len(KINDS), (0,) * len(KINDS), 0, 0)


def total(all_: Iterable[Following]) -> Following:
    """The answers to many captions together."""
    return sum(all_, NOTHING)


def followed(x: Tensor, captions: Sequence[str], reader: Reader | None = None) -> list[Following]:
    """What each of the pictures (B, 3, H, W) shows of its caption.

    Raises:
        Refusal: there is not a caption a picture.
    """
    if len(x) != len(captions):
        raise Refusal(f"{len(x)} pictures cannot be held to {len(captions)} captions: give each its own")
    readings = (reader or Reader()).read(x)
    return [held(reading, claims(text)) for reading, text in zip(readings, captions, strict=True)]


def held(reading: Reading, claimed: Claims) -> Following:
    """What a picture that was read shows of what a caption claims."""
    asked, met, abstained = (dict.fromkeys(KINDS, 0) for _ in range(3))
    slots = [(number, claim) for number, claim in enumerate(claimed.objects) for _ in range(claim.count)]
    chosen = _assigned(reading, claimed, slots)

    def ask(kind: str, answer: bool | None) -> None:
        asked[kind] += 1
        met[kind] += answer is True
        abstained[kind] += answer is None

    for (_, claim), which in zip(slots, chosen, strict=True):
        seen = None if which is None else reading.objects[which]
        for kind, word in _said(claim):
            ask(kind, False if seen is None else _answer(seen, kind, word))
    for number, claim in enumerate(claimed.objects):
        if claim.count != 1:
            # "two red rings and a striped red ring" are three red rings: what another group speaks of is not counted.
            others = {
                which
                for (group, other), which in zip(slots, chosen, strict=True)
                if which is not None and group != number and _all_of(reading.objects[which], other)
            }
            ask("count", _counted(reading, claim, others))
    for first, relation, second in claimed.relations:
        groups = _groups(slots, chosen, first, second)
        if all(groups):  # nothing lies beside what is said not to be there
            ask("relation", _related(reading, groups, relation))
    for kind, words, read in (("ground", GROUNDS, reading.ground), ("tint", TINTS, reading.tint)):
        word = getattr(claimed, kind)
        if word is not None:
            ask(kind, None if read == ABSTAINS else words[read] == word)
    answers = [tuple(table[kind] for kind in KINDS) for table in (asked, met, abstained)]
    return Following(answers[0], answers[1], answers[2], 1, int(asked == met))


def _said(claim: Claim) -> list[tuple[str, str]]:
    return [(kind, getattr(claim, kind)) for kind in WORDS if getattr(claim, kind) is not None]


def _answer(seen: Seen, kind: str, word: str) -> bool | None:
    read = getattr(seen, kind)
    return None if read == ABSTAINS else WORDS[kind][read] == word


def _all_of(seen: Seen, claim: Claim) -> bool:
    """Whether an object is everything that is said of it."""
    return all(_answer(seen, kind, word) is True for kind, word in _said(claim))


def _counted(reading: Reading, claim: Claim, others: set[int]) -> bool | None:
    """Whether as many as are claimed are as claimed, without the others, which are spoken of elsewhere."""
    left = [seen for k, seen in enumerate(reading.objects) if k not in others]
    answers = [[_answer(seen, kind, word) for kind, word in _said(claim)] for seen in left]
    alike = sum(all(answer is True for answer in each) for each in answers)
    perhaps = sum(all(answer is not False for answer in each) for each in answers)
    if alike == perhaps:
        return alike == claim.count if reading.count != ABSTAINS else None
    if reading.count == ABSTAINS and claim.count > perhaps:
        return None  # there may be more than was read
    return None if alike <= claim.count <= perhaps else False


def _groups(slots: Sequence[tuple[int, Claim]], chosen: Sequence[int | None], *numbers: int) -> list[list[int | None]]:
    """What was chosen for the objects of groups."""
    return [[which for (group, _), which in zip(slots, chosen, strict=True) if group == number] for number in numbers]


def _related(reading: Reading, groups: Sequence[Sequence[int | None]], relation: str) -> bool | None:
    """Whether each object of one group lies so to each of another."""
    answers = [_beside(reading, one, other, relation) for one in groups[0] for other in groups[1]]
    return False if False in answers else None if None in answers else True


def _beside(reading: Reading, one: int | None, other: int | None, relation: str) -> bool | None:
    if one is None or other is None:
        return False
    if not (reading.objects[one].whole and reading.objects[other].whole):
        return None
    return RELATIONS[reading.relation(one, other)] == relation


def _assigned(reading: Reading, claimed: Claims, slots: list[tuple[int, Claim]]) -> list[int | None]:
    """An object of the reading, or none, for every slot: those that meet most."""
    count, places = len(reading.objects), len(slots)
    if not count or not places:
        return [None] * places
    worth = np.array(
        [
            [sum(float(_answer(seen, *said) or 0) for said in _said(claim)) for seen in reading.objects]
            for _, claim in slots
        ]
    )
    most = max(count, places)
    if perm(most, min(count, places)) > _MOST:
        from scipy.optimize import linear_sum_assignment  # loaded when needed

        rows, columns = linear_sum_assignment(-worth)
        found = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        return [found.get(slot) for slot in range(places)]

    def value(chosen: tuple[int | None, ...]) -> float:
        met = sum(float(worth[slot, which]) for slot, which in enumerate(chosen) if which is not None)
        for first, relation, second in claimed.relations:
            groups = _groups(slots, chosen, first, second)
            met += float(all(groups) and (_related(reading, groups, relation) or 0))
        return met

    everyone: list[int | None] = [*range(count), *[None] * max(0, places - count)]
    best: tuple[int | None, ...] = max(permutations(everyone, places), key=lambda chosen: value(tuple(chosen)))
    return list(best)
