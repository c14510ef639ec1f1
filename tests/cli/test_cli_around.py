"""A loss with context from the command line: one `--set`, on a training from data, from a recipe and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.core import config
from mezzotint.core.store import load_tensors

Command = Callable[..., Any]
CONTEXT = "objectives.ContextPrediction"
QUICK = ("training.sampler.steps=1", "training.batch=32", "training.save=64", "training.picture=100k")


def train(command: Command, run: Path, *more: object, images: int = 128) -> Any:
    around = f"training.objective+={CONTEXT}"
    return command("train", "digits", "--out", run, "--images", images, "--width", 8, "--set", *QUICK, around, *more)


@pytest.fixture
def run(command: Command, tmp_path: Path) -> Path:
    said = train(command, tmp_path / "run")
    assert said.code == 0, said
    return tmp_path / "run"


def test_one_set_puts_it_around_the_usual_loss(command: Command, run: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    assert command("train", "digits", "--out", plain, "--images", 128, "--width", 8, "--set", *QUICK).code == 0
    mine, theirs = (config.load(folder / "config.yaml") for folder in (run, plain))
    found = mine["training"]["objective"]
    assert found["part"] == CONTEXT and found["inner"] == theirs["training"]["objective"]
    assert found["weight"] == 0.01 and found["sites"] == 0.0625  # written out, as every other part is
    mine["training"]["objective"] = found["inner"]
    assert mine == theirs
    weights = [load_tensors(folder / "model" / "model.safetensors") for folder in (run, plain)]
    assert weights[0].keys() == weights[1].keys()
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    sampled = command("sample", run, "--seeds", "0-1", "--steps", 1, "--out", tmp_path / "samples")
    assert sampled.code == 0 and "Traceback" not in sampled.err


def test_the_same_command_goes_on_with_the_run(command: Command, run: Path, tmp_path: Path) -> None:
    """The way back after an interruption, as of any other training; and once it is said, it need not be again."""
    before = config.load(run / "config.yaml")["training"]["objective"]
    said = train(command, run, images=192)
    assert said.code == 2  # there is a run already
    said = train(command, run, "--resume", images=192)
    assert said.code == 0, said
    assert config.load(run / "config.yaml")["training"]["objective"] == before
    assert command("train", run, "--resume", "--images", 256).code == 0
    assert config.load(run / "config.yaml")["training"]["objective"] == before


def test_a_recipe_that_says_only_its_data_is_edited_once(command: Command, tmp_path: Path) -> None:
    recipe = tmp_path / "data.yaml"
    recipe.write_text("data: {part: data.Digits}\n")
    around = "data+={part: data.Flipped, harmless: [label]}"
    tree = config.loads(command("train", recipe, "--dry-run", "--set", around).out)
    assert tree["data"]["part"] == "data.Flipped" and tree["data"]["source"]["part"] == "data.Digits"


def test_what_it_cannot_stand_around_is_said_before_anything_is_written(command: Command, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run", "--images", 128, "--width", 8, "--set", *QUICK)
    for change, said in (
        (f"training.images+={CONTEXT}", "around a part"),
        ("training.objective+=objectives.ContextPredicton", "did you mean 'ContextPrediction'"),
        (f"training.objective+={{part: {CONTEXT}, weight: -1}}", "weight"),
        (f"training.objective+={{part: {CONTEXT}, source: nothing}}", "features"),
        (f"training.objective+={{part: {CONTEXT}, feature: up.7}}", "up.7"),
    ):
        assert said in command("train", "digits", *out, change).sentence
    assert not (tmp_path / "run").exists()
