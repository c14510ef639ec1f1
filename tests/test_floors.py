"""The house keeps its shape: imports go down the floors only, files stay short, what must never come in stays out."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "mezzotint"
FILES = sorted(PACKAGE.glob("**/*.py"))


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter's answer about the package under `root`/src, by the contract in `root`/pyproject.toml."""
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "NO_COLOR": "1"}
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as main; main()",
        "--no-cache",
        "--no-logo",
    ]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def imported(path: Path) -> set[str]:
    """The top-level names of everything a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_imports_go_down_the_floors() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("where", "line", "complaint"),
    [
        ("core/planted.py", "from mezzotint.samplers import Sampler\n", "mezzotint.core.planted -> mezzotint.samplers"),
        (
            "data/planted.py",
            "def late():\n    import mezzotint.networks\n",
            "mezzotint.data.planted -> mezzotint.networks",
        ),
        ("attic/__init__.py", "", "mezzotint.attic"),
    ],
    ids=["up", "sideways, inside a function", "a room on no floor"],
)
def test_the_contract_catches(where: str, line: str, complaint: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "src" / "mezzotint", ignore=shutil.ignore_patterns("__pycache__"))
    planted = tmp_path / "src" / "mezzotint" / where
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(line)
    result = lint(tmp_path)
    assert result.returncode == 1 and complaint in " ".join(result.stdout.split()), result.stdout


def test_files_are_short() -> None:
    recipes = {path for path in FILES if path.parent.name == "recipes" and "\nRECIPE = " in path.read_text("utf-8")}
    allowed = {path: 80 if path in recipes else 400 for path in FILES}
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {str(path.relative_to(PACKAGE)): n for path, n in lengths.items() if n >= allowed[path]}


def test_every_module_teaches() -> None:
    silent = [path for path in FILES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert not [str(path.relative_to(PACKAGE)) for path in silent]


@pytest.mark.parametrize("library", ["torchvision", "torchaudio", "pickle", "cloudpickle", "dill"])
def test_never_imported(library: str) -> None:
    """No pickle: a file must never run code. No torchvision: a build that does not match torch breaks others."""
    assert not [str(path.relative_to(PACKAGE)) for path in FILES if library in imported(path)]
