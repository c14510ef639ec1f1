"""Every ailment of a run is brought about once, by training or by harming a real run; a healthy run has none."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_world import recipe

import mezzotint as mz
from mezzotint.cli import main
from mezzotint.core.errors import Refusal
from mezzotint.doctor import ailments, folder, logs
from mezzotint.doctor.finding import Finding
from mezzotint.doctor.patient import Patient
from mezzotint.training import PowerAverage, Rate, Run, train
from mezzotint.training.order import Order

SHORT = {"images": 1_280, "rate": Rate(5e-3, 0, 0.5), "save": 640}


def findings(run: Run) -> dict[str, Finding]:
    return {finding.name: finding for finding in ailments.examine(run.path)[0].findings}


def check(run: Run, name: str) -> dict[str, Finding]:
    """The findings of one check, of a run that is read anew."""
    return {finding.name: finding for finding in ailments.CHECKS[name](Patient(run.path))}


def works(fix: str) -> dict[str, Any]:
    """The config that a fix would train: the command is one that is understood."""
    words = shlex.split(fix.partition(", or")[0])
    assert words[:2] == ["mezzotint", "train"]
    with redirect_stdout(io.StringIO()) as out:
        assert main([*words[1:], "--dry-run", "--json"]) == 0
    return json.loads(out.getvalue())["training"]


def test_a_healthy_run_has_no_finding(healthy: Run) -> None:
    examined, table = ailments.examine(healthy.path)
    assert not examined.findings and examined.healthy and not examined.unknown
    assert list(examined.checked) == list(ailments.CHECKS)
    middle = [row for row in table if 0.3 < row.level < 0.6]
    assert all(row.by_heart < row.seen < row.linear < row.trivial < row.mean for row in middle)


def test_an_untrained_null(world: Path, tmp_path: Path) -> None:
    found = check(train(recipe(world, dropout=0.0, **SHORT), tmp_path / "run"), "null")["untrained null"]
    assert found.severity == "warning" and "'" not in found.seen and "label" in found.seen
    assert works(found.fix)["objective"]["dropout"] == 0.1


def rewrite(run: Run, change: Callable[[dict[str, dict[str, torch.Tensor]]], None]) -> None:
    """Write the newest checkpoint again with other tensors, whole and with a manifest of its own."""
    tensors, state = run.load(run.checkpoints()[-1])
    change(tensors)
    run.save(state["images"], tensors, state)


def test_a_null_of_garbage(ill: Run) -> None:
    """A null that was trained, by its mark, and that no model was ever trained with, by its numbers."""

    def spoil(tensors: dict[str, dict[str, torch.Tensor]]) -> None:
        tensors["ema-0.050"]["encoder.parts.label.null"] = 6 * torch.randn(16)

    rewrite(ill, spoil)
    found = findings(ill)
    assert found["untrained null"].severity == "wrong" and "garbage" in found["untrained null"].seen
    assert found.keys() == {"untrained null", "stale export"}  # what was exported has the null it was trained with


def test_a_dead_average(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that forgets the first average and updates the second."""
    update = PowerAverage.update

    def forgetful(self: PowerAverage, model: torch.nn.Module, step: int) -> None:
        if self.sigma_rel != 0.05:
            update(self, model, step)

    monkeypatch.setattr(PowerAverage, "update", forgetful)
    run = train(recipe(world, **SHORT), tmp_path / "run")
    found = check(run, "averages")["dead average"]
    assert found.severity == "wrong" and found.seen.startswith("ema-0.050 has not moved since the start")
    assert found.fix.startswith(f"mezzotint sample {run.path} --average 0.100")
    assert found.seen.count("ema-") == 1
    # Where the weights it began with are not those of the seed, the checkpoint before tells.
    it = Patient(run.path)
    it.__dict__["beginning"] = {name: value + 1 for name, value in it.beginning.items()}
    assert "since 640 images" in ailments.averages(it)[0].seen


def test_an_average_that_lags(world: Path, tmp_path: Path) -> None:
    """Every step of a short run counts alike, and the late ones are much better than the first."""
    run = train(recipe(world, averages=(0.28,), images=1_920, rate=Rate(1e-2, 1_920, 0.0)), tmp_path / "run")
    found = check(run, "average")["average behind"]
    assert found.severity == "warning" and works(found.fix)["images"] == 3_840


