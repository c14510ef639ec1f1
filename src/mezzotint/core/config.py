"""Configs on disk: YAML by the safe loader, and edits of single values.

The tree is the one of :mod:`mezzotint.core.spec`. ``1e-4`` is a number here (YAML 1.1 alone would read a string), a
part used twice is an anchor, and durations may be written ``200k`` or ``2M``.

What is read is plain data and nothing else - no tags, no dates, no keys but strings, no key twice - and it is bounded
while it is read: in length, in depth, in the size of its numbers, and in how many values it comes to with every alias
counted as what it stands for, so that ten lines cannot stand for a billion.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mezzotint.core.bounded import is_text, read_text
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import DEPTH, NODES, PART, Tree, parameters, resolve, rooms_of

TEXT = 2**18
"""The longest config that is read, in bytes: 256 KiB."""
_NUMBER = 60  # characters: a float64 needs 25 at most, and a sexagesimal number of any length would be worked out
_KEYS = 20  # how deep --set reaches
_INTEGER, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"


class _Loader(yaml.SafeLoader):
    """The safe loader within bounds; YAML's own composer makes a node a call of ``compose_node``."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0
        self._counts: dict[str, int] = {}  # of values under an anchor, every alias below it counted as what it is

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self._counts:
                raise self._refused("it refers to itself", event)
            self._add(self._counts.get(str(event.anchor), 1), event)
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise self._refused(f"it holds the tag {event.tag!r}, and a config is plain data", event)
        if self._depth >= DEPTH:
            raise self._refused(f"it is nested more than {DEPTH} deep", event)
        before = self._count
        self._add(1, event)
        self._depth += 1
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and not is_text(node.value):
            raise self._refused("it holds half of a surrogate pair, which is no character", event)
        if event.anchor is not None:
            self._counts[event.anchor] = self._count - before
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value in seen:
                what = f"the key {key.value!r} twice" if isinstance(key, yaml.ScalarNode) else "a key of several values"
                raise self._refused(f"it holds {what}", key)
            seen.add(key.value)
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        made = super().construct_mapping(node, deep)
        for key in made:
            if not isinstance(key, str):
                raise self._refused(f"its key {key!r} is no string: write it in quotes", node)
        return made

    def integer(self, node: Any) -> int:
        """A whole number that 64 bits can hold, signed or not."""
        try:
            made = int(self.construct_yaml_int(node)) if len(node.value) <= _NUMBER else 2**64
        except ValueError:
            raise self._refused(f"{node.value!r} is no number", node) from None
        if not -(2**63) <= made < 2**64:
            raise self._refused("it holds a whole number beyond 64 bits", node)
        return made

    def real(self, node: Any) -> float:
        """A number in float64."""
        if len(node.value) > _NUMBER:
            raise self._refused(f"it holds a number of more than {_NUMBER} characters", node)
        return float(self.construct_yaml_float(node))

    def _add(self, count: int, at: Any) -> None:
        self._count += count
        if self._count > NODES:
            raise self._refused(f"it comes to more than {NODES:,} values", at)

    @staticmethod
    def _refused(why: str, at: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=why, problem_mark=at.start_mark)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Line ends of other alphabets are escaped: between single quotes they would be read again as a blank."""
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _text)
# Both ways: the writer quotes the string "1e-4" only if it knows that the reader would take it for a number.
for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        _FLOAT,
        re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)$"),
        list("-+0123456789."),
    )
# A date is a string here; the writer goes on quoting it, for the sake of other readers.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(_INTEGER, _Loader.integer)
_Loader.add_constructor(_FLOAT, _Loader.real)


def loads(text: str, where: str = "the config") -> Tree:
    """Read YAML within bounds; refuses what does not parse or exceeds them, naming the line."""
    if len(text) > TEXT:
        raise Refusal(f"{where} is longer than {TEXT:,} characters, the most that a config has")
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        at = f" at line {line + 1}" if line is not None else ""
        why = str(getattr(error, "problem", None) or error).partition("\n")[0]
        raise Refusal(f"{where} is not valid YAML{at}: {why[:300]}") from error
    except (ValueError, OverflowError) as error:  # YAML's own reader, of a version or an escape with too many digits
        raise Refusal(f"{where} is not valid YAML: {str(error).partition(chr(10))[0][:300]}") from error


def dumps(tree: Tree) -> str:
    """Write YAML that :func:`loads` reads back to the same tree; short sequences stay on one line.

    A tree that would be too long to be read again is refused.
    """
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    if len(text) > TEXT:
        raise Refusal(f"this config is longer than {TEXT:,} characters, so it could not be read again")
    return text


def load(path: str | Path) -> Tree:
    """Read a YAML file."""
    return loads(read_text(path, TEXT), repr(str(path)))


def count(value: int | str) -> int:
    """A duration: an integer, or ``"200k"``, ``"2M"``, ``"1.5M"``."""
    if isinstance(value, bool):
        raise Refusal(f"{value!r} is not a count")
    if isinstance(value, int):
        return value
    text = str(value)[: _NUMBER + 1]
    match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kKmMgG]?)\s*", text)
    if not match or len(text) > _NUMBER:
        raise Refusal(f"{text!r} is not a count: write 50000, 200k or 2M")
    scale = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()]
    exact = float(match[1].replace("_", "")) * scale
    if abs(exact - round(exact)) > 1e-6:
        raise Refusal(f"{value!r} is not a whole number: write 50000, 200k or 2M")
    return round(exact)


def edit(tree: Tree, changes: Iterable[str]) -> Tree:
    """A copy of ``tree`` with ``a.b=value`` applied; a key that does not exist is refused with the nearest one.

    Where ``a.part`` becomes another part, the settings of ``a`` that this part does not know go with the old one.
    ``a.b+=value`` puts a part, by its name or written out, around the one that is there, as its first argument; said
    again, it changes nothing but what it says.
    """
    tree = _copy(tree, {})
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals or not path.strip():
            raise Refusal(f"--set takes key=value, not {change!r}")
        path = path.strip()
        around = path.endswith("+")
        node, keys = tree, path.removesuffix("+").strip().split(".")
        if len(keys) > _KEYS:
            raise Refusal(f"--set reaches {_KEYS} settings deep, not {len(keys)}")
        for depth, key in enumerate(keys):
            where = ".".join(keys[:depth]) or "the config"
            if isinstance(node, list):
                if not re.fullmatch("[0-9]{1,9}", key) or int(key) >= len(node):
                    raise Refusal(f"{where} has {len(node)} entries, so there is no {key!r} in it")
                index: Any = int(key)
            elif isinstance(node, Mapping):
                known = (set(node) - {PART}) | (_settings(node) if PART in node else set())
                if key != PART and key not in known:
                    raise Refusal(f"{where} has no setting {key!r}: {nearest(key, sorted(known))}")
                index = key
            else:
                raise Refusal(f"{where} is {node!r} and has no settings of its own")
            if depth == len(keys) - 1 and around:
                there = node[index] if isinstance(node, list) else node.get(index)
                node[index] = _around(loads(text, f"the value of {path}"), there, path)
            elif depth == len(keys) - 1:
                node[index] = loads(text, f"the value of {path}")
                if key == PART:
                    for name in set(node) - {PART} - _settings(node):
                        del node[name]
            else:
                if isinstance(node, Mapping) and index not in node:
                    raise Refusal(f"{where}.{key} is not written in this config; give the whole part first")
                node = node[index]
    return tree


def _around(outer: Tree, inner: Tree, where: str) -> Tree:
    """A part with another one as its first argument; one that stands around or inside it already is edited instead."""
    made = {PART: outer} if isinstance(outer, str) else dict(outer) if isinstance(outer, Mapping) else {}
    if not isinstance(made.get(PART), str):
        raise Refusal(f"{where}= takes the part that is put around what is there, such as objectives.Name")
    if not isinstance(inner, Mapping) or PART not in inner:
        raise Refusal(f"{where}= puts a part around a part, but there is {inner!r:.60}; write the whole value with =")
    known = resolve(made[PART])
    names = list(parameters(known))
    if not names:
        raise Refusal(f"{made[PART]} takes no arguments, so nothing can stand in it")
    mine, theirs = ([room for room in rooms_of(cls) if room != "core"] for cls in (known, resolve(inner[PART])))
    if mine and theirs and not set(mine) & set(theirs):
        raise Refusal(f"{made[PART]} cannot stand around {inner[PART]}: it is of {mine[0]}, and that of {theirs[0]}")
    if names[0] in made:
        raise Refusal(f"{made[PART]}.{names[0]} is what is there: leave it out, or write the whole value with =")
    node: Tree = inner
    while isinstance(node, dict) and isinstance(node.get(PART), str):  # said again, as by whoever goes on with a run
        part = resolve(node[PART])
        if part is known:
            node.update(made)
            return inner
        node = node.get(next(iter(parameters(part)), ""))
    return {PART: made.pop(PART), names[0]: inner, **made}


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
