"""Being asked to stop: a signal is heard, the loop comes to a good place, and the process ends with a code of its own.

Schedulers take machines away with a signal and some seconds of grace. Inside :func:`watching`, SIGTERM, SIGINT and
SIGUSR1 are only noted; loops ask :func:`poll`, or the watch itself where there is something to save first, and end by
:class:`Stopped`, whose exit code 75 (EX_TEMPFAIL of sysexits.h) says: start me again and I go on. A second signal ends
the process at once. It has to come a second later or more: a scheduler and the launcher it also asks send the first
one twice. Off the main thread, where Python sets no handlers, nothing is installed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__)
CODE = 75
SAME = 1.0
"""Seconds in which a further signal is the same request."""
GRACE = 20
"""Seconds that a reader of data lives on after the first signal, for the batch that its training is at."""


class Stopped(SystemExit):
    """Asked to stop, and stopped in good order; uncaught, it ends the process with code 75.

    It is no ``Exception``, so a loop over trainings that goes on after errors does not go on after this.

    Arguments:
        signal: which one came.
        images: at which the run was saved, where there is one.
    """

    def __init__(self, signal: int, images: int | None = None) -> None:
        super().__init__(CODE)
        self.signal, self.images = signal, images

    def __str__(self) -> str:
        name = signal.Signals(self.signal).name if self.signal in list(signal.Signals) else f"signal {self.signal}"
        return f"stopped by {name}" + ("" if self.images is None else f", saved at {self.images} images")


class Watch:
    """What was heard so far: the number of a signal, or 0."""

    heard: int = 0
    since: float = 0.0


_watch: Watch | None = None


@contextmanager
def watching() -> Iterator[Watch]:
    """Note signals instead of dying of them; inside another one, and off the main thread, this changes nothing.

    A signal that is ignored stays ignored. The handlers from before are put back at the end.
    """
    global _watch
    if _watch is not None or threading.current_thread() is not threading.main_thread():
        yield _watch or Watch()
        return
    mine = Watch()
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        if not mine.heard:
            mine.heard, mine.since = number, time.monotonic()
        elif time.monotonic() - mine.since >= SAME:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    installed = [number for number, was in before.items() if was not in (signal.SIG_IGN, None)]
    for number in installed:
        signal.signal(number, hear)
    _watch = mine
    try:
        yield mine
    finally:
        _watch = None
        for number in installed:
            signal.signal(number, before[number])


def poll() -> None:
    """Raise :class:`Stopped` where a signal was heard; for loops that have nothing to save."""
    if _watch is not None and _watch.heard:
        raise Stopped(_watch.heard)


def reader(_: int = 0) -> None:
    """Make the process of a data reader leave signals to the one that feeds from it; a second SIGTERM ends it.

    ``GRACE`` seconds after the first one it ends by itself: an interpreter that ends with its readers still at work
    sends them one, and waits for them for good.
    """
    for number in SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, lambda *_: os._exit(0))  # a death by signal would be told as a failure
            signal.alarm(GRACE)

    signal.signal(signal.SIGTERM, once)
