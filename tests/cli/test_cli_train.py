"""Training from the command line: what it takes, what it refuses, and that stopping costs nothing."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mezzotint.core import config
from mezzotint.core.store import load_tensors

Command = Callable[..., Any]
QUICK = ("--width", 8, "--set", "training.sampler.steps=1", "training.save=1024", "training.picture=100k")


def weights(run: Path, images: int) -> dict[str, dict[str, torch.Tensor]]:
    folder = run / "checkpoints" / f"{images:010d}"
    return {path.stem: load_tensors(path) for path in sorted(folder.glob("*.safetensors"))}


def same(one: Path, other: Path, images: int) -> bool:
    a, b = weights(one, images), weights(other, images)
    assert a.keys() == b.keys() and all(a[part].keys() == b[part].keys() for part in a)
    return all(torch.equal(a[part][name], b[part][name]) for part in a for name in a[part])


@pytest.fixture(scope="session")
def straight(place: Path) -> Path:
    """2,048 images without a stop, with a checkpoint half way."""
    from mezzotint.cli import main

    run = place / "straight"
    assert main(["train", "digits", "--out", str(run), "--images", "2k", *map(str, QUICK)]) == 0
    return run


def test_a_run_that_stopped_ends_the_same(command: Command, straight: Path, tmp_path: Path) -> None:
    """As after a crash behind the first checkpoint: everything later is gone, but for what the log said already."""
    run = tmp_path / "stopped"
    shutil.copytree(straight, run)
    shutil.rmtree(run / "checkpoints" / "0000002048")
    shutil.rmtree(run / "model")
    (run / "checkpoints" / ".0000002048.7.tmp").mkdir()
    log = (run / "metrics.jsonl").read_text().splitlines()
    said = command("train", run, "--resume")
    assert said.code == 0 and f"mezzotint sample {run}" in said.out
    assert same(run, straight, 2048)
    assert (run / "model" / "model.safetensors").read_bytes() == (straight / "model" / "model.safetensors").read_bytes()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == len(log)


def test_interrupted_and_resumed_by_the_same_command(command: Command, straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("train", "digits", "--out", run, "--images", "2k", *QUICK)

    def interrupt() -> None:
        while not (run / "checkpoints" / "0000001024").is_dir():
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    watch = threading.Thread(target=interrupt, daemon=True)
    watch.start()
    said = command(*words)
    watch.join()
    assert said.code == 75 and f"mezzotint train {run} --resume" in said.err and "Traceback" not in said.err
    assert "stopped by SIGINT, saved at" in said.err
    assert not (run / "checkpoints" / "0000002048").exists()
    assert command(*words, "--resume").code == 0
    assert same(run, straight, 2048)


def test_a_damaged_checkpoint_is_passed_over(command: Command, straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(straight, run)
    file = run / "checkpoints" / "0000002048" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    said = command("train", run, "--resume")
    assert said.code == 0 and "truncated" in said.err and same(run, straight, 2048)


def test_a_run_without_one_whole_checkpoint_is_refused(command: Command, digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    for file in run.glob("checkpoints/*/model.safetensors"):
        file.write_bytes(file.read_bytes()[:-100])
    before = sorted(path for path in run.rglob("*"))
    said = command("train", run, "--resume")
    assert said.code == 2 and "no checkpoint" in said.err.splitlines()[-1] and "Traceback" not in said.err
    assert sorted(path for path in run.rglob("*")) == before


def test_going_on_for_longer(command: Command, digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    said = command("train", run, "--resume", "--set", "training.images=640", "--json")
    assert said.code == 0 and said.json["images"] == 640 and said.json["next"]["sample"].startswith("mezzotint sample")
    assert command("show", run, "--json").json["total"] == 640


def test_resuming_with_another_model_changes_nothing(command: Command, digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits, run)
    before = (run / "config.yaml").read_bytes()
    assert "another model" in command("train", "digits", "--out", run, "--resume", "--width", 16).sentence
    assert "batches of 32" in command("train", run, "--resume", "--set", "training.batch=64").sentence
    assert "keeps its seed" in command("train", run, "--resume", "--seed", 5).sentence
    assert (run / "config.yaml").read_bytes() == before
    assert command("train", run, "--resume").code == 0


def test_a_folder_with_something_in_it(command: Command, digits: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "not empty" in command("train", "digits", "--out", tmp_path, "--width", 8).sentence
    sentence = command("train", "digits", "--out", digits, "--width", 8).sentence
    assert "not empty" in sentence and "--resume" in sentence
    assert "--resume" in command("train", digits).sentence
    assert (tmp_path / "notes.txt").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_recipe_from_a_dry_run_trains(command: Command, digits: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(command("train", digits, "--dry-run").out)
    run = tmp_path / "run"
    words = ("--set", "training.images=64", "--set", "training.picture=1k", "training.log=32", "--seed", 3)
    assert command("train", recipe, "--out", run, *words).code == 0
    tree = config.load(run / "config.yaml")
    assert tree["training"]["images"] == 64 and tree["training"]["seed"] == 3 and tree["training"]["log"] == 32
    assert tree["model"] == config.load(digits / "config.yaml")["model"]
    assert "--width is for pictures" in command("train", recipe, "--width", 8).sentence


def test_unknown_keys_name_the_nearest(command: Command, tmp_path: Path) -> None:
    text = command("train", "digits", "--dry-run").out
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    for right, wrong in (("width: 32", "widht: 32"), ("seed: 0", "sead: 0"), ("training:\n", "trainig:\n")):
        assert right in text
        recipe.write_text(text.replace(right, wrong))
        sentence = command("train", recipe, "--out", run).sentence
        assert repr(wrong.split(":")[0]) in sentence and f"did you mean '{right.split(':')[0]}'" in sentence
    recipe.write_text(text.replace("networks.UNet", "networks.UNett"))
    assert "did you mean 'UNet'" in command("train", recipe, "--out", run).sentence
    assert "did you mean 'batch'" in command("train", "digits", "--out", run, "--set", "training.bach=3").sentence
    recipe.write_text("model: [")
    assert "not valid YAML at line" in command("train", recipe, "--out", run).sentence
    recipe.write_text("hello")
    assert "not a recipe" in command("train", recipe, "--out", run).sentence
    assert not run.exists()


def test_nothing_to_train_on(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "run")
    assert "no images in" in command("train", tmp_path / "empty", *out).sentence
    assert "there is no" in command("train", tmp_path / "missing", *out).sentence
    assert "there is no" in command("train", tmp_path / "missing.npz", *out).sentence
    assert "there is no file" in command("train", tmp_path / "missing.yaml", *out).sentence
    assert "did you mean 'digits'" in command("train", "digit", *out).sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--images", "many"), "not a count"),
        (("--images", 3), "less than one batch"),
        (("--width", 0), "at least one channel"),
        (("--size", 16), "says nothing about digits"),
        (("--threads", 0), "at least 1"),
        (("--set", "training.batch"), "key=value"),
        (("--set",), "key=value"),
        (("--set", "training.batch=none at all"), "Trainer"),
    ],
)
def test_numbers_that_make_no_sense(command: Command, tmp_path: Path, words: tuple[Any, ...], sentence: str) -> None:
    assert sentence in command("train", "digits", "--out", tmp_path / "run", *words).sentence
    assert not (tmp_path / "run").exists()


def test_the_batch_decides_whether_the_images_are_enough(command: Command, tmp_path: Path) -> None:
    small = ("--images", 64, "--set", "training.batch=16", "--dry-run", "--json")
    said = command("train", "digits", "--out", tmp_path / "run", *small).json["training"]
    assert (said["batch"], said["images"], said["rate"]["warmup"]) == (16, 64, 6)
    assert "less than one batch" in command("train", "digits", "--out", tmp_path / "run", *small[:2]).sentence


def test_broken_and_oversized_pictures(command: Command, place: Path, cats: Path, tmp_path: Path) -> None:
    from PIL import Image

    pictures = tmp_path / "pictures"
    shutil.copytree(place / "animals", pictures)
    out = ("--out", tmp_path / "run", "--width", 8, "--images", 128, "--set", "training.sampler.steps=1")
    (pictures / "cat" / "torn.png").write_bytes((pictures / "cat" / "1.png").read_bytes()[:60])
    sentence = command("train", pictures, "--size", 8, *out).sentence
    assert "torn.png" in sentence and "cannot be read" in sentence
    (pictures / "cat" / "torn.png").unlink()
    Image.new("1", (8000, 8000)).save(pictures / "dog" / "vast.png")
    sentence = command("train", pictures, "--size", 8, *out).sentence
    assert "vast.png" in sentence and "8000 x 8000" in sentence
    assert not (tmp_path / "run").exists()
    said = command("train", pictures, "--size", 8, "--skip-broken", *out)
    assert said.code == 0 and "vast.png" in said.err


def test_arrays_with_their_own_held_out_file(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("train", "test"):
        images = rng.integers(0, 256, (64, 8, 8), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(64) % 3)
    words = ("train", tmp_path / "train.npz", "--held-out", tmp_path / "test.npz", "--dry-run", "--json")
    tree = command(*words).json
    assert tree["data"]["held_out_path"] == str(tmp_path / "test.npz")
    assert tree["model"]["encoder"]["label"]["count"] == 3
    np.savez(tmp_path / "bare.npz", images=images)
    tree = command("train", tmp_path / "bare.npz", "--dry-run", "--json").json
    assert tree["data"]["label"] is None and tree["model"]["encoder"] is None
