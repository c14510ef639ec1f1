"""The page of all claims says what the records say, and nothing where there is none."""

from __future__ import annotations

import importlib.util
import math
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mezzotint.cli.claims import claims
from mezzotint.evidence import Closed, Paper, Recipe, at
from mezzotint.evidence.load import Loaded
from mezzotint.evidence.record import Record, records
from mezzotint.evidence.reproduce import Request, reproduce

ROOT = Path(__file__).resolve().parent.parent.parent
HOSTILE = "<script>a</script> | [x](javascript:a) `b` $c$ {d}`e` *f* _g_ ~h~ # &amp;"
CLOSED = Closed(
    measure=lambda s, seed: {"a": {"x": s.base + 0.01 * seed}},
    verdict=lambda seen: seen.all(seen.at_most("x of a", at("a", "x"), 1.5)),
    seeds=(1, 2, 3),
    setting={"base": 1.0},
    criterion="plain words",
)


def recipe(words: str = "plain words", **sizes: Closed) -> Recipe:
    return Recipe(
        paper=Paper(words, words, 2020, "2001.00001"),
        claim=words,
        published={words: {words: 1.25}},
        sizes=sizes or {"exact": CLOSED, "small": CLOSED},
    )


def found(slug: str, made: Recipe, size: str = "exact", **asked: Any) -> Record:
    return reproduce(Request(Loaded(slug, f"{slug}.py", made, "0" * 16), size, **asked))


