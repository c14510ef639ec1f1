"""Signals that come before there is anything to save: the process ends at once, by the code that says start me again.

Importing torch, meeting other processes and indexing a hundred thousand pictures takes a while, and a scheduler does
not wait for it. This module imports nothing that takes time; where there is something to save,
:func:`mezzotint.core.stop.watching` takes over, and hands back here at its end.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

CODE = 75
"""That of :mod:`mezzotint.core.stop`, which cannot be imported without torch."""
VERBS = ("train", "evaluate", "extractor", "reproduce")
"""Those that go on where they were stopped; the others die of a signal, as programs do."""
SIGNALS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGUSR1") if name in signal.Signals.__members__)


def _leave(number: int, frame: FrameType | None) -> None:
    """End here and now: an exception out of the middle of an import would be caught by whoever stands there."""
    if os.environ.get("RANK", "0") in ("", "0"):  # of several processes, one says it
        os.write(2, f"mezzotint: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(CODE)


@contextmanager
def leaving(verb: str) -> Iterator[None]:
    """End the process where a signal comes; one that is ignored stays ignored, and the handlers are put back."""
    if verb not in VERBS or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    installed = [number for number, was in before.items() if was not in (signal.SIG_IGN, None)]
    for number in installed:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in installed:
            signal.signal(number, before[number])
