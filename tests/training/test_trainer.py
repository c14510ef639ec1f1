"""Training runs: the same numbers whether whole, stopped, cut in pieces or read by workers."""

import copy
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint import recipes, training
from mezzotint.cli.drawing import load
from mezzotint.core.store import load_tensors
from mezzotint.training.order import Order


@dataclass(frozen=True)
class Poisoned(mz.data.Digits):
    """The digits with one picture, the first of step 6, that is not a number."""

    def read(self, rows):
        x = super().read(rows)
        bad = int(Order(len(self), 0).at(5 * 64, 1)[0])
        x[torch.from_numpy(np.asarray(rows) == bad)] = float("nan")
        return x


def tree(**changes):
    made = recipes.of_data(mz.data.Digits(), images=1_024, width=8, steps=2)
    made["training"] |= {"batch": 64, "save": 512, "log": 256, "picture": 1_024} | changes
    return copy.deepcopy(made)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Sixteen steps without a break."""
    return training.train(tree(), tmp_path_factory.mktemp("whole") / "run")


def last(run):
    images = run.checkpoints()[-1]
    return run.load(images)


def same(a, b):
    return a.keys() == b.keys() and all(
        a[n].keys() == b[n].keys() and all(torch.equal(a[n][k], b[n][k]) for k in a[n]) for n in a
    )


def test_stopping_and_resuming_changes_no_bit(whole, tmp_path):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.images >= 768:
            raise Stop

    with pytest.raises(Stop):
        training.train(tree(), tmp_path / "run", progress=stop)
    half = training.Run.open(tmp_path / "run")
    assert half.checkpoints() == [512]
    again = training.train(tree(), tmp_path / "run", resume=True)
    (a, state_a), (b, state_b) = last(whole), last(again)
    assert same(a, b) and state_a == state_b
    losses = [[row["loss"] for row in run.metrics() if "loss" in row] for run in (whole, again)]
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_workers_read_the_same_batches(whole, tmp_path):
    other = training.train(tree(workers=2), tmp_path / "run")
    assert same(last(whole)[0], last(other)[0])


def test_pieces_are_the_same_batch(whole, tmp_path):
    other = training.train(tree(accumulate=4), tmp_path / "run")
    a, b = ([row["loss"] for row in run.metrics() if "loss" in row] for run in (whole, other))
    assert a == pytest.approx(b, abs=2e-4)
    assert a[0] != a[-1]


def test_the_seed_decides(whole, tmp_path):
    other = training.train(tree(seed=1), tmp_path / "run")
    assert not same(last(whole)[0], last(other)[0])


def test_training_learns_and_is_judged_beside_the_trivial_answer(whole):
    rows = [row for row in whole.metrics() if "loss" in row]
    assert rows[-1]["loss"] < 0.97 < rows[0]["loss"] + 0.1  # at F = 0 the EDM loss is 1
    held = next(row["held_out"] for row in reversed(whole.metrics()) if "held_out" in row)
    middle = [row for row in held["levels"] if 0.4 < row["low"] < 0.9 and row["count"] > 10]
    assert middle and all(row["error"] < row["trivial"] for row in middle)


def test_a_run_describes_itself(whole):
    model = mz.load(whole.path)
    assert model.nulls == ("label",) and not any(p.requires_grad for p in model.parameters())
    exported = load_tensors(whole.path / "model" / "model.safetensors")
    tensors, state = last(whole)
    assert all(torch.equal(exported[k], v) for k, v in tensors[state["averages"][0]["file"]].items())
    assert {p.name for p in whole.path.iterdir()} == {
        "config.yaml", "environment.json", "metrics.jsonl", "samples", "checkpoints", "model",
    }  # fmt: skip
    rebuilt = mz.build(whole.config["model"])
    assert mz.spec(rebuilt) == mz.spec(mz.build(mz.spec(rebuilt)))
    assert "path" not in json.loads((whole.path / "environment.json").read_text())


def test_a_length_tracked_is_found_again(whole, tmp_path):
    """The reconstruction of a tracked length from all snapshots is that average."""
    run = training.train(tree(save=128), tmp_path / "run")
    model = training.reconstruct(run, 0.10, mz.build(run.config["model"]))
    tracked = last(run)[0]["ema-0.100"]
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, tracked[name], atol=0.01 * float(tracked[name].abs().max()) + 1e-7), name


def damage(run, images):
    weights = run.path / "checkpoints" / f"{images:010d}" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))


def test_an_average_passes_over_a_damaged_checkpoint(whole, tmp_path, capsys):
    """It is the average without that one; the one that is asked for has to be whole."""

    def averaged(run, images=None):
        return training.reconstruct(run, 0.08, mz.build(run.config["model"]), images).state_dict()

    for images, other in ((512, 1_024), (1_024, 512)):
        hurt, cut = (
            training.Run(shutil.copytree(whole.path, tmp_path / f"{name}{images}")) for name in ("hurt", "cut")
        )
        damage(hurt, images)
        shutil.rmtree(cut.path / "checkpoints" / f"{images:010d}")
        capsys.readouterr()
        found, expected = averaged(hurt), averaged(cut)
        assert same({"": found}, {"": expected}) and not same({"": found}, {"": averaged(whole)})
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "passing over a checkpoint" in said and f"{images:010d}" in said
        assert load(str(hurt.path), average=0.08).images == other  # what a picture will say it was drawn with
        with pytest.raises(mz.Refusal, match=f"{images:010d}.* is damaged"):
            averaged(hurt, images)
        damage(hurt, other)
        with pytest.raises(mz.Refusal, match="no checkpoint in .* is whole"):
            averaged(hurt)


def test_damaged_checkpoint_is_passed_over(tmp_path, capsys):
    run = training.train(tree(), tmp_path / "run")
    damage(run, run.checkpoints()[-1])
    again = training.train(tree(), tmp_path / "run", resume=True)
    assert "passing over" in capsys.readouterr().err
    assert again.checkpoints()[-1] == 1024
    again.load(1024)


def test_a_step_that_is_not_finite_is_skipped_and_named(tmp_path):
    """One poisoned picture spoils one step, not the run; a poisoned weight stops it and is named."""
    made = tree()
    trainer, model = mz.build(made["training"]), mz.build(made["model"])
    run = trainer.fit(model, Poisoned(), tmp_path / "one")
    less = mz.build(made["training"] | {"images": 64})  # as many steps as were skipped, of a run that did more
    less.fit(mz.build(made["model"]), Poisoned(), tmp_path / "one", resume=True)
    skipped = [row for row in run.metrics() if row.get("event") == "skipped"]
    assert [row["images"] for row in skipped] == [6 * 64]
    assert all(p.isfinite().all() for p in mz.load(run.path).parameters())

    made["training"]["patience"] = 3
    trainer, model = mz.build(made["training"]), mz.build(made["model"])
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("inf"))
    with pytest.raises(mz.Refusal, match=r"3 steps in a row.*the weight model\.network\."):
        trainer.fit(model, mz.data.Digits(), tmp_path / "two")

    made["training"]["patience"] = 100  # more than there are steps: it ends, and does not call itself trained
    with pytest.raises(mz.Refusal, match=r"nothing was trained: not one of \d+ steps"):
        mz.build(made["training"]).fit(model, mz.data.Digits(), tmp_path / "three")


def test_non_empty_folder_and_other_recipe_are_refused(whole, tmp_path):
    before = sorted(p.name for p in whole.path.rglob("*"))
    with pytest.raises(mz.Refusal, match="--resume"):
        training.train(tree(), whole.path)
    other = tree()
    other["model"]["network"]["width"] = 16
    with pytest.raises(mz.Refusal, match="another model"):
        training.train(other, whole.path, resume=True)
    assert sorted(p.name for p in whole.path.rglob("*")) == before


def test_bf16_inside_the_network_only(tmp_path):
    run = training.train(tree(precision="bf16"), tmp_path / "run")
    tensors, _ = last(run)
    assert all(v.dtype == torch.float32 for v in tensors["model"].values() if v.is_floating_point())
    assert [row["loss"] for row in run.metrics() if "loss" in row][-1] < 0.97


def test_order_visits_everything_once_a_pass():
    order = Order(10, seed=3)
    visited = order.at(0, 20)
    assert sorted(visited[:10]) == sorted(visited[10:]) == list(range(10))
    assert list(visited[:10]) != list(visited[10:])
    assert list(Order(10, seed=3).at(7, 9)) == list(visited[7:16])


def test_rate_is_a_function_of_images():
    rate = training.Rate(peak=1.0, warmup=100, cooldown=0.5)
    assert rate(50, 1000) == 0.5 and rate(300, 1000) == 1.0
    assert rate(1000, 1000) == 0.0 and 0 < rate(990, 1000) < rate(600, 1000) < 1.0


def test_a_set_without_held_out_pictures_can_be_trained(tmp_path):
    x = (np.random.default_rng(0).random((70, 8, 8)) * 255).astype(np.uint8)
    np.savez(tmp_path / "all.npz", images=x)
    data = mz.data.Arrays(str(tmp_path / "all.npz"), label=None, held_out_share=0.0)
    made = recipes.of_data(data, images=256, width=8, steps=1)
    made["training"] |= {"batch": 64}
    run = training.train(made, tmp_path / "run")
    assert run.checkpoints()[-1] == 256
    assert {row["held_out"] for row in run.metrics() if "held_out" in row} == {None}


def test_resuming_a_finished_run_exports_what_a_kill_left_out(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    training.train(tree(), tmp_path / "run", resume=True)
    ours, theirs = (load_tensors(p / "model" / "model.safetensors") for p in (tmp_path / "run", whole.path))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clip": -1.0},
        {"rate": 1e-3},
        {"averages": 0.05},
        {"averages": [0.0501, 0.0502]},
        {"averages": [0.5]},
        {"betas": [2.0, 3.0]},
        {"workers": -1},
        {"sampler": None},
        {"seed": 10**20},
    ],
)
def test_settings_that_cannot_work_are_refused_before_a_folder_is_made(wrong, tmp_path):
    with pytest.raises(mz.Refusal):
        training.train(tree(**wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_another_schema_is_refused(tmp_path):
    with pytest.raises(mz.Refusal, match="schema 99"):
        training.train({"schema": 99, **tree()}, tmp_path / "run")
