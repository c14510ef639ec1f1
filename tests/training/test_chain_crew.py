"""A chain whose batch may leave a stage without a row trains alike in one process and in two."""

from __future__ import annotations

from pathlib import Path

import torch

import mezzotint as mz
from crew import crew
from mezzotint.core import ranks
from mezzotint.recipes import chains
from mezzotint.testing.truth import nudge


def trained(folder: Path) -> torch.nn.Module:
    """Four steps of four digits: of three stages some are asked by nobody, in one process or the other."""
    torch.manual_seed(0)
    data = mz.data.Shaded(mz.data.Untold(mz.data.Digits()), 4)
    made = chains.usual(data, images=16, width=8, stages=3, batch=4, depth=(1, 1, 1))
    model = made.model.double()
    nudge(model, 0.2)  # where a gradient is nothing but rounding, Adam's first step is a toss-up
    made.training.fit(model, data, folder)
    return model


def everything(place: Path) -> None:
    model = trained(place / "together")
    torch.save(model.state_dict(), place / f"weights.{ranks.rank()}")


def test_two_processes_train_the_chain_of_one(tmp_path: Path) -> None:
    alone = {name: weight for name, weight in trained(tmp_path / "alone").named_parameters()}
    assert crew(2, everything, tmp_path) == [0, 0]
    first, second = (torch.load(tmp_path / f"weights.{rank}") for rank in range(2))
    for name, weight in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], weight, atol=1e-5), name
