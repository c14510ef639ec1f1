"""``mezzotint data make`` and ``data cache``: painted, looked at, kept, trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from messy import clean
from mezzotint.core import config

Command = Callable[..., Any]
QUICK = ["training.images=64", "training.batch=32", "training.sampler.steps=2", "training.rate.warmup=16"]


def test_scenes_are_painted_looked_at_and_trained_on(command: Command, tmp_path: Path) -> None:
    out, recipe = tmp_path / "scenes", tmp_path / "recipe.yaml"
    said = command("data", "make", "scenes", "--out", out, "--count", 60, "--size", 16, "--set", "objects=[1,2]")
    assert said.code == 0 and "60 scenes of 16 x 16 pixels" in said.out and "painting" in said.err
    again = command(
        "data", "make", "scenes", "--out", out, "--count", 64, "--size", 16, "--set", "objects=[1,2]", "--json"
    )
    assert again.json["count"] == 64
    said = command("data", "check", out, "--out", recipe)
    assert said.code == 0 and "64 pictures that can be read" in said.out
    tree = config.load(recipe)
    assert tree["data"]["part"] == "data.Table" and tree["data"]["caption"] == "caption"
    assert tree["data"]["split_by"] == "split"
    done = command("train", recipe, "--out", tmp_path / "run", "--set", *QUICK, "model.network.width=8", "--json")
    assert done.code == 0 and done.json["images"] == 64


def test_what_is_not_painted(command: Command, tmp_path: Path) -> None:
    def make(*words: object) -> str:
        found: str = command("data", "make", "scenes", "--out", tmp_path / "a", *words).sentence
        return found

    assert "16 to 256" in make("--size", 8)
    assert "is not a count" in make("--count", "many")
    assert "leave pictures out" in make("--set", "pictures=9")
    assert "did you mean 'objects'" in make("--set", "object=[1,2]")
    assert not (tmp_path / "a").exists()


def test_pictures_are_kept_and_trained_on(command: Command, tmp_path: Path) -> None:
    root, cache = clean(tmp_path / "in"), tmp_path / "cache"
    said = command("data", "cache", root, "--size", 16, "--out", cache, "--json")
    assert [one["split"] for one in said.json["caches"]] == ["train", "held_out"]
    assert sum(one["items"] for one in said.json["caches"]) == 40
    assert all(Path(one["path"]).is_dir() for one in said.json["caches"])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.dumps(said.json["recipe"]))
    assert said.json["recipe"]["data"]["part"] == "data.Cached"
    again = command("data", "cache", recipe, "--out", cache, "--check", "--json")
    assert again.json["caches"] == said.json["caches"]
    plain = command("data", "cache", recipe, "--out", cache)
    assert plain.out.count(", there already and whole\n") == 2 and "images/s" not in plain.err
    assert command("data", "cache", recipe, "--out", cache, "--check").out.count("and whole, checked\n") == 2
    done = command("train", recipe, "--out", tmp_path / "run", "--set", *QUICK, "model.network.width=8", "--json")
    assert done.code == 0 and done.json["images"] == 64
    assert "edit it there" in command("data", "cache", recipe, "--out", cache, "--size", 8).sentence
