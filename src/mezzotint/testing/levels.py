"""The contract of a level sampler: times in [0, 1] with weights, one draw a row, remembered in its state."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mezzotint.core.rng import Rng
from mezzotint.objectives.base import Levels
from mezzotint.processes.base import Process
from mezzotint.testing.example import example
from mezzotint.testing.expect import close, expect, finite, same, shaped, works
from mezzotint.testing.parts import parts
from mezzotint.testing.spec import check_made

_COUNT = 200


def check_levels(levels: Levels, processes: Sequence[Process] | None = None) -> None:
    """Check that a level sampler keeps the promises objectives and trainers rely on. It is left as it was.

    Arguments:
        levels: an instance.
        processes: to draw times of; None: an example of every process of the house.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(levels).__name__
    expect(isinstance(levels, Levels), f"{who} should derive from objectives.Levels; objectives tell it how it went")
    check_made(levels)
    kept = {name: tensor.clone() for name, tensor in levels.state_dict().items()}
    found = [example(cls) for cls in parts("process", "mezzotint.processes")] if processes is None else processes
    for process in found:
        with works(f"drawing from {who} on {type(process).__name__}", "an objective draws once a step"):
            _draws(levels, process, f"{who} on {type(process).__name__}")
            t, _ = levels(process, (1, 2, 3), Rng(range(_COUNT)))
            levels.update(t, 1 + t)
            levels.update(t[:7], torch.full((7,), 1e4))
            _draws(levels, process, f"{who} on {type(process).__name__} after hearing losses")
            again = type(levels)(**levels._arguments)
            again.load_state_dict(levels.state_dict())
            mine, theirs = (each(process, (1, 2, 3), Rng(range(_COUNT))) for each in (levels, again))
            for name, one, other in zip(("times", "weights"), mine, theirs, strict=True):
                same(
                    f"{name} of {who} made again with its state",
                    other,
                    one,
                    "a resumed run goes on as if it had not stopped",
                )
        levels.load_state_dict(kept)


def _draws(levels: Levels, process: Process, who: str) -> None:
    rng = Rng(range(_COUNT))
    t, weight = levels(process, (1, 2, 3), rng)
    for name, values in (("times", t), ("weights", weight)):
        shaped(f"{name} of {who}", values, (_COUNT,), "one a sample")
        expect(
            values.dtype == torch.float64,
            f"{name} of {who} should be float64 but are {values.dtype}; float32 blurs levels near 0",
        )
        finite(f"{name} of {who}", values, "one NaN spoils a step")
    low, high = float(t.min()), float(t.max())
    expect(
        low >= 0 and high <= 1,
        f"times of {who} should lie in [0, 1] but reach {low:.3g} and {high:.3g}; there is no other time",
    )
    expect(
        bool((weight >= 0).all()),
        f"weights of {who} should not be negative but reach {float(weight.min()):.3g}; they weigh losses",
    )
    same(
        f"times of {who} under the same keys",
        levels(process, (1, 2, 3), rng)[0],
        t,
        "resumed runs draw the same numbers",
    )
    few = levels(process, (1, 2, 3), rng[[5, 2]])[0]
    why = "batches are split over processes and pieces"
    close(f"times of {who} for rows taken out", few, t[[5, 2]], 1e-12, why)
    expect(
        len(torch.unique(t)) > _COUNT // 20,
        f"times of {who} should differ between keys but take {len(torch.unique(t))} values in {_COUNT}",
    )
