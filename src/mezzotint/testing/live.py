"""How much of the memory is weights, and when: what says whether models were really released.

A model is released when nothing refers to it any more, and a forgotten reference shows nowhere but here. So all
parameters that exist are counted, whoever holds them and whether or not they will be collected, each storage once.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from mezzotint.denoiser.base import Denoiser


class Live:
    """Watches parameters while a block runs: at every evaluation of a denoiser, and whenever :meth:`look` is called.

    Parameters that existed before the block are not counted.

    Attributes:
        peak: most bytes of parameters that were seen at once.
        seen: bytes at every look, in order.
        resident: most bytes of resident memory that were seen; 0 where the system does not say.
    """

    def __init__(self) -> None:
        self.peak = self.resident = 0
        self.seen: list[int] = []
        self._before: list[nn.Parameter] = []
        self._handle: Any = None

    def __enter__(self) -> Self:
        gc.collect()  # what is garbage already is not this block's
        self._before = _parameters()  # held, so that none of their places is given to another
        gc.freeze()  # a look goes through what came since, and not through all that was ever imported
        self._handle = register_module_forward_pre_hook(self._asked)
        return self

    def __exit__(self, *error: object) -> None:
        self._handle.remove()
        gc.unfreeze()
        self._before = []

    def look(self) -> int:
        """Bytes of parameters alive now."""
        before = {_place(parameter) for parameter in self._before}
        alive = {_place(p): p.untyped_storage().nbytes() for p in _parameters()}
        total = sum(size for place, size in alive.items() if place not in before)
        self.seen.append(total)
        self.peak, self.resident = max(self.peak, total), max(self.resident, resident())
        return total

    def _asked(self, module: nn.Module, given: object) -> None:
        if isinstance(module, Denoiser):
            self.look()


def _parameters() -> list[nn.Parameter]:
    """Every parameter that is not frozen; those without storage, as plans of models have, left out."""
    # Not isinstance, which asks every object in memory for its class and wakes those that load something then.
    return [p for p in gc.get_objects() if type(p) is nn.Parameter and p.device.type != "meta"]


def _place(parameter: nn.Parameter) -> tuple[torch.device, int]:
    return parameter.device, parameter.untyped_storage().data_ptr()


def resident() -> int:
    """Bytes of this process that are in memory, on Linux; 0 elsewhere."""
    if not sys.platform.startswith("linux"):
        return 0
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
