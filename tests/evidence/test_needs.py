"""A training that needs another: made once, known by what made it, found damaged, and timed before it is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mezzotint.core import Refusal, build
from mezzotint.core.store import load_model
from mezzotint.data import Digits, Untold
from mezzotint.evidence import keys
from mezzotint.evidence.estimate import time_training
from mezzotint.evidence.load import load
from mezzotint.evidence.recipe import Setting, Training
from mezzotint.evidence.record import Record
from mezzotint.evidence.reproduce import Request, reproduce
from mezzotint.evidence.work import Estimate, Work
from mezzotint.training.run import Run

CODED = Path(__file__).with_name("coded.py")


def working(folder: Path, **changes: int) -> Work:
    """The work on the recipe in a folder."""
    loaded = load(str(CODED))
    small = loaded.recipe.sizes["small"]
    return Work(small, "small", Setting({**small.setting, **changes}), loaded.code, folder)


def trained(work: Work, arm: str) -> Training:
    return work.arms[arm].trainings["model"]


def needed(work: Work) -> Training:
    return work.training("short", ("model", "vq"))


def silent(share: float) -> None:
    """Told how far a task is."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """The recipe at its own seeds."""
    folder = tmp_path_factory.mktemp("coded")
    return folder, reproduce(Request(load(str(CODED)), "small", folder=folder, jobs=1, minutes=10))


def test_it_is_trained_once_for_all_arms_and_seeds(whole: tuple[Path, Record]) -> None:
    folder, record = whole
    work = working(folder / "coded.py")
    runs = {path.name: Run.open(path) for path in (folder / "coded.py" / "trainings").iterdir()}
    assert len(runs) == 1 + 2 * 2
    seeds = {name: run.config["training"]["seed"] for name, run in runs.items()}
    vq = work.run(needed(work), 1)
    assert seeds.pop(vq.name) == 0  # its own, whatever the paired seed
    assert sorted(seeds.values()) == [1, 1, 2, 2]
    assert work.run(needed(work), 2) == vq == work.run(work.arms["long"].trainings["vq"], 2)
    weights = [arm for arms in record["evidence"]["weights"].values() for arm in arms.values()]
    assert len({arm["model"] for arm in weights}) == 4
    assert {arm[name] for arm in weights for name in ("vq", "model @vq")} == {weights[0]["vq"]}


def test_a_run_reads_the_codes_of_that_very_autoencoder(whole: tuple[Path, Record]) -> None:
    work = working(whole[0] / "coded.py")
    for arm in ("short", "long"):
        data = build(Run.open(work.run(trained(work, arm), 2)).config["data"])
        codes, cond = data[:50]
        vq = load_model(work.run(needed(work), 2))
        assert torch.equal(codes, vq.encode(Digits()[:50][0]).value)
        assert len(codes.unique()) > 1
        assert not cond


def test_a_record_of_it_names_sources_and_facts_and_no_folder(whole: tuple[Path, Record]) -> None:
    folder, record = whole
    assert all(row["codes"] == 8 for arms in record["numbers"].values() for row in arms.values())
    assert set(record["evidence"]["data"]) == {keys.short(tree) for tree in (_tree(Digits()), _tree(Untold(Digits())))}
    assert record.outcome == "holds"
    assert str(folder) not in json.dumps(record.tree)
    again = reproduce(Request(load(str(CODED)), "small", folder=folder, jobs=1))
    assert again.differences(record) == []


def _tree(data: Any) -> Any:
    from mezzotint.core import spec

    return spec(data)


def test_what_needs_it_is_known_by_what_made_it(tmp_path: Path) -> None:
    work = working(tmp_path)
    own = keys.of(trained(work, "short"), 1)
    assert keys.of(trained(working(tmp_path / "elsewhere"), "short"), 1) == own
    assert keys.of(trained(working(tmp_path, codes=257), "short"), 1) != own  # nothing else has changed
    other = replace(needed(work), training=replace(needed(work).training, seed=5))
    assert keys.of(replace(trained(work, "short"), needs={"vq": other}), 1) != own
    paired = replace(trained(work, "short"), needs={"vq": replace(needed(work), once=False)})
    assert keys.of(paired, 1) not in (own, keys.of(paired, 2))
    half: Any = replace(trained(work, "short").data, source=Untold(Digits("held_out")))
    assert keys.of(replace(trained(work, "short"), data=half), 1) != own


def test_a_damaged_one_is_found_and_made_anew(tmp_path: Path) -> None:
    work = working(tmp_path)
    model = trained(work, "short")
    with pytest.raises(Refusal, match="start again to train it anew"):
        work.fit(model, 1, silent)  # it is not there at all
    work.fit(needed(work), 1, silent)
    work.fit(model, 1, silent)
    weights = [work.run(one, 1) / "model" / "model.safetensors" for one in (needed(work), model)]
    before = [path.read_bytes() for path in weights]
    weights[0].write_bytes(before[0][: len(before[0]) // 2])
    (work.run(model, 1) / "end.json").unlink()  # as if it had been killed on its way
    with pytest.raises(Refusal, match="damaged and is removed"):
        work.fit(model, 1, silent)
    assert not work.trained(needed(work), 1)
    work.fit(needed(work), 1, silent)
    work.fit(model, 1, silent)
    assert [path.read_bytes() for path in weights] == before


def test_it_is_timed_before_what_it_needs_is_there(tmp_path: Path) -> None:
    work = working(tmp_path)
    assert time_training(work, trained(work, "short")) > 0
    assert not list(tmp_path.iterdir())


def test_what_is_too_long_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"--set images=\d+ samples=\d+"):
        reproduce(Request(load(str(CODED)), "small", changes=("codes=20M",), folder=tmp_path, jobs=1))
    assert not list(tmp_path.rglob("trainings"))


def test_names_and_places_have_to_agree() -> None:
    work = working(Path())
    model, vq = trained(work, "short"), needed(work)
    with pytest.raises(Refusal, match="needs 'teacher', but no setting of its parts is the string '@teacher'"):
        replace(model, needs={"vq": vq, "teacher": vq})
    with pytest.raises(Refusal, match="'@vq' is no training that is needed.*'vqs'"):
        replace(model, needs={"vqs": vq}, data=replace(model.data, cache="@vqs"))


def test_what_comes_one_after_the_other_takes_its_time() -> None:
    fits = {("a", "m", "vq"): 50.0, ("a", "m"): 100.0, ("b", "m"): 60.0}
    assert Estimate(fits, {"a": 10.0, "b": 10.0}).seconds(100) == 160.0
    assert Estimate(fits, {"a": 10.0, "b": 10.0}).seconds(1) == 230.0
