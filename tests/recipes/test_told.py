"""The recipe that is written from data hears what they declare: layouts, pictures, masks, words and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.core.store import load_model
from mezzotint.training import train

SHADES = np.array([[230, 200, 40], [40, 60, 160], [200, 10, 40]], dtype=np.uint8)
SIZE = (4, 6)


def painted(folder: Path, count: int, **more: Any) -> mz.data.Table:
    """Pictures that are a function of their layout: each thing has its colour; the mask is the first thing."""
    rng = np.random.default_rng(0)
    for name in ("x", "map", "mask", "edge"):
        (folder / name).mkdir(parents=True)
    rows = []
    for number in range(count):
        things = rng.integers(0, 3, (2, 3)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
        noise = rng.integers(-9, 10, (*SIZE, 3))
        for name, pixels in (
            ("x", np.clip(SHADES[things] + noise, 0, 255).astype(np.uint8)),
            ("map", things),
            ("mask", np.where(things == 0, 255, 0).astype(np.uint8)),
            ("edge", 255 - SHADES[things]),
        ):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
        files = {name: f"{name}/{number}.png" for name in ("map", "mask", "edge")}
        facts = {"sky": ("grey", "blue", "red")[number % 3], "year": 1900 + number, "wind": number / 7}
        rows.append({"file_name": f"x/{number}.png", "kind": "ab"[number % 2], **files, **facts})
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return mz.data.Table(str(folder), **more)


def test_every_family_becomes_the_part_that_reads_it(tmp_path: Path) -> None:
    data = painted(
        tmp_path, 40, label="kind", attributes=("sky", "year", "wind"), layout="map", image="edge", mask="mask",
        held_out_share=0.2,
    )  # fmt: skip
    made = mz.recipes.usual(data, images=256, width=8, steps=2)
    encoder: Any = made.model.encoder
    assert set(encoder.families) == {"label", "attributes", "layout", "image", "mask"}
    assert (encoder["label"].count, encoder["layout"].count) == (2, 3)
    assert (encoder["image"].channels, encoder["mask"].channels) == (3, 1)
    assert encoder["attributes"].words == (("sky", 3),)  # years are amounts and not words
    (year, mean, spread), (wind, *_) = encoder["attributes"].numbers
    years = 1900 + np.arange(40)  # of both splits
    assert (year, wind) == ("year", "wind")
    assert mean == pytest.approx(years.mean(), rel=1e-5) and spread == pytest.approx(years.std(), rel=1e-5)
    assert made.model.network.maps == encoder["layout"].channels + 4  # type: ignore[union-attr]
    x, cond = data[:3]
    loss = mz.objectives.Denoising(dropout=0.5)(made.model, x, cond, mz.Rng(range(3)))
    assert loss.value.isfinite().all()


def test_things_of_held_out_maps_are_known(tmp_path: Path) -> None:
    data = painted(tmp_path, 40, layout="map", held_out_share=0.2)
    held = data.held_out()
    name = json.loads((tmp_path / "metadata.jsonl").read_text().splitlines()[int(held._places[0])])["map"]
    Image.fromarray(np.full(SIZE, 7, dtype=np.uint8)).save(tmp_path / name)
    again = mz.data.Table(str(tmp_path), layout="map", held_out_share=0.2)
    encoder: Any = mz.recipes.usual(again, images=256, width=8).model.encoder
    assert encoder["layout"].count == 8


def test_what_no_part_reads_is_refused_by_name() -> None:
    for name in ("keypoints", "boxes", "low"):
        data = mz.data.Scenes(tells=("layout", name), pictures=20, held_out_pictures=4)
        with pytest.raises(mz.Refusal, match=f"these data tell '{name}'"):
            mz.recipes.usual(data, images=256, width=8)


@pytest.mark.parametrize("told", [{"layout": "map"}, {"image": "edge"}], ids=["layout", "image"])
def test_a_picture_follows_what_lies_beside_it(tmp_path: Path, told: dict[str, str]) -> None:
    """Samples lie nearer to the picture of their own map than to that of another, and without one to none."""
    data = painted(tmp_path / "set", 240, held_out_share=0.2, **told)
    train(mz.recipes.of_data(data, images=3_200, width=16, steps=5, peak=1e-2, batch=32), tmp_path / "run")
    model = load_model(tmp_path / "run")
    x, cond = data.held_out()[:24]
    assert model.nulls == tuple(told)

    def apart(cond: mz.Condition, truth: torch.Tensor) -> float:
        drawn = mz.samplers.Heun(steps=5)(model, cond, rng=mz.Rng(range(len(truth))))
        return float((drawn - truth).square().mean())

    own, other, none = apart(cond, x), apart(cond[torch.arange(24).roll(1)], x), apart(cond.drop(), x)
    print(f"{told}: own {own:.3f}, shuffled {other:.3f}, dropped {none:.3f}")
    assert own < 0.4 * other and own < 0.4 * none
