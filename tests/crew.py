"""Several processes as a launcher would start them, from a test: on loopback, each with its rank in the environment.

They are forked from a server that has imported the library once, so a crew of two starts in a fraction of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

PRELOAD = [
    "accelerate", "torch.distributed.fsdp", "torch.distributed.tensor", "torch.nn.parallel", "torch._dynamo", "numpy",
    "PIL.PngImagePlugin", "sklearn.svm", "sklearn.datasets", "tyro", "mezzotint.training", "mezzotint.recipes",
    "mezzotint.cli.making", "mezzotint.cli.evaluate", "mezzotint.cli.train", "mezzotint.metrics",
]  # fmt: skip


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def loopback() -> str:
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": loopback(),
        "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def _begin(given: dict[str, str], work: Callable[..., None], words: tuple[Any, ...]) -> None:
    os.environ.update(given)
    import torch

    from mezzotint.core import ranks

    torch.set_num_threads(1)
    torch.manual_seed(0)
    work(*words)  # which joins the others
    ranks.part()


def crew(count: int, work: Callable[..., None], *words: Any, seconds: float = 200) -> list[int | None]:
    """Run ``work(*words)`` in ``count`` processes that know each other; their exit codes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    port = free_port()
    members = [
        context.Process(target=_begin, args=(environment(rank, count, port), work, words)) for rank in range(count)
    ]
    for member in members:
        member.start()
    for member in members:
        member.join(seconds)
    for member in members:
        if member.is_alive():
            member.kill()
            member.join()
    return [member.exitcode for member in members]
