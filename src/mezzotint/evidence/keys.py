"""Keys under which finished work is found again: what it depends on, hashed.

A finished arm may be used again only where nothing that made it has changed: its config, the code of the package, the
data, the version of torch and the kind of device. Code is hashed as the tree that Python parses, without docstrings, so
that a comment or a line break spoils nothing and a changed number spoils everything. What people see (``cli``) and what
checks parts (``testing``) does not enter; of the recipes, only the one that is run and what it imports from its folder.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from mezzotint.core.spec import PART, build, resolve
from mezzotint.data.data import Data
from mezzotint.evidence.recipe import Training, marked
from mezzotint.metrics.pictures import fingerprint

_APART = ("cli", "testing", "recipes")
_CHUNK = 4096


def digest(*values: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code(paths: Iterable[Path]) -> str:
    """The hash of Python files by what they do: docstrings, comments and layout do not count."""
    found = hashlib.sha256()
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0] if node.body else None
                if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                    node.body = node.body[1:] or [ast.Pass()]
        found.update(ast.dump(tree).encode())
    return found.hexdigest()[:16]


def own(path: Path) -> list[Path]:
    """A recipe's file, and the modules in its folder that it imports, and those that these import."""
    found: list[Path] = []
    todo = [path.resolve()]
    while todo:
        here = todo.pop()
        if here in found:
            continue
        found.append(here)
        for node in ast.walk(ast.parse(here.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            else:
                continue
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            todo += [file for name in names if (file := _beside(here, name, level)) is not None]
    return sorted(found)


def _beside(here: Path, name: str, level: int) -> Path | None:
    """The file of an imported module where it lies in the folder of ``here``, or below it."""
    parts = [part for part in name.split(".") if part]
    home = here.parent
    if level == 0:  # inside a package the folder has a dotted name, in front of a script's it has none
        own: list[str] = []
        top = home
        while (top / "__init__.py").is_file():
            own.insert(0, top.name)
            top = top.parent
        if parts[: len(own)] != own:
            return None
        parts = parts[len(own) :]
    elif level > 1:
        return None
    path = home.joinpath(*parts)
    found = [
        p for p in (path.with_suffix(".py") if parts else path / "__init__.py", path / "__init__.py") if p.is_file()
    ]
    return found[0] if found else None


@cache
def package() -> str:
    """The hash of this package's code, rooms that make no numbers left out."""
    root = Path(__file__).resolve().parent.parent
    files = sorted(root.rglob("*.py"), key=lambda p: p.relative_to(root).as_posix())
    return code(p for p in files if p.relative_to(root).parts[0] not in _APART)


@cache
def _data(text: str) -> tuple[str, int]:
    data = build(json.loads(text))
    assert isinstance(data, Data)
    pieces = (data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK))
    return digest([fingerprint(x, *(cond[name] for name in sorted(cond.values))) for x, cond in pieces]), len(data)


def contents(tree: Any) -> tuple[str, int]:
    """The hash of what a data set holds, and how many items that is, by its config."""
    return _data(json.dumps(tree, sort_keys=True))


def sources(tree: Any) -> list[Any]:
    """The configs of the data sets that a set is made of by what is trained first; itself where it needs nothing."""
    if isinstance(tree, dict):
        if PART in tree and issubclass(resolve(tree[PART]), Data) and not marked(tree):
            return [tree]
        tree = list(tree.values())
    return [found for item in tree for found in sources(item)] if isinstance(tree, list) else []


def training(tree: dict[str, Any], needs: Mapping[str, str] | None = None) -> str:
    """The key of a training: config, code, contents of the data, torch, device, keys of what it needs by name."""
    read = [contents(source) for source in sources(tree["data"])] if needs else contents(tree["data"])
    return digest(tree, package(), read, *machine(), *([dict(needs)] if needs else []))


def of(chosen: Training, seed: int) -> str:
    """The key of a training at a paired seed: of its config with its places marked, and of what belongs there."""
    return training(chosen.tree(seed), {name: of(need, seed) for name, need in chosen.needs.items()})


def machine() -> tuple[str, str]:
    """What arithmetic depends on beside the code: the version of torch, and the kind of device."""
    return torch.__version__, "cuda" if torch.cuda.is_available() else "cpu"


def short(tree: dict[str, Any]) -> str:
    """A name for a data set in a record: its part and settings, without the folders of this machine."""
    values = ", ".join(f"{key}={_bare(value)}" for key, value in tree.items() if key != PART)
    return f"{tree[PART]}({values})"


def _bare(value: Any) -> Any:
    if isinstance(value, str):
        return Path(value).name
    if isinstance(value, dict):
        return short(value) if PART in value else {key: _bare(item) for key, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, list | tuple) else value
