"""The same run on any number of processes: two on the CPU against one in float64, as copies, in pieces."""

from __future__ import annotations

import copy
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mezzotint as mz
from crew import crew
from mezzotint import recipes, training
from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.objectives import Denoising, Importance
from mezzotint.objectives.base import Loss, Objective
from mezzotint.training.shards import blocks

STEPS, BATCH = 20, 16


@dataclass(frozen=True)
class Double(mz.data.Digits):
    """The digits in float64; what is read is written down, a file a process."""

    log: str = ""

    def __len__(self) -> int:
        return super().__len__() if self.split == "train" else 32

    def read(self, rows: Any) -> torch.Tensor:
        if self.log and len(rows) <= BATCH:
            with Path(f"{self.log}.{ranks.rank()}").open("a") as file:
                file.write(" ".join(map(str, rows)) + "\n")
        return super().read(rows).double()


def tree(**changes: Any) -> dict[str, Any]:
    made = recipes.of_data(mz.data.Digits(), images=STEPS * BATCH, width=8, steps=2)
    few = {"batch": BATCH, "save": STEPS // 2 * BATCH, "log": BATCH, "picture": STEPS * BATCH}
    made["training"] |= few | changes
    return copy.deepcopy(made)


class Weighed(Objective):
    """Denoising at levels that remember, weighed by a parameter of the objective's own: exp(-a) loss + a."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.a = Denoising(Importance(4, 2), dropout=0.1), torch.nn.Parameter(torch.tensor(0.1).double())

    def forward(self, model: Any, x: torch.Tensor, cond: Any, rng: mz.Rng, player: str = "model") -> Loss:
        loss = self.inner(model, x, cond, rng)
        return Loss(loss.value * (-self.a).exp() + self.a, {"inner": loss.unweighted()}, loss.shot)

    def update(self, model: Any, loss: Loss) -> None:
        assert loss.shot is not None
        self.inner.levels.update(loss.shot.t, loss.parts["inner"])


def fit(
    folder: Path,
    images: int = STEPS * BATCH,
    resume: bool = False,
    log: str | None = None,
    objective: Objective | None = None,
    **changes: Any,
) -> training.Run:
    made = tree(images=images, **changes)
    torch.manual_seed(0)
    # The rate looks at the whole way, so that a run cut short takes the same steps as far as it goes.
    trainer, model = mz.build(made["training"]), mz.build(made["model"]).double()
    trainer = trainer if objective is None else replace(trainer, objective=objective)
    with torch.no_grad():
        for weight in model.parameters():  # an output that begins at zero would hide half of the network
            weight += 0.05 * torch.randn_like(weight)
    return trainer.fit(model, Double(log=str(folder) + ".read" if log is None else log), folder, resume=resume)


def everything(place: Path) -> None:
    """What two processes do for the tests below."""
    fit(place / "copies", accumulate=2)
    fit(place / "pieces", accumulate=2, shard=True)
    if ranks.main():
        assert not any(hasattr(value, "full_tensor") for value in kept(place / "pieces")["model"].values())
    fit(place / "begun-alone", resume=True, shard=True)
    fit(place / "half", images=STEPS // 2 * BATCH, shard=True, **FLAT)
    fit(place / "weighed-copies", objective=Weighed(), accumulate=2, **SOME)
    fit(place / "remembering-pieces", objective=Denoising(Importance(4, 2), dropout=0.1), shard=True, **SOME)


SOME = {"images": 8 * BATCH, "save": 8 * BATCH, "picture": 8 * BATCH}
FLAT = {"rate": {"part": "training.Rate", "peak": 2e-3, "warmup": 32, "cooldown": 0.0}}


def kept(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    run = training.Run.open(folder)
    return run.load(run.checkpoints()[-1])[0]


def column(folder: Path, name: str) -> list[float]:
    return [row[name] for row in training.Run.open(folder).metrics() if name in row]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ranks")
    fit(place / "one")
    fit(place / "flat", **FLAT)
    fit(place / "weighed", objective=Weighed(), **SOME)
    fit(place / "remembering", objective=Denoising(Importance(4, 2), dropout=0.1), **SOME)
    run = fit(place / "begun-alone")
    for images in run.checkpoints()[1:]:  # as if it had been stopped half way
        for file in (run.path / "checkpoints" / f"{images:010d}").iterdir():
            file.unlink()
    assert crew(2, everything, place, seconds=400) == [0, 0]
    fit(place / "half", resume=True, **FLAT)
    return place


@pytest.mark.parametrize("name", ["copies", "pieces", "begun-alone"])
def test_two_processes_take_the_steps_of_one(place: Path, name: str) -> None:
    """Rate, losses and error by level over 20 steps; then weights, averages and Adam's moments."""
    assert column(place / name, "rate") == column(place / "one", "rate")
    losses, alone = (np.array(column(place / n, "loss")) for n in (name, "one"))
    assert len(alone) == STEPS and np.ptp(alone) > 0.1
    np.testing.assert_allclose(losses, alone, rtol=0, atol=1e-10)
    np.testing.assert_allclose(column(place / name, "norm"), column(place / "one", "norm"), rtol=0, atol=1e-9)
    same(kept(place / name), kept(place / "one"))
    for here, there in zip(column(place / name, "levels"), column(place / "one", "levels"), strict=True):
        assert [row["count"] for row in here] == [row["count"] for row in there]
        for mine, other in zip(here, there, strict=True):
            assert mine["error"] == pytest.approx(other["error"], rel=1e-9)
    mine, other = (column(place / n, "held_out")[-1]["loss"] for n in (name, "one"))
    assert mine == pytest.approx(other, abs=1e-9)


def test_begun_in_pieces_and_ended_by_one(place: Path) -> None:
    losses, alone = (np.array(column(place / n, "loss")) for n in ("half", "flat"))
    np.testing.assert_allclose(losses, alone, rtol=0, atol=1e-10)
    same(kept(place / "half"), kept(place / "flat"))


@pytest.mark.parametrize("name", ["weighed-copies", "remembering-pieces"])
def test_an_objective_remembers_the_whole_batch(place: Path, name: str) -> None:
    """Levels that depend on all losses before, weights of its own (as copies): the same levels, losses and state."""
    alone = place / name.partition("-")[0]
    np.testing.assert_allclose(column(place / name, "loss"), column(alone, "loss"), rtol=0, atol=1e-10)
    same(kept(place / name), kept(alone))
    state = kept(place / name)["objective"]
    seen = next(value for key, value in state.items() if key.endswith("levels.seen"))
    assert int(seen.sum()) == 8 * BATCH and int(seen.min()) > 2  # so most levels were drawn from what it remembers
    if "a" in state:
        assert float(state["a"]) != pytest.approx(0.1, abs=1e-3)  # it was trained, too


def same(ours: dict[str, dict[str, torch.Tensor]], theirs: dict[str, dict[str, torch.Tensor]]) -> None:
    assert ours.keys() == theirs.keys() and "optimizer" in ours
    for name in theirs:
        assert ours[name].keys() == theirs[name].keys()
        for key, value in theirs[name].items():
            torch.testing.assert_close(ours[name][key], value, rtol=0, atol=1e-9, msg=f"{name} {key}")


def test_the_order_of_the_data_is_that_of_one(place: Path) -> None:
    """Process r of n reads the rows r, r + n, .. of each batch."""

    def read(file: Path) -> list[list[int]]:
        return [[int(n) for n in line.split()] for line in file.read_text().splitlines()]

    whole = read(place / "one.read.0")
    for name in ("copies", "pieces"):
        halves = [read(place / f"{name}.read.{rank}") for rank in (0, 1)]
        trained = [row for row in whole if len(row) == BATCH][:STEPS]
        shared = [[row for row in half if len(row) == BATCH // 2][:STEPS] for half in halves]
        assert [[n for pair in zip(a, b, strict=True) for n in pair] for a, b in zip(*shared, strict=True)] == trained


def test_every_block_with_a_forward_pass_is_cut_by_itself() -> None:
    """A level of a U-Net is a list without one: its blocks are, not the level."""
    unet = mz.networks.UNet((1, 8, 8), width=8)
    found = list(blocks(unet))
    due = [b for stage in (*unet.down, *unet.mid, *unet.up) for b in getattr(stage, "blocks", [stage])]
    assert {id(b) for b in found} == {id(b) for b in due} and len(found) == len(due) > 6
    dit = mz.networks.DiT((1, 8, 8), width=16, depth=3, heads=2)
    assert list(blocks(dit)) == list(dit.blocks)


def disks(place: Path) -> None:
    """Two processes go on with what their own disks show; what each of them is told is written down."""
    ranks.join()
    for case in ("late", "torn", "other", "config", "damaged"):
        more = {"betas": [0.9, 0.98]} if case == "config" and ranks.rank() else {}
        told = ""
        try:
            fit(place / case / str(ranks.rank()), images=96, save=32, resume=True, log="", **FLAT, **more)
        except Refusal as refusal:
            told = str(refusal)
        (place / case / f"told.{ranks.rank()}").write_text(told)


def test_all_go_on_from_one_place_or_none_does(tmp_path: Path) -> None:
    """A disk that is late, torn or another's; and what the first passes over, the second passes over as well."""
    whole = fit(tmp_path / "whole", images=96, save=32, log="", **FLAT)
    shutil.copytree(whole.path, tmp_path / "begun")
    shutil.rmtree(tmp_path / "begun" / "checkpoints" / "0000000096")
    for case in ("late", "torn", "other", "config", "damaged"):
        for rank in "01":
            shutil.copytree(tmp_path / "begun", tmp_path / case / rank)

    def newest(case: str, rank: int) -> Path:
        return tmp_path / case / str(rank) / "checkpoints" / "0000000064"

    def flip(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)

    shutil.rmtree(newest("late", 1))
    flip(newest("torn", 1) / "ema-0.050.safetensors")
    flip(newest("damaged", 0) / "model.safetensors")
    fit(tmp_path / "another", images=96, save=32, log="", seed=0, betas=[0.9, 0.9], **FLAT)
    shutil.rmtree(newest("other", 1))
    shutil.copytree(tmp_path / "another" / "checkpoints" / "0000000064", newest("other", 1))
    before = column(tmp_path / "late" / "0", "loss")

    assert crew(2, disks, tmp_path, seconds=60) == [0, 0]
    for case, said in {
        "late": "process 1 of 2: the first process goes on from the checkpoint of 64 images, which cannot be read here",
        "torn": "ema-0.050.safetensors' is damaged",
        "other": "is another one here than at the first process",
        "config": "process 1 at step 4 of model",
    }.items():
        first, second = ((tmp_path / case / f"told.{rank}").read_text() for rank in (0, 1))
        assert first == second and said in first and "\n" not in first
        assert training.Run(tmp_path / case / "0").checkpoints() == [32, 64]
    assert column(tmp_path / "late" / "0", "loss") == before
    assert [(tmp_path / "damaged" / f"told.{rank}").read_text() for rank in (0, 1)] == ["", ""]
    losses = [np.array(column(path, "loss")) for path in (tmp_path / "damaged" / "0", whole.path)]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-10)
    assert len(losses[0]) == 6
