"""A recipe from outside is run, killed, run again, and refused, as anybody would run it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.core.store import load_model, load_tensors
from mezzotint.evidence.load import Loaded, load
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.record import Record
from mezzotint.evidence.reproduce import Request, reproduce
from mezzotint.evidence.work import Work, sample_keys
from mezzotint.training import Run

MINE = Path(__file__).with_name("mine.py")
SOURCE = str(Path(mz.__file__).resolve().parent.parent)


def command(folder: Path, *words: str) -> list[str]:
    where = ["--out", str(folder / "results"), "--work", str(folder / "work")]
    return [sys.executable, "-m", "mezzotint", "reproduce", str(MINE), *where, *words]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """The recipe at its own seeds, run through without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, reproduce(Request(load(str(MINE)), "small", folder=folder / "work"))


def test_killed_and_started_again_it_ends_in_the_same_record(whole: tuple[Path, Record], tmp_path: Path) -> None:
    trainings = tmp_path / "work" / "mine.py" / "trainings"
    first = subprocess.Popen(command(tmp_path), env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.monotonic() + 240
    while not list(trainings.glob("*/checkpoints/*/manifest.json")) and time.monotonic() < end:
        assert first.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)  # the command alone: its workers have to notice
    first.wait()
    unfinished = [path for path in trainings.glob("*") if not (path / "end.json").exists()]
    assert unfinished, "it was killed too late to show anything"
    second = subprocess.run(command(tmp_path, "--json"), env=environment(), capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    again = Record.read(json.loads(second.stdout)["record"])
    assert again.differences(whole[1]) == []


def test_arms_share_weights_order_and_noise(whole: tuple[Path, Record]) -> None:
    folder, record = whole
    loaded = load(str(MINE))
    experiment = loaded.recipe.sizes["small"]
    work = Work(experiment, "small", Request(loaded, "small").setting, loaded.code, folder / "work" / "mine.py")
    assert len(list((folder / "work" / "mine.py" / "trainings").iterdir())) == 4  # two lengths at two seeds, each once
    long = record["evidence"]["weights"]["1"]
    assert long["long"] == long["long, Euler"] != long["short"]
    model = load_model(work.run(work.arms["long"].trainings["model"], 1))
    x = mz.samplers.Sampling(mz.samplers.Euler(5), model)(work.cond[:24], sample_keys(1, 48)[:24])
    kept = load_tensors(folder / "work" / "mine.py" / "cells" / f"{work.cell_key('long, Euler', 1)}.safetensors")["x"]
    torch.testing.assert_close(kept[:24], x, rtol=0, atol=1e-5)


def test_what_is_finished_is_not_done_again(whole: tuple[Path, Record]) -> None:
    folder, record = whole
    made = {path: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.safetensors")}
    again = reproduce(Request(load(str(MINE)), "small", folder=folder / "work"))
    assert again.differences(record) == []
    assert made == {path: path.stat().st_mtime_ns for path in (folder / "work").rglob("*.safetensors")}


@pytest.mark.long
def test_what_is_damaged_in_the_work_folder_is_made_again(whole: tuple[Path, Record], tmp_path: Path) -> None:
    """Last checkpoint, exported model, numbers: cut to half, one after the other."""
    folder = tmp_path / "work"
    shutil.copytree(whole[0] / "work", folder)
    (run,) = [path for path in (folder / "mine.py" / "trainings").iterdir() if "seed: 1" in _config(path)][:1]

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    request = Request(load(str(MINE)), "small", seeds=(1,), folder=folder)
    for cell in (folder / "mine.py" / "cells").glob("*.json"):
        cut(cell)
    cut(run / "model" / "model.safetensors")
    with pytest.raises(Refusal, match="damaged and is removed"):
        reproduce(request)
    again = reproduce(request)
    assert again["numbers"]["1"] == whole[1]["numbers"]["1"]
    (run / "end.json").unlink()
    for checkpoint in (run / "checkpoints").iterdir():
        cut(checkpoint / "model.safetensors")
    for cell in (folder / "mine.py" / "cells").glob("*.json"):
        cell.unlink()
    assert reproduce(request)["numbers"]["1"] == whole[1]["numbers"]["1"]


def _config(run: Path) -> str:
    return (run / "config.yaml").read_text()


def test_the_verdict_says_what_the_numbers_say(whole: tuple[Path, Record]) -> None:
    record = whole[1]
    assert record["seeds"] == [1, 2]
    assert list(record["numbers"][str(1)]) == ["short", "long", "long, Euler", "real"]
    gains = [n["short"]["frechet"] - n["long"]["frechet"] for n in record["numbers"].values()]
    assert record["verdict"]["criteria"][1]["values"] == gains
    assert record.outcome == "undecided"  # two seeds are too few for a sign
    assert all(str(part) not in json.dumps(record.tree) for part in (whole[0], Path.home(), SOURCE))


def test_an_estimate_beyond_twice_the_budget_is_refused_with_sizes_that_fit(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"--set images=\d+ samples=\d+") as refused:
        reproduce(Request(load(str(MINE)), "small", changes=("images=20M",), folder=tmp_path))
    assert not list(tmp_path.rglob("trainings"))
    fitting = str(refused.value).split("--set ")[1].split(";")[0].split()
    smaller = dict(entry.split("=") for entry in fitting)
    assert 1_000 < int(smaller["images"]) < 20_000_000


def test_two_runs_in_one_folder_do_not_meet(whole: tuple[Path, Record], monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    from mezzotint.evidence import reproduce as module

    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with (whole[0] / "work" / "mine.py" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Refusal, match="another run is at work"):
            reproduce(Request(load(str(MINE)), "small", folder=whole[0] / "work"))


def test_closed_records_repeat_and_changes_are_told_apart(tmp_path: Path) -> None:
    own = reproduce(Request(load(str(MINE)), "exact"))
    assert own.differences(reproduce(Request(load(str(MINE)), "exact"))) == []
    assert own["standard"]
    assert own.outcome == "holds"
    assert own["numbers"] == {"1": {"coin": {"heads": 3}}, "2": {"coin": {"heads": 6}}, "3": {"coin": {"heads": 2}}}
    fewer = reproduce(Request(load(str(MINE)), "exact", seeds=(1, 2)))
    other = reproduce(Request(load(str(MINE)), "exact", changes=("step=2",)))
    assert not fewer["standard"]
    assert not other["standard"]
    assert len({own.name, fewer.name, other.name}) == 3
    assert Record.read(own.save(tmp_path)).differences(own) == []
    assert set(own.differences(other)) >= {"setting.step", "standard", "variant", "numbers.1.coin.heads"}


def test_two_sizes_with_one_setting_are_two_experiments(tmp_path: Path) -> None:
    loaded = load(str(MINE))
    small, setting = loaded.recipe.sizes["small"], Request(loaded, "small").setting
    one, other = (Work(small, size, setting, loaded.code, tmp_path) for size in ("small", "full"))
    assert one.cell_key("real", 1) != other.cell_key("real", 1)
    assert one.cell_key("real", 1) != one.cell_key("real", 2)
    assert one.cell_key("real", 1) != one.cell_key("long", 1)


def test_data_that_only_judge_and_measure_read_are_in_the_key(tmp_path: Path) -> None:
    loaded = load(str(MINE))
    setting = Request(loaded, "small").setting
    keys = set()
    for split in ("train", "held_out"):
        experiment = replace(loaded.recipe.sizes["small"], data=lambda s, split=split: [mz.data.Digits(split)])
        keys.add(Work(experiment, "small", setting, loaded.code, tmp_path).judge_key)
    assert len(keys) == 2


def test_a_verdict_on_what_is_not_measured_is_refused_before_any_work(tmp_path: Path) -> None:
    loaded = load(str(MINE))
    small = loaded.recipe.sizes["small"]
    wrong = replace(small, verdict=lambda seen: seen.all(seen.at_most("x", lambda n: n["lnog"]["frechet"], 1.0)))
    recipe = replace(loaded.recipe, sizes={"small": wrong})
    with pytest.raises(Refusal, match="lnog"):
        reproduce(Request(replace(loaded, recipe=recipe), "small", folder=tmp_path))
    assert not list(tmp_path.rglob("trainings"))


def test_what_a_recipe_gets_wrong_is_a_sentence(tmp_path: Path) -> None:
    loaded = load(str(MINE))
    small = loaded.recipe.sizes["small"]
    for wrong, sentence in (
        ({"verdict": lambda seen: seen.at_most("x", lambda n: 1.0, 2.0)}, "seen.all"),
        ({"arms": lambda s: ["short"]}, "mapping"),
        ({"arms": lambda s: {}}, "at least one"),
        ({"arms": lambda s: {"a": s.imagez}}, "did you mean 'images'"),
        ({"cond": lambda s: 3}, "core.Condition"),
        ({"cond": lambda s: mz.Condition(label=torch.zeros(3, dtype=torch.int64))}, "3 conditions for 48 samples"),
    ):
        recipe = replace(loaded.recipe, sizes={"small": replace(small, **wrong)})
        with pytest.raises(Refusal, match=sentence):
            reproduce(Request(replace(loaded, recipe=recipe), "small", folder=tmp_path))
    assert not list(tmp_path.rglob("trainings"))


PLAIN = """
import torch
from mezzotint.evidence import Arm, Paper, Real, Recipe, Trained, at
from mezzotint.data import Digits


def measure(s, x, cond, judge):
    return MEASURE


RECIPE = Recipe(
    paper=Paper("A paper", "Somebody", 2026, "0000.00000"), claim="It is.", published={},
    sizes={"small": Trained(
        criterion="It is.", departures="", arms=lambda s: {"real": Arm({}, lambda models: Real(Digits()))},
        measure=measure, verdict=lambda seen: seen.all(seen.at_most("x", at("real", "x"), 1.0)), seeds=(1, 2),
        minutes=1, setting={"samples": 4, "batch": 4}, dials=("samples",), judge=JUDGE,
    )},
)
"""


def plain(tmp_path: Path, measure: str, judge: str = "None") -> Loaded:
    """A recipe without training, with a measure and a judge in words."""
    path = tmp_path / "plain.py"
    path.write_text(PLAIN.replace("MEASURE", measure).replace("JUDGE", judge))
    return load(str(path))


def test_what_goes_wrong_in_a_worker_is_said_with_its_place(tmp_path: Path) -> None:
    loaded = plain(tmp_path, "{'x': 1 / 0}")
    with pytest.raises(Refusal, match="ZeroDivisionError: division by zero\n(?s:.*)plain.py:8 in measure"):
        reproduce(Request(loaded, "small", folder=tmp_path / "work", jobs=1))


@pytest.mark.parametrize(
    ("measure", "judge", "sentence"),
    [
        ("[1.0]", "None", "numbers by name"),
        ("{'x': torch.ones(2)}", "None", "plain numbers, but its 'x' is a Tensor"),
        ("{'x': 1.0}", "lambda s: 3", "a judge is an extractor such as metrics.Extractor"),
    ],
)
def test_what_a_measure_and_a_judge_have_to_return(tmp_path: Path, measure: str, judge: str, sentence: str) -> None:
    loaded = plain(tmp_path, measure, judge)
    small = loaded.recipe.sizes["small"]
    work = Work(small, "small", Setting(small.setting), loaded.code, tmp_path / "work")
    with pytest.raises(Refusal, match=sentence):
        work.measure("real", 1, lambda share: None)


def test_an_arm_may_be_taken_on_the_way(whole: tuple[Path, Record]) -> None:
    folder = whole[0] / "work" / "mine.py"
    loaded = load(str(MINE))
    experiment = loaded.recipe.sizes["small"]
    setting = Request(loaded, "small").setting
    long = experiment.arms(setting)["long"]
    ways = {"long": long, **{str(share): replace(long, at={"model": share}) for share in (0.5, 1.0, 0.35)}}
    work = Work(replace(experiment, arms=lambda s: ways), "small", setting, loaded.code, folder)
    for arm in ("long", "0.5", "1.0"):
        work.measure(arm, 1, lambda share: None)
    samples = {arm: work.shown(arm, 1) for arm in ("long", "0.5", "1.0")}
    assert torch.equal(samples["long"], samples["1.0"]) and not torch.equal(samples["long"], samples["0.5"])
    run = Run.open(work.run(long.trainings["model"], 1))
    model = load_model(run.path)
    files, state = run.files(min(run.checkpoints(), key=lambda images: abs(images - 2_000)))
    model.load_state_dict(load_tensors(files[state["averages"][0]["file"]]))  # the average as it was tracked
    x = mz.samplers.Sampling(mz.samplers.Heun(3), model)(work.cond[:24], sample_keys(1, 48)[:24])
    torch.testing.assert_close(samples["0.5"][:24], x, rtol=0, atol=1e-5)
    with pytest.raises(Refusal, match=r"no checkpoint lies at 0.35 of 4000 images"):
        work.measure("0.35", 1, lambda share: None)
    with pytest.raises(Refusal, match="not 'other' at 0.5"):
        replace(long, at={"other": 0.5})


def test_a_count_of_samples_is_one_at_least() -> None:
    small = load(str(MINE)).recipe.sizes["small"]
    for name in ("samples", "batch"):
        with pytest.raises(Refusal, match=f"{name} is a count of at least 1, not 0"):
            replace(small, setting={**small.setting, name: 0})


def test_a_part_of_ones_own_in_a_training_is_refused_with_the_way(tmp_path: Path) -> None:
    text = MINE.read_text().replace(
        "def arms(s):",
        "import mezzotint as mz\n\n\nclass Own(mz.processes.EDM):\n    pass\n\n\ndef arms(s):",
    )
    text = text.replace("usual(Digits(), s.images, s.width)", "usual(Digits(), s.images, s.width, process=Own())")
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(Refusal, match="entry point mezzotint.parts"):
        reproduce(Request(load(str(tmp_path / "own.py")), "small", folder=tmp_path / "work"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("image=3", "did you mean 'images'"),
        ("images=0", "at least 1"),
        ("images", "name=value"),
        ("width=wide", "count"),
    ],
)
def test_settings_are_refused_by_name_and_kind(change: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        _ = reproduce(Request(load(str(MINE)), "small", changes=(change,)))


def test_seeds_are_different_numbers() -> None:
    for seeds in ((), (1, 1)):
        with pytest.raises(Refusal, match="different"):
            reproduce(Request(load(str(MINE)), "exact", seeds=seeds))


def test_a_file_without_a_recipe_and_one_that_fails_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("x = 1\n")
    (tmp_path / "broken.py").write_text("import nowhere_at_all\n")
    for name, sentence in (("empty.py", "holds no recipe"), ("broken.py", "nowhere_at_all"), ("gone.py", "no recipe")):
        with pytest.raises(Refusal, match=sentence):
            load(str(tmp_path / name))
