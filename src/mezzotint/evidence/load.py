"""Finding a recipe: by the module that holds it, or in a stranger's file.

A recipe is the name ``RECIPE`` of a Python file. The file is executed, as ``python file.py`` would: give no file that
you would not run. Its slug is its name, underscores written as hyphens.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mezzotint.core.errors import Refusal
from mezzotint.evidence import keys
from mezzotint.evidence.recipe import Recipe
from mezzotint.evidence.work import FILE


@dataclass(frozen=True)
class Loaded:
    """A recipe with where it came from.

    Arguments:
        slug: its name on the command line and in records; of a file, with its ending, so that none is taken
            for a recipe of a package.
        origin: a module's dotted name, or the path of a file ending in ``.py``.
        recipe: the recipe.
        code: the hash of its file and of what it imports from the same folder.
    """

    slug: str
    origin: str
    recipe: Recipe
    code: str


def load(origin: str) -> Loaded:
    """The recipe of a module (``"mypackage.recipes.mine"``) or of a file (``"path/to/mine.py"``)."""
    module = _file(origin) if origin.endswith(".py") else importlib.import_module(origin)
    recipe = getattr(module, "RECIPE", None)
    if not isinstance(recipe, Recipe) or module.__file__ is None:
        raise Refusal(f"{origin!r} holds no recipe: it needs RECIPE = mezzotint.evidence.Recipe(...)")
    path = Path(module.__file__)
    slug = path.name if origin.endswith(".py") else path.stem.replace("_", "-")
    return Loaded(slug, origin, recipe, keys.code(keys.own(path)))


def _file(origin: str) -> ModuleType:
    path = Path(origin).resolve()
    if not path.is_file():
        raise Refusal(f"there is no recipe file {origin!r}")
    name = f"{FILE}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their own module up
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # modules beside it, as for any script
    try:
        spec.loader.exec_module(module)
    except Refusal:
        raise
    except Exception as error:
        raise Refusal(f"the recipe file {origin!r} cannot be run: {type(error).__name__}: {error}") from error
    return module
