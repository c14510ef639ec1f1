"""A signal is heard, the run is saved, the code is 75; a second one ends at once; nothing stays installed."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trial
from kills import Server

import mezzotint as mz
from mezzotint.cli import early
from mezzotint.core import stop
from mezzotint.metrics import Extractor, estimate
from mezzotint.metrics.classifier import Classifier
from mezzotint.metrics.estimate import bootstrap
from mezzotint.training.stop import Stopped


@pytest.mark.parametrize("number", stop.SIGNALS)
def test_a_signal_is_heard_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    before = {one: signal.getsignal(one) for one in stop.SIGNALS}
    with stop.watching() as watch:
        stop.poll()
        os.kill(os.getpid(), number)
        assert watch.heard == number
        with stop.watching() as inner, pytest.raises(Stopped, match=number.name) as stopped:
            assert inner is watch
            stop.poll()
        os.kill(os.getpid(), number)  # at once after the first: the same request, sent twice
    assert stopped.value.code == stop.CODE == 75 and stopped.value.signal == number
    assert not isinstance(stopped.value, Exception)
    assert {one: signal.getsignal(one) for one in stop.SIGNALS} == before
    stop.poll()


def test_what_is_ignored_stays_ignored_and_another_thread_installs_nothing() -> None:
    before, seen = signal.signal(signal.SIGUSR1, signal.SIG_IGN), list[Any]()
    try:
        with stop.watching() as watch:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert watch.heard == 0

        def elsewhere() -> None:
            with stop.watching():
                seen.append({one: signal.getsignal(one) for one in stop.SIGNALS})

        asleep = {one: signal.getsignal(one) for one in stop.SIGNALS}
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert seen == [asleep]
    finally:
        signal.signal(signal.SIGUSR1, before)


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_second_signal_ends_at_once() -> None:
    def twice() -> None:
        with stop.watching():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(stop.SAME + 0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)

    assert forked(twice) == -signal.SIGTERM


@pytest.mark.parametrize("number", early.SIGNALS)
@pytest.mark.parametrize("verb", ["train", "evaluate", "reproduce", "sample"])
def test_before_there_is_anything_to_save_a_signal_ends_at_once(
    verb: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """While torch is imported or pictures are indexed; a verb that cannot go on later dies as programs do."""
    command = importlib.import_module("mezzotint.cli.main")

    def slow(*_: Any) -> int:
        os.kill(os.getpid(), number)
        time.sleep(60)
        return 0

    monkeypatch.setattr(command, "_verb", slow)
    code = forked(lambda: os._exit(command.main([verb, "digits"])))
    if verb == "sample":
        assert code == (130 if number == signal.SIGINT else -number)
    else:
        assert code == early.CODE == stop.CODE and early.SIGNALS == stop.SIGNALS
        assert capfd.readouterr().err == f"mezzotint: stopped by {number.name}\n"
    assert signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler)


def test_a_reader_leaves_signals_to_whom_it_reads_for() -> None:
    def reads() -> None:
        stop.reader()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        os._exit(7)

    assert forked(reads) == 7


def test_a_reader_that_nobody_ends_ends_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that ends sends its readers one SIGTERM and waits for them."""
    monkeypatch.setattr(stop, "GRACE", 1)

    def reads() -> None:
        stop.reader()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(20)
        os._exit(7)

    assert forked(reads) == 0


def test_two_processes_stop_at_the_same_step(server: Server, tmp_path: Path) -> None:
    """The second is asked, the first saves; what one process makes of that checkpoint is a whole run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = server.do(tmp_path / "run", do="pair", port=port, config=trial.config(6, 4))
    said = sorted(line for line in found["heard"].splitlines() if line[:3] in ("0: ", "1: "))
    assert said == ["0: stopped by SIGTERM, saved at 48 images", "1: stopped by SIGTERM, saved at 48 images"]
    assert found["ended"] == 75 and mz.training.Run(tmp_path / "run").checkpoints() == [48]
    assert server.do(tmp_path / "run", config=trial.config(6, 4))["ended"] == 0
    assert mz.training.Run(tmp_path / "run").checkpoints() == [48, 64, 96] and not trial.left_over(tmp_path / "run")


def asks(calls: list[int], at: int) -> None:
    """Count a pass, and ask to stop in one of them."""
    calls.append(len(calls))
    if len(calls) == at:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_bootstrap_ends_within_its_next_pass() -> None:
    calls: list[int] = []

    def mean(rows: Any) -> float:
        asks(calls, 1 + 10)  # the first is of the table itself
        return float(rows.mean())

    with stop.watching(), pytest.raises(Stopped, match="SIGTERM"):
        bootstrap("mean", mean, np.arange(9.0), draws=1_000)
    assert len(calls) == 1 + estimate._CHUNK


def test_an_extractor_ends_before_its_next_step_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, forward = list[int](), Classifier.forward

    def counted(self: Classifier, x: Any) -> Any:
        asks(steps, 2)
        return forward(self, x)

    monkeypatch.setattr(Classifier, "forward", counted)
    x, y = torch.linspace(-1, 1, 80 * 64).reshape(80, 1, 8, 8), torch.arange(80) % 2
    state, grad = torch.random.get_rng_state(), torch.is_grad_enabled()
    with stop.watching(), pytest.raises(Stopped, match="SIGTERM"):
        Extractor.train(x, y, seen=64 * 20, width=4).save(tmp_path / "judge")
    assert len(steps) == 2 and list(tmp_path.iterdir()) == []
    assert torch.equal(torch.random.get_rng_state(), state) and torch.is_grad_enabled() is grad


def test_evaluation_ends_between_two_batches(tmp_path: Path) -> None:
    from mezzotint.cli import main
    from mezzotint.cli.drawing import draw

    batches = []

    def pipeline(cond: Any, rng: Any) -> Any:
        batches.append(len(rng))
        os.kill(os.getpid(), signal.SIGUSR1)
        return rng.normal("x", (1, 8, 8))

    with stop.watching(), pytest.raises(Stopped, match="SIGUSR1"):
        draw(pipeline, mz.NONE, mz.Rng(range(12)), 4, lambda done, total: None)
    assert batches == [4]
    assert main(["evaluate", str(tmp_path)]) == 2  # and a refusal inside leaves no handler behind
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
