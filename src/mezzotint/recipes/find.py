"""Finding recipes: every module of this room that holds a ``RECIPE``, and those of installed packages.

There is no list to forget: a recipe is found because its file is here. A package of your own declares a module of
recipes, or a package of them, under the entry point group ``mezzotint.recipes``; a file needs no declaring and is
named by its path.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Iterator
from importlib.metadata import entry_points

from mezzotint.core.errors import Refusal, nearest
from mezzotint.evidence.load import Loaded, load

GROUP = "mezzotint.recipes"


def origins() -> dict[str, str]:
    """The modules that hold a recipe, by slug."""
    names = set(_modules(__package__))
    for home in {point.value.partition(":")[0] for point in entry_points(group=GROUP)}:
        try:
            names |= set(_modules(home))
        except Exception as error:  # somebody else's package: ours are still to be had
            warnings.warn(f"the recipes of {home} cannot be read: {type(error).__name__}: {error}", stacklevel=2)
    found: dict[str, str] = {}
    for name in sorted(names):
        slug = name.rpartition(".")[2].replace("_", "-")
        if slug in found:
            raise Refusal(f"two recipes are called {slug!r}: {found[slug]} and {name}; rename one")
        found[slug] = name
    return found


def find(name: str) -> Loaded:
    """The recipe of a slug, or of a file ending in ``.py``."""
    if name.endswith(".py"):
        return load(name)
    known = origins()
    if name not in known:
        hint = nearest(name, list(known))
        raise Refusal(f"there is no recipe {name!r}: {hint}; a recipe of your own is given as the path of its .py file")
    return load(known[name])


def _modules(home: str) -> Iterator[str]:
    """The modules of a package that hold a recipe, or the module itself."""
    module = importlib.import_module(home)
    if hasattr(module, "RECIPE"):
        yield home
    for info in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if hasattr(importlib.import_module(f"{home}.{info.name}"), "RECIPE"):
            yield f"{home}.{info.name}"
