"""What must not be in the package, looked for in its syntax tree: ways for a file to become code.

Every rule is tried on planted offenders, so a rule that finds nothing has been seen to find something.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "mezzotint"
COMPUTED = {
    "__init__.py": (2, "rooms of this package, from a fixed table"),
    "cli/main.py": (1, "verbs of this package, from a fixed table"),
    "core/spec.py": (
        4,
        "rooms of this package and packages that declare mezzotint.parts; what is found must be a part",
    ),
    "evidence/load.py": (3, "a recipe is a Python file that a person names to be run, as python file.py would"),
    "recipes/find.py": (2, "modules of this package and of packages that declare mezzotint.recipes"),
    "testing/parts.py": (1, "the package whose parts a person asks to be walked"),
}
"""Where an import is computed: how often, and why it may be."""

MODULES = {  # whose import is an offence, and whatever is reached through them
    "pickle", "cPickle", "_pickle", "pickletools", "joblib", "dill", "cloudpickle", "jsonpickle", "marshal", "shelve",
    "copyreg", "imp", "_imp", "runpy", "code", "codeop", "pydoc", "zipimport", "builtins", "ctypes", "cffi", "pty",
    "sklearn.externals", "multiprocessing.reduction", "torch.package", "torch.hub", "torch.utils.cpp_extension",
    "torch.distributed.checkpoint",
}  # fmt: skip
NAMES = {"eval", "exec", "compile", "__import__", "__builtins__"}
LAST = {  # by the first word, wherever a name comes from: the last words that it must not have
    "torch": r"load|save|load_library|load_inline|load_url|load_state_dict_from_url|import_ir_module|_load|_save",
    "os": r"system|popen|exec\w+|spawn\w+|posix_spawnp?|startfile",
    "subprocess": r"getoutput|getstatusoutput|getstatus",
    "yaml": r"\w*(?<!Safe)Loader|unsafe_\w+|full_\w+|load_all|\w*Constructor",
    "pkgutil": r"resolve_name|walk_packages|find_loader|get_loader|ImpImporter|ImpLoader",
    "importlib": r"reload|__import__|machinery|Source\w*Loader|ExtensionFileLoader|spec_from_loader",
    "pandas": r"read_pickle|to_pickle|HDFStore|read_hdf",
}
PICKLING = {  # collectives that send objects, which is a pickle on the other side
    "broadcast_object_list", "all_gather_object", "gather_object", "scatter_object_list", "send_object_list",
    "recv_object_list",
}  # fmt: skip
METHODS = {"save_state", "load_state", "read_pickle", "exec_module", "load_module"} | PICKLING
PARTLY = {  # may be called, in one way that is checked; never handed on
    "numpy": r"load|loadtxt|genfromtxt|read_array|fromregex",
    "yaml": r"load",
    "importlib": r"import_module|spec_from_file_location",
}
LOADERS = {"_Loader", "yaml.SafeLoader", "yaml.CSafeLoader"}
SHELLS = {"sh", "bash", "zsh", "dash", "ksh", "fish", "cmd", "cmd.exe", "powershell", "pwsh", "env"}
USUAL = {"np": "numpy", "pd": "pandas", "npy": "numpy.lib.format"}  # where a snippet does not say


def words(node: ast.expr) -> list[str]:
    """``a.b.c`` as its words; what is not a name stands as ?."""
    if isinstance(node, ast.Attribute):
        return [*words(node.value), node.attr]
    if isinstance(node, ast.Call) and words(node.func) == ["getattr"] and len(node.args) > 1:
        name = node.args[1]
        return [*words(node.args[0]), str(name.value) if isinstance(name, ast.Constant) else "?"]
    return [node.id] if isinstance(node, ast.Name) else ["?"]


def origins(tree: ast.AST) -> dict[str, str]:
    """What the names of a module stand for: by its imports, and by plain assignments of what was imported."""
    known = dict(USUAL)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                (a.asname or a.name.split(".")[0]): a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        if isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for _ in range(3):  # of names for names
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and words(node.value)[0] in known and "?" not in words(node.value):
                for target in node.targets:
                    if isinstance(target, ast.Name) and target.id not in known:
                        known[target.id] = full(node.value, known)
    return known


def full(node: ast.expr, known: dict[str, str]) -> str:
    """A dotted name by where it comes from."""
    first, *rest = words(node)
    return ".".join([known.get(first, first), *rest])


def forbidden(name: str) -> bool:
    """Whether a dotted name is one that must not be there at all."""
    steps = name.split(".")
    heads = {".".join(steps[:count]) for count in range(1, len(steps) + 1)}
    return bool(heads & MODULES) or any(re.fullmatch(LAST.get(steps[0], "(?!)"), step) for step in steps[1:])


def partly(name: str) -> bool:
    """Whether a dotted name may only be called, in one way."""
    first, *rest = name.split(".")
    return bool(rest and re.fullmatch(PARTLY.get(first, "(?!)"), rest[-1]))


def offences(tree: ast.AST) -> Iterator[str]:
    """What a module must not hold; computed imports are ``import``."""
    known = origins(tree)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    # Of a.b.c only the whole is looked at, not a.b as well.
    below = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {alias.name}" for alias in node.names if forbidden(alias.name))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module or ''}.{alias.name}"
                if alias.name == "*" or forbidden(name) or partly(name) or alias.name in METHODS:
                    yield f"from {node.module} import {alias.name}"
        elif isinstance(node, ast.Constant):
            if node.value == "__builtins__":
                yield "__builtins__"
        elif isinstance(node, ast.Name | ast.Attribute | ast.Call):
            yield from _name(node, known, id(node) in called, id(node) in below)
        if isinstance(node, ast.Call):
            yield from _call(node, full(node.func, known), known)


def _name(node: ast.expr, known: dict[str, str], called: bool, below: bool) -> Iterator[str]:
    """Offences of a name, and of ``getattr``, which is another way to write one."""
    said = words(node)
    if said == ["?"]:
        return
    name = full(node, known)
    if isinstance(node, ast.Name) and node.id in NAMES | {"pickle", "marshal"}:
        yield f"name {node.id}"
    imported = said[0] in known or isinstance(node, ast.Attribute)
    if imported and not below and forbidden(name):
        yield f"{name}"
    if imported and not called and not below and partly(name):
        yield f"{name}, handed on"
    if said[-1] in METHODS and len(said) > 1:
        yield "import" if said[-1] in ("exec_module", "load_module") else f"method {said[-1]}"
    if isinstance(node, ast.Call) and "?" in said and name.split(".")[0] in {*LAST, *PARTLY}:
        yield f"a computed name of {name}"


def _call(node: ast.Call, name: str, known: dict[str, str]) -> Iterator[str]:
    """Offences of a call of ``name``: what it is given."""
    first, last, given = name.split(".")[0], name.split(".")[-1], {word.arg: word.value for word in node.keywords}
    if name == "importlib.import_module" and not (node.args and isinstance(node.args[0], ast.Constant)):
        yield "import"
    if last == "spec_from_file_location":
        yield "import"
    if first == "numpy" and partly(name) and not _constant(given.get("allow_pickle"), False):
        yield "np.load that does not say allow_pickle=False"
    if None in given and (partly(name) or first == "subprocess"):
        yield f"{name} with settings that are not seen"
    for word in ("allow_pickle", "shell", "trust_remote_code"):
        if word in given and not _constant(given[word], False):
            yield word
    if first == "subprocess" and node.args:
        (words_of,) = [arg.elts if isinstance(arg, ast.List | ast.Tuple) else [arg] for arg in node.args[:1]]
        program = words_of[0] if words_of else None
        if isinstance(program, ast.Constant) and str(program.value).split("/")[-1].split(" ")[0] in SHELLS:
            yield "a shell"
    if name == "yaml.load":
        loader = given.get("Loader", node.args[1] if len(node.args) > 1 else None)
        if loader is None or full(loader, known) not in LOADERS:
            yield "yaml.load without a safe loader"
    if name in ("vars", "operator.attrgetter", "operator.methodcaller") and node.args:
        if full(node.args[0], known).split(".")[0] in {*LAST, *PARTLY} or name != "vars":
            yield f"{name}, which is a name in another way"


def _constant(node: ast.expr | None, value: object) -> bool:
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
    "import torch as t\nt.load(p)",
    "from numpy import load\nload(p)",
    "from numpy.lib.format import read_array\nread_array(f)",
    "import numpy as n\nn.load(p)",
    "import numpy as n\nn.load(p, allow_pickle=True)",
    "import numpy as np\nread = np.load",
    "import numpy as np\nnp.load(p, **opts)",
    "import numpy as np\nnp.lib.npyio.load(p)",
    "import numpy as np\nopen_ = np\nopen_.load(p)",
    "import torch.serialization as s\ns.load(p)",
    "import torch\ngetattr(torch, 'load')(p)",
    "import torch as t\ngetattr(t, name)(p)",
    "import torch\nvars(torch)['load'](p)",
    "import torch\nother = torch\nother.load(p)",
    "import torch\ntorch.ops.load_library(p)",
    "import torch\ntorch.classes.load_library(p)",
    "import torch\ntorch.export.load(p)",
    "import torch.jit as j\nj.load(p)",
    "import torch\ntorch.utils.cpp_extension.load(n)",
    "import torch\ntorch.package.PackageImporter(p)",
    "from torch import hub\nhub.load('a', 'b')",
    "from torch.package import PackageImporter",
    "from torch.distributed.checkpoint import load",
    "import torch.distributed as d\nd.all_gather_object(a, b)",
    "dist.broadcast_object_list(x)",
    "from torch.distributed import gather_object",
    "dist.scatter_object_list(a, b)",
    "import os as o\no.system('x')",
    "import os\nos.execv(a, b)",
    "import os\nos.execvpe(a, b, c)",
    "import os\nos.spawnlp(a, b)",
    "import os\nos.posix_spawn(a, b, c)",
    "from os import execv as go\ngo(a, b)",
    "import os\nrun = os.popen",
    "import subprocess\nsubprocess.getoutput('x')",
    "import subprocess\nsubprocess.run(['sh', '-c', x])",
    "import subprocess\nsubprocess.run(('/bin/bash', '-c', x))",
    "import subprocess\nsubprocess.run(x, **opts)",
    "from subprocess import run as go\ngo(x, **opts)",
    "import pkgutil\npkgutil.resolve_name(n)",
    "import pydoc\npydoc.locate(n)",
    "import zipimport\nzipimport.zipimporter(p)",
    "import importlib.util\nimportlib.util.spec_from_file_location(a, b)",
    "from importlib.util import spec_from_file_location as s\ns(a, b)",
    "from importlib import reload",
    "import importlib\nimportlib.reload(m)",
    "import importlib as i\nf = i.import_module\nf(x)",
    "import importlib as i\ni.import_module(x)",
    "from importlib.machinery import SourceFileLoader",
    "import ctypes\nctypes.CDLL(p)",
    "from yaml import load, Loader\nload(t, Loader)",
    "import yaml as y\ny.load(t, y.UnsafeLoader)",
    "import yaml\nyaml.Loader(t).get_single_data()",
    "import yaml\nyaml.load(t, Loader=make.SafeLoader)",
    "import yaml\nyaml.full_load_all(t)",
    "from yaml.loader import UnsafeLoader",
    "from multiprocessing.reduction import ForkingPickler",
    "from sklearn.externals import joblib",
    "import builtins as b\nb.eval(x)",
    "globals()['__builtins__']['eval'](x)",
    "__builtins__.eval(x)",
    "import _imp",
    "import shelve as s",
    "from marshal import loads",
    "import jsonpickle",
    "import cloudpickle.cloudpickle as c",
    "from os import *",
    "import operator, os\noperator.methodcaller('system', 'x')(os)",
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
    "import torch.nn as nn\nnn.Module().load_state_dict(tensors)",
    "from safetensors.torch import load_file, save_file\nload_file(path)",
    "import os\nos.path.join(a, b)\nos.fspath(c)",
    "import numpy as n\nn.load(p, mmap_mode='r', allow_pickle=False)",
    "import yaml as y\ny.load(t, Loader=y.SafeLoader)",
    "import subprocess\nsubprocess.run([sys.executable, '-c', 'import a'], check=False)",
    "import torch.distributed as d\nd.all_gather(found, values)",
    "getattr(network, 'shape', None)",
    "import signal\ngetattr(signal, name)",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_harmless_is_let_pass(text: str) -> None:
    assert not list(offences(ast.parse(text)))
