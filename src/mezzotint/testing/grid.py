"""The contract of a grid: times from the prior to clean data, in as many intervals as were asked for.

A sampler walks whatever times it is given; what a grid promises is that they begin at 1, end at 0, lie in between, and
never stand still, for any number of steps, the prime ones and 1 among them. Grids may rise - the sampler re-noises -
and then have more intervals than steps, but never fewer that fall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.spec import Part
from mezzotint.processes.base import Process
from mezzotint.testing.example import example
from mezzotint.testing.expect import expect, finite, same
from mezzotint.testing.parts import parts
from mezzotint.testing.spec import check_made

_STEPS = (1, 2, 3, 7, 10, 13, 1000)


def check_grid(grid: Callable[[Process, int], Tensor], processes: Sequence[Process] | None = None) -> None:
    """Check that a grid gives every process times a run can walk.

    Arguments:
        grid: ``(process, steps) -> times``; a function will do, but only a part is saved.
        processes: to try; None: an example of every process of the house. A grid made for some may refuse others.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(grid).__name__
    if isinstance(grid, Part):
        check_made(grid)
    found = [example(cls) for cls in parts("process", "mezzotint.processes")] if processes is None else processes
    served = [_times(grid, process, steps, who) for process in found for steps in _STEPS]
    expect(
        any(served), f"{who} should serve some process in some number of steps but refuses all; nothing could use it"
    )


def _times(grid: Callable[[Process, int], Tensor], process: Process, steps: int, who: str) -> bool:
    """Check one run's times; False where the grid refuses."""
    try:
        times = grid(process, steps)
    except Refusal:
        return False
    name = f"{who} on {type(process).__name__} with {steps} steps"
    expect(
        isinstance(times, Tensor),
        f"{name} should give a tensor but gives a {type(times).__name__}; it is a table of times",
    )
    expect(
        times.dtype == torch.float64, f"{name} should give float64 but gives {times.dtype}; float32 blurs levels near 0"
    )
    finite(name, times, "a run walks them all")
    flat = times.reshape(len(times), -1)
    expect(
        bool((flat[0] == 1).all()),
        f"{name} should begin at 1 exactly but begins at {float(flat[0, 0])!r}; runs begin at the prior",
    )
    expect(
        bool((flat[-1] == 0).all()),
        f"{name} should end at 0 exactly but ends at {float(flat[-1, 0])!r}; samples are clean data",
    )
    inside = bool(((flat >= 0) & (flat <= 1)).all())
    expect(
        inside,
        f"{name} should stay in [0, 1] but reaches {float(flat.min()):.3g} and {float(flat.max()):.3g}",
    )
    moves = flat.diff(dim=0)
    still = int((moves == 0).all(1).sum())
    expect(
        not still, f"{name} should move in every interval but stands still in {still}; an interval costs an evaluation"
    )
    falls = int((moves < 0).any(1).sum())
    rises = int((moves > 0).any(1).sum())
    due = "exactly" if not rises else "at least"
    expect(
        falls == steps or (rises and falls >= steps),
        f"{name} should have {due} {steps} falling intervals but has {falls}; steps are intervals, not points",
    )
    same(f"{name} asked twice", grid(process, steps), times, "a run that is continued walks the same times")
    return True
