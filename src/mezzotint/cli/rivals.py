"""Two runs held against each other: what each was found to be worth, and whether the difference means anything.

Of two runs with several reports, those are compared that were measured most alike, the newest first. What was measured
with other rulers, or differs in more than one way, is not compared but refused, in a sentence that names what differs;
whoever knows that it makes no difference says so with ``--despite``, whose keys the sentence names all at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mezzotint.cli.console import number, table
from mezzotint.cli.results import reports
from mezzotint.cli.words import TESTS, good
from mezzotint.core.errors import Refusal, nearest
from mezzotint.metrics import Difference, Estimate, Record, compare, records
from mezzotint.metrics.record import NEEDED, OF, estimate_of, hindered, unlike

_LOOKED_AT = 20  # reports of a run
_COUNTS = ("count", "against")
_KEY = r"[\w.]+"
_MEANT = {
    "steps": "sampler",
    "scale": "guidance",
    "seed": "seeds",
    "samples": "count",
    "held_out": "reference",
    "train": "reference",
    "ema": "average",
    "images": "weights",
    "model": "weights",
    "checkpoint": "weights",
}
"""What a person calls a key, or a part of what it stands for."""


@dataclass(frozen=True)
class Rivals:
    """Two runs by their reports.

    Arguments:
        one, other: as the person wrote them.
        mine, theirs: a report of each.
        found: by measure, the difference, or the sentence that refuses it.
        despite: what the person said may differ.
    """

    one: str
    other: str
    mine: Mapping[str, Any]
    theirs: Mapping[str, Any]
    found: Mapping[str, Difference | str] = field(default_factory=dict)
    despite: Sequence[str] = ()

    @classmethod
    def of(cls, one: str, other: str, despite: Sequence[str] = ()) -> Rivals | None:
        """Those of two run folders whose reports agree best; None where one of them was never evaluated."""
        pairs = [
            cls(one, other, mine, theirs, differences(mine, theirs, despite), despite)
            for theirs in islice(reports(Path(other)), _LOOKED_AT)
            for mine in islice(reports(Path(one)), _LOOKED_AT)
        ]
        # The fewest keys last: of pairs of which nothing can be compared, the one that lacks least.
        return max(pairs, key=lambda pair: (len(pair.compared), len(pair.found), -len(pair.keys)), default=None)

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
                "clear": found.clear and name not in TESTS,
                "better": self.better(name),
            }
            for name, found in self.found.items()
        }

    @cached_property
    def keys(self) -> list[str]:
        """What ``--despite`` has to name besides, so that every measure is compared."""
        here, there = records(self.mine), records(self.theirs)
        rulers, subjects = dict[str, None](), dict[str, None]()
        for name in self.refused:
            found = hindered(here[name], there[name], self.despite)
            rulers |= dict.fromkeys(found[0])
            subjects |= dict.fromkeys(found[1][1:])
        return [*rulers, *subjects]

    def why(self, call: Callable[[str], str] = str) -> str:
        """Which measures are not compared, why, and what to do about it, in one sentence; nothing where all are.

        Arguments:
            call: what a measure is called.
        """
        if not self.refused:
            return ""
        here, there = records(self.mine), records(self.theirs)
        differ = dict[str, str]()
        for name in self.refused:
            wanted = {key for keys in hindered(here[name], there[name], self.despite) for key in keys}
            for key, (mine, theirs) in unlike(here[name], there[name]).items():
                if key in wanted:
                    plain = isinstance(mine, int | float) and isinstance(theirs, int | float)
                    differ.setdefault(key, f"{key} ({mine:,} and {theirs:,})" if plain else key)
        if not differ:
            return "; ".join(dict.fromkeys(self.refused.values()))
        alone = "" if len(differ) == 1 else ", and no one of them explains a difference alone"
        refused, unlikes = listed([call(name) for name in self.refused]), listed(list(differ.values()))
        return (
            f"{refused}: the reports differ in {unlikes}{alone}; measure both alike, or pass "
            f"--despite {','.join([*self.despite, *self.keys])} where you know that it makes no difference"
        )

    def text(self) -> str:
        """Which reports were held against each other, the differences as a table, and what was not compared."""
        rows = []
        for name, found in self.compared.items():
            mine, theirs, real = self.estimates(name)
            rows.append([
                name,
                *(f"{number(e.value)}{_bracket(e.low, e.high)}" if e else "-" for e in (mine, theirs, real)),
                f"{number(found.value)}{_bracket(found.low, found.high)}",
                self.answer(name),
            ])  # fmt: skip
        head = ("difference", self.one, self.other, "real", "first - second", "")
        sides = ((self.one, self.mine), (self.other, self.theirs))
        told = ["\n".join(f"report of {name}: {', '.join(facts(report))}" for name, report in sides)]
        told += [table(head, rows)] if rows else []
        told += [f"not compared: {self.why()}"] if self.refused else []
        return "\n\n".join(told)

    def answer(self, name: str) -> str:
        """What came of a measure, in a few words."""
        if name in TESTS:
            return "a test each"
        better = self.better(name)
        return f"clear: {better}" if better else "clear" if self.compared[name].clear else "not clear"


def facts(report: Mapping[str, Any]) -> list[str]:
    """What a report was made with, a few words each."""
    from mezzotint.cli.evaluate import guidance

    sampler, counts, model = report.get("sampler") or {}, report.get("counts") or {}, report.get("model") or {}
    extractor, images = report.get("extractor") or {}, model.get("images")
    bound = report.get("bound") or {}
    made = [
        f"{counts.get('samples', 0):,} samples",
        f"{str(sampler.get('part', '')).rpartition('.')[2]} in {sampler.get('steps')} steps",
        "" if bound or "reconstruction" in report else guidance(dict(report)),
    ]
    if "reconstruction" in report:
        made = ["what comes back of held-out samples"]
    how = [
        *(made if not bound else [f"a bound by {str(bound.get('part', '')).rpartition('.')[2]}"]),
        f"seed {report.get('seed')}",
        f"average {model['average']:g}" if model.get("average") else None,
        f"after {images:,} images" if isinstance(images, int) else None,
        f"weights {str(model.get('sha256'))[:12]}",
        f"reference {str(counts.get('held_out_sha256'))[:12]}",
        f"extractor {str(extractor['sha256'])[:12]}" if "sha256" in extractor else None,
    ]
    return [part for part in how if part]


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
            meant = _MEANT.get(key)
            hint = f"its key is {meant!r}" if meant in known else nearest(key, sorted(known))
            raise Refusal(f"--despite {key} is nothing that a report says: {hint}")
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


def listed(names: Sequence[str]) -> str:
    """Names inside a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bracket(low: float, high: float) -> str:
    return "" if low != low else f" [{number(low)}, {number(high)}]"
