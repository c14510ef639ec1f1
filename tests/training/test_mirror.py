"""A run copied elsewhere after every checkpoint: what arrives is complete, checked, and goes on."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import mezzotint as mz
from mezzotint import recipes, training
from mezzotint.cli import main
from mezzotint.core.folder import write_folder
from mezzotint.core.store import MANIFEST, check_folder
from mezzotint.training.mirror import Mirror, _ordered

WORDS = ["--width", "8", "--json", "--set", "training.batch=32", "training.sampler.steps=1", "training.save=128"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(file): (folder / file).read_bytes() for file in _ordered(folder)}


def tree(**changes: Any) -> Any:
    made = recipes.of_data(mz.data.Digits(), images=128, width=8, steps=1)
    made["training"] |= {"batch": 32, "save": 64, "picture": 128} | changes
    return copy.deepcopy(made)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two checkpoints."""
    return training.train(tree(), tmp_path_factory.mktemp("done") / "run").path


@pytest.fixture
def memory() -> Iterator[Any]:
    there = fsspec.filesystem("memory")
    there.store.clear()
    yield there
    there.store.clear()


def edited(run: Path, place: Path, **changes: Any) -> Path:
    """A copy of a run whose training has other settings."""
    shutil.copytree(run, place)
    found = training.Run(place).config
    found["training"] |= changes
    training.Run(place).describe({name: found[name] for name in ("model", "data", "training")})
    return place


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


def test_another_run_is_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As it was: the config of the second over there, with the weights of the first."""
    there, words = f"file://{tmp_path}/there/run", [*WORDS, "--images", "128"]
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert main(["train", "digits", "--out", first, "--mirror", there, *words]) == 0
    before = files(tmp_path / "there" / "run")
    capsys.readouterr()
    assert main(["train", "digits", "--out", second, "--seed", "1", "--mirror", there, *words]) == 2
    assert "holds a run; go on with it by --resume" in json.loads(capsys.readouterr().err)["error"]
    assert not Path(second).exists()
    edited(Path(first), Path(second), seed=1)
    assert main(["train", second, "--resume", "--mirror", there, "--images", "256", "--json"]) == 2
    said = json.loads(capsys.readouterr().err)["error"]
    assert "another training.seed; name another place" in said and repr(second) in said
    assert training.Run(Path(second)).checkpoints() == [128]
    assert files(tmp_path / "there" / "run") == before


def test_nothing_is_copied_over_another_run(
    done: Path, tmp_path: Path, memory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known by what a run keeps, else by its checkpoints; what may change on resuming makes no other run."""
    mirror = Mirror("memory://bucket/run")
    assert mirror.push(done)
    before = memory.find("/bucket/run"), memory.cat_file("/bucket/run/config.yaml")
    other = edited(done, tmp_path / "rate", clip=0.5)  # of other weights, and a config that a resumed run may have
    for images in training.Run(other).checkpoints():
        groups, state = training.Run(other).load(images)
        groups["model"] = {name: value + 1 for name, value in groups["model"].items()}
        training.Run(other).save(images, groups, state)
    for run, part in (
        (edited(done, tmp_path / "seed", seed=1), "training.seed"),
        (edited(done, tmp_path / "batch", batch=16), "training.batch"),
        (other, "checkpoint of the same number"),
    ):
        assert not mirror.push(run)
        assert f"with another {part};" in capsys.readouterr().err
        with pytest.raises(mz.Refusal, match=part):
            mirror.check(run)
    assert before == (memory.find("/bucket/run"), memory.cat_file("/bucket/run/config.yaml"))
    longer = edited(done, tmp_path / "longer", images=512, clip=0.5)
    mirror.check(longer)
    assert mirror.push(longer) and memory.cat_file("/bucket/run/config.yaml") != before[1]


def test_a_checkpoint_that_was_made_anew_is_copied_anew(done: Path, tmp_path: Path, memory: Any) -> None:
    """As after a damaged one was passed over, on a machine that does not repeat itself to the bit."""
    mirror, run = Mirror("memory://bucket/run"), training.Run(shutil.copytree(done, tmp_path / "run"))
    assert mirror.push(run.path)
    groups, state = run.load(128)
    groups["model"] = {name: value + 1 for name, value in groups["model"].items()}
    run.save(128, groups, state)
    assert mirror.push(run.path) and mirror.pull(tmp_path / "back")
    assert files(tmp_path / "back") == files(run.path)


def test_a_place_that_makes_folders_but_takes_no_objects_is_refused(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Object storage has no folders, so making one is answered without being asked."""

    def refused(self: Any, path: str, value: bytes, **more: Any) -> None:
        raise PermissionError(f"no right to put {path}")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "makedirs", lambda self, path, exist_ok=False: None)
        patch.setattr(type(memory), "pipe_file", refused)
        with pytest.raises(mz.Refusal, match="'memory://bucket/run' cannot be written: no right to put"):
            Mirror("memory://bucket/run").check()
    Mirror("memory://bucket/run").check()
    assert memory.find("/bucket") == []


def test_a_mirror_that_goes_away_is_a_note(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").write_text("a file where the folder was")
    assert not Mirror(f"file://{tmp_path}/there/run").push(done)
    assert "the next checkpoint tries again" in capsys.readouterr().err


def test_places_that_cannot_be_are_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("nowhere://bucket/run", f"file://{tmp_path}/file/run"):
        (tmp_path / "file").write_text("")
        assert main(["train", "digits", "--out", str(tmp_path / "run"), "--mirror", url, "--json"]) == 2
        assert url in json.loads(capsys.readouterr().err)["error"]
    assert not (tmp_path / "run").exists()


def test_the_copy_by_hand_leaves_out_what_the_mirror_does(done: Path, tmp_path: Path) -> None:
    """The patterns of the page, by rclone's rules: from any folder on, ``*`` within a name, ``**`` across folders."""
    page = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
    command = re.search(r"`(rclone copy runs/\S+ [^`]*)`", page)
    assert command is not None
    patterns = re.findall(r"--exclude '([^']*)'", command[1])
    made = [
        "".join({"**": ".*", "*": "[^/]*"}.get(s, re.escape(s)) for s in re.split(r"(\*\*|\*)", p)) for p in patterns
    ]
    run, kept = shutil.copytree(done, tmp_path / "run"), set[str]()

    def killed(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        kept.update(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(run / "checkpoints" / "0000000256", killed)
    (run / ".lock").touch()
    kept |= {".lock"}
    assert any("/.0000000256." in name for name in kept)
    copied = {name for name in kept if not any(re.search(f"(^|/){one}$", name) for one in made)}
    assert copied == {file.as_posix() for file in _ordered(run)}


def test_nothing_over_there_is_a_new_run(tmp_path: Path) -> None:
    assert not Mirror("memory://bucket/empty").pull(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_foreign_file_does_not_leave_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = fsspec.filesystem("memory")
    there.pipe_file("/bucket/bad/config.yaml", b"schema: 1\n")
    monkeypatch.setattr(type(there), "find", lambda self, root, **more: [f"{root}/../../outside"])
    with pytest.raises(mz.Refusal, match="outside its folder"):
        Mirror("memory://bucket/bad").pull(tmp_path / "run")
