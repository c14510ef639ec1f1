"""Processes that work on one thing together, as a launcher started them.

A launcher (``mezzotint --processes``, torchrun, accelerate launch, srun) starts the same command N times and tells each
copy by the environment who it is: ``RANK`` of ``WORLD_SIZE``, and where they meet (``MASTER_ADDR``, ``MASTER_PORT``).
Rank 0 prints and writes; the others compute. Nothing a sample or a step draws depends on the rank, so all that is left
to settle is who does what (:func:`count`, :func:`rank`), sums and rows from everywhere (:func:`total`,
:func:`gathered`), that all go on from one place or none does (:func:`agreed`, :func:`alike`), and who says a sentence
that all of them have come to (:class:`Meeting`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from mezzotint.core.errors import Refusal

_NOTICE = 2.0  # seconds
_LOST = ("closed by peer", "reset by peer", "broken pipe", "connection refused", "gloo", "nccl", "connectfull")


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "1") and "RANK" in os.environ


def together() -> bool:
    """Whether this process has met the others."""
    return dist.is_available() and dist.is_initialized()


def count() -> int:
    """How many processes work together; 1 for one alone."""
    return dist.get_world_size() if together() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if together() else 0


def main() -> bool:
    """Whether this is the one that prints and writes."""
    return rank() == 0


def on_gpu() -> bool:
    """Whether processes compute on CUDA devices, one each; ``ACCELERATE_USE_CPU`` keeps them on the CPU."""
    return torch.cuda.is_available() and os.environ.get("ACCELERATE_USE_CPU", "false").lower() not in ("1", "true")


def own_device() -> torch.device:
    """The device of this process: its own CUDA device, or the CPU."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu() else torch.device("cpu")


@dataclass(frozen=True)
class Meeting:
    """Where processes leave each other words outside of any common step.

    Arguments:
        store: of the launcher or of rank 0.
    """

    store: Any

    def first(self, sentence: str, unknown: bool = False) -> bool:
        """Whether nobody has said this sentence yet, or ``unknown`` where the store has gone; somebody now has."""
        name = blake2b(sentence.encode(), digest_size=8).hexdigest()
        try:
            return bool(self.store.add(f"said/{name}", 1) == 1)
        except RuntimeError:
            return unknown

    def leave(self, code: int) -> None:
        """Tell the others that this process ends before its time, so that they know why they lost it."""
        try:
            self.store.set(f"left/{os.environ.get('RANK', '0')}", str(code))
        except RuntimeError:
            return
        if main() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            part()  # the store is in this process: the others have to notice that it leaves while they can still ask
            time.sleep(_NOTICE)

    def left(self) -> int | None:
        """The exit code of the first process that said it was leaving, or None."""
        try:
            for other in range(int(os.environ.get("WORLD_SIZE", "1"))):
                if self.store.check([f"left/{other}"]):
                    return int(self.store.get(f"left/{other}"))
        except RuntimeError:
            return None
        return None


def join() -> Meeting | None:
    """Meet the other processes that the launcher started; None where there are none or they have met already."""
    if not launched() or together():
        return None
    if on_gpu():
        here = own_device()
        if (here.index or 0) >= torch.cuda.device_count():
            raise Refusal(
                f"process {here.index} of this machine has no GPU of its own: there are {torch.cuda.device_count()}; "
                "start as many processes, or set ACCELERATE_USE_CPU=1 to compute on the CPU"
            )
        torch.cuda.set_device(here)
    store, number, size = next(rendezvous("env://", timeout=timedelta(minutes=10)))
    # What lies on the CPU travels by gloo even where gradients travel by NCCL: pictures, words, counters.
    backend = "cpu:gloo,cuda:nccl" if on_gpu() else "gloo"
    dist.init_process_group(backend, store=PrefixStore("group", store), rank=number, world_size=size)
    return Meeting(PrefixStore("mezzotint", store))


def wait() -> None:
    """Wait until all processes have come here."""
    if count() > 1:
        total(torch.zeros(1, device=own_device() if dist.get_backend() == "nccl" else None))


def part() -> None:
    """Leave the others in peace, at the end of the work."""
    if together():
        dist.destroy_process_group()


def lost(error: BaseException) -> bool:
    """Whether an error says that another process has gone."""
    if not together() or not isinstance(error, RuntimeError) or isinstance(error, torch.cuda.OutOfMemoryError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in _LOST)


def total(values: Tensor) -> Tensor:
    """The sum over all processes, on each of them; the tensor itself where one is alone."""
    if count() == 1:
        return values
    summed = values.clone()
    dist.all_reduce(summed)
    return summed


def largest(values: Tensor) -> Tensor:
    """The largest value over all processes, entry by entry, on each of them."""
    if count() == 1:
        return values
    found = values.clone()
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found


def gathered(values: Tensor) -> list[Tensor] | None:
    """The tensors of all processes, by rank, on rank 0, None on the others; shapes and types must be the same."""
    if count() == 1:
        return [values]
    found = [torch.empty_like(values) for _ in range(count())] if main() else None
    dist.gather(values.contiguous(), found)
    return found


def texts(text: str) -> list[str]:
    """What each process says, by rank, on each of them; trailing blanks are lost."""
    if count() == 1:
        return [text]
    device = own_device() if dist.get_backend() == "nccl" else None
    letters = text.encode()
    room = max(1, int(largest(torch.tensor(len(letters), device=device))))
    mine = torch.frombuffer(bytearray(letters.ljust(room)), dtype=torch.uint8).to(device)
    found = [torch.empty_like(mine) for _ in range(count())]
    dist.all_gather(found, mine)
    return [bytes(said.tolist()).decode(errors="replace").rstrip() for said in found]


@contextmanager
def agreed() -> Iterator[None]:
    """What one process refuses inside, all refuse at its end, in one sentence; all have to come here.

    Without it the others would wait, in their next common step, for one that does not come.
    """
    mine = ""
    try:
        yield
    except (Refusal, OSError) as error:
        if count() == 1:
            raise
        mine = str(error) or type(error).__name__
    first = next(((place, said) for place, said in enumerate(texts(mine)) if said), None)
    if first is not None:
        raise Refusal(f"process {first[0]} of {count()}: {first[1]}" if first[0] else first[1])


def alike(what: str) -> None:
    """Refuse, on all processes, where they do not all say the same of what they are about to do."""
    said = texts(what)
    other = next((place for place, text in enumerate(said) if text != said[0]), None)
    if other is not None:
        raise Refusal(
            f"the processes are not about to do the same: the first is at {said[0]}, process {other} at {said[other]}; "
            "start all of them by the same command, with the same files under the same paths"
        )


def whole(value: Tensor) -> Tensor:
    """A tensor that is split over processes put together on each of them; any other tensor as it is."""
    full = getattr(value, "full_tensor", None)
    found: Tensor = value if full is None else full()
    return found
