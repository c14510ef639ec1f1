"""What must not be in the package, looked for in its syntax tree: ways for a file to become code.

Every rule is tried on planted offenders, so a rule that finds nothing has been seen to find something.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mezzotint"
COMPUTED = {
    "__init__.py": (2, "rooms of this package, from a fixed table"),
    "cli/main.py": (1, "verbs of this package, from a fixed table"),
    "core/spec.py": (
        3,
        "rooms of this package and packages that declare mezzotint.parts; what is found must be a part",
    ),
    "evidence/load.py": (2, "a recipe is a Python file that a person names to be run, as python file.py would"),
    "recipes/find.py": (2, "modules of this package and of packages that declare mezzotint.recipes"),
    "testing/parts.py": (1, "the package whose parts a person asks to be walked"),
}
"""Where an import is computed: how often, and why it may be."""

MODULES = {"pickle", "cPickle", "_pickle", "joblib", "dill", "cloudpickle", "marshal", "shelve", "imp", "runpy", "code"}
NAMES = {"eval", "exec", "compile", "__import__"}
CALLS = {  # the last two words of a call
    "torch.load", "torch.save", "jit.load", "hub.load", "torch.package", "serialization.load", "os.system", "os.popen",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "pandas.read_pickle", "pd.read_pickle", "pty.spawn",
}  # fmt: skip
METHODS = {"save_state", "load_state", "read_pickle", "exec_module", "load_module"}
LOADERS = {"_Loader", "SafeLoader", "CSafeLoader"}


def words(node: ast.expr) -> list[str]:
    """``a.b.c`` as its words; what is not a name stands as ?."""
    if isinstance(node, ast.Attribute):
        return [*words(node.value), node.attr]
    return [node.id] if isinstance(node, ast.Name) else ["?"]


def offences(tree: ast.AST) -> Iterator[str]:
    """What a module must not hold; computed imports are ``import``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            homes = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"module {home}" for home in homes if home.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if f"{homes[0].split('.')[-1]}.{alias.name}" in CALLS or alias.name in (
                        "import_module",
                        "load_state",
                    ):
                        yield f"from {homes[0]} import {alias.name}"
        if isinstance(node, ast.Name) and node.id in NAMES | MODULES - {"code"}:
            yield f"name {node.id}"
        if isinstance(node, ast.Attribute):
            said = words(node)
            if ".".join(said[-2:]) in CALLS or said[0] == "builtins":
                yield f"attribute {'.'.join(said)}"
            if node.attr in METHODS:
                yield "import" if node.attr in ("exec_module", "load_module") else f"method {node.attr}"
        if not isinstance(node, ast.Call):
            continue
        said, given = words(node.func), {keyword.arg: keyword.value for keyword in node.keywords}
        if said[-1] == "import_module" and not (node.args and isinstance(node.args[0], ast.Constant)):
            yield "import"
        if said[-1] in ("load", "loadtxt", "read_array") and said[0] in ("np", "numpy", "npy", "format"):
            allowed = given.get("allow_pickle")
            if not (isinstance(allowed, ast.Constant) and allowed.value is False):
                yield "np.load that does not say allow_pickle=False"
        if "allow_pickle" in given and not _constant(given["allow_pickle"], False):
            yield "allow_pickle"
        if "shell" in given and not _constant(given["shell"], False):
            yield "shell=True"
        if "trust_remote_code" in given and not _constant(given["trust_remote_code"], False):
            yield "trust_remote_code"
        if said[-2:] == ["yaml", "load"]:
            loader = given.get("Loader", node.args[1] if len(node.args) > 1 else None)
            if loader is None or words(loader)[-1] not in LOADERS:
                yield "yaml.load without a safe loader"


def _constant(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_in_the_package_makes_code_of_a_file() -> None:
    found, computed = [], Counter[str]()
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        for what in offences(ast.parse(path.read_text(encoding="utf-8"))):
            if what == "import":
                computed[name] += 1
            else:
                found.append(f"{name}: {what}")
    assert not found
    assert computed == {name: count for name, (count, _) in COMPUTED.items()}


PLANTED = [
    "import torch\ntorch.load('x')",
    "import torch as t\nt.serialization.load('x')",
    "from torch import load",
    "from torch import save, load as fetch",
    "import torch\nread = torch.load",
    "import torch\ntorch.jit.load('x')",
    "import torch\ntorch.hub.load('a', 'b')",
    "import pickle",
    "import pickle as p",
    "from pickle import loads",
    "def f():\n    import _pickle",
    "import joblib.numpy_pickle",
    "from joblib import load",
    "import dill, json",
    "eval('1')",
    "f = eval",
    "exec(text)",
    "compile(text, 'x', 'exec')",
    "import builtins\nbuiltins.exec(text)",
    "__import__(name)",
    "import importlib\nimportlib.import_module(name)",
    "import importlib\nimportlib.import_module(f'a.{b}')",
    "import importlib\nimportlib.import_module(name='os')",
    "from importlib import import_module",
    "from importlib import import_module as fetch\nfetch(name)",
    "spec.loader.exec_module(module)",
    "import numpy as np\nnp.load(path)",
    "import numpy as np\nnp.load(path, allow_pickle=True)",
    "import numpy as np\nnp.load(path, None, allow_pickle=flag)",
    "import numpy\nnumpy.load(path, mmap_mode='r')",
    "from numpy.lib import format as npy\nnpy.read_array(file)",
    "read(path, allow_pickle=True)",
    "import subprocess\nsubprocess.run('ls', shell=True)",
    "import subprocess as s\ns.Popen(words, shell=flag)",
    "import os\nos.system('ls')",
    "from os import popen",
    "import yaml\nyaml.load(text)",
    "import yaml\nyaml.load(text, yaml.Loader)",
    "import yaml\nyaml.load(text, Loader=yaml.FullLoader)",
    "import yaml\nyaml.unsafe_load(text)",
    "from yaml import unsafe_load",
    "accelerator.save_state(folder)",
    "self.accelerator.load_state(folder)",
    "restore = accelerator.load_state",
    "import pandas as pd\npd.read_pickle(path)",
    "AutoModel.from_pretrained(name, trust_remote_code=True)",
]


@pytest.mark.parametrize("text", PLANTED)
def test_every_rule_finds_its_offender(text: str) -> None:
    assert list(offences(ast.parse(text)))


ALLOWED = [
    "import importlib\nimportlib.import_module('mezzotint.core')",
    "import numpy as np\nnp.load(path, allow_pickle=False)",
    "import json\njson.load(file)",
    "import re\nre.compile('x')",
    "model.eval()",
    "module.load_state_dict(tensors)",
    "optimizer.state_dict()",
    "import yaml\nyaml.load(text, Loader=_Loader)",
    "import subprocess\nsubprocess.run(words, check=True)",
    "from mezzotint.core.store import load_model as load",
    "network = torch.compile(network)",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_harmless_is_let_pass(text: str) -> None:
    assert not list(offences(ast.parse(text)))
