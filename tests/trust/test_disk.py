"""A disk that is full or may not be written to: one sentence, and what was whole before is whole."""

from __future__ import annotations

import builtins
import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trial

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.core.folder import MANIFEST, check_folder, write_folder, write_text


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with one checkpoint, to go on with to six."""
    run = tmp_path_factory.mktemp("half") / "run"
    with trial.few():
        mz.training.train(trial.config(4), run)
    return run


def go_on(run: Path) -> None:
    with trial.few():
        mz.training.train(trial.config(6, 2), run, resume=True)


def refused(run: Path, *words: str) -> None:
    """Going on is refused with these words, and nothing is left over or damaged."""
    with pytest.raises(Refusal) as refusal:
        go_on(run)
    said = str(refusal.value)
    assert all(word in said for word in (repr(str(run)), "--resume goes on", *words)), said
    left = [name for name in trial.left_over(run)]
    assert left == []
    for images in mz.training.Run(run).checkpoints():
        check_folder(run / "checkpoints" / f"{images:010d}")
    check_folder(run / "model")


@pytest.mark.parametrize("most", [512, 4_096])
def test_files_may_not_grow(half: Path, tmp_path: Path, most: int) -> None:
    """The kernel refuses: first the log or the config, then the weights."""
    run = shutil.copytree(half, tmp_path / "run")
    before, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        refused(run, "file too large", "make room", "64 images in it is whole")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, heard)
    go_on(run)
    assert mz.training.Run(run).checkpoints()[-1] == 96


def broken(original: Callable[..., Any], count: int, code: int, *where: str) -> Callable[..., Any]:
    """A function that fails at its ``count``-th call and after."""
    calls = [0]

    def call(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] >= count:
            raise OSError(code, os.strerror(code), *where)
        return original(*arguments, **named)

    return call


@pytest.mark.parametrize("count", [1, 2, 5, 9, 14])
def test_full_at_any_flush(half: Path, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that writes later says only when it is asked to flush that it is full."""
    run = shutil.copytree(half, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken(os.fsync, count, errno.ENOSPC))
        refused(run, "no space left on device", "make room")
    go_on(run)
    assert mz.training.Run(run).checkpoints()[-1] == 96


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Path]]:
    """What is asked of the disk, in order: a path is flushed as it is, or a name is given.

    A file that grows after it is flushed is flushed no more.
    """
    told, fsync = list[tuple[str, Path]](), os.fsync

    def flushed(handle: int) -> None:
        told.append((f"{os.fstat(handle).st_size} bytes", Path(f"/dev/fd/{handle}").resolve()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", flushed)
    for way in ("rename", "replace"):
        given = getattr(os, way)

        def named(old: Any, new: Any, given: Callable[..., Any] = given, **more: Any) -> None:
            told.append(("named", Path(new)))
            given(old, new, **more)

        monkeypatch.setattr(os, way, named)
    return told


def sizes(folder: Path) -> set[tuple[str, Path]]:
    return {(f"{path.stat().st_size} bytes", path) for path in (*folder.rglob("*"), folder)}


@pytest.mark.parametrize("replace", [False, True])
def test_a_folder_is_on_the_disk_before_its_name_and_its_name_after(
    tmp_path: Path, replace: bool, asked: list[tuple[str, Path]]
) -> None:
    """Or a power cut leaves a name with nothing, or with halves, behind it."""
    works = []

    def fill(folder: Path) -> None:
        works.append(folder)
        (folder / "below").mkdir()
        (folder / "below" / "weights").write_bytes(b"w" * 5_000)
        (folder / "state").write_bytes(b"s")

    final = tmp_path / "final"
    for _ in range(1 + replace):
        asked.clear()
        write_folder(final, fill, replace=replace)
    at = asked.index(("named", final))
    held = {(size, works[-1] / path.relative_to(final)) for size, path in sizes(final)}
    assert len(held) == 5 and any(path.name == MANIFEST for _, path in held)
    assert held <= set(asked[:at])
    assert tmp_path in [path for what, path in asked[at:] if what != "named"]


def test_a_text_is_on_the_disk_before_its_name_and_its_name_after(
    tmp_path: Path, asked: list[tuple[str, Path]]
) -> None:
    write_text(tmp_path / "text", "a" * 5_000)
    at = asked.index(("named", tmp_path / "text"))
    assert [what for what, path in asked[:at] if path.parent == tmp_path] == ["5000 bytes"]
    assert [path for _, path in asked[at + 1 :]] == [tmp_path]


def test_a_run_is_on_the_disk_before_its_checkpoint(tmp_path: Path, asked: list[tuple[str, Path]]) -> None:
    """Its folders and its config too: a checkpoint that lies in a folder nobody finds is lost."""
    with trial.few():
        mz.training.train(trial.config(1), tmp_path / "run")
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    at = asked.index(("named", checkpoint))
    first = [path for what, path in asked[:at] if what != "named"]
    assert tmp_path / "run" in first[first.index(tmp_path / "run" / ".config.yaml.tmp") :]
    assert {path.name for path in first} >= {"metrics.jsonl", "model.safetensors", "optimizer.safetensors", MANIFEST}
    assert checkpoint.parent in [path for what, path in asked[at:] if what != "named"]


def test_a_folder_that_may_only_be_read(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(half, tmp_path / "run")
    opened, made = os.open, builtins.open
    with monkeypatch.context() as patch:

        def reads(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return opened(path, flags, *rest, **named)

        patch.setattr(os, "open", reads)
        refused(run, "read-only file system", "see that it can be written", "64 images in it is whole")
    assert made is builtins.open
    if os.geteuid():  # a superuser may write everywhere
        run.chmod(0o555)
        refused(run, "permission denied", "see that it can be written")
        run.chmod(0o755)


def test_no_room_for_a_first_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", broken(os.fsync, 5, errno.ENOSPC))
    with pytest.raises(Refusal, match="no checkpoint was written before"), trial.few():
        mz.training.train(trial.config(2), tmp_path / "run")


def test_what_the_data_refuse_is_not_the_disk_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, read = trial.config(2), mz.data.Digits.read
    for count in (2, 3):  # in the second step, and in the evaluation on held-out pictures
        with monkeypatch.context() as patch, pytest.raises(PermissionError, match="elsewhere"), trial.few():
            patch.setattr(mz.data.Digits, "read", broken(read, count, errno.EACCES, "/elsewhere"))
            mz.training.train(config, tmp_path / str(count))