def cells(page: str, start: str) -> list[str]:
    """The cells of the first row of a table that begins so."""
    line = next(line for line in page.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_what_was_found_and_what_was_not_run() -> None:
    made = recipe()
    page = claims({"mine": made, "other": made}, [found("mine", made)])
    assert cells(page, "[mine]")[2:] == ["holds", "not run", "–"]
    assert cells(page, "[other]")[2:] == ["not run", "not run", "–"]
    assert page.count("### exact: holds\n") == 1 and page.count("### small: not run\n") == 2 and "### full" not in page
    assert cells(page, "x of a") == [
        "x of a",
        "at most 1.5",
        "1.02",
        r"\[0.9952, 1.045\]",
        "1.01, 1.02, 1.03",
        "holds",
    ]
    assert cells(page, "plain words |")[2] == "1.25"
    assert "results/mine-exact.json" in page and "`0000000000000000`" in page and "seeds 1, 2, 3;" in page


def test_the_page_does_not_depend_on_the_order_of_anything() -> None:
    one, two = recipe(), recipe("others")
    made = [found("a", one), found("b", two), found("b", two, "small")]
    assert claims({"a": one, "b": two}, made) == claims({"b": two, "a": one}, made[::-1])


def test_other_seeds_and_settings_are_no_verdict() -> None:
    made = recipe()
    few, edited = found("mine", made, seeds=(1, 2)), found("mine", made, changes=("base=2.0",))
    assert not few["standard"] and not edited["standard"]
    page = claims({"mine": made}, [few, edited])
    assert cells(page, "[mine]")[2] == "not run" and "### exact: not run" in page
    assert page.count("### Apart: exact: ") == 2 and "base=2.0" in page and page.count("not its verdict") == 2
    assert "### Apart: exact: does not hold" in page  # kept


def test_what_was_found_earlier_is_kept_and_no_verdict() -> None:
    made = recipe()
    page = claims({"mine": made}, [], [found("mine", made)])
    assert cells(page, "[mine]")[2] == "not run" and "### Earlier: exact: holds" in page
    assert "results/earlier/mine-exact.json" in page and page.count("not its verdict") == 1


def test_a_recipe_that_has_changed_since_has_no_verdict() -> None:
    before = recipe()
    old = found("mine", before)
    after = replace(before, sizes={"exact": replace(CLOSED, seeds=(4, 5, 6), criterion="stricter words")})
    page = claims({"mine": after}, [old])
    assert old["standard"] and cells(page, "[mine]")[2] == "not run"
    assert "### Apart: exact: holds" in page and "**Criterion.** plain words" in page
    reworded = claims({"mine": replace(before, sizes={"exact": replace(CLOSED, criterion="better words")})}, [old])
    assert cells(reworded, "[mine]")[2] == "holds" and "**Criterion.** plain words" in reworded


@pytest.mark.parametrize(("name", "column", "threshold"), [("x of a", "x", 1.4), ("y", "x", 1.5), ("x of a", "z", 1.5)])
def test_a_verdict_that_would_be_another_today_does_not_count(name: str, column: str, threshold: float) -> None:
    before = recipe()
    moved = replace(CLOSED, verdict=lambda seen: seen.all(seen.at_most(name, at("a", column), threshold)))
    page = claims({"mine": replace(before, sizes={"exact": moved})}, [found("mine", before)])
    assert cells(page, "[mine]")[2] == "not run" and "### Apart: exact: holds" in page


def test_records_whose_recipe_is_gone_are_listed() -> None:
    made = recipe()
    page = claims({"mine": made}, [found("mine", made), found("lost", made)])
    head, _, tail = page.partition("## Records whose recipe is gone")
    assert "lost" not in head and "### lost, exact: holds" in tail


def test_numbers_that_could_not_be_computed_are_dashes() -> None:
    bad = replace(CLOSED, measure=lambda s, seed: {"a": {"x": math.nan if seed == 2 else 1.0}})
    made = recipe(exact=bad)
    page = claims({"mine": made}, [found("mine", made)])
    assert cells(page, "x of a")[2:] == ["–", "–", "1, –, 1", "undecided"]
    alone = claims({"mine": made}, [found("mine", made, seeds=(1,))])
    assert cells(alone, "x of a")[3:] == ["–", "1", "undecided"] and "at 1 seed " in alone


def test_nothing_in_a_record_is_markup() -> None:
    hostile = replace(
        CLOSED,
        measure=lambda s, seed: {HOSTILE: {HOSTILE: 1.0}},
        verdict=lambda seen: seen.all(seen.at_most(HOSTILE, at(HOSTILE, HOSTILE), 1.5)),
    )
    made = recipe(HOSTILE, exact=hostile)
    page = claims({"mine": made}, [found("mine", made), found("lost", made)])
    text = page.replace("`results/", "").replace("`0000", "")
    for special in ("<script", "`b`", "$c$", "*f*", "_g_", "[x]", "# &"):
        assert not re.search(rf"(?<!\\){re.escape(special)}", text), special
    assert len(cells(page, re.escape("x").replace("x", r"\<script"))) == 3  # published: no cell more
    row = next(line for line in page.splitlines() if line.startswith(r"| \<script") and "at most" in line)
    assert len(re.split(r"(?<!\\)\|", row)) == 8


@pytest.mark.parametrize("start", ["- list", "1. list", "% comment", "(target)=", ": term", "+++", "> quote", "# head"])
def test_a_paragraph_stays_a_paragraph(start: str) -> None:
    pytest.importorskip("markdown_it")
    from markdown_it import MarkdownIt

    made = replace(recipe(), paper=Paper("title", start, 2020, "2001.00001"))
    page = claims({"mine": made}, [])
    assert {token.type for token in MarkdownIt().enable("table").parse(page)} <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline"),
        *(f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")),
    }


@pytest.fixture
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("claims_tool", ROOT / "tools" / "claims.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tool_writes_the_page_and_tells_a_stale_one(
    tool: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, results = tmp_path / "claims.md", tmp_path / "results"
    given = ["--page", str(page), "--results", str(results)]
    assert tool.main([*given, "--check"]) == 1 and not page.exists()
    assert tool.main(given) == 0 and tool.main([*given, "--check"]) == 0
    assert "| not run |" in page.read_text(encoding="utf-8") and "](evidence.md)" in page.read_text(encoding="utf-8")
    found("gone", recipe()).save(results)
    (results / "noise.json").write_text("{}")
    assert len(records(results)) == 1
    assert tool.main([*given, "--check"]) == 1 and "python tools/claims.py" in capsys.readouterr().err
    assert tool.main(given) == 0 and "gone, exact: holds" in page.read_text(encoding="utf-8")


def test_the_page_of_the_repository_is_what_its_records_say(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0, "run python tools/claims.py"
