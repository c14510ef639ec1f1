"""Every part of a package, found by walking it: there is no list to forget.

A part is a concrete, public class that a config may name. Its *kind* is read off what it is - the class it derives from
or, where the house asks for a shape of call and not for a base class (networks, grids, rewards), the names of its
arguments. A part may be of no kind listed here (an embedding, a learning rate); it still has a spec.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, ModuleType

import torch

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.conditions.part import ConditionPart
from mezzotint.core.errors import Refusal, nearest
from mezzotint.core.spec import Module, Part, parameters
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Levels, Objective
from mezzotint.operators.base import Operator
from mezzotint.processes.base import Process
from mezzotint.samplers.base import Sampler


def _asked(cls: type, *names: str) -> bool:
    """Whether a call of an instance takes these arguments first."""
    call = getattr(cls, "forward" if issubclass(cls, torch.nn.Module) else "__call__", None)
    if not inspect.isfunction(call):
        return False
    _, *found = inspect.signature(call).parameters
    return tuple(found[: len(names)]) == names


def _around(cls: type) -> bool:
    """Whether a denoiser is made around another one: its first argument is a denoiser."""
    first = next(iter(parameters(cls).values()), None)
    said = "" if first is None else first.annotation
    return said is Denoiser or (isinstance(said, str) and said.split(".")[-1] in ("Denoiser", "Trainable"))


KINDS: Mapping[str, Callable[[type], bool]] = MappingProxyType(
    {
        "process": lambda cls: issubclass(cls, Process),
        "denoiser": lambda cls: issubclass(cls, Denoiser) and not _around(cls),
        "guidance": lambda cls: issubclass(cls, Denoiser) and _around(cls),
        "sampler": lambda cls: issubclass(cls, Sampler),
        "grid": lambda cls: _asked(cls, "process", "steps"),
        "objective": lambda cls: issubclass(cls, Objective),
        "levels": lambda cls: issubclass(cls, Levels),
        "network": lambda cls: _asked(cls, "x", "noise", "context"),
        "condition": lambda cls: issubclass(cls, ConditionPart),
        "reward": lambda cls: _asked(cls, "x", "cond", "t"),
        "data": lambda cls: issubclass(cls, Data),
        "autoencoder": lambda cls: issubclass(cls, Autoencoder),
        "operator": lambda cls: issubclass(cls, Operator),
        "pipeline": lambda cls: _asked(cls, "cond", "rng"),
    }
)
"""By name of a kind: whether a part is of it. A guidance is any denoiser around a denoiser, a meter too."""


def kind_of(cls: type) -> str | None:
    """The kind of a part, or None if it is of none."""
    return next((kind for kind, holds in KINDS.items() if holds(cls)), None)


def parts(kind: str | None = None, within: str = "mezzotint") -> tuple[type, ...]:
    """Every part of a package, sorted by name.

    Arguments:
        kind: one of ``KINDS``; None: all of them.
        within: the package or module to walk, imported as a whole.
    """
    if kind is not None and kind not in KINDS:
        raise Refusal(f"there is no kind of part {kind!r}: {nearest(kind, list(KINDS))}")
    found = {cls for module in _modules(within) for cls in vars(module).values() if _is_part(cls, module)}
    chosen = [cls for cls in found if kind is None or kind_of(cls) == kind]
    return tuple(sorted(chosen, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}"))


def _is_part(value: object, module: ModuleType) -> bool:
    """Whether a name of a module is a part that is written there, and not only imported."""
    return (
        isinstance(value, type)
        and issubclass(value, Part)
        and value.__module__ == module.__name__
        and not value.__name__.startswith("_")
        and not inspect.isabstract(value)
        and ABC not in value.__bases__  # a base whose methods all have a default
        and value not in (Part, Module)
    )


def _modules(name: str) -> Iterator[ModuleType]:
    """A module and all below it; the witnesses of this room are no parts of the house."""
    module = importlib.import_module(name)
    yield module
    for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
        below = f"{name}.{info.name}"
        if info.name != "__main__" and below != __package__:
            yield from _modules(below)
