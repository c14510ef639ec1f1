"""What people read runs: every Python block of the README and the documentation, and every docstring example.

The blocks of a file run in order in one namespace and an empty folder, as someone types them who reads from top to
bottom. A block under the comment `<!-- not run -->` is only compiled.
"""

from __future__ import annotations

import doctest
import importlib
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "<!-- not run -->"


@dataclass(frozen=True)
class Block:
    language: str
    code: str
    line: int
    run: bool


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            language=match[1],
            code=match[2],
            line=text.count("\n", 0, match.start()) + 1,
            run=not text[: match.start()].rstrip().endswith(NOT_RUN),
        )
        for match in FENCE.finditer(text)
    ]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("snippet_" + re.sub(r"\W", "_", name_of(page)))  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.language == "python":
            # The empty lines put the block where it stands on the page, so that a traceback names the page's own line.
            code = compile("\n" * block.line + block.code, name_of(page), "exec", dont_inherit=True)
            if block.run:
                exec(code, module.__dict__)


def test_readme_commands_are_one_line_each() -> None:
    """.ci/run takes the first two and runs them as they stand."""
    first, second = [block.code.splitlines() for block in blocks(ROOT / "README.md") if block.language == "bash"][:2]
    assert len(first) == len(second) == 1
    assert "-c constraints.txt" in first[0] and first[0].endswith("mezzotint demo")
    assert "pytest" in second[0]


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken


def modules_with_examples() -> list[str]:
    source = ROOT / "src"
    return [
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted(source.glob("mezzotint/**/*.py"))
        if ">>>" in path.read_text(encoding="utf-8")
    ]


def test_docstring_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in modules_with_examples():
        assert doctest.testmod(importlib.import_module(name)).failed == 0, name
