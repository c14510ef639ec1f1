"""``--processes N``: the same command N times on this machine, as torchrun would start it.

torch's elastic launcher starts the processes, tells each its rank, and ends the others when one has failed; they meet
on the loopback interface only. What is ours is what a person sees: one sentence and one exit code for all of them, and
signals that reach every process, those that are yet to start included. Rank 0 prints and writes, the others are silent.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType

from mezzotint.core.stop import CODE, SAME, SIGNALS, poll

LAUNCHER = "MEZZOTINT_LAUNCHER"
LOST = 3
"""The exit code when one of several processes was lost."""
GRACE = 15
"""Seconds that processes have to end by themselves after one has failed."""
_LOOK = 0.1  # seconds
_SENT = {signal.SIGINT: signal.SIGTERM}  # an interpreter that is coming up answers SIGINT by a traceback


@dataclass
class Forwarding:
    """The signals that the launcher was sent, on their way to every process.

    Handlers only write down; :meth:`deliver` sends, again and again, because a process may start after the signal came.

    Attributes:
        came: number and time of each.
        sent: how many of them a process has, by its id.
    """

    came: list[tuple[int, float]] = field(default_factory=list)
    sent: dict[int, int] = field(default_factory=dict)

    def hear(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.came.append((number, time.monotonic()))

    def deliver(self) -> None:
        """Send every process of this launcher what it has not had yet."""
        import psutil

        came = list(self.came)
        for child in psutil.Process().children() if came else ():
            with suppress(psutil.Error):
                if LAUNCHER in child.environ() and "RANK" in child.environ():  # what is between fork and exec is deaf
                    for number, _ in came[self.sent.get(child.pid, 0) :]:
                        child.send_signal(_SENT.get(signal.Signals(number), number))
                    self.sent[child.pid] = len(came)

    def code(self, codes: Sequence[int]) -> int | None:
        """The exit code where processes ended of what was asked, None where they did not.

        A process that has no handler yet dies of the signal; it had nothing to save, so it has stopped. The others
        lose it, or are ended by SIGTERM. A second signal, a second later or more, ends those that have one.

        Arguments:
            codes: of the processes that ended with another code than 0.
        """
        asked = {one for number, _ in self.came for one in (number, int(_SENT.get(signal.Signals(number), number)))}
        of_it = {code for number in asked for code in (-number, 128 + number)}
        if not any(code in of_it for code in codes) or not set(codes) <= {*of_it, -signal.SIGTERM, CODE, LOST}:
            return None
        number, last = self.came[-1]
        return 128 + number if last - self.came[0][1] >= SAME else CODE


def launch(words: Sequence[str], count: int, machine: bool) -> int:
    """Run the command ``words`` in ``count`` processes and return the exit code of them all.

    Arguments:
        words: of the command line, the verb first.
        count: processes to start.
        machine: whether errors are told as JSON.
    """
    asked = Forwarding()
    try:
        with _while_they_run(count, asked):
            from torch.distributed.elastic.multiprocessing import SignalException
            from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
            from torch.distributed.launcher.api import LaunchConfig, elastic_launch

            config = LaunchConfig(
                min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=str(os.getpid()), local_addr="127.0.0.1",
                rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0", max_restarts=0, shutdown_timeout=GRACE,
                signals_to_handle="SIGHUP,SIGQUIT",
            )  # fmt: skip
            poll()  # what came before anything was forwarded
            elastic_launch(config, sys.executable)("-m", "mezzotint", *words)
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except ChildFailedError as failed:
        return _told({rank: failure.exitcode for rank, failure in failed.failures.items()}, count, machine, asked)
    return 0


@contextmanager
def _while_they_run(count: int, asked: Forwarding) -> Iterator[None]:
    """Signals go to the processes, the launcher's own words are kept, and what all have in common is in place."""
    surroundings, level = dict(os.environ), logging.root.manager.disable
    before = {number: signal.signal(number, asked.hear) for number in SIGNALS}
    ended = threading.Event()

    def deliver() -> None:
        while not ended.wait(_LOOK):
            asked.deliver()

    postman = threading.Thread(target=deliver, daemon=True)
    logging.disable(logging.CRITICAL)  # what there is to say is said in one sentence
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, min(2, (os.cpu_count() or 1) // count))))
    loop = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    if loop is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loop)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", loop)
    postman.start()
    try:
        yield
    finally:
        ended.set()
        postman.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        logging.disable(level)
        os.environ.clear()
        os.environ.update(surroundings)


def _told(codes: dict[int, int], count: int, machine: bool, asked: Forwarding) -> int:
    """The exit code for all, from those that failed; what a process could no longer say itself is said here."""
    code = asked.code(list(codes.values()))
    if code is not None:
        name = _signal(asked.came[-1][0])
        if CODE not in codes.values():  # else the first process has said it
            print(f"mezzotint: {'stopped' if code == CODE else 'ended at once'} by {name}", file=sys.stderr)
        return code
    killed = {rank: -code for rank, code in codes.items() if code < 0}
    said = [code for code in codes.values() if code > 0 and code != LOST]
    if said:  # a refusal, a defect or a stop, told by the process itself
        return said[0]
    # Those that were left are ended by SIGTERM: it counts only where nothing else explains the end.
    first = {rank: number for rank, number in killed.items() if number != signal.SIGTERM} or killed
    rank, number = next(iter(first.items()), (None, 0))
    how = f"process {rank} of {count} was ended by {_signal(number)}" if rank is not None else "a process was lost"
    sentence = f"{how}, so the others were ended too; what a run has saved is whole, and --resume goes on from there"
    print(json.dumps({"error": sentence, "code": LOST}) if machine else f"mezzotint: {sentence}", file=sys.stderr)
    return LOST


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def watch() -> None:
    """End this process when the launcher that started it has gone: nobody would be left to end it."""
    parent = os.environ.get(LAUNCHER)
    if parent is None:
        return

    def look() -> None:
        while os.getppid() == int(parent):
            time.sleep(1.0)
        os._exit(LOST)

    threading.Thread(target=look, daemon=True).start()
