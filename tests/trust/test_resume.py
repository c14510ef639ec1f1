"""N steps are k steps and N - k steps, bit for bit: weights, averages, optimiser, objective, order, log, pictures."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resumes
import torch
import trial
from resumes import Case

import mezzotint as mz
from mezzotint import testing
from mezzotint.core import config
from mezzotint.core.spec import name_of
from mezzotint.training import Rate, Trainer
from mezzotint.training.run import Run
from mezzotint.training.stop import Stopped

CASES = [*resumes.cases(), *resumes.others()]
FIRST = list({case.name.partition(":")[0]: case for case in reversed(list(resumes.cases()))}.values())
"""The first training of every recipe."""
SOON = [*FIRST, *(case for case in CASES if "dropout layers" in case.name or "a discriminator" in case.name)]


@pytest.fixture(scope="module")
def truths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nothing stopped, each made once."""
    return {}


def truth(case: Case, truths: dict[str, Path], factory: pytest.TempPathFactory) -> Path:
    if case.missing:
        pytest.skip(case.missing)
    if case.name not in truths:
        truths[case.name] = resumes.whole(case, factory.mktemp("truth") / "run")
    return truths[case.name]


def test_recipes_networks_and_objectives_are_walked() -> None:
    assert len([case for case in resumes.cases() if not case.missing]) >= 3  # digits and trees are always there
    named = {word for case in CASES for word in re.findall(r"'part': '([\w.]+)'", str(case.tree))}
    parts = (*testing.parts("objective"), *testing.parts("network"))
    assert {name_of(cls) for cls in parts} <= named


@pytest.mark.parametrize("case", SOON, ids=str)
def test_stopped_in_the_middle_of_a_pass_with_workers(
    case: Case, truths: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = truth(case, truths, tmp_path_factory)
    assert resumes.resumed(case, 5, tmp_path / "run", whole, workers=2) == []


@pytest.mark.long
@pytest.mark.parametrize("steps", range(1, resumes.STEPS))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_stopped_anywhere(
    case: Case, steps: int, truths: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = truth(case, truths, tmp_path_factory)
    assert resumes.resumed(case, steps, tmp_path / "run", whole) == []


class Fussy(mz.data.Arrays):
    """Arrays with one picture that is not a number, so that some steps are skipped."""

    def read(self, rows: Any) -> torch.Tensor:
        x = super().read(rows)
        x[torch.from_numpy(np.asarray(rows) == 7)] = float("nan")
        return x


def fitted(folder: Path, data: mz.data.Data, resume: bool = False) -> None:
    """Twelve steps over forty pictures: five passes, an objective with state and weights, dropout layers, skips."""
    torch.manual_seed(1)
    network = mz.networks.MLP(tuple(data.shape), 16)
    model = mz.denoiser.Preconditioned(network, mz.processes.EDM(), sigma_data=0.5)
    trainer = Trainer(
        trial.Stateful(), images=192, batch=16, accumulate=2, rate=Rate(1e-2, warmup=32), averages=(0.05, 0.1, 0.2),
        log=80, save=64, picture=192, sampler=mz.samplers.Heun(1), seed=5,
    )  # fmt: skip
    trainer.fit(model, data, folder, resume=resume)


def test_an_objective_with_state_and_weights_over_several_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = (np.random.default_rng(0).random((40, 4, 4)) * 255).astype(np.uint8)
    np.savez(tmp_path / "few.npz", images=x)
    data = Fussy(str(tmp_path / "few.npz"), label=None, held_out_share=0.1)
    for module in ("trial", __name__):
        monkeypatch.setattr(f"{module}.{'Stateful' if module == 'trial' else 'Fussy'}.__module__", "mezzotint.data")
    fitted(tmp_path / "whole", data)
    rows = mz.training.Run(tmp_path / "whole").metrics()
    assert any(row.get("event") == "skipped" for row in rows) and sum("held_out" in row for row in rows) == 3
    kept, state = mz.training.Run(tmp_path / "whole").load(128)
    assert state["skipped"] > 0 and kept["objective"]["inner.levels.seen"].sum() > 0
    for steps in (1, 6, 7, 11):
        run = tmp_path / f"stopped {steps}"
        with resumes.told_to_stop(steps), pytest.raises(Stopped):
            fitted(run, data)
        fitted(run, data, resume=True)
        assert trial.differences(run, tmp_path / "whole") == [], steps


@pytest.mark.cuda
def test_on_a_gpu_the_rest_is_the_rest(tmp_path: Path) -> None:
    """Sums on a GPU come in any order, so numbers agree closely; counters, order, seeds and files agree exactly."""
    case = FIRST[-1]
    if case.missing:
        pytest.skip(case.missing)
    whole = resumes.whole(case, tmp_path / "whole")
    found = resumes.resumed(case, 5, tmp_path / "run", whole)
    assert all(name.endswith((".safetensors", ".png", "metrics.jsonl", "manifest.json")) for name in found), found
    last = mz.training.Run(whole).checkpoints()[-1]
    (mine, state), (theirs, truth) = (mz.training.Run(tmp_path / name).load(last) for name in ("run", "whole"))
    assert state == truth and mine.keys() == theirs.keys()
    for name, tensors in theirs.items():
        for key, value in tensors.items():
            torch.testing.assert_close(mine[name][key], value, rtol=1e-3, atol=1e-5)
    rows, others = trial.log(tmp_path / "run"), trial.log(whole)
    assert [(row["images"], row.keys()) for row in rows] == [(row["images"], row.keys()) for row in others]
    for row, other in zip(rows, others, strict=True):
        torch.testing.assert_close(row.get("loss", 0.0), other.get("loss", 0.0), rtol=1e-3, atol=1e-5)


def test_events_of_steps_that_are_done_again_are_void(tmp_path: Path) -> None:
    """What TensorBoard shows of a run that was killed is each step once, as the log has it."""
    why = "the extra tensorboard is not installed"
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=why)
    config = trial.config(6, 2, tensorboard=True, log=16)
    with trial.few():
        mz.training.train(config, tmp_path / "run")
        shutil.rmtree(tmp_path / "run" / "checkpoints" / "0000000096")  # killed before its last checkpoint
        mz.training.train(config, tmp_path / "run", resume=True)
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    logged = [(row["images"], row["loss"]) for row in trial.log(tmp_path / "run") if "loss" in row]
    assert [images for images, _ in logged] == list(range(16, 97, 16))
    shown = [(event.step, event.value) for event in events.Scalars("loss")]
    assert shown == [(images, pytest.approx(loss, rel=1e-6)) for images, loss in logged]


def test_a_run_from_before_a_setting_was_there_goes_on(tmp_path: Path) -> None:
    """Its config lacks what has a default today; another value than the default is another run."""
    tree = trial.config(4)
    run = Run.create(tmp_path, tree)
    before = config.loads(config.dumps({"schema": 1, **tree}))
    assert before["data"].pop("split") == "train" and before["model"].pop("scaled", True)
    assert before["model"]["process"].pop("sigma_max") == 80.0
    (tmp_path / "config.yaml").write_text(config.dumps(before))
    assert run.begun(tree, resume=True)
    for part, name, value in (("data", "split", "all"), ("model", "scaled", False)):
        with pytest.raises(mz.Refusal, match=f"another {part}"):
            run.begun({**tree, part: tree[part] | {name: value}}, resume=True)
