"""Specs: an object written as the tree of constructor calls that made it.

``spec(obj)`` gives plain data, ``build(tree)`` gives the object back; there is no shadow hierarchy of config classes.
A node is ``{"part": "samplers.Heun", "steps": 18, ...}``: the name of a part and its constructor's arguments, defaults
included, so that a default that changes later does not change what was saved. A part used in two places is one node
(a YAML anchor) and is built once. Sequences come back as tuples.

Names are looked up inside mezzotint (``"samplers.Heun"``) and inside installed packages that declare the entry point
group ``mezzotint.parts`` (``"mypackage.samplers.Mine"``), and what is found must be a part. Nothing else is ever
imported, so a stranger's file cannot run code of its choosing. Who builds from one also says which rooms it may name:
a model folder has no business with a data set that reads files. A part of mezzotint is refused by its room's name
before the room is imported; one of an installed package has to be imported to see of which room it is, and is refused
before it is made: what its module does when it is imported was trusted when the package was installed.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from abc import ABCMeta
from collections.abc import Callable, Collection, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

import torch

from mezzotint.core.errors import Refusal, nearest

Tree = Any
PART = "part"
DEPTH = 64
"""How deep a config may be nested."""
NODES = 20_000
"""How many values and parts a config may hold, a node counted wherever it is used: YAML takes seconds for more."""
PARTS = 1_000
"""How many parts a config may hold, one that is used twice counted once."""
_NAME = 200
# What constructors answer settings with that they were not made for. A missing file or library is another matter, and
# one that fills the memory is a defect of the part.
_NUMBERS = {"int", "float", "bool", "None"}
_ROWS = {f"{row}[{inside}]" for inside in ("int", "float") for row in ("Sequence", "list")} | {
    f"tuple[{', '.join(inside)}]" for kind in ("int", "float") for inside in ((kind, "..."), (kind,) * 2, (kind,) * 3)
}
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Part:
    """Marks what a spec may name: frozen dataclasses (value parts) and modules that record their arguments."""


@cache
def _signature(cls: type) -> inspect.Signature:
    """What a constructor takes, looked up once a class: samplers make wrappers at every step."""
    return inspect.signature(cls)


class _Recording(ABCMeta):
    """Keeps the arguments of the outermost constructor call, defaults included, as ``_arguments``."""

    @property
    def __signature__(cls) -> inspect.Signature:
        # This metaclass's own __call__(*args, **kwargs) would otherwise hide the constructor; torch's takes *args too,
        # but a part that writes none has no settings.
        if cls.__init__ is torch.nn.Module.__init__:  # type: ignore[misc]
            return inspect.Signature()
        _, *rest = inspect.signature(cls.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(rest)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        bound = _signature(cls).bind(*args, **kwargs)
        bound.apply_defaults()
        object.__setattr__(made, "_arguments", _flat(cls, bound.arguments))
        return made


class Module(torch.nn.Module, Part, metaclass=_Recording):
    """A ``torch.nn.Module`` that is a part: it remembers the call that made it, so a config can make it again."""

    _arguments: dict[str, Any]


def _flat(cls: type, arguments: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, parameter in _signature(cls).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            out.update(arguments[name])
        elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise TypeError(f"{cls.__name__} is a part and cannot take *{name}: give it one tuple")
        else:
            out[name] = arguments[name]
    return out


@cache
def rooms() -> tuple[str, ...]:
    """The rooms of the house: the sub-packages of mezzotint."""
    import mezzotint

    return tuple(sorted(module.name for module in pkgutil.iter_modules(mezzotint.__path__) if module.ispkg))


def name_of(cls: type) -> str:
    """The name a spec uses for a part's class: ``"room.Class"`` inside mezzotint, the full path outside."""
    package, _, rest = cls.__module__.partition(".")
    if package != "mezzotint":
        return f"{cls.__module__}.{cls.__qualname__}"
    room = rest.split(".", 1)[0]
    public = getattr(importlib.import_module(f"mezzotint.{room}"), cls.__qualname__, None)
    return f"{room}.{cls.__qualname__}" if public is cls else f"{rest}.{cls.__qualname__}"


def spec(obj: object) -> Tree:
    """Plain data from which :func:`build` makes ``obj`` again; refuses what is neither plain nor a part."""
    return _spec(obj, {}, "it")


