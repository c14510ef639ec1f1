"""Single-thread processes that share the tasks of an experiment.

Two single-thread processes use two cores better than one process with two threads: small networks lose a fifth of their
time handing over between threads. The processes wait passively, because threads that spin take the cores from each
other.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import mezzotint
from mezzotint.core.errors import Refusal
from mezzotint.core.stop import Stopped, poll

Key = tuple[str, ...]
GRACE = 20.0
"""Seconds in which workers may save what they train."""


@dataclass(frozen=True)
class Task:
    """Something for a worker to do.

    Arguments:
        key: its name.
        order: the line that the worker is told.
        after: tasks that have to be done before.
        seconds: how long it is thought to take.
    """

    key: Key
    order: Mapping[str, Any]
    after: tuple[Key, ...] = ()
    seconds: float = 1.0


@dataclass(frozen=True)
class Heard:
    """What a worker said of a task: the share that is done, and its result where that is 1."""

    task: Task
    share: float
    result: Any = None


class Pool:
    """Workers on one experiment; a context, at whose end they stop.

    Arguments:
        first: the line that says which experiment.
        jobs: how many processes.
        keep: an open file that every worker inherits, and so its lock.
    """

    def __init__(self, first: Mapping[str, Any], jobs: int, keep: int | None = None) -> None:
        self._first, self._jobs, self._keep = json.dumps(first), jobs, keep
        self._said: queue.Queue[tuple[int, dict[str, Any] | None]] = queue.Queue()
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            assert worker.stdin is not None
            try:
                worker.stdin.close()  # a worker that is no longer asked stops at once
            except BrokenPipeError:
                pass
        for worker in self._workers:
            try:
                worker.wait(5)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self._workers.clear()

    def run(self, tasks: Sequence[Task]) -> Iterator[Heard]:
        """Do tasks in their order, as soon as what they come after is done; say how far each is."""
        waiting, done = list(tasks), set[Key]()
        free, busy = list(range(self._start(min(self._jobs, len(waiting))))), dict[int, Task]()
        names = {task.key for task in waiting}
        while waiting or busy:
            ready = [task for task in waiting if all(key in done or key not in names for key in task.after)]
            while free and ready:
                task, number = ready.pop(0), free.pop(0)
                waiting.remove(task)
                busy[number] = task
                self._tell(number, json.dumps(dict(task.order)))
            number, said = self._hear()
            if said is None:
                at = " ".join(busy[number].key) if number in busy else "its start"
                raise Refusal(
                    f"a worker ended with code {self._workers[number].wait()} at {at}; what is finished is kept: start "
                    "it again, with --jobs 1 if memory ran out"
                )
            if "failed" in said:
                if said["failed"]["refusal"] is not None:
                    raise Refusal(said["failed"]["refusal"])
                raise RuntimeError(f"a worker failed:\n{said['failed']['trace']}")
            if "share" in said:
                yield Heard(busy[number], min(said["share"], 0.999))
            elif "done" in said:
                task = busy.pop(number)
                done.add(task.key)
                free.append(number)
                yield Heard(task, 1.0, said["done"])

    def _hear(self) -> tuple[int, dict[str, Any] | None]:
        """What is said next; where we are asked to stop, workers are, too, and save what they train."""
        while True:
            try:
                poll()
                return self._said.get(timeout=0.2)
            except queue.Empty:
                continue
            except Stopped:
                for worker in self._workers:
                    worker.terminate()
                end = time.monotonic() + GRACE
                for worker in self._workers:
                    try:
                        worker.wait(max(0.0, end - time.monotonic()))
                    except subprocess.TimeoutExpired:
                        continue
                raise

    def _start(self, count: int) -> int:
        while len(self._workers) < count:
            number = len(self._workers)
            worker = subprocess.Popen(
                [sys.executable, "-P", "-m", "mezzotint.evidence.worker"],  # -P: nothing from this folder
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=_environment(),
                pass_fds=() if self._keep is None else (self._keep,),
                start_new_session=True,  # a Ctrl-C is for us, who then let them stop
            )
            self._workers.append(worker)
            threading.Thread(target=_listen, args=(number, worker, self._said.put), daemon=True).start()
            self._tell(number, self._first)
        return count

    def _tell(self, number: int, line: str) -> None:
        pipe = self._workers[number].stdin
        assert pipe is not None
        try:
            pipe.write(line + "\n")
            pipe.flush()
        except BrokenPipeError:
            pass  # it has ended; whoever listens to it says so


def _listen(
    number: int, worker: subprocess.Popen[str], put: Callable[[tuple[int, dict[str, Any] | None]], None]
) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        put((number, json.loads(line)))
    put((number, None))


def _environment() -> dict[str, str]:
    """Ours, with one thread that waits passively, and this very package."""
    source = str(Path(mezzotint.__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH", ""))))
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    single["ACCELERATE_USE_CPU"] = str(not torch.cuda.is_available())  # one device for training and sampling
    return {**os.environ, **single, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}
