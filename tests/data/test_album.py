"""Scenes as files: what is read back is what was painted, and stopping changes no byte."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.core import Refusal
from mezzotint.data import Scenes, Table
from mezzotint.data.scenes import album
from mezzotint.data.scenes.words import FORMS

TELLS = ("label", "attributes", "caption", "layout", "mask", "keypoints")
FORM = ("circle", "ring", "figure", "square")


def scenes(**more: object) -> Scenes:
    return Scenes(**{"size": (24, 32), "tells": TELLS, "objects": (1, 3), "seed": 5, "forms": FORM} | more)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_table_reads_what_was_painted(tmp_path: Path) -> None:
    album.write(scenes(), tmp_path, 70)
    x, told = scenes(split="train", pictures=70)[:]
    data = Table(
        str(tmp_path), label="label", caption="caption", attributes=("count", "colour"), layout="layout", mask="mask",
        keypoints="keypoints", split="all",
    )  # fmt: skip
    z, read = data[:]
    assert (z - x).abs().max() < 2e-7  # the same bytes, whose fractions are rounded in another order
    assert torch.equal(read["layout"], told["layout"]) and torch.equal(read["mask"], told["mask"])
    assert data.texts() == scenes(pictures=70).texts()
    assert [data.classes[k] for k in read["label"]] == [FORMS[k] for k in told["label"]]
    assert torch.equal(read["attributes.count"], told["attributes.count"])
    points = told["keypoints"].flatten(1, 2)
    assert (read["keypoints"][..., 2] == points[..., 2]).logical_or(points[..., :2].sub(0.5).abs().amax(-1) > 0.5).all()
    seen = read["keypoints"][..., 2] > 0
    assert (read["keypoints"] - points)[seen].abs().max() < 2e-6 and seen.any()
    held = Table(str(tmp_path), split_by="split", split="held_out")
    assert 0 < len(held) < 20 and held[:][0].shape[1:] == (3, 24, 32)
    assert {*map(tuple, held[:][0].flatten(1).tolist())} == {
        *map(tuple, Table(str(tmp_path), split="held_out")[:][0].flatten(1).tolist())
    }  # the column says what the hash of the names says


def test_the_words_are_those_of_the_scene(tmp_path: Path) -> None:
    """Read off the picture itself: the object that shows most has the colour and the form that are said."""
    album.write(scenes(tells=(*TELLS, "boxes")), tmp_path, 40)
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    colours = ("red", "yellow", "green", "cyan", "blue", "purple")
    for row in rows:
        assert row["count"] == len(row["objects"]) == len(row["boxes"])
        shown = np.asarray(Image.open(tmp_path / row["layout"]))
        by_colour = {c: int((shown == k + 1).sum()) for k, c in enumerate(colours)}
        assert by_colour[row["colour"]] > 0
        own = [o for o in row["objects"] if o["form"] == row["label"]]
        assert any(all(o[name] == row[name] for name in ("colour", "size", "texture", "place")) for o in own)
        assert {o["colour"] for o in row["objects"]} >= {c for c, n in by_colour.items() if n}
        if row["count"] == 1:
            assert row["label"] == row["objects"][0]["form"] and row["colour"] == max(by_colour, key=by_colour.get)
            assert row["colour"] in row["caption"] or row["label"] in row["caption"]
        for first, word, second in row["relations"]:
            assert first != second and word in ("left of", "right of", "above", "below")


def test_stopping_changes_no_byte(tmp_path: Path) -> None:
    """Stopped in the middle, torn within a line, and continued by a larger number: the same bytes."""
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    album.write(scenes(), whole, 100)

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= 64:
            raise Stop

    with pytest.raises(Stop):
        album.write(scenes(), torn, 100, stop)
    assert not (torn / "metadata.jsonl").exists()
    part = torn / ".metadata.jsonl.part"
    part.write_bytes(part.read_bytes()[:-40])
    told: list[int] = []
    album.write(scenes(), torn, 80, lambda done, total: told.append(done))
    assert told == [63, 80]
    before = hashes(torn)
    album.write(scenes(), torn, 80)
    assert hashes(torn) == before
    album.write(scenes(), torn, 100)
    assert hashes(torn) == hashes(whole) and len(hashes(whole)) == 302
    with pytest.raises(Refusal, match="100 of these scenes already"):
        album.write(scenes(), torn, 99)
    assert hashes(torn) == hashes(whole)


def test_other_scenes_and_other_folders_are_refused(tmp_path: Path) -> None:
    album.write(scenes(), tmp_path / "a", 3)
    before = hashes(tmp_path / "a")
    for other in (scenes(seed=6), scenes(size=32), scenes(tells=("caption",))):
        with pytest.raises(Refusal, match="holds other scenes"):
            album.write(other, tmp_path / "a", 5)
    assert hashes(tmp_path / "a") == before
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(Refusal, match="not empty"):
        album.write(scenes(), tmp_path / "b", 5)
    with pytest.raises(Refusal, match="is a file"):
        album.write(scenes(), tmp_path / "b" / "mine.txt", 5)
    with pytest.raises(Refusal, match="at least one"):
        album.write(scenes(), tmp_path / "c", 0)


def test_every_kind_of_map_is_written_as_it_is(tmp_path: Path) -> None:
    tells = ("layout", "layout.instances", "layout.edges", "depth", "mask", "low")
    album.write(scenes(tells=tells), tmp_path, 5)
    _, told = scenes(tells=tells, pictures=5)[:]
    rows = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    for k, row in enumerate(rows):
        read = {name: np.asarray(Image.open(tmp_path / row[name])) for name in tells}
        assert (read["layout"] == told["layout"][k].numpy()).all()
        assert (read["layout.instances"] == told["layout.instances"][k].numpy()).all()
        assert ((read["layout.edges"] > 0) == told["layout.edges"][k, 0].numpy()).all()
        assert ((read["mask"] > 0) == told["mask"][k, 0].numpy()).all()
        assert np.abs(read["depth"] / 65535 - told["depth"][k, 0].numpy()).max() < 1e-5
        low = told["low"][k].numpy().transpose(1, 2, 0)
        assert np.abs(read["low"] / 127.5 - 1 - low).max() < 1 / 255 + 1e-6
