"""``mezzotint reproduce`` as a person runs it, at sizes that take no training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mezzotint.cli.reproduce import seeds_of
from mezzotint.core import Refusal
from mezzotint.recipes import origins

MINE = Path(__file__).parents[1] / "evidence" / "mine.py"


def test_a_strangers_file_ends_in_a_verdict_a_record_and_a_sheet(command, tmp_path: Path) -> None:
    out = tmp_path / "found"
    said = command("reproduce", MINE, "--size", "exact", "--out", out)
    assert said.code == 0, said.err
    for piece in ("A paper (Somebody, 2026; arXiv 0000.00000)", "Longer training is better.", "short 2", "HOLDS"):
        assert piece in said.out
    record = json.loads((out / "mine.py-exact.json").read_text())
    assert record["verdict"]["outcome"] == "holds"
    assert record["numbers"]["2"]["coin"]["heads"] == 6
    assert "3.667" in said.out  # the mean of 3, 6 and 2
    page = (out / "mine.py-exact.html").read_text()
    assert "3.667" in page
    assert "<script" not in page


def test_other_seeds_and_settings_are_said_and_kept_apart(command, tmp_path: Path) -> None:
    said = command("reproduce", MINE, "--size", "exact", "--out", tmp_path, "--seeds", "2", "--set", "step=5")
    assert "other seeds or settings" in said.out
    (path,) = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert path.name != "mine.py-exact.json"
    assert record["seeds"] == [1, 2]
    assert record["setting"] == {"step": 5}
    assert record["numbers"] == {"1": {"coin": {"heads": 5}}, "2": {"coin": {"heads": 3}}}


def test_a_file_that_is_no_record_is_said(command, tmp_path: Path) -> None:
    (tmp_path / "pfgmpp-exact.json").write_text("{")
    said = command("reproduce", "--list", "--out", tmp_path)
    assert said.code == 0 and "pfgmpp-exact.json" in said.err and "cannot be read" in said.err


def test_the_list_names_every_recipe_and_what_its_records_say(command, tmp_path: Path) -> None:
    before = command("reproduce", "--list", "--out", tmp_path).out
    assert all(slug in before for slug in origins())
    assert before.count("not run") == len([line for line in before.splitlines() if " min" in line])
    known = json.loads(command("reproduce", "--list", "--out", tmp_path, "--json").out)
    assert {entry["recipe"] for entry in known} == set(origins())
    assert {"exact", "small", "full"} == set(known[0]["sizes"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("pfgm",), "did you mean 'pfgmpp'"),
        ((), "name a recipe, or all"),
        ((MINE, "--size", "tiny"), "no size 'tiny'"),
        ((MINE, "--size", "full"), "no size 'full'"),
        ((MINE, "--size", "exact", "--seeds", "0"), "at least 1"),
        ((MINE, "--size", "exact", "--seeds", "5-3"), "backwards"),
        ((MINE, "--size", "exact", "--set", "stride=2"), "no setting 'stride'"),
        (("nowhere.py",), "no recipe file"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(command, tmp_path: Path, words, sentence: str) -> None:
    said = command("reproduce", *words, "--out", tmp_path)
    assert said.code == 2
    assert sentence in said.err
    assert not list(tmp_path.iterdir())


def test_seeds_are_counted_from_the_recipes_own_on() -> None:
    assert seeds_of(None, (10, 11, 12)) == (10, 11, 12)
    assert seeds_of("2", (10, 11, 12)) == (10, 11)
    assert seeds_of("5", (10, 11, 12)) == (10, 11, 12, 13, 14)
    assert seeds_of("20-22", (10, 11, 12)) == (20, 21, 22)
    with pytest.raises(Refusal):
        seeds_of("x", (1,))
