"""The contract of every part: what it was made from can be written down, and what was written makes it again.

Runs, pictures and model folders carry specs; ``--set`` edits them; a stranger's YAML is built from them. So a spec is
plain data that survives YAML, ``build`` gives back an object with the same spec (and, for modules, one that takes the
same weights), and a setting nobody knows is refused and not ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Module, Part, build, name_of, parameters, resolve, spec
from mezzotint.testing.expect import expect, refused, same, works


def check_spec(part: Part) -> None:
    """Check that a part is written and made again.

    The class must be found by its name: inside mezzotint, or in an installed package that declares the entry point
    group ``mezzotint.parts``.

    Arguments:
        part: an instance.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    cls, who = type(part), type(part).__name__
    with works(f"spec({who})", "training asks for it before its first step, and refuses what it cannot write down"):
        tree = spec(part)
    check_made(part)
    why = "a run is continued and a model is loaded from the YAML beside its weights"
    expect(_plain(tree), f"the spec of {who} should be numbers, strings, sequences and mappings but is {tree!r}; {why}")
    text = config.dumps(tree)
    read = config.loads(text)
    expect(
        _listed(read) == _listed(tree),
        f"the spec of {who} should survive YAML but {tree!r} came back as {read!r}; {why}",
    )
    name = name_of(cls)
    why = "a config names parts and imports nothing else"
    with works(f"finding {name!r}", f"{why}; a package of your own declares the entry point group mezzotint.parts"):
        found = resolve(name)
    expect(found is cls, f"the name {name!r} should lead to {cls!r} but leads to {found!r}; {why}")
    with works(f"building {who} from its own spec", "a part that cannot be built from what it wrote cannot be loaded"):
        again = build(read)
    _alike(part, again)
    refused(
        f"a setting 'no_such_setting' of {who}",
        lambda: build({**tree, "no_such_setting": 1}),
        "a misspelt setting that is ignored is found months later",
    )
    why = "a config that is cut short is refused before anything is made from it"
    for key, parameter in parameters(cls).items():
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD:
            short = {name: value for name, value in tree.items() if name != key}
            refused(f"{who} without its {key!r}", partial(build, short), why)


def check_made(part: Part) -> None:
    """The share of :func:`check_spec` that needs no name: the constructor's arguments are recorded and make it again.

    A part that holds what no config can (a function, a tensor) works unsaved, so its refused spec is let pass here.
    """
    cls, who = type(part), type(part).__name__
    expect(
        isinstance(part, Part), f"{who} should derive from core.spec.Part or Module; only parts are written to configs"
    )
    try:
        tree = spec(part)
    except Refusal:
        return
    if isinstance(part, Module):
        arguments = dict(part._arguments)
    else:
        value: Any = part
        frozen = dataclasses.is_dataclass(value) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        expect(frozen, f"{who} should be a frozen dataclass; a value that changes makes what was written of it untrue")
        arguments = {f.name: getattr(part, f.name) for f in dataclasses.fields(value) if f.init}
    with works(f"making {who} again from its own arguments", "a config is the call that made a part"):
        again = cls(**arguments)
    found = spec(again)
    expect(
        found == tree,
        f"{who} made again from its own arguments should have the spec {tree} but has {found}; an argument that is "
        "changed on the way in is written wrongly",
    )
    _alike(part, again)


def _alike(part: Part, again: Any) -> None:
    """The same class, the same settings; for modules the same weights by name, shape and precision."""
    who = type(part).__name__
    expect(type(again) is type(part), f"build(spec({who})) should be a {who} but is a {type(again).__name__}")
    tree, found = spec(part), spec(again)
    expect(found == tree, f"build(spec({who})) should have the spec {tree} but has {found}; it is another part")
    if not isinstance(part, torch.nn.Module):
        if not _holds_module(part):  # modules are equal to themselves only
            why = "equal settings make equal values"
            expect(again == part, f"build(spec({who})) should equal {part} but is {again}; {why}")
        return
    mine, theirs = part.state_dict(), again.state_dict()
    odd = sorted(
        n for n in mine.keys() | theirs.keys() if n not in mine or n not in theirs or mine[n].shape != theirs[n].shape
    )
    why = "a saved model must fit again"
    expect(not odd, f"build(spec({who})) should hold the same weights but differs in {odd}; {why}")
    with works(f"loading the weights of {who} into build(spec({who}))", why):
        again.load_state_dict(mine)
    theirs = again.state_dict()
    for name, tensor in mine.items():
        same(
            f"the weight {name!r} of {who} after a round trip", theirs[name], tensor, "a loaded model is the saved one"
        )


def _holds_module(value: object) -> bool:
    if dataclasses.is_dataclass(value):
        return any(_holds_module(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, tuple | list):
        return any(_holds_module(item) for item in value)
    return isinstance(value, torch.nn.Module)


def _plain(tree: Any) -> bool:
    if isinstance(tree, Mapping):
        return all(isinstance(key, str) and _plain(value) for key, value in tree.items())
    if isinstance(tree, list | tuple):
        return all(_plain(item) for item in tree)
    return tree is None or type(tree) in (bool, int, float, str)


def _listed(tree: Any) -> Any:
    """The same tree with every sequence a list, as YAML has it."""
    if isinstance(tree, Mapping):
        return {key: _listed(value) for key, value in tree.items()}
    return [_listed(item) for item in tree] if isinstance(tree, list | tuple) else tree
