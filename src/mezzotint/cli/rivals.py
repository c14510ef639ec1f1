"""Two runs held against each other: what each was found to be worth, and whether the difference means anything.

Of two runs with several reports, those are compared that were measured most alike, the newest first. What was measured
with other rulers, or differs in more than one way, is not compared but refused, measure by measure, in a sentence that
names what differs; whoever knows that it makes no difference says so with ``--despite``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from mezzotint.cli.console import number, table
from mezzotint.cli.results import reports
from mezzotint.cli.words import good
from mezzotint.core.errors import Refusal, nearest
from mezzotint.metrics import Difference, Estimate, Record, compare, records
from mezzotint.metrics.record import NEEDED, OF, estimate_of

_LOOKED_AT = 20  # reports of a run
_COUNTS = ("count", "against")
_KEY = r"[\w.]+"


@dataclass(frozen=True)
class Rivals:
    """Two runs by their reports.

    Arguments:
        one, other: as the person wrote them.
        mine, theirs: a report of each.
        found: by measure, the difference, or the sentence that refuses it.
    """

    one: str
    other: str
    mine: Mapping[str, Any]
    theirs: Mapping[str, Any]
    found: Mapping[str, Difference | str] = field(default_factory=dict)

    @classmethod
    def of(cls, one: str, other: str, despite: Sequence[str] = ()) -> Rivals | None:
        """Those of two run folders whose reports agree best; None where one of them was never evaluated."""
        pairs = [
            cls(one, other, mine, theirs, differences(mine, theirs, despite))
            for theirs in islice(reports(Path(other)), _LOOKED_AT)
            for mine in islice(reports(Path(one)), _LOOKED_AT)
        ]
        return max(pairs, key=lambda pair: (len(pair.compared), len(pair.found)), default=None)

    @property
    def compared(self) -> dict[str, Difference]:
        """The differences that were not refused."""
        return {name: found for name, found in self.found.items() if isinstance(found, Difference)}

    @property
    def refused(self) -> dict[str, str]:
        """Why the others were, by measure."""
        return {name: found for name, found in self.found.items() if isinstance(found, str)}

    def estimates(self, name: str) -> tuple[Estimate, Estimate, Estimate | None]:
        """A measure of the one, of the other, and of real pictures in the place of samples."""
        mine, theirs = (estimate_of(document["measures"][name]) for document in (self.mine, self.theirs))
        said = self.mine["measures"][name].get("real")
        return mine, theirs, estimate_of(said) if isinstance(said, Mapping) else None

    def better(self, name: str) -> str | None:
        """Which of the two is clearly better by a measure; None where that cannot be said."""
        found = self.compared.get(name)
        if found is None or not found.clear or good(name) not in ("higher", "lower"):
            return None
        return self.one if (found.value > 0) == (good(name) == "higher") else self.other

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            name: {"refused": found}
            if isinstance(found, str)
            else {
                "value": found.value,
                "low": found.low,
                "high": found.high,
                "between": list(found.between),
                "clear": found.clear,
                "better": self.better(name),
            }
            for name, found in self.found.items()
        }

    def text(self) -> str:
        """The differences as a table, and the sentences that refuse the others."""
        rows = []
        for name, found in self.compared.items():
            mine, theirs, real = self.estimates(name)
            rows.append([
                name,
                *(f"{number(e.value)}{_bracket(e.low, e.high)}" if e else "-" for e in (mine, theirs, real)),
                f"{number(found.value)}{_bracket(found.low, found.high)}",
                f"clear: {self.better(name)}" if self.better(name) else "clear" if found.clear else "not clear",
            ])  # fmt: skip
        head = ("difference", self.one, self.other, "real", "first - second", "")
        told = [table(head, rows)] if rows else []
        refused = dict.fromkeys(self.refused.values())
        return "\n\n".join([*told, *(f"not compared: {sentence}" for sentence in refused)])


def differences(
    mine: Mapping[str, Any], theirs: Mapping[str, Any], despite: Sequence[str]
) -> dict[str, Difference | str]:
    """By measure of two reports, what the first says more than the second, or why that cannot be said.

    Raises:
        Refusal: ``despite`` names what no record of these reports says.
    """
    here, there = records(mine), records(theirs)
    known = {*_COUNTS, *NEEDED, *OF, *(key for one in (*here.values(), *there.values()) for key in one.how)}
    for key in despite:
        if key not in known:
            raise Refusal(f"--despite {key} is nothing that a report says: {nearest(key, sorted(known))}")
    return {name: _difference(here[name], there[name], despite) for name in here if name in there}


def _difference(a: Record, b: Record, despite: Sequence[str]) -> Difference | str:
    said = {*_COUNTS, *NEEDED, *OF, *a.how, *b.how}
    try:
        return compare(a, b, [key for key in despite if key in said])
    except Refusal as refusal:
        return flagged(str(refusal))


def flagged(sentence: str) -> str:
    """A refusal of the library in the words of the command: ``despite=('count',)`` is ``--despite count``."""

    def said(found: re.Match[str]) -> str:
        return f"--despite {','.join(re.findall(_KEY, found[1]))}"

    return re.sub(r"despite=\(([^)]*)\)", said, sentence)


def _bracket(low: float, high: float) -> str:
    return "" if low != low else f" [{number(low)}, {number(high)}]"
