"""The recipe that is written from symbols: what it settles, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.core import Condition, Refusal
from mezzotint.data import Chain, Digits, Shaded
from mezzotint.recipes import classes, symbols


class Told(Chain):
    """A chain whose items tell a number, which is no label."""

    def condition(self, rows: np.ndarray) -> Condition:
        return Condition(depth=torch.from_numpy(rows))


@pytest.mark.parametrize("width", [16, 48, 128])
def test_labels_are_heard_and_dropped(width: int) -> None:
    model = mz.recipes.usual(Shaded(Digits(), 6), images=640, width=width).model
    cond, x = Condition(label=torch.arange(3)), torch.full((3, 8, 8), 6)
    answer = model(x, torch.ones(3), model.prepare(cond))
    assert answer.mean.shape == (3, 8, 8, 6)
    assert torch.allclose(answer.mean, torch.full_like(answer.mean, 1 / 6))  # a fresh network knows nothing
    assert not model.uses_level and not mz.recipes.usual(Chain(), images=640, width=width).model.nulls
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    one, other = (model(x[:1], torch.ones(1), Condition(label=torch.tensor([k]))).mean for k in (0, 1))
    assert not torch.allclose(one, other)


def test_a_run_may_leave_the_label_out(tmp_path: Path) -> None:
    """Its null was trained, so guidance is allowed."""
    tree = mz.recipes.of_data(Shaded(Digits(), 3), seed=4, images=256, width=16, steps=2)
    assert tree["training"]["seed"] == 4
    run = mz.training.train(tree, tmp_path / "run")
    model = mz.load(run.path)
    assert model.nulls == ("label",)
    guided = mz.guidance.CFG(model, 2.0)
    x = mz.samplers.Ancestral(3, grid=mz.samplers.Uniform())(
        guided, Condition(label=torch.arange(2)), rng=mz.Rng([0, 1])
    )
    assert x.shape == (2, 8, 8) and int(x.max()) < 3


def test_the_kind_of_samples_decides() -> None:
    assert type(mz.recipes.usual(Chain(), images=640, width=16).model).__name__ == "Tokens"
    digits = mz.recipes.of_data(Digits(), images=640, width=8, steps=2, seed=1)
    assert digits == classes.of_data(Digits(), images=640, width=8, steps=2, seed=1)
    with pytest.raises(Refusal, match="holds no symbols"):
        symbols.usual(Digits())
    with pytest.raises(Refusal, match="tell 'depth', and the recipe that is written from symbols learns labels alone"):
        symbols.usual(Told())
