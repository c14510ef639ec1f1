"""Samplers, guidance, training and search serve symbols and reals by one code: none of them asks which it has.

What differs is in the laws: a process bridges, a distribution is bent. A module of these rooms that compares ``.kind``,
asks whether something is a law or a process of symbols, or names tokens in a condition is caught here, unless it is in
the short list below, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "mezzotint"
ROOMS = ("samplers", "guidance", "training", "search", "steering")
SYMBOLS = {"Discrete", "Categorical", "Absorbing", "Multinomial", "Blockwise"}
ALLOWED = {
    "samplers/base.py": "continuous() refuses what is not of real data, for solvers that are for nothing else",
    "samplers/reuse.py": "what is kept in memory is tensors; which law they make is said once, and others are refused",
}
"""Modules that may ask, and why: parts of one kind only, that refuse the other."""


def branches(source: str) -> Iterator[str]:
    """Every place of a module that asks whether it has symbols."""
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            if SYMBOLS & _names(node.args[-1]):
                yield f"{line}: {ast.unparse(node)}"
        elif isinstance(node, ast.Compare) and any(_kind(side) for side in (node.left, *node.comparators)):
            yield f"{line}: {ast.unparse(node)}"
        elif isinstance(node, ast.Match) and _kind(node.subject):
            yield f"{line}: match {ast.unparse(node.subject)}"
        elif isinstance(node, ast.match_case) and SYMBOLS & _names(node.pattern):
            yield f"{getattr(node.pattern, 'lineno', 0)}: case {ast.unparse(node.pattern)}"
        if isinstance(node, ast.If | ast.IfExp | ast.While | ast.comprehension | ast.Assert):
            tests = node.ifs if isinstance(node, ast.comprehension) else [node.test]
            for test in tests:
                if any("token" in word.lower() for word in _words(test)):
                    yield f"{test.lineno}: {ast.unparse(test)}"


def _kind(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return any(isinstance(argument, ast.Constant) and argument.value == "kind" for argument in node.args)
    return isinstance(node, ast.Attribute) and node.attr == "kind"


def _names(node: ast.AST) -> set[str]:
    found = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return found | {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def _words(node: ast.AST) -> Iterator[str]:
    for n in ast.walk(node):
        if isinstance(n, ast.Name):
            yield n.id
        elif isinstance(n, ast.Attribute):
            yield n.attr
        elif isinstance(n, ast.Constant) and isinstance(n.value, str):
            yield n.value


def modules() -> list[Path]:
    return sorted(path for room in ROOMS for path in (PACKAGE / room).glob("**/*.py"))


def test_no_room_asks_which_it_has() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): list(branches(path.read_text("utf-8"))) for path in modules()}
    assert len(found) > 40
    assert not {name: lines for name, lines in found.items() if lines and name not in ALLOWED}


def test_the_list_is_no_longer_than_it_needs_to_be() -> None:
    assert all(list(branches((PACKAGE / name).read_text("utf-8"))) for name in ALLOWED)


MUTANTS = {
    "kind": "if process.kind == 'token':\n    pass",
    "kind the other way": "x = 1 if 'real' != denoiser.process.kind else 2",
    "kind in": "ok = process.kind in ('token',)",
    "kind by name": "ok = getattr(process, 'kind', None) == 'token'",
    "kind matched": "match process.kind:\n    case 'token':\n        pass",
    "a law": "if isinstance(answer, Categorical):\n    pass",
    "one of several laws": "if isinstance(answer, (Dirac, distribution.Categorical)):\n    pass",
    "a union": "ok = isinstance(answer, Dirac | Categorical)",
    "a process": "ok = not isinstance(denoiser.process, processes.Discrete)",
    "a class": "ok = issubclass(type(p), Absorbing)",
    "a case": "match answer:\n    case Categorical():\n        pass",
    "a flag": "while self.is_token:\n    pass",
    "a word": "y = [x for x in xs if x == 'token']",
}


@pytest.mark.parametrize("name", MUTANTS)
def test_it_catches(name: str) -> None:
    assert list(branches(MUTANTS[name]))


@pytest.mark.parametrize(
    "innocent",
    [
        "law = Categorical(logits)",
        "from mezzotint.core.distribution import Categorical",
        "if isinstance(law, Gaussian):\n    pass",
        "if denoiser.uses_level:\n    pass",
        "process = check_mask(denoiser.process, 'AnyOrder')",
        "kind = answer.kind",
    ],
)
def test_it_lets_pass(innocent: str) -> None:
    assert not list(branches(innocent))
