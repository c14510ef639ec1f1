"""What can be said of a scene, and what a sentence of this kind claims.

A caption names objects in one of several ways: with more or fewer of their attributes, grouped where they are alike, by
their places, or one beside another. :func:`claims` reads such a sentence back, whoever wrote it, so that a picture can
be held to it: a caption never says more than what :func:`claims` finds in it.

    a red circle and two blue squares
    a picture of a small striped red circle left of a large blue square
    a large dotted green star at the top left, a small red ring at the bottom, on a tiled sand background
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.words import (
    COLOURS,
    FORMS,
    GROUNDS,
    PLACES,
    PRIVATE,
    RELATIONS,
    SIZES,
    TEXTURES,
    TINTS,
)

NUMBERS = ("no", "a", "two", "three", "four", "five", "six", "seven", "eight")
STYLES = ("mixed", "short", "full", "dense", "relations")
_OPENINGS = ("", "", "a picture of ", "a scene with ")
_APART, _LEAN = 0.15, 0.05
_FORM = {f"{form}{'es' if form == 'cross' else 's'}": form for form in FORMS} | {form: form for form in FORMS}


@dataclass(frozen=True)
class Claim:
    """So many objects with these attributes; None where nothing is said.

    Arguments:
        count: how many.
        form, colour, size, texture, place: words.
    """

    count: int = 1
    form: str | None = None
    colour: str | None = None
    size: str | None = None
    texture: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Claims:
    """What a sentence claims.

    Arguments:
        objects: every group that is named.
        relations: (first, relation, second), numbers of groups.
        ground, tint: of the background.
    """

    objects: tuple[Claim, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    ground: str | None = None
    tint: str | None = None


def place_of(x: float, y: float) -> int:
    """The third of the picture, of nine, that holds a place, x and y from 0 to 1 across and down."""
    column, row = (min(2, max(0, int(3 * value))) for value in (x, y))
    return 3 * row + column


def relation_of(across: float, down: float) -> int:
    """How a place lies to another one, from the way to it, in units of the shorter side; 0 where that is not clear."""
    wide, high = abs(across), abs(down)
    if max(wide, high) < _APART or abs(wide - high) < _LEAN:
        return 0
    if wide > high:
        return RELATIONS.index("left of" if across < 0 else "right of")
    return RELATIONS.index("above" if down < 0 else "below")


def describe(plan: Plan, style: str, subject: str = "") -> list[str]:
    """A caption a scene.

    Arguments:
        plan: the scenes.
        style: ``short`` (colours and forms), ``full`` (all that an object is), ``dense`` (places and the background,
            too), ``relations`` (one object beside another where that is clear), or ``mixed``, one of these by chance.
        subject: the word for a private subject.
    """
    return [_sentence(plan, row, style, subject) for row in range(len(plan))]


def _sentence(plan: Plan, row: int, style: str, subject: str) -> str:
    u = plan.phrasing[row]
    if style == "mixed":
        style = STYLES[1 + int(u[0] * 4)]
    opening = _OPENINGS[int(u[1] * len(_OPENINGS))]
    objects = [k for k in range(plan.form.shape[1]) if plan.form[row, k] >= 0]
    if u[2] < 0.5:
        objects.reverse()
    if style == "relations":
        said = _relation(plan, row, objects, u[3], subject)
        if said:
            return opening + said
        style = "full"
    groups: dict[tuple[str, str], int] = {}
    for k in objects:
        name = _name(plan, row, k, style != "short", subject)
        where = _place(plan, row, k) if style == "dense" else ""
        groups[name, where] = groups.get((name, where), 0) + 1
    said_parts = [f"{_counted(name, many)}{where}" for (name, where), many in groups.items()]
    if style == "dense":
        ground = f"{GROUNDS[plan.ground[row]]} {TINTS[plan.tint[row]]} background"
        return f"{opening}{', '.join(said_parts)}, on a {ground}"
    return opening + _listed(said_parts)


def _name(plan: Plan, row: int, k: int, full: bool, subject: str) -> str:
    form, colour = FORMS[plan.form[row, k]], COLOURS[plan.colour[row, k]]
    if plan.texture[row, k] == PRIVATE:
        return f"{subject} {form}"
    if not full:
        return f"{colour} {form}"
    texture = TEXTURES[plan.texture[row, k]]
    kind = f"{texture} " if texture != "plain" else ""
    return f"{SIZES[plan.size[row, k]]} {kind}{colour} {form}"


def _place(plan: Plan, row: int, k: int) -> str:
    height, width = plan.aspect
    place = PLACES[place_of(plan.x[row, k] / width, plan.y[row, k] / height)]
    return f" {'in' if place == 'centre' else 'at'} the {place}"


def _relation(plan: Plan, row: int, objects: Sequence[int], u: float, subject: str) -> str:
    """One object beside another, both called by what only they are."""
    names = {k: _name(plan, row, k, False, subject) for k in objects}
    single = [k for k in objects if list(names.values()).count(names[k]) == 1]
    pairs = [
        (i, j, relation_of(plan.x[row, i] - plan.x[row, j], plan.y[row, i] - plan.y[row, j]))
        for i in single
        for j in single
        if i != j
    ]
    clear = [pair for pair in pairs if pair[2]]
    if not clear:
        return ""
    i, j, relation = clear[int(u * len(clear))]
    full = [_name(plan, row, k, u * len(clear) % 1 < 0.5, subject) for k in (i, j)]
    return f"a {full[0]} {RELATIONS[relation]} a {full[1]}"


def _counted(name: str, many: int) -> str:
    if many == 1:
        return f"a {name}"
    form = name.rsplit(" ", 1)[-1]
    return f"{NUMBERS[many]} {name}{'es' if form == 'cross' else 's'}"


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


WORDS = frozenset(
    word
    for words in (FORMS, _FORM, COLOURS, SIZES, TEXTURES, PLACES, GROUNDS, TINTS, RELATIONS, NUMBERS, _OPENINGS)
    for phrase in words
    for word in phrase.split()
)
"""Every word that captions know."""
_NUMBER = rf"(?:{'|'.join(NUMBERS)}|an|one)\b"
_OBJECT = re.compile(
    rf"\b({_NUMBER})\s+((?:(?!{_NUMBER})[\w-]+\s+){{0,8}}?)({'|'.join(sorted(_FORM, key=len, reverse=True))})\b"
    rf"(?:\s+(?:at|in|on)\s+the\s+({'|'.join(sorted(PLACES, key=len, reverse=True))})\b)?"
)
_BACKGROUND = re.compile(r"\bon an? ((?:[\w-]+ ){0,8})background\b")  # bounded, or a long caption takes its square


def claims(text: str) -> Claims:
    """What a sentence says of objects, their places and the background; words it does not know are passed over."""
    text = " ".join(text.lower().split())
    background = _BACKGROUND.search(text)
    told = background.group(1).split() if background else []
    text = text[: background.start()] if background else text
    objects, spans = [], []
    for found in _OBJECT.finditer(text):
        number, words, form, place = found.groups()
        said = words.split()
        objects.append(
            Claim(
                count=NUMBERS.index(number) if number in NUMBERS else 1,
                form=_FORM[form],
                colour=next((word for word in said if word in COLOURS), None),
                size=next((word for word in said if word in SIZES), None),
                texture=next((word for word in said if word in TEXTURES), None),
                place=place,
            )
        )
        spans.append(found.span())
    relations = []
    for first in range(len(objects) - 1):
        between = text[spans[first][1] : spans[first + 1][0]].strip(" ,")
        if between in RELATIONS[1:]:
            relations.append((first, between, first + 1))
    return Claims(
        tuple(objects),
        tuple(relations),
        next((word for word in told if word in GROUNDS), None),
        next((word for word in told if word in TINTS), None),
    )
