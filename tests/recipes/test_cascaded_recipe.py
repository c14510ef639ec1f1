"""A cascade that is written from data: what each stage learns, is told, and costs nobody a null."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.conditions import Blurred, Noised
from mezzotint.core import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data import Arrays, Digits
from mezzotint.objectives.denoising import Denoising
from mezzotint.recipes import cascaded


@pytest.fixture
def wide(tmp_path: Path) -> Arrays:
    """Colour pictures 8 x 12 with captions."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 12, 3)).astype(np.uint8)
    captions = np.array([f"a {('red', 'blue')[k % 2]} thing" for k in range(40)])
    np.savez(tmp_path / "wide.npz", images=images, captions=captions)
    return Arrays(str(tmp_path / "wide.npz"), label=None, caption="captions")


def test_every_stage_learns_the_pictures_at_its_size() -> None:
    made = cascaded.usual(Digits(), [2, 4, 8], images=[1000, 2000, 3000], width=[8, 16, 24])
    assert [(name, one.training.images) for name, one in made.items()] == [("2", 1000), ("4", 2000), ("8", 3000)]
    rows = [0, 7, 500]
    truth = Digits()[rows][0].double()
    for (name, one), wide in zip(made.items(), (8, 16, 24), strict=True):
        x, cond = one.data[rows]
        size, model = int(name), mz.build(one.tree(0)["model"])
        cells = truth.reshape(3, 1, size, 8 // size, size, 8 // size).mean((3, 5))
        torch.testing.assert_close(x.double(), cells)
        assert one.tree(0)["model"]["network"]["width"] == wide and model.shape == x.shape[1:]
        assert cond["label"].tolist() == Digits()[rows][1]["label"].tolist()
        assert ("low" in cond) == (size > 2)
        if size > 2:
            half = cells.reshape(3, 1, size // 2, 2, size // 2, 2).mean((3, 5))
            torch.testing.assert_close(cond["low"].double(), half)


def test_a_stage_is_told_its_picture_and_drops_the_rest_alone() -> None:
    one = cascaded.usual(Digits(), [4, 8], width=8)["8"]
    objective: Any = one.training.objective
    assert objective.dropout == {"label": 0.1} and objective.augment == Noised(family="low")
    x, cond = one.data[list(range(64))]
    torch.manual_seed(0)
    model: Any = mz.build(one.tree(0)["model"])
    told = objective(model, x, cond, Rng(range(64))).shot.cond
    dropped = int((~told.kept("label")).sum())
    assert 0 < dropped < 24 and bool(told.kept("low").all())
    levels = told["low.level"]
    assert 0 < int((levels == 0).sum()) < 24 and float(levels.max()) > 0.5
    clean = levels == 0
    assert torch.equal(told["low"][clean], cond["low"][clean])
    loss = objective(model, x, cond, Rng(range(64))).value.mean()
    loss.backward()
    assert model.encoder.nulls == ("label",)  # and so a stage is never asked without its picture
    with pytest.raises(Refusal, match="needs the condition 'low'"):
        model.prepare(mz.Condition(label=[3]))


@pytest.mark.parametrize(("how", "kind"), [("blur", Blurred), ("none", type(None))])
def test_augmentations(how: str, kind: type) -> None:
    one = cascaded.usual(Digits(), [4, 8], width=8, augment=how)["8"]
    objective: Any = one.training.objective
    model: Any = one.model
    assert isinstance(objective, Denoising) and isinstance(objective.augment, kind)
    assert model.encoder["low"].level is None
    with pytest.raises(Refusal, match="no augmentation 'nosie'"):
        cascaded.usual(Digits(), [4, 8], augment="nosie")


def test_pictures_that_are_not_square_and_have_captions(wide: Arrays) -> None:
    made = cascaded.usual(wide, [4, 8], images=1000, width=8)
    assert {name: one.data.shape for name, one in made.items()} == {"4": (3, 4, 6), "8": (3, 8, 12)}
    for one in made.values():
        model: Any = mz.build(one.tree(0)["model"])
        assert "caption" in model.encoder.families
        x, cond = one.data[[0, 1]]
        assert one.training.objective(model, x, cond, Rng([0, 1])).value.isfinite().all()


def test_sizes_that_no_cascade_has(wide: Arrays) -> None:
    cases: list[tuple[Any, Any, str]] = [
        (Digits(), [8], "at least two sizes"),
        (Digits(), [3, 8], "8 is not a whole multiple of 3"),
        (Digits(), [8, 4], "the last size is 8 and not 4"),
        (Digits(), [4, 4, 8], "ascend, and 4 comes after 4"),
        (Digits(), [4, 16], "the last size is 8 and not 16"),
        (wide, [1, 8], "12 cannot be"),
        (mz.data.Shaded(Digits(), 4), [4, 8], "are not: train them alone"),
    ]
    for data, sizes, why in cases:
        with pytest.raises(Refusal, match=why):
            cascaded.usual(data, sizes)
    with pytest.raises(Refusal, match="images names 3 values for 2 stages"):
        cascaded.usual(Digits(), [4, 8], images=[1000, 1000, 1000])


def test_maps_at_the_size_of_the_pictures_are_refused() -> None:
    layouts = mz.data.Scenes(size=16, tells=("layout",), pictures=20, held_out_pictures=4)
    with pytest.raises(Refusal, match="'layout', a map at the size of the pictures"):
        cascaded.usual(layouts, [8, 16])
