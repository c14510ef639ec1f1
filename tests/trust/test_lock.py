"""One writer a folder, and the hold of a process that is killed is gone with it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trial

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.core.lock import NAME, alone


def test_the_second_is_refused_and_the_next_is_not(tmp_path: Path) -> None:
    with alone(tmp_path / "run", "another training", "wait for it"):
        with pytest.raises(Refusal, match=rf"another training \(process {os.getpid()}\) is at work in .*; wait for it"):
            with alone(tmp_path / "run", "another training", "wait for it"):
                pass
    assert list((tmp_path / "run").iterdir()) == []
    with alone(tmp_path / "run", "another training", "wait for it"):
        pass


def test_it_goes_with_the_process(tmp_path: Path) -> None:
    """A reader that the dead one had forked lives on, and holds nothing."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with alone(tmp_path, "another training", "wait for it"):
            reader = os.fork()
            if reader == 0:
                signal.pause()
            os.write(tell, f"{reader}\n".encode())
            signal.pause()
        os._exit(0)
    reader = int(os.read(ready, 20))
    try:
        with pytest.raises(Refusal, match=f"process {child}"), alone(tmp_path, "another training", "wait for it"):
            pass
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert (tmp_path / NAME).is_file()
        with alone(tmp_path, "another training", "wait for it"):
            pass
    finally:
        os.kill(reader, signal.SIGKILL)


def answering(code: int) -> Any:
    def flock(handle: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fcntl, "flock", answering(code))
    with alone(tmp_path / "run", "another training", "wait for it") as held:
        assert held is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"no locks where {str(tmp_path / 'run')!r} is" in said
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("code", [errno.EIO, errno.EINVAL, errno.ESTALE])
def test_a_lock_that_fails_is_no_lock_that_is_missing(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, opened = [], set(os.listdir("/dev/fd"))
    monkeypatch.setattr(fcntl, "flock", answering(code))
    with pytest.raises(Refusal, match="cannot be held against a second writer: .*another disk"):
        with alone(tmp_path / "run", "another training", "wait for it"):
            begun.append(code)
    assert not begun and set(os.listdir("/dev/fd")) == opened


def test_a_run_in_training_is_not_trained_by_another(tmp_path: Path) -> None:
    told = []

    def meanwhile(progress: mz.training.Progress) -> None:
        with pytest.raises(Refusal, match="another training .* at work in .*another folder") as refused:
            mz.training.train(trial.config(1), tmp_path / "run", resume=True)
        told.append(str(refused.value))

    with trial.few():
        mz.training.train(trial.config(1), tmp_path / "run", progress=meanwhile)
        assert len(told) == 1
        mz.training.train(trial.config(2), tmp_path / "run", resume=True)
    assert mz.training.Run(tmp_path / "run").checkpoints() == [16, 32] and not trial.left_over(tmp_path / "run")
