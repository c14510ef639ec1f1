"""A record: everything a run of a recipe found, as one JSON file.

Two runs of the same recipe at the same seeds, with the same code, data, torch and kind of device give the same record,
interrupted or not, except for its ``times``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mezzotint.core.bounded import read_json
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text

SCHEMA = 1


@dataclass(frozen=True)
class Record:
    """The content of a record.

    Arguments:
        tree: plain data: ``recipe``, ``size``, ``setting``, ``standard``, ``seeds``, ``paper``, ``claim``,
            ``published``, ``criterion``, ``departures``, ``numbers`` by seed, row and column, ``verdict``, ``figures``,
            ``evidence`` (hashes of code, data and weights), ``environment``, ``times``.
    """

    tree: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.tree[key]

    @property
    def name(self) -> str:
        """Its file name: what departs from the recipe's own seeds and setting is told apart by a hash."""
        whole = f"{self['recipe']}-{self['size']}"
        return f"{whole}.json" if self["standard"] else f"{whole}-{self['variant']}.json"

    @property
    def outcome(self) -> str:
        """``holds``, ``does not hold`` or ``undecided``."""
        return str(self["verdict"]["outcome"])

    @property
    def closed(self) -> bool:
        """Whether parts were checked against exact answers, and nothing was trained."""
        return "weights" not in self["evidence"]

    def differences(self, other: Record) -> list[str]:
        """Where another record says something else, as dotted names; times do not count."""
        return list(_differ(self.tree, other.tree, ""))

    def save(self, folder: str | Path) -> Path:
        """Write it into a folder, whole or not at all."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        path = Path(folder) / self.name
        write_text(path, json.dumps(self.tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return path

    @classmethod
    def read(cls, path: str | Path) -> Record:
        """Read a file that :meth:`save` wrote."""
        tree = read_json(path)
        if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
            raise Refusal(f"{str(path)!r} is not a record of this version (schema {SCHEMA})")
        return cls(tree)


def records(folder: str | Path) -> list[Record]:
    """Every record in a folder, by file name; files that are none are passed over."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            found.append(Record.read(path))
        except Refusal:
            continue
    return found


def finite(value: Any) -> Any:
    """Plain data with what is not finite as None, which JSON has no other word for."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def _differ(a: Any, b: Any, where: str) -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            if where or key != "times":
                yield from _differ(a.get(key), b.get(key), f"{where}.{key}".lstrip("."))
    elif a != b:
        yield where
