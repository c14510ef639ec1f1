"""``mezzotint data check``: what is printed, the exit codes, and a recipe that trains on the rest."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from messy import LONG, STRANGE, blobs, clean, messy, save
from mezzotint.core import config
from mezzotint.core.spec import build
from mezzotint.data.check import KINDS

Command = Callable[..., Any]
QUICK = ["training.images=64", "training.batch=32", "training.sampler.steps=2", "training.rate.warmup=16"]


def test_a_clean_folder_is_trained_as_it_is(command: Command, tmp_path: Path) -> None:
    said = command("data", "check", clean(tmp_path / "in"), "--out", tmp_path / "recipe.yaml")
    assert said.code == 0 and "warning" not in said.out and re.findall("hint +([a-z ]+)", said.out) == ["few held out"]
    assert "classes   2: cat 20, dog 20" in said.out and "48 x 48, all of them" in said.out
    tree = config.load(tmp_path / "recipe.yaml")
    assert tree["data"]["channels"] == 3 and not tree["data"].get("skip_broken", False)
    assert command("train", tmp_path / "recipe.yaml", "--dry-run", "--json").json == tree


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_messy_folder_is_named_and_the_rest_is_trained_on(command: Command, tmp_path: Path) -> None:
    root, recipe = tmp_path / "in", tmp_path / "recipe.yaml"
    expected = messy(root, tmp_path / "out")
    said = command("data", "check", root, "--out", recipe, "--size", 16)
    assert said.code == 4
    for kind, files in expected.items():
        assert f"\n{KINDS[kind].severity:<8} {kind}: {KINDS[kind].of(len(files))}\n" in said.out
    tree = config.load(recipe)
    assert tree["data"]["skip_broken"] is True and tree["model"]["network"]["shape"] == [3, 16, 16]
    run = tmp_path / "run"
    done = command("train", recipe, "--out", run, "--set", *QUICK, "model.network.width=8", "--json")
    assert done.code == 0 and done.json["images"] == 64 and done.json["loss"] == done.json["loss"]
    data = build(config.load(recipe)["data"])
    assert len(data) + len(data.held_out()) == int(said.out.split(" pictures that can be read")[0].rsplit(" ", 1)[1])


def test_names_are_printed_harmlessly(command: Command, tmp_path: Path) -> None:
    messy(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "cat" / ("x" * 240 + ".png")).touch()
    evil = tmp_path / "in" / "evil\x1b]0;title\x07\x9b31m\nclass\u202e"
    save(evil / "a.png", 4321)
    save(evil / "b.png", 4322)
    said = command("data", "check", tmp_path / "in")
    assert said.code == 4 and all(c.isprintable() or c == "\n" for c in said.out + said.err)
    assert "new\\nline \\x1b[31mred" in said.out and "evil\\x1b]0;title\\x07\\x9b31m\\nclass\\u202e 2" in said.out
    assert max(map(len, said.out.splitlines())) < 200 and "..." in said.out
    assert STRANGE not in said.out and LONG not in said.out


def test_for_machines(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "in"
    expected = messy(root, tmp_path / "out")
    said = command("data", "check", root, "--json")
    assert said.code == 4 and said.json["recipe"]["data"]["path"] == str(root) and said.json["refused"] == ""
    found = {problem["kind"]: problem["count"] for problem in said.json["problems"]}
    assert {kind: found.get(kind) for kind in expected} == {kind: len(files) for kind, files in expected.items()}
    said.out.encode()  # the name whose bytes are no UTF-8 is written out


def test_hints_alone_are_no_problem(command: Command, tmp_path: Path) -> None:
    root = clean(tmp_path / "in")
    Image.fromarray(blobs(77)).convert("RGBA").save(root / "cat" / "clear.png")
    Image.fromarray(blobs(78, 96)).save(root / "cat" / "large.png")
    said = command("data", "check", root)
    assert said.code == 0 and "hint     transparent" in said.out and "hint     sizes differ" in said.out


def test_what_cannot_be_trained_on_gives_no_recipe(command: Command, tmp_path: Path) -> None:
    root = clean(tmp_path / "in")
    save(root / "loose.png", 99)
    said = command("data", "check", root)
    assert said.code == 4 and "wrong    mixed: 1" in said.out and "no recipe yet: " in said.out
    said = command("data", "check", root, "--out", tmp_path / "recipe.yaml")
    assert said.code == 2 and "no recipe was written" in said.err and not (tmp_path / "recipe.yaml").exists()


def test_what_cannot_be_looked_at(command: Command, tmp_path: Path) -> None:
    assert "no folder" in command("data", "check", tmp_path / "none").sentence
    assert "no images" in command("data", "check", tmp_path).sentence
    (tmp_path / "recipe.yaml").write_text("mine")
    said = command("data", "check", clean(tmp_path / "in"), "--out", tmp_path / "recipe.yaml")
    assert "--overwrite" in said.sentence and (tmp_path / "recipe.yaml").read_text() == "mine"
    assert "at least 1" in command("data", "check", tmp_path / "in", "--size", 0).sentence


def test_what_is_trained_on_and_not_looked_into(command: Command, tmp_path: Path) -> None:
    root = tmp_path / "tars"
    root.mkdir()
    with tarfile.open(root / "a.tar", "w") as tar:
        tar.add(save(tmp_path / "0.png", 1), "0.png")
    for what in (root, root / "a.tar"):
        assert "is tar shards: mezzotint train reads it" in command("data", "check", what).sentence
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "state.json").write_text("{}")
    assert "a set that datasets saved" in command("data", "check", saved).sentence
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("any")
    assert "no images" in command("data", "check", tmp_path / "other").sentence


def test_what_is_proposed_for_a_table_is_what_train_makes_of_it(command: Command, tmp_path: Path) -> None:
    root = clean(tmp_path / "in")
    files = sorted(root.glob("*/*.png"))
    rows = [
        {"file_name": f"{f.parent.name}/{f.name}", "class": f.parent.name, "text": f"a {f.parent.name}"} for f in files
    ]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = command("data", "check", root, "--size", 16, "--out", tmp_path / "recipe.yaml")
    assert "the captions are learnt, the labels left out" in said.out
    mine, theirs = (
        config.load(tmp_path / "recipe.yaml"),
        command("train", root, "--size", 16, "--dry-run", "--json").json,
    )
    assert "caption" in mine["model"]["encoder"] and mine["model"] == theirs["model"]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:2]))
    said = command("data", "check", root, "--size", 16)
    assert said.code == 4 and "warning  mostly untold: 38 named by no table" in said.out


def test_the_actions(command: Command) -> None:
    said = command("data")
    assert said.code == 0 and "usage: mezzotint data ACTION" in said.out
    assert "did you mean 'check'" in command("data", "chekc", "x").sentence
    error = command("data", "chekc", "--json")
    assert json.loads(error.err)["code"] == 2
    said = command("data", "check", "--help")
    assert said.code == 0 and "usage: mezzotint data check" in said.out and "examples:" in said.out
    assert max(map(len, said.out.splitlines())) <= 120


def test_the_page_shows_what_is_printed(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own-pictures.md").read_text()
    monkeypatch.chdir(tmp_path)
    exec(next(code for code in re.findall(r"```python\n(.*?)```", page, re.S) if '"looked"' in code), {})
    shown = next(text for text in re.findall(r"```text\n(.*?)```", page, re.S) if text.startswith("looked: "))
    assert command("data", "check", "looked", "--out", "recipe.yaml").out == shown
