"""Models of layouts on the command line: trained from declared columns, sampled with the maps of held-out pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.cli import main
from mezzotint.core import Rng, config
from mezzotint.core.store import load_model
from mezzotint.data import Table
from mezzotint.denoiser import Chunked
from mezzotint.metrics.layouts import learnt
from mezzotint.metrics.pictures import subset
from mezzotint.samplers import Heun
from mezzotint.training.pictures import pixels, read_settings

Command = Callable[..., Any]


def fill(root: Path, size: tuple[int, int] = (8, 8)) -> Path:
    """Pictures with a map of halves each; the held-out ones are more than eight."""
    rng = np.random.default_rng(3)
    (root / "maps").mkdir(parents=True)
    rows = []
    for k in range(150):
        map_ = np.zeros(size, np.uint8)
        map_[:, rng.integers(1, 7) :] = 1 + k % 2
        Image.fromarray((60 * map_ + rng.integers(0, 60, size)).astype(np.uint8)).save(root / f"{k}.png")
        Image.fromarray(map_).save(root / "maps" / f"{k}.png")
        rows.append({"file_name": f"{k}.png", "map": f"maps/{k}.png"})
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("halves")
    root = fill(place / "set")
    quick = ["training.batch=32", "training.sampler.steps=2", "training.rate.warmup=64"]
    words = ("train", root, "--layout", "map", "--width", 8, "--images", 192, "--out", place / "run", "--set", *quick)
    assert main([str(word) for word in words]) == 0
    return place / "run"


def test_a_declared_column_reaches_the_model(run: Path, command: Command) -> None:
    tree = config.load(run / "config.yaml")
    assert tree["data"]["layout"] == "map"
    assert (tree["model"]["encoder"]["layout"]["count"], tree["model"]["network"]["maps"]) == (3, 16)
    again = command("train", run.parent / "set", "--out", run, "--resume", "--images", 192)
    assert again.code == 0 and "nothing was trained" not in again.err  # the columns are those of before
    assert "no column 'mop'" in command("train", run.parent / "set", "--layout", "mop", "--dry-run").sentence
    assert "--layout says nothing about digits" in command("train", "digits", "--layout", "map", "--dry-run").sentence
    assert (
        "nothing is told of those"
        in command("train", run.parent / "set" / "maps", "--layout", "map", "--dry-run").sentence
    )
    assert "is a recipe" in command("train", run, "--out", "x", "--mask", "m", "--dry-run").sentence


def test_what_is_drawn_is_told_what_held_out_pictures_are(run: Path, command: Command, tmp_path: Path) -> None:
    out, npz = tmp_path / "a.png", tmp_path / "a.npz"
    said = command(
        "sample", run, "--items", "3,0-1", "--seeds", "5-6", "--out", out, "--npz", npz, "--each", tmp_path / "each"
    )  # fmt: skip
    assert said.code == 0
    model: Any = load_model(run)
    data = Table(str(run.parent / "set"), layout="map").held_out()
    rows = [3, 0, 1, 3, 0, 1]
    x = Heun(2)(Chunked(model, 64), data[rows][1], rng=Rng([5, 5, 5, 6, 6, 6]))
    with np.load(npz) as z:
        assert z["items"].tolist() == rows and z["seeds"].tolist() == [5, 5, 5, 6, 6, 6]
        assert np.array_equal(z["images"], pixels(x))
        alone = Heun(2)(Chunked(model, 64), rng=Rng([5, 5, 5, 6, 6, 6]))
        assert not np.array_equal(z["images"], pixels(alone))
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == [
        f"{item}-{seed:06d}.png" for item in (0, 1, 3) for seed in (5, 6)
    ]
    settings = read_settings(out)
    assert settings["items"] == {"rows": rows, "split": "held_out", "mark": data.mark}
    with Image.open(out) as sheet:  # a row of maps above two of pictures
        scale = settings["layout"]["scale"]
        assert sheet.size == (3 * (8 * scale + 1) + 1, 3 * (8 * scale + 1) + 1)
        first = np.asarray(sheet.convert("RGB"))[1 : 1 + 8 * scale : scale, 1 : 1 + 8 * scale : scale]
    assert torch.equal(torch.from_numpy(first.any(-1)), data[3][1]["layout"][0] > 0)


def test_the_same_again(run: Path, command: Command, tmp_path: Path) -> None:
    first, again = tmp_path / "a.png", tmp_path / "b.png"
    assert command("sample", run, "--seeds", "1", "--out", first).code == 0
    assert read_settings(first)["items"]["rows"] == list(range(8))
    assert command("sample", "--like", first, "--out", again).code == 0
    assert first.read_bytes() == again.read_bytes()
    one = tmp_path / "one.png"
    assert command("sample", "--like", tmp_path / "a.png", "--items", "2", "--seeds", "0-3", "--out", one).code == 0
    assert read_settings(one)["items"]["rows"] == [2] * 4
    moved = tmp_path / "moved"
    shutil.copytree(run.parent / "set", moved)
    there = ("--set", f"data.path={moved}")
    assert command("sample", "--like", first, *there, "--out", tmp_path / "c.png").code == 0
    assert first.read_bytes() == (tmp_path / "c.png").read_bytes()
    for path in (moved / "maps").iterdir():
        Image.fromarray(np.full((8, 8), 2, np.uint8)).save(path)
    said = command("sample", "--like", first, *there, "--out", tmp_path / "d.png").sentence
    assert "they have changed" in said
    assert "there are the items 0 to" in command("sample", run, "--items", "150", "--out", tmp_path / "e.png").sentence


def test_models_without_a_need_of_items(command: Command, digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.png"
    assert command("sample", digits, "--items", "4,7", "--seeds", "0", "--steps", "1", "--out", out).code == 0
    assert read_settings(out)["items"]["rows"] == [4, 7] and read_settings(out)["labels"] is None


def test_another_size(run: Path, command: Command, tmp_path: Path) -> None:
    """Maps are brought to the size that is drawn."""
    out, npz, again = tmp_path / "a.png", tmp_path / "a.npz", tmp_path / "b.png"
    command("sample", run, "--size", "12x16", "--seeds", "0", "--items", "1", "--out", out, "--npz", npz)
    with np.load(npz) as z:
        assert z["images"].shape == (1, 12, 16, 1)
    assert read_settings(out)["size"] == [12, 16]
    assert command("sample", "--like", out, "--out", again).code == 0 and out.read_bytes() == again.read_bytes()
    plain = command("sample", run, "--size", "8", "--seeds", "0", "--items", "1", "--out", tmp_path / "c.png")
    assert plain.code == 0 and "size" not in read_settings(tmp_path / "c.png")  # the model's own
    for wrong in ("0", "8x", "x8", "8x8x8", "big"):
        assert "such as 64 or 48x80" in command("sample", run, "--size", wrong, "--out", tmp_path / "d.png").sentence


def test_an_edit_is_told_a_map_or_none(run: Path, command: Command, tmp_path: Path) -> None:
    picture = run.parent / "set" / "0.png"
    known, out = run.parent / "set" / "maps" / "0.png", tmp_path / "a.png"
    assert command("edit", run, picture, "--strength", "0.5", "--items", "0", "--steps", "1", "--out", out).code == 0
    assert set(read_settings(out)["items"]["rows"]) == {0} and known.is_file()
    free = command("edit", run, picture, "--strength", "0.5", "--steps", "1", "--out", tmp_path / "b.png")
    assert free.code == 0 and "items" not in read_settings(tmp_path / "b.png")


def test_evaluate_holds_samples_against_their_layouts(run: Path, command: Command, tmp_path: Path) -> None:
    data, place = Table(str(run.parent / "set"), layout="map"), Path(shutil.copytree(run, tmp_path / "run"))
    eye = learnt(data, data.held_out(), seen=640, width=8)
    eye.save(place / "segmenter")
    names = "miou,pixel_accuracy,iou,layout_diversity,kid"
    said = command("evaluate", place, "--count", 20, "--measures", names, "--report")
    assert said.code == 0 and "training a segmenter" not in said.err  # the one kept was of these pictures
    (file,) = (place / "reports").glob("*.json")
    found = json.loads(file.read_text())
    assert found["segmenter"]["sha256"] == found["extractor"]["sha256"] == eye.sha256
    assert set(found["measures"]) == {"miou", "pixel_accuracy", "iou_0", "iou_1", "iou_2", "layout_diversity", "kid"}
    held = data.held_out()
    some = subset(len(held), 20)
    want = eye.scores(*((held[some][0], held[some][1]["layout"])))["miou"].value
    assert found["measures"]["miou"]["real"]["value"] == pytest.approx(want)  # the very layouts that were asked for
    # What is drawn several times of two layouts costs no evaluation of those that are judged.
    assert found["measures"]["layout_diversity"]["count"] == 2 and found["evaluations_per_sample"] == 3
    page = file.with_suffix(".html").read_text()
    assert "What a layout leaves open" in page and "Thing by thing" in page and "real picture of layout 2" in page
