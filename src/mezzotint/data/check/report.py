"""What was found in a folder of pictures, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mezzotint.data.check.kinds import KINDS, SEVERITIES
from mezzotint.data.data import Data
from mezzotint.data.folder import Folder
from mezzotint.data.pairs import Pairs
from mezzotint.data.table import Table

NAMED = 100
"""How many files a problem names; it counts them all."""
BROKEN = (
    "empty", "not a picture", "damaged", "too large", "unreadable", "link outside", "table broken", "table outside",
    "table missing", "unpaired", "map broken",
)  # fmt: skip
"""What ``skip_broken`` leaves out."""
SIZES = (64, 32, 16, 8)
"""Sides that are proposed, the largest first: what a small machine can train."""
_ENLARGED = 0.05
ASPECTS = {"1:2 or taller": 0.5, "2:3": 2 / 3, "3:4": 0.75, "1:1": 1.0, "4:3": 4 / 3, "3:2": 1.5, "2:1 or wider": 2.0}


@dataclass(frozen=True)
class Case:
    """One file of a problem, by its path inside the folder, and what is special about it ("" for nothing)."""

    file: str
    why: str = ""


@dataclass(frozen=True)
class Problem:
    """One kind of finding.

    Arguments:
        kind: its name in :data:`~mezzotint.data.check.kinds.KINDS`.
        count: how many files it has.
        cases: the first of them, ``NAMED`` at most.
    """

    kind: str
    count: int
    cases: tuple[Case, ...]

    @property
    def severity(self) -> str:
        """``wrong``, ``warning`` or ``hint``."""
        return KINDS[self.kind].severity

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are named."""
        return tuple(case.file for case in self.cases)


@dataclass(frozen=True)
class Report:
    """A folder of pictures.

    Arguments:
        folder: as it was named.
        pictures: how many can be read.
        held_out: how many of these are held out.
        classes: how many of these each class has; {} without classes.
        formats: how many of these each format has.
        modes: the same by what a pixel is: grey, RGB, RGBA, palette, CMYK, 16-bit grey, ...
        sizes: (width, height), upright, and how many have it.
        grey: whether no picture shows a colour, however it is stored.
        tables: files of a table beside the pictures.
        columns: which column of the table is what, by the field of :class:`~mezzotint.data.table.Table`.
        problems: what was found, the worst first.
        things: the share of the pixels that each thing has in the maps of a folder of pairs; None of another folder.
    """

    folder: str
    pictures: int
    held_out: int
    classes: Mapping[str, int]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int] = field(repr=False)
    grey: bool
    tables: tuple[str, ...]
    columns: Mapping[str, str]
    problems: tuple[Problem, ...]
    things: Mapping[str, float] | None = None

    def __getitem__(self, kind: str) -> Problem:
        """The problem of a kind; one that was not found has no files."""
        return next((problem for problem in self.problems if problem.kind == kind), Problem(kind, 0, ()))

    @property
    def healthy(self) -> bool:
        """Whether nothing worse than a hint was found."""
        return all(problem.severity == "hint" for problem in self.problems)

    @property
    def broken(self) -> int:
        """How many files ``skip_broken`` leaves out."""
        return sum(self[kind].count for kind in BROKEN)

    @property
    def aspects(self) -> dict[str, int]:
        """How many pictures have about which width to height, by the nearest of a few."""
        found = dict.fromkeys(ASPECTS, 0)
        for (width, height), count in self.sizes.items():
            found[min(ASPECTS, key=lambda name: abs(math.log(width / height / ASPECTS[name])))] += count
        return {name: count for name, count in found.items() if count}

    def sides(self, shares: Sequence[float] = (0.0, 0.5, 1.0)) -> dict[str, list[int]]:
        """Width, height and the shorter side of the pictures at these shares of their number."""
        rows = {
            "width": [(width, count) for (width, _), count in self.sizes.items()],
            "height": [(height, count) for (_, height), count in self.sizes.items()],
            "shorter side": [(min(size), count) for size, count in self.sizes.items()],
        }
        return {name: [_at(row, share) for share in shares] for name, row in rows.items()}

    @property
    def size(self) -> int | None:
        """The side that is proposed; None where all pictures have one size already that a small machine can train.

        The largest of ``SIZES`` that enlarges hardly a picture: one in twenty at most.
        """
        if len(self.sizes) == 1 and max(next(iter(self.sizes))) <= SIZES[0]:
            return None
        shorter = self.sides([_ENLARGED])["shorter side"][0] if self.sizes else SIZES[0]
        return next((side for side in SIZES if side <= shorter), SIZES[-1])

    def kept(self, size: int | None) -> float:
        """The share of all pixels that a centred square keeps, a mean over pictures; 1 where they stay as they are."""
        whole = sum(self.sizes.values())
        if size is None or not whole:
            return 1.0
        return sum(count * min(sides) / max(sides) for sides, count in self.sizes.items()) / whole

    def data(self, size: int | None = None) -> Data:
        """The data set that is proposed: what can be read, brought to ``size``, or to the size that is proposed.

        Raises:
            Refusal: something has to be mended first; the sentence says what.
        """
        side, channels, broken = self.size if size is None else size, 1 if self.grey else 3, self.broken > 0
        if self.things is not None:
            return Pairs(self.folder, size=side, channels=channels, skip_broken=broken)
        if self.tables:
            declared: dict[str, Any] = dict(self.columns)
            return Table(self.folder, **declared, size=side, channels=channels, skip_broken=broken)
        return Folder(self.folder, size=side, channels=channels, skip_broken=broken)

    def plain(self) -> dict[str, Any]:
        """For JSON; bytes of a name that are no UTF-8 are written out."""
        problems = [
            {"kind": p.kind, "severity": p.severity, "says": KINDS[p.kind].says, "fix": KINDS[p.kind].fix}
            | {"count": p.count, "files": [asdict(case) for case in p.cases]}
            for p in self.problems
        ]
        sizes = [[*size, count] for size, count in sorted(self.sizes.items(), key=lambda item: -item[1])]
        found = asdict(self) | {"sizes": sizes[:NAMED], "different_sizes": len(sizes), "problems": problems}
        return _written(found | {"aspects": self.aspects, "sides": self.sides(), "healthy": self.healthy})  # type: ignore[no-any-return]


def ordered(kinds: Mapping[str, tuple[int, list[Case]]]) -> tuple[Problem, ...]:
    """Problems, the worst first and then as they stand in the table."""
    places = {kind: place for place, kind in enumerate(KINDS)}
    found = [Problem(kind, count, tuple(cases)) for kind, (count, cases) in kinds.items()]
    return tuple(sorted(found, key=lambda p: (SEVERITIES.index(p.severity), places[p.kind])))


def _at(row: list[tuple[int, int]], share: float) -> int:
    """The value below which so large a share of the counted lies."""
    wanted, seen = share * sum(count for _, count in row), 0
    for value, count in sorted(row):
        seen += count
        if seen > wanted:
            return value
    return max((value for value, _ in row), default=0)


def _written(tree: Any) -> Any:
    if isinstance(tree, str):
        return tree.encode("utf-8", "backslashreplace").decode()
    if isinstance(tree, dict):
        return {_written(key): _written(value) for key, value in tree.items()}
    return [_written(item) for item in tree] if isinstance(tree, list | tuple) else tree