def test_nothing_learnt(world: Path, tmp_path: Path) -> None:
    """A rate so low that no weight can have moved far; the fix is another rate and not more of the same."""
    found = findings(train(recipe(world, **{**SHORT, "rate": Rate(1e-7, 0, 0.5)}), tmp_path / "run"))["nothing learnt"]
    assert found.severity == "wrong" and "1.00 times" in found.seen and "add up to" in found.seen
    assert works(found.fix)["rate"]["peak"] == 1e-6


def test_worse_than_a_linear_guess(world: Path, tmp_path: Path) -> None:
    """Begun well, and ended early: more of the same is the fix."""
    found = findings(train(recipe(world, **{**SHORT, "images": 384}), tmp_path / "run"))
    assert found["worse than linear"].severity == "warning" and "nothing learnt" not in found
    assert works(found["worse than linear"].fix)["images"] == 768


def test_learnt_by_heart(tmp_path: Path) -> None:
    """Thirty pictures of noise: there is nothing else to learn, and more of the same would be worse."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "few.npz", images=noise, labels=np.arange(30) % 3)
    tree = recipe(tmp_path / "few.npz", width=64, images=6_400, rate=Rate(5e-3, 0, 0.5))
    found = findings(train(tree, tmp_path / "run"))
    assert found.keys() == {"learnt by heart"}
    assert found["learnt by heart"].severity == "warning" and works(found["learnt by heart"].fix)["images"] == 1_600


def test_a_loss_that_diverges(world: Path, tmp_path: Path) -> None:
    """A rate a hundred times too high; what the levels then show is not called an ailment of its own."""
    run = train(recipe(world, rate=Rate(0.3, 320, 0.0), images=2_560), tmp_path / "run")
    examined, _ = ailments.examine(run.path)
    found = {f.name: f for f in examined.findings}
    assert found.keys() == {"loss diverged"} and "rose from 0.9" in found["loss diverged"].seen
    assert found["loss diverged"].severity == "wrong" and works(found["loss diverged"].fix)["rate"]["peak"] == 0.1
    assert examined.unknown["levels"].startswith("loss diverged")


def test_trends_are_told_from_noise() -> None:
    """A loss that falls or rests with noise is no finding, nor is one that came up again by little of what it fell."""
    rng = np.random.default_rng(0)

    def found(losses: Any) -> bool:
        rows = [{"loss": float(loss), "images": i, "norm": 0.5} for i, loss in enumerate(losses)]
        return bool(logs.diverging(rows, "run", 1e-3, 1.0))

    fall = np.exp(-np.linspace(0, 4, 100))
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.05, 100)
        assert not found(fall + noise) and not found(1 + noise) and not found(noise[:25])
    assert not found(fall + np.linspace(0, 0.1, 100)) and found(fall + np.linspace(0, 1, 100) ** 4)
    assert found(1 + np.linspace(0, 1, 100) + rng.normal(0, 0.05, 100))
    # A quarter of what it fell is the bound: between an eighth and two fifths.
    for share, wrong in ((0.15, False), (0.45, True)):
        assert found([*np.linspace(1, 0, 60), *np.linspace(0, share, 40)]) is wrong


@dataclass(frozen=True)
class Slow(mz.data.Arrays):
    """Pictures from a disk that takes its time."""

    def read(self, rows: Any) -> torch.Tensor:
        time.sleep(0.08)
        return super().read(rows)


def fit(world: Path, out: Path, data: mz.data.Data, model: Any = None, **training: Any) -> Run:
    """Train on data that is not in the config, as a package of one's own may."""
    tree = recipe(world, **{**SHORT, **training})
    torch.manual_seed(0)
    return mz.build(tree["training"]).fit(model or mz.build(tree["model"]), data, out)


