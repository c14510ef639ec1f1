"""Under which licence the pictures of a set may be shown: what a page that holds some of them has to say.

A set of your own has none here: you know it. The sentences are those of the people who published a set, as far as they
said it; before you publish pictures, read their own page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import PART, resolve


@dataclass(frozen=True)
class Licence:
    """What may be done with the pictures of a set.

    Arguments:
        name: of the licence, or ``none stated``.
        terms: what it asks of whoever shows the pictures, in a few words.
        research: whether it allows research only; such pictures stay in run folders.
    """

    name: str
    terms: str
    research: bool = False

    def __str__(self) -> str:
        only = "; for research only, so they stay in run folders" if self.research else ""
        return f"{self.name}: {self.terms}{only}"


OURS = Licence("Apache-2.0", "painted by mezzotint, free to be shown")


def licence_of(tree: Any) -> tuple[str, Licence | None]:
    """The set that the spec of a data set is of, and its licence, without a picture being read.

    Arguments:
        tree: as a config has it; of a set around another, what is inside counts.
    """
    while isinstance(tree, Mapping) and isinstance(tree.get("source"), Mapping):
        tree = tree["source"]
    name = tree.get(PART) if isinstance(tree, Mapping) else None
    if not isinstance(name, str):
        return "", None
    try:
        found = getattr(resolve(name, ("data",)), "licence", None)
    except Refusal:  # of a package that is not here
        found = None
    return name, found if isinstance(found, Licence) else None


def said(*trees: Any) -> str:
    """What a page or a sheet that holds pictures of these sets says of them, as a sentence; each set once."""
    found = dict(licence_of(tree) for tree in trees)
    known = [f"{name}, licence {licence}" for name, licence in found.items() if licence is not None]
    own = "" if len(known) == len(found) else "See what the licence of your own pictures allows before you publish it."
    return " ".join(filter(None, [f"Pictures of {'; and '.join(known)}." if known else "", own]))
