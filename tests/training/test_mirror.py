"""A run copied elsewhere after every checkpoint: what arrives is complete, checked, and goes on."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

import mezzotint as mz
from mezzotint import recipes, training
from mezzotint.cli import main
from mezzotint.core.store import MANIFEST, check_folder
from mezzotint.training.mirror import Mirror, _ordered

WORDS = ["--width", "8", "--json", "--set", "training.batch=32", "training.sampler.steps=1", "training.save=128"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): (folder / file).read_bytes() for file in _ordered(folder)}


def tree() -> Any:
    made = recipes.of_data(mz.data.Digits(), images=128, width=8, steps=1)
    made["training"] |= {"batch": 32, "save": 64, "picture": 128}
    return copy.deepcopy(made)


def test_a_run_that_is_only_there_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The machine is taken away after half of the run; another one ends with the bits of an undisturbed run."""
    there = f"file://{tmp_path}/there/run"
    whole, first, second = (str(tmp_path / name) for name in ("whole", "first", "second"))
    flat = ["training.rate.cooldown=0"]
    assert main(["train", "digits", "--out", whole, "--images", "256", *WORDS, *flat]) == 0
    assert main(["train", "digits", "--out", first, "--images", "128", "--mirror", there, *WORDS, *flat]) == 0
    assert files(tmp_path / "there" / "run") == files(Path(first))
    shutil.rmtree(first)
    capsys.readouterr()
    again = ["train", "digits", "--out", second, "--images", "256", "--mirror", there, "--resume"]
    assert main([*again, *WORDS, *flat]) == 0
    assert f"fetched {second}" in capsys.readouterr().err
    ours, theirs = training.Run.open(second), training.Run.open(whole)
    assert ours.checkpoints() == theirs.checkpoints() == [128, 256]
    name = "checkpoints/0000000256/model.safetensors"
    assert files(Path(second))[name] == files(Path(whole))[name]
    assert files(tmp_path / "there" / "run") == files(Path(second))


def test_a_checkpoint_is_copied_once_and_its_manifest_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    put: list[str] = []
    before = MemoryFileSystem.put_file

    def put_file(self: Any, here: str, name: str, **more: Any) -> Any:
        put.append(str(name).partition("/run/")[2])
        return before(self, here, name, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", put_file)
    mirror = Mirror("memory://bucket/run")
    training.train(tree(), tmp_path / "run", saved=lambda run: mirror.push(run.path))
    for images in (64, 128):
        mine = [name for name in put if name.startswith(f"checkpoints/{images:010d}/")]
        assert len(mine) == len(set(mine)) > 4 and mine[-1].endswith(MANIFEST)
    assert put.count("metrics.jsonl") == 2 and not any("/." in name or name.startswith(".") for name in put)
    assert mirror.pull(tmp_path / "back")
    assert files(tmp_path / "back") == files(tmp_path / "run")
    check_folder(tmp_path / "back" / "model")


def test_a_mirror_that_goes_away_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training.train(tree(), tmp_path / "run")
    (tmp_path / "there").write_text("a file where the folder was")
    assert not Mirror(f"file://{tmp_path}/there/run").push(tmp_path / "run")
    assert "the next checkpoint tries again" in capsys.readouterr().err


def test_places_that_cannot_be_are_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("nowhere://bucket/run", f"file://{tmp_path}/file/run"):
        (tmp_path / "file").write_text("")
        assert main(["train", "digits", "--out", str(tmp_path / "run"), "--mirror", url, "--json"]) == 2
        assert url in json.loads(capsys.readouterr().err)["error"]
    assert not (tmp_path / "run").exists()


def test_nothing_over_there_is_a_new_run(tmp_path: Path) -> None:
    assert not Mirror("memory://bucket/empty").pull(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_foreign_file_does_not_leave_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = fsspec.filesystem("memory")
    there.pipe_file("/bucket/bad/config.yaml", b"schema: 1\n")
    monkeypatch.setattr(type(there), "find", lambda self, root, **more: [f"{root}/../../outside"])
    with pytest.raises(mz.Refusal, match="outside its folder"):
        Mirror("memory://bucket/bad").pull(tmp_path / "run")