def test_a_loop_that_waits_for_data(world: Path, healthy: Run, tmp_path: Path) -> None:
    run = fit(world, tmp_path / "run", Slow(str(world), held_out_share=0.2))
    shares = [row["waiting"] for row in run.metrics() if "loss" in row]
    # Middle values: other work on the machine may stretch any one step, as it did in a continuous build.
    assert np.median(shares[1:]) > 0.3 and max(shares) <= 1
    assert np.median([row["waiting"] for row in healthy.metrics() if "loss" in row]) < 0.2
    examined, table = ailments.examine(run.path)
    found = {f.name: f for f in examined.findings}["data-bound"]
    assert found.severity == "warning" and "--resume" not in found.fix  # nothing is left to train
    assert works(found.fix.replace(str(run.path), str(healthy.path)))["workers"] >= 1
    # The pictures are no part of a package, so what needs them is said not to have been looked at.
    assert not table and {"levels", "memory", "null"} <= examined.unknown.keys()


def test_a_start_that_waits_is_not_a_loop_that_does() -> None:
    """Workers and files start once; what counts is the rest, and what the loop could do without waiting."""
    late = [{"waiting": share, "images_per_second": 300.0} for share in (0.9, 0.05, 0.1, 0.0)]
    assert not logs.waiting(late, "run", 0, 4)
    slow = [{"waiting": share, "images_per_second": 300.0} for share in (0.0, 0.5, 0.4, 0.6)]
    assert "50% of the time" in logs.waiting(slow, "run", 2, 4)[0].seen
    assert "300 images/s could be 600" in logs.waiting(slow, "run", 2, 4)[0].seen
    assert logs.waiting(slow, "run", 2, 4)[0].fix == "mezzotint train run --resume --set training.workers=4"
    assert "--out run-again" in logs.waiting(slow, "run", 2, 4, finished=True)[0].fix


def test_where_numbers_stopped_being_finite(world: Path, tmp_path: Path) -> None:
    """One layer answers with NaN in two steps of twenty, under bf16."""
    model, calls = mz.build(recipe(world)["model"]), [0]
    name, layer = next((n, m) for n, m in model.named_modules() if n.endswith("blocks.1.mlp"))

    def poison(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        calls[0] += torch.is_grad_enabled()
        return output * float("nan") if calls[0] in (5, 9) else output

    layer.register_forward_hook(poison)
    run = fit(world, tmp_path / "run", mz.build(recipe(world)["data"]), model, precision="bf16")
    found = check(run, "skipped steps")["not finite"]
    assert found.severity == "warning" and found.seen.startswith("2 steps not finite") and name in found.seen
    assert works(found.fix)["precision"] == "fp32"


def test_a_term_too_heavy_to_be_learnt_is_not_laid_on_the_rate(world: Path, tmp_path: Path) -> None:
    """Not one step was finite, so none was taken: nothing hangs on how long it would have been."""
    tree = recipe(world, precision="fp32", patience=5, **SHORT)
    inner = tree["training"]["objective"]
    tree["training"]["objective"] = {"part": "objectives.ContextPrediction", "inner": inner, "weight": 1e38}
    with pytest.raises(Refusal, match="5 steps in a row"):
        train(tree, tmp_path / "run")
    found = check(Run(tmp_path / "run"), "skipped steps")["not finite"]
    assert found.severity == "wrong" and found.fix.endswith("--resume --set training.objective.weight=1")
    assert works(found.fix)["objective"]["weight"] == 1
    begun = {"precision": "fp32", "rate": 1e-3, "patience": 5, "batch": 64}
    late = [{"images": 128, "event": "skipped", "where": "the gradient of a"}]  # the step before went through
    assert "rate.peak" in logs.skips(late, "run", begun, weights={"training.objective.weight": 1e38})[0].fix


@dataclass(frozen=True)
class Torn(mz.data.Arrays):
    """Pictures of which one is not a number."""

    bad: int = 0

    def read(self, rows: Any) -> torch.Tensor:
        x = super().read(rows)
        x[torch.from_numpy(np.asarray(rows) == self.bad)] = float("nan")
        return x


def test_a_picture_that_is_not_finite(world: Path, tmp_path: Path) -> None:
    """The origin is the picture and not the layer that met it first."""
    data = Torn(str(world), held_out_share=0.2, bad=7)
    run = fit(world, tmp_path / "run", data)
    it = Patient(run.path)
    it.__dict__["data"] = data
    found = ailments.pictures(it)
    assert len(found) == 1 and "number 7 of the training set" in found[0].seen and found[0].severity == "wrong"
    it.__dict__["data"] = mz.build(recipe(world)["data"])
    assert not ailments.pictures(it)
    assert 7 in Order(len(data), 0).at(0, len(data))


def test_a_run_that_stopped_at_a_bad_weight(world: Path, tmp_path: Path) -> None:
    model = mz.build(recipe(world)["model"])
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("inf"))
    with pytest.raises(mz.Refusal, match="in a row"):
        fit(world, tmp_path / "run", mz.build(recipe(world)["data"]), model, patience=3)
    examined, _ = ailments.examine(tmp_path / "run")
    found = {f.name: f for f in examined.findings}["not finite"]
    assert found.severity == "wrong" and "the weight model.network" in found.seen and "stopped there" in found.seen
    assert works(found.fix)["rate"]["peak"] == 0.002 and "there is no whole checkpoint" in examined.unknown.values()


