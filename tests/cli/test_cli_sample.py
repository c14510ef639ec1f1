"""Sampling from the command line: the same picture again, whatever else is drawn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mezzotint.core import config
from mezzotint.core.store import MANIFEST, sha256
from mezzotint.data import Arrays
from mezzotint.training.pictures import read_settings

Command = Callable[..., Any]


def look(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    "words",
    [
        ("--label", "3", "--seeds", "0-8", "--guidance", "1.5"),
        ("--sampler", "ddpm", "--steps", 4, "--seeds", "5,2", "--batch", 7),
        ("--sampler", "ddim", "--steps", 3, "--seeds", "0", "--guidance", 2, "--interval", "0.1-0.9", "--columns", 4),
        ("--average", 0.08, "--seeds", "1-2", "--label", "9,0"),
    ],
)
def test_like_repeats_the_pixels(command: Command, digits: Path, tmp_path: Path, words: tuple[Any, ...]) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    said = command("sample", digits, *words, "--out", first)
    assert said.code == 0, said.err
    assert command("sample", "--like", first, "--out", again).code == 0
    assert np.array_equal(look(first), look(again))
    assert read_settings(first) == read_settings(again)


def test_what_a_picture_carries(command: Command, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    command("sample", digits, "--label", "3,5", "--seeds", "0-2", "--sampler", "euler", "--steps", 4, "--out", out)
    settings = read_settings(out)
    assert settings["model"]["path"] == str(digits)
    assert settings["model"]["sha256"] == sha256(digits / "model" / "model.safetensors")
    assert settings["labels"] == [3, 5] * 3 and settings["seeds"] == [0, 0, 1, 1, 2, 2]
    assert settings["sampler"]["part"] == "samplers.Euler" and settings["sampler"]["steps"] == 4
    assert settings["guidance"] == 1.0 and set(settings["versions"]) == {"mezzotint", "torch"}


def test_flags_beside_like_change_what_they_name(command: Command, digits: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first.png", tmp_path / "more.png"
    command("sample", digits, "--label", "3", "--seeds", "0-3", "--sampler", "ddim", "--steps", 4, "--out", first)
    command("sample", "--like", first, "--seeds", "4-5", "--steps", 3, "--out", more)
    before, after = read_settings(first), read_settings(more)
    assert after["labels"] == [3, 3] and after["seeds"] == [4, 5]
    assert after["sampler"] == {**before["sampler"], "steps": 3} and after["guidance"] == before["guidance"]


def test_like_refuses_other_weights(command: Command, digits: Path, tmp_path: Path) -> None:
    run, first, again = tmp_path / "run", tmp_path / "first.png", tmp_path / "again.png"
    shutil.copytree(digits, run)
    command("sample", run, "--seeds", "0", "--out", first)
    command("sample", run, "--seeds", "0", "--average", 0.08, "--out", tmp_path / "average.png")
    command("train", run, "--resume", "--images", 640)
    assert "SHA-256" in command("sample", "--like", first, "--out", again).sentence
    # An average is taken where the picture took it, so a run that has gone on can still repeat it.
    assert command("sample", "--like", tmp_path / "average.png", "--out", again).code == 0
    assert np.array_equal(look(again), look(tmp_path / "average.png"))
    shutil.rmtree(run)
    assert "is not here" in command("sample", "--like", first, "--out", tmp_path / "c.png").sentence
    moved = command("sample", digits, "--like", first, "--out", tmp_path / "c.png")
    assert moved.code == 0 and np.array_equal(look(tmp_path / "c.png"), look(first))


def test_like_refuses_other_pictures(command: Command, place: Path, cats: Path, tmp_path: Path) -> None:
    assert "carries no settings" in command("sample", "--like", place / "animals" / "cat" / "0.png").sentence
    assert "there is no picture" in command("sample", "--like", tmp_path / "none.png").sentence
    assert "name a run folder" in command("sample").sentence


def test_a_sample_does_not_depend_on_its_batch(command: Command, digits: Path, tmp_path: Path) -> None:
    for batch in (3, 256):
        words = ("--seeds", "0-3", "--guidance", 1.5, "--batch", batch, "--npz", tmp_path / f"{batch}.npz")
        assert command("sample", digits, *words).code == 0
    command("sample", digits, "--seeds", "2", "--label", "7", "--guidance", 1.5, "--npz", tmp_path / "alone.npz")
    few, many, alone = (np.load(tmp_path / f"{name}.npz") for name in ("3", "256", "alone"))
    assert few["images"].shape == (40, 8, 8, 1)
    assert np.abs(few["images"].astype(int) - many["images"]).max() <= 1
    row = np.flatnonzero((many["labels"] == 7) & (many["seeds"] == 2))
    assert np.abs(many["images"][row].astype(int) - alone["images"]).max() <= 1
    assert len(Arrays(str(tmp_path / "256.npz"), split="all")) == 40  # what sample writes, train reads


def test_single_pictures_carry_their_own_settings(command: Command, digits: Path, tmp_path: Path) -> None:
    words = ("--seeds", "7-8", "--each", tmp_path / "each")
    assert command("sample", digits, "--label", "1,4", *words, "--npz", tmp_path / "all.npz").code == 0
    files = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert files == ["1-000007.png", "1-000008.png", "4-000007.png", "4-000008.png"]
    one = tmp_path / "each" / "4-000008.png"
    assert look(one).shape == (8, 8) and read_settings(one)["labels"] == [4] and read_settings(one)["seeds"] == [8]
    assert not (tmp_path / "samples.png").exists()
    command("sample", "--like", one, "--out", tmp_path / "again.png")
    assert np.abs(look(tmp_path / "again.png").astype(int) - look(one)).max() <= 1
    assert "exists already" in command("sample", digits, "--label", "1", *words).sentence


def test_class_names(command: Command, cats: Path, tmp_path: Path) -> None:
    made = command("sample", cats, "--label", "dog", "--seeds", "0-1", "--out", tmp_path / "a.png", "--json").json
    assert made["settings"]["labels"] == [1, 1]
    assert "did you mean 'dog'" in command("sample", cats, "--label", "dgo", "--out", tmp_path / "b.png").sentence
    assert "classes 0 to 1 (cat, dog)" in command("sample", cats, "--label", 2, "--out", tmp_path / "b.png").sentence


def test_a_model_without_classes(command: Command, plain: Path, tmp_path: Path) -> None:
    made = command("sample", plain, "--seeds", "0-3", "--out", tmp_path / "a.png", "--json").json
    assert made["count"] == 4 and made["settings"]["labels"] is None
    command("sample", "--like", tmp_path / "a.png", "--out", tmp_path / "b.png")
    assert np.array_equal(look(tmp_path / "a.png"), look(tmp_path / "b.png"))
    assert "knows no classes" in command("sample", plain, "--label", 3, "--out", tmp_path / "c.png").sentence


def test_guidance_needs_a_trained_null(command: Command, nullless: Path, plain: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "a.png", "--seeds", "0")
    assert "never learnt" in command("sample", nullless, "--guidance", 1.5, *out).sentence
    assert "never learnt" in command("sample", plain, "--guidance", 1.5, *out).sentence
    assert "never learnt" in command("evaluate", nullless, "--guidance", 1.5).sentence
    assert command("sample", nullless, "--guidance", 1, *out).code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", 10), "label 10 is out of range"),
        (("--label=-1",), "label -1 is out of range"),
        (("--seeds", "9-3"), "backwards"),
        (("--steps", 0), "at least one step"),
        (("--batch", 0), "at least one picture"),
        (("--columns", 0), "at least one"),
        (("--guidance", "nan"), "--guidance is nan"),
        (("--interval", "0.2-0.8"), "guides nowhere"),
        (("--average", 0.9), "lies in (0, 0.28]"),
        (("--device", "gpu"), "no device 'gpu'"),
    ],
)
def test_refusals_leave_what_is_there(
    command: Command, digits: Path, tmp_path: Path, words: tuple[Any, ...], sentence: str
) -> None:
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert sentence in command("sample", digits, "--out", out, "--overwrite", *words).sentence
    assert out.read_bytes() == b"mine" and list(tmp_path.iterdir()) == [out]


def test_files_are_not_replaced_unasked(command: Command, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.png"
    out.write_bytes(b"mine")
    assert "--overwrite" in command("sample", digits, "--out", out).sentence
    assert out.read_bytes() == b"mine"
    assert command("sample", digits, "--seeds", 0, "--out", out, "--overwrite").code == 0


def reseal(folder: Path) -> None:
    """Write the manifest anew, as someone would who meant the change."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name in manifest["files"]:
        manifest["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_damaged_and_foreign_models(command: Command, digits: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        shutil.copytree(digits / "model", tmp_path / name)
        return tmp_path / name

    def sentence(model: Path) -> str:
        return str(command("sample", model, "--seeds", 0, "--out", tmp_path / "a.png").sentence)

    model = broken("truncated")
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "truncated" in sentence(model)
    reseal(model)
    assert "truncated or damaged" in sentence(model)

    model = broken("another shape")
    tree = config.load(model / "config.yaml")
    tree["model"]["network"]["width"] = 16
    (model / "config.yaml").write_text(config.dumps(tree))
    assert "config.yaml" in sentence(model)
    reseal(model)
    assert "another architecture" in sentence(model)

    model = broken("another schema")
    (model / "config.yaml").write_text((model / "config.yaml").read_text().replace("schema: 1", "schema: 99"))
    assert "schema 99" in sentence(model)
    assert "holds no finished model" in sentence(tmp_path)
    assert "no run or model folder" in sentence(tmp_path / "none")
