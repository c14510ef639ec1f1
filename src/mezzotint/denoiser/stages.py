"""A chain of few stages: x_1 is noise, x_0 clean, and a model answers p(x_s | x_t) from each time to the next.

The times t_1 = 1 > t_2 > .. > t_T are the model's own, and s is the next of them, 0 after the last. Which stage a row
is in is read off its time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mezzotint.core.distribution import expand
from mezzotint.core.errors import Refusal
from mezzotint.processes.discrete import Discrete

_CLOSE = 1e-6  # a time that was a float32 on its way


def times_of(times: Sequence[float] | Tensor | None, count: int) -> Tensor:
    """The times of a chain, float64 (T,) on the CPU; None: ``count`` equal steps, 1, .., 2 / T, 1 / T."""
    if times is None:
        return torch.arange(count, 0, -1, dtype=torch.float64, device="cpu") / count
    found = torch.as_tensor(times, dtype=torch.float64, device="cpu").reshape(-1)
    if not len(found) or found[0] != 1 or not bool((found.diff() < 0).all()) or found[-1] <= 0:
        raise Refusal(f"the times of a chain begin at 1 and fall, and end above 0, not {found.tolist()}")
    return found


def check_chain(process: Discrete, who: str) -> None:
    """Refuse a process on which a chain has no beginning that is known, or states that are not symbols."""
    if process.mask is not None:
        raise Refusal(f"{who} walks over symbols that are redrawn, and {type(process).__name__} masks them: use Tokens")
    left = float(process.alive(torch.ones((), dtype=torch.float64, device="cpu")))
    if left > 1e-6:
        raise Refusal(
            f"under this process {left:.2g} of the entries are alive at t = 1, and a chain begins at symbols that say "
            "nothing: use a schedule that ends at 0, such as Linear() or Knots((1, 0.848, 0.653, 0))"
        )


def stages(t: Tensor, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor | None]:
    """The stage (B,) of every row, on the CPU, and where its entries are clean, bool (B, *shape), or None for nowhere.

    Arguments:
        t: (B,) or of the rank of x with ones; the entries of a row stand at one of ``times``, or at 0.
        x: (B, *shape).
    """
    at = expand(t.to(dtype=torch.float64, device="cpu"), x)
    row = at.flatten(1).amax(1).expand(len(x))
    stage = (times - row[:, None]).abs().argmin(1)
    there = (times[stage] - row).abs() < _CLOSE
    clean = at == 0
    if not bool(there.all()) or not bool((clean | (at == expand(row, at))).all()):
        raise Refusal(
            f"a chain answers at its own times, {', '.join(f'{float(time):.4g}' for time in times)}, and at no other; "
            "entries of a row that are known stand at 0"
        )
    return stage, clean.expand(x.shape).to(x.device) if bool(clean.any()) else None


def following(times: Tensor, stage: Tensor) -> Tensor:
    """The time after each stage's, float64."""
    return torch.cat((times[1:], times.new_zeros(1)))[stage]