def _spec(obj: object, seen: dict[int, tuple[object, Tree]], where: str) -> Tree:
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, Part) and not isinstance(obj, type):
        if id(obj) in seen:
            return seen[id(obj)][1]
        if isinstance(obj, Module):
            arguments = obj._arguments
        elif dataclasses.is_dataclass(obj):
            arguments = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj) if f.init}
        else:
            raise Refusal(f"{type(obj).__name__} is a part but neither a frozen dataclass nor a spec.Module")
        if PART in arguments:
            raise Refusal(f"{where} has a setting called {PART!r}, which a config keeps for names: rename it")
        node: dict[str, Tree] = {PART: name_of(type(obj))}
        seen[id(obj)] = (obj, node)
        node.update({key: _spec(value, seen, f"{type(obj).__name__}.{key}") for key, value in arguments.items()})
        return node
    if isinstance(obj, list | tuple):
        return [_spec(item, seen, where) for item in obj]
    if isinstance(obj, Mapping):
        if PART in obj or not all(isinstance(key, str) for key in obj):
            raise Refusal(f"{where} holds a mapping that a config cannot: keys are strings other than {PART!r}")
        return {key: _spec(value, seen, f"{where}[{key!r}]") for key, value in obj.items()}
    raise Refusal(
        f"{where} is a {type(obj).__name__}, which a config cannot hold: "
        "use numbers, strings, sequences, mappings or parts"
    )


def resolve(name: str, within: Collection[str] | None = None) -> type:
    """The class of a part by its name in a spec.

    Arguments:
        name: ``"room.Class"``, or the full path of a part of an installed package.
        within: the rooms it may come from, ``core`` always being one; None: any. A part from outside is of the rooms
            of the classes it derives from, so a data set stays one wherever it is written.
    """
    if not isinstance(name, str) or len(name) > _NAME:
        raise Refusal(f"a part's name is a string such as 'samplers.Heun', not {repr(name)[:_NAME]}")
    first, _, rest = name.partition(".")
    inside = rooms()
    if first in inside:
        _check_rooms(name, (first,), within)
        module, path = f"mezzotint.{first}", rest
    else:
        declared = {point.value.partition(":")[0] for point in entry_points(group="mezzotint.parts")}
        homes = [home for home in declared if name == home or name.startswith(home + ".")]
        if not homes:
            known, open_to = [*inside, *declared], [room for room in inside if within is None or room in within]
            raise Refusal(f"no part is called {name!r}: {_meant(name, open_to) or nearest(first, known)}")
        module = max(homes, key=len)
        path = name[len(module) + 1 :]
    found: Any = importlib.import_module(module)
    here = module
    for step in path.split("."):
        # Only modules are walked through: what a class or a table holds is not a part of the house.
        child = getattr(found, step, None) if inspect.ismodule(found) and not step.startswith("_") else None
        if child is None and inspect.ismodule(found) and hasattr(found, "__path__"):
            if step in {m.name for m in pkgutil.iter_modules(found.__path__)} and not step.startswith("_"):
                child = importlib.import_module(f"{here}.{step}")
        # A module found as an attribute must lie inside: `samplers.grids.os` is not a part of the house.
        if child is None or (inspect.ismodule(child) and not child.__name__.startswith(here + ".")):
            inner = vars(found) if inspect.ismodule(found) else {}
            parts = [n for n, v in inner.items() if isinstance(v, type) and issubclass(v, Part)]
            raise Refusal(f"{here.removeprefix('mezzotint.')!r} has no part {step!r}: {nearest(step, parts)}")
        found, here = child, f"{here}.{step}"
    if not (isinstance(found, type) and issubclass(found, Part)) or inspect.isabstract(found):
        raise Refusal(f"{name!r} is not a part that can be built")
    _check_rooms(name, rooms_of(found), within)
    return found


def rooms_of(cls: type) -> list[str]:
    """The rooms of mezzotint of the classes that a class derives from, its own first."""
    modules = [base.__module__.split(".") for base in cls.__mro__]
    return [steps[1] for steps in modules if steps[0] == "mezzotint" and len(steps) > 1]


def _meant(name: str, inside: Collection[str]) -> str | None:
    """What a name that was written without its room, or with one misspelt, may mean: ``did you mean 'room.Class'?``."""
    from difflib import get_close_matches

    name = name.removeprefix("mezzotint.")
    last = name.rpartition(".")[2]
    for room in get_close_matches(name.partition(".")[0], inside, n=1, cutoff=0.5) if "." in name else inside:
        try:
            found = getattr(importlib.import_module(f"mezzotint.{room}"), last, None)
        except ImportError:  # of a room whose optional packages are not here
            continue
        if isinstance(found, type) and issubclass(found, Part) and not inspect.isabstract(found):
            return f"did you mean {f'{room}.{last}'!r}?"
    return None


