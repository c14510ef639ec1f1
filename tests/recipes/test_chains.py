"""The chain that is written from a set of symbols trains, from labels and captions too, and samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.store import load_model
from mezzotint.data import Arrays, Digits, Shaded
from mezzotint.evidence.recipe import Training
from mezzotint.guidance import CFG
from mezzotint.recipes import chains
from mezzotint.samplers import Chain as Walk
from mezzotint.training import train


def trained(training: Training, folder: Path) -> torch.nn.Module:
    train(training.tree(0), folder)
    model: torch.nn.Module = load_model(folder)
    return model


def test_a_chain_of_labelled_shades(tmp_path: Path) -> None:
    made = chains.usual(Shaded(Digits(), 4), images=192, width=16, stages=2, batch=32, depth=(1, 1, 1))
    model = trained(made, tmp_path / "run")
    x = Walk()(CFG(model, 2.0), Condition(label=torch.arange(3)), rng=Rng(range(3)))
    assert x.shape == (3, 8, 8) and 0 <= int(x.min()) <= int(x.max()) < 4
    assert (tmp_path / "run" / "samples").is_dir() and any((tmp_path / "run" / "samples").glob("*.png"))


def test_a_chain_of_captioned_shades_hears_them(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (64, 8, 6), dtype=np.uint8)
    words = np.array(["a red cat", "two blue dogs", "a blue cat", "three red dogs"])[np.arange(64) % 4]
    np.savez(tmp_path / "told.npz", images=pictures, captions=words)
    data = Shaded(Arrays(str(tmp_path / "told.npz"), label=None, caption="captions"), 3)
    made = chains.usual(data, images=64, width=16, stages=2, batch=32, depth=(1, 1, 1))
    model = trained(made, tmp_path / "run")
    told = model.prepare(data[:2][1])
    with torch.no_grad():
        said, less = (
            model(torch.zeros(2, *data.shape).long(), torch.full((2,), 0.5).double(), cond) for cond in (told, NONE)
        )
    assert said.log_prob(data[:2][0]).isfinite().all() and less.log_prob(data[:2][0]).isfinite().all()


def test_what_it_cannot_learn_is_refused() -> None:
    with pytest.raises(Refusal, match="holds no symbols"):
        chains.usual(Digits())
    with pytest.raises(Refusal, match="at least one stage"):
        chains.usual(Shaded(Digits(), 4), stages=0)
