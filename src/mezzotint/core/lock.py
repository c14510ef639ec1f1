"""One writer a folder: a lock that goes with the process that holds it, however that ends.

It is an advisory lock (``flock``) on a file ``.lock`` in the folder, which is removed at the end. What a killed process
leaves behind is an unlocked file, which the next one takes over. Where a file system has no locks, there is none, with
a word on standard error.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mezzotint.core.errors import Refusal, from_disk

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
WITHOUT = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOLCK)
"""What a file system without locks answers; the last is NFS without its lock service."""
_held: set[int] = set()


@contextmanager
def alone(folder: Path, what: str, instead: str, patience: float = 0.0) -> Iterator[int | None]:
    """Hold a folder, which is made where it is not there.

    A process that is forked from this one does not hold it; one that is given the descriptor does, too.

    Arguments:
        folder: to hold.
        what: holds it where this one cannot, in words: ``another training``.
        instead: what a person can do, in words.
        patience: seconds to wait for it.

    Yields:
        the descriptor, or None where there are no locks.

    Raises:
        Refusal: somebody else holds it, or it cannot be said whether.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield None
        return
    path, end = folder / NAME, time.monotonic() + patience
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(handle, path):
                break
        except BlockingIOError:
            if time.monotonic() >= end:
                process = os.read(handle, 20).decode("ascii", "replace").strip()
                os.close(handle)
                number = f" (process {process})" if process.isdecimal() else ""
                raise Refusal(f"{what}{number} is at work in {str(folder)!r}; {instead}") from None
            time.sleep(0.1)
        except OSError as error:
            os.close(handle)
            if error.errno not in WITHOUT:
                raise Refusal(
                    f"{str(folder)!r} cannot be held against a second writer: {from_disk(error)}; "
                    "name a folder on another disk"
                ) from None
            path.unlink(missing_ok=True)
            print(f"there are no locks where {str(folder)!r} is: see that nobody else writes to it", file=sys.stderr)
            yield None
            return
        os.close(handle)
    _held.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield handle
    finally:
        _held.discard(handle)
        path.unlink(missing_ok=True)  # while it is held, so that nobody waits for a name that is gone
        os.close(handle)


def _is(handle: int, path: Path) -> bool:
    """Whether an open file still has its name: who held it before has removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _let_go() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
