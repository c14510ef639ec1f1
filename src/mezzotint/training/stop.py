"""Stopping a training that shares its work: every process hears of a signal that any of them got, at the same step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mezzotint.core.stop import CODE, SIGNALS, Stopped, Watch, poll, reader, watching

__all__ = ["CODE", "SIGNALS", "Stopped", "Watch", "agreed", "poll", "reader", "watching"]


def agreed(accelerator: Any, value: Tensor, watch: Watch) -> tuple[float, int]:
    """The mean of a number over the processes, and the signal that any of them heard, or 0: one message for both.

    Arguments:
        accelerator: of accelerate.
        value: a number of this process, float64.
        watch: of this process.
    """
    heard = torch.zeros(len(SIGNALS), dtype=value.dtype, device=value.device)
    if watch.heard:
        heard[SIGNALS.index(watch.heard)] = 1.0
    mean, *came = accelerator.reduce(torch.cat([value[None], heard]), "mean").tolist()
    return mean, next((int(number) for number, share in zip(SIGNALS, came, strict=True) if share), 0)
