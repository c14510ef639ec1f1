"""Configs on disk: YAML by the safe loader, and edits of single values.

The tree is the one of :mod:`mezzotint.core.spec`. ``1e-4`` is a number here (YAML 1.1 alone would read a string), a
part used twice is an anchor, and durations may be written ``200k`` or ``2M``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import PART, Tree, parameters, resolve


class _Loader(yaml.SafeLoader):
    pass


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


# Both ways: the writer quotes the string "1e-4" only if it knows that the reader would take it for a number.
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)$"),
        list("-+0123456789."),
    )


def loads(text: str, where: str = "the config") -> Tree:
    """Read YAML; refuses what does not parse, naming the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = f" at line {line + 1}" if line is not None else ""
        raise Refusal(f"{where} is not valid YAML{at}: {getattr(error, 'problem', error)}") from error


def dumps(tree: Tree) -> str:
    """Write YAML that :func:`loads` reads back to the same tree; short sequences stay on one line."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def load(path: str | Path) -> Tree:
    """Read a YAML file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Refusal(f"there is no file {str(path)!r}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"{str(path)!r} cannot be read: {error}") from None
    return loads(text, repr(str(path)))


def count(value: int | str) -> int:
    """A duration: an integer, or ``"200k"``, ``"2M"``, ``"1.5M"``."""
    if isinstance(value, bool):
        raise Refusal(f"{value!r} is not a count")
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kKmMgG]?)\s*", str(value))
    if not match:
        raise Refusal(f"{value!r} is not a count: write 50000, 200k or 2M")
    scale = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
    exact = float(match[1].replace("_", "")) * scale
    if abs(exact - round(exact)) > 1e-6:
        raise Refusal(f"{value!r} is not a whole number: write 50000, 200k or 2M")
    return round(exact)


def edit(tree: Tree, changes: Iterable[str]) -> Tree:
    """A copy of ``tree`` with ``a.b=value`` applied; a key that does not exist is refused with the nearest one.

    Where ``a.part`` becomes another part, the settings of ``a`` that this part does not know go with the old one.
    """
    tree = _copy(tree, {})
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            raise Refusal(f"--set takes key=value, not {change!r}")
        node, keys = tree, path.strip().split(".")
        for depth, key in enumerate(keys):
            where = ".".join(keys[:depth]) or "the config"
            if isinstance(node, list):
                if not key.isdigit() or int(key) >= len(node):
                    raise Refusal(f"{where} has {len(node)} entries, so there is no {key!r} in it")
                index: Any = int(key)
            elif isinstance(node, Mapping):
                known = (set(node) - {PART}) | (_settings(node) if PART in node else set())
                if key != PART and key not in known:
                    raise Refusal(f"{where} has no setting {key!r}: {nearest(key, sorted(known))}")
                index = key
            else:
                raise Refusal(f"{where} is {node!r} and has no settings of its own")
            if depth == len(keys) - 1:
                node[index] = loads(text, f"the value of {path}")
                if key == PART:
                    for name in set(node) - {PART} - _settings(node):
                        del node[name]
            else:
                if isinstance(node, Mapping) and index not in node:
                    raise Refusal(f"{where}.{key} is not written in this config; give the whole part first")
                node = node[index]
    return tree


def _settings(node: Mapping[str, Tree]) -> set[str]:
    """The settings that the part of a node takes; those it holds already, where it takes any."""
    found = parameters(resolve(node[PART]))
    several = {name for name, parameter in found.items() if parameter.kind is inspect.Parameter.VAR_KEYWORD}
    return (set(found) - several) | (set(node) - {PART} if several else set())


def _copy(tree: Tree, seen: dict[int, Tree]) -> Tree:
    """A deep copy that keeps a node used twice one node."""
    if id(tree) in seen:
        return seen[id(tree)]
    if isinstance(tree, Mapping):
        out: dict[str, Tree] = {}
        seen[id(tree)] = out
        out.update({key: _copy(value, seen) for key, value in tree.items()})
        return out
    if isinstance(tree, list | tuple):
        items: list[Tree] = []
        seen[id(tree)] = items
        items.extend(_copy(item, seen) for item in tree)
        return items
    return tree
