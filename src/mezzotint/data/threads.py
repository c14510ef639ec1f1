"""Many files looked at by a few threads: Pillow unpacks outside the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mezzotint.core.errors import Refusal

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def each(look: Callable[[Item], Answer], items: Iterable[Item]) -> Iterable[Answer]:
    """Answers in order, computed by a few threads."""
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        yield from pool.map(look, items)


def tolerant(look: Callable[[Item], Answer], skip_broken: bool) -> Callable[[Item], Answer | Refusal]:
    """``look``, with refusals returned instead of raised where what is broken is to be skipped."""

    def tolerating(item: Item) -> Answer | Refusal:
        try:
            return look(item)
        except Refusal as refusal:
            if not skip_broken:
                raise Refusal(f"{refusal}, or pass skip_broken=True (--skip-broken on the command line)") from refusal
            return refusal

    return tolerating
