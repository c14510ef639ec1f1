"""Pictures of several shapes on the command line: trained, drawn at any of them, and judged at one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mezzotint.cli import main
from mezzotint.data import Bucket, Buckets, Folder
from mezzotint.metrics.seen import digest

Command = Callable[..., Any]
SIZES = ((16, 16), (12, 24), (24, 12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    (place / "set").mkdir()
    for k in range(120):
        Image.fromarray(rng.integers(0, 256, SIZES[k % 3], dtype=np.uint8)).save(place / "set" / f"{k}.png")
    source = f"{{part: data.Folder, path: {place / 'set'}, size: 8, held_out_share: 0.3}}"
    (place / "recipe.yaml").write_text(f"data: {{part: data.Buckets, source: {source}, side: 16, step: 4}}")
    quick = ["training.batch=16", "training.sampler.steps=1", "training.rate.warmup=64", "training.images=64"]
    words = ("train", place / "recipe.yaml", "--out", place / "run", "--set", *quick, "model.network.width=8")
    assert main([str(word) for word in words]) == 0
    return place / "run"


def test_any_size_is_drawn(run: Path, command: Command, tmp_path: Path) -> None:
    for size, shape in (((), (16, 16)), (("--size", "12x20"), (12, 20)), (("--size", "20x12"), (20, 12))):
        npz = tmp_path / "a.npz"
        assert command("sample", run, *size, "--seeds", "0-1", "--npz", npz, "--overwrite").code == 0
        with np.load(npz) as z:
            assert z["images"].shape == (2, *shape, 1)


def test_one_size_is_judged(run: Path, command: Command, tmp_path: Path) -> None:
    source = Folder(str(run.parent / "set"), size=8, held_out_share=0.3)
    data = Buckets(source, side=16, step=4)
    for size, shape in (((), (16, 16)), (("--size", "12x20"), (12, 20))):
        one = Bucket(data, shape)
        said = command("evaluate", run, *size, "--count", 8, "--steps", 1, "--json")
        assert said.code == 0 and f"judging at {shape[0]}x{shape[1]}, the size of {len(one)} of {len(data)}" in said.err
        counts = json.loads(said.out)["counts"]
        assert (counts["train"], counts["held_out"]) == (len(one), len(one.held_out()))
        assert counts["train_sha256"] == digest(one, "them", 60_000)
    assert "there is no item of 8x8" in command("evaluate", run, "--size", "8", "--count", 8).sentence


def test_a_set_of_one_size_has_none_to_choose(digits: Path, command: Command) -> None:
    assert "these data have one" in command("evaluate", digits, "--size", "8", "--count", 8).sentence