def test_weights_that_are_not_finite(ill: Run) -> None:
    def spoil(tensors: dict[str, dict[str, torch.Tensor]]) -> None:
        tensors["model"]["encoder.parts.label.null"][3] = float("nan")

    rewrite(ill, spoil)
    found = check(ill, "weights")["weights not finite"]
    assert found.severity == "wrong" and "1 of 16 numbers of encoder.parts.label.null in model" in found.seen


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def test_damaged_checkpoints(ill: Run) -> None:
    """The newest, with one before; then an old one only; then all."""
    old, new = (ill.path / "checkpoints" / f"{images:010d}" for images in ill.checkpoints())
    flip(new / "model.safetensors")
    found = check(ill, "checkpoints")["checkpoint damaged"]
    assert found.severity == "wrong" and "newest whole one is that of 6,400" in found.seen and "--resume" in found.fix
    shutil.copy(new / "ema-0.050.safetensors", new / "model.safetensors")
    flip(old / "optimizer.safetensors")
    found = check(ill, "checkpoints")["checkpoint damaged"]
    assert "2 checkpoints are damaged" in found.seen and "none is whole" in found.seen and "--out" in found.fix
    shutil.rmtree(new)
    ill.save(12_800, {"model": {"a": torch.zeros(1)}}, {})
    found = {f.name: f for f in folder.checkpoints(ill, folder.broken(ill), "run")}["checkpoint damaged"]
    assert found.severity == "warning" and found.fix == "rm -r run/checkpoints/0000006400"


def test_a_damaged_and_a_stale_export(ill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ill.path / "model", ill.path / "kept")
    flip(ill.path / "model" / "model.safetensors")
    found = check(ill, "export")["export damaged"]
    assert found.severity == "wrong"
    with monkeypatch.context() as patch:  # the fix trains nothing: all was seen, and the average is in the checkpoint
        patch.setattr(torch.optim.Optimizer, "step", None)
        assert main(shlex.split(found.fix)[1:]) == 0
    assert not check(ill, "export")
    assert (ill.path / "model" / "model.safetensors").read_bytes() == (ill.path / "kept/model.safetensors").read_bytes()
    shutil.rmtree(ill.path / "model")
    shutil.move(ill.path / "kept", ill.path / "model")
    model = mz.load(ill.path)
    model.encoder["label"].null += 1
    mz.core.store.save_model(ill.path / "model", model)
    found = check(ill, "export")["stale export"]
    assert found.severity == "warning" and "1 of" in found.seen and found.fix.endswith("--resume")


def test_little_disk(healthy: Run) -> None:
    assert not folder.room(healthy, "run", 2**30)
    size = sum(file.stat().st_size for file in (healthy.path / "checkpoints" / "0000012800").iterdir())
    assert not folder.room(healthy, "run", 2 * size) and folder.room(healthy, "run", 2 * size - 1)
    found = folder.room(healthy, "run", 2**10)
    assert found[0].name == "little disk" and "rm -r run/checkpoints/0000006400" in found[0].fix