def _check_rooms(name: str, found: Collection[str], within: Collection[str] | None) -> None:
    """Refuse a part before it is made, and a room of mezzotint before it is imported, where it is not allowed."""
    for room in found:
        if within is not None and room not in ("core", *within):
            raise Refusal(
                f"{name!r} belongs to {room!r}, which has no place here: only parts of {', '.join(within)} are built"
            )


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The constructor parameters of a part by name."""
    return dict(inspect.signature(cls).parameters)


def check_keys(cls: type, keys: list[str]) -> None:
    """Refuse argument names the constructor of ``cls`` does not have, and report those it needs."""
    known = parameters(cls)
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        for key in keys:
            if key not in known:
                raise Refusal(f"{name_of(cls)} has no setting {key!r}: {nearest(key, list(known))}")
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    missing = [n for n, p in known.items() if p.default is p.empty and p.kind in plain and n not in keys]
    if missing:
        raise Refusal(f"{name_of(cls)} needs {', '.join(missing)}")


def filled(tree: Tree) -> Tree:
    """A tree with every plain default written out, so that one from before a setting was there compares equal.

    Nothing is built; names that lead nowhere are left as they are.
    """
    if isinstance(tree, list):
        return [filled(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    found: dict[str, Tree] = {key: filled(value) for key, value in tree.items()}
    if isinstance(found.get(PART), str):
        try:
            known = parameters(resolve(found[PART]))
        except Refusal:
            return found
        plain = {name: one.default for name, one in known.items() if isinstance(one.default, bool | int | float | str)}
        absent = {name: None for name, one in known.items() if one.default is None}
        rows: dict[str, Tree] = {name: [] for name, one in known.items() if one.default == ()}
        found = {**absent, **rows, **plain, **found}
    return found


def _check_numbers(cls: type, arguments: Mapping[str, Any]) -> None:
    """Refuse words and lists where a part says that it works with numbers.

    Python multiplies those as well: two billion times a word fills the memory before anybody looks at it.
    """
    for name, parameter in parameters(cls).items():
        kinds = {kind.strip() for kind in str(parameter.annotation).split("|")}
        if name not in arguments or not kinds <= _NUMBERS | _ROWS:
            continue
        value = arguments[name]
        items = value if isinstance(value, tuple | list) and kinds & _ROWS else (value,)
        if any(isinstance(item, str | tuple | list | Mapping) for item in items):
            what = "holds numbers" if kinds & _ROWS else "is a number"
            raise Refusal(f"{name_of(cls)}.{name} {what}, not {repr(value)[:60]}")


def build(tree: Tree, within: Collection[str] | None = None) -> Any:
    """Make the object a spec describes; unknown names and settings are refused with the nearest known one.

    Arguments:
        tree: plain data, at most ``DEPTH`` deep and ``NODES`` large, with ``PARTS`` parts.
        within: the rooms whose parts may be made, as in :func:`resolve`; None: any.
    """
    return make(tree, within, lambda cls, arguments: cls(**arguments))


def make(tree: Tree, within: Collection[str] | None, call: Callable[[type, dict[str, Any]], Any]) -> Any:
    """:func:`build` with another way to call a part's class with its arguments."""
    return _Building(within, call).build(tree, ())


class _Building:
    """One walk over a tree: what is made already, and how much was seen."""

    def __init__(self, within: Collection[str] | None, call: Callable[[type, dict[str, Any]], Any]) -> None:
        self._within, self._call = within, call
        self._made: dict[int, Any] = {}
        self._seen = self._parts = 0

    def build(self, tree: Tree, above: tuple[int, ...]) -> Any:
        self._seen += 1
        if self._seen > NODES:
            raise Refusal(f"a config holds at most {NODES:,} values, and this one holds more")
        if not isinstance(tree, Mapping | list | tuple):
            if tree != tree:
                raise Refusal("a config holds a setting that is not a number (.nan), which no part can work with")
            return tree
        if id(tree) in self._made:
            return self._made[id(tree)]
        if id(tree) in above:
            raise Refusal("a config refers to itself")
        if len(above) >= DEPTH:
            raise Refusal(f"a config is nested at most {DEPTH} deep, and this one is deeper")
        above = (*above, id(tree))
        if not isinstance(tree, Mapping):
            return tuple(self.build(item, above) for item in tree)
        if not all(isinstance(key, str) for key in tree):
            raise Refusal("the keys of a config are strings, and this one has others: write them in quotes")
        if PART not in tree:
            return {key: self.build(value, above) for key, value in tree.items()}
        self._parts += 1
        if self._parts > PARTS:
            raise Refusal(f"a config holds at most {PARTS:,} parts, and this one holds more")
        cls = resolve(tree[PART], self._within)
        check_keys(cls, [key for key in tree if key != PART])
        arguments = {key: self.build(value, above) for key, value in tree.items() if key != PART}
        _check_numbers(cls, arguments)
        try:
            obj = self._call(cls, arguments)
        except Refusal:
            raise
        except _MISFITS as error:
            why = str(error).partition("\n")[0] or type(error).__name__
            raise Refusal(f"{tree[PART]} cannot be made from these settings: {why}") from error
        self._made[id(tree)] = obj
        return obj
