"""The contract of a sampler: a rule for one interval that disturbs nobody and arrives at the truth.

Searches branch runs, guidance mixes rows, previews cut runs short and rewards differentiate them; all of that stands on
what is checked here with exact denoisers, where sums over rows round alike in any batch: a sample is its own to the
last bit, what stands still is neither touched nor asked about, memory belongs to rows, and more steps come closer to
the law (:mod:`mezzotint.testing.convergence`).

A process may know no law upwards (its noise is not normal): nothing is asked to rise there, and a sampler that needs
such a law may refuse the process, if it serves another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.base import Process
from mezzotint.samplers.base import Sampler, State
from mezzotint.testing.chain import check_chain
from mezzotint.testing.convergence import converges
from mezzotint.testing.example import example
from mezzotint.testing.expect import close, expect, finite, refused, same, shaped, works
from mezzotint.testing.parts import parts
from mezzotint.testing.process import rises
from mezzotint.testing.spec import check_made
from mezzotint.testing.symbols import check_symbols
from mezzotint.testing.truth import SHAPE, Normals, Watched, labels, mixture

_ALONE = "sample k is the same alone, in any batch and in any order"


def check_sampler(sampler: Sampler, processes: Sequence[Process] | None = None) -> None:
    """Check that a sampler keeps the promises runs, searches and guidance rely on.

    Arguments:
        sampler: run at several numbers of steps on several grids, on symbols and chains where it does not refuse them.
        processes: of real data, to run it on; None: an example of every such process of the house.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    who = type(sampler).__name__
    expect(isinstance(sampler, Sampler), f"{who} should derive from samplers.Sampler; step() settles what all share")
    expect(type(sampler).step is Sampler.step, f"{who} should leave step() alone and write move(); searches rely on it")
    check_made(sampler)
    refused(f"{who} with 0 steps", lambda: resized(sampler, steps=0), "a run has at least one interval")
    found = [example(cls) for cls in parts("process", "mezzotint.processes")] if processes is None else processes
    symbols = check_symbols(sampler, lambda steps: resized(sampler, steps=steps)) | check_chain(sampler)
    found = [process for process in found if process.kind == "real"]
    # Whoever serves symbols may refuse reals; whoever does not has to run wherever it could.
    served = [process for process in found if (rises(process) and not symbols) or _serves(sampler, process)]
    expect(served or symbols, f"{who} should serve some process but refuses all of {[type(p).__name__ for p in found]}")
    for process in served:
        name = f"{who} on {type(process).__name__}"
        with works(
            f"a run of {name}", "a sampler that cannot run on a process says so with a Refusal at its first step"
        ):
            _runs(sampler, process, name)
            _is_its_own(sampler, process, name)
            _rests(sampler, process, name)
            _holds(sampler, process, name)
            _remembers(sampler, process, name)
            _differentiates(sampler, process, name)
            _formats(sampler, process, name)
            converges(lambda steps: resized(sampler, steps=steps), process, name)  # noqa: B023


def resized(sampler: Sampler, **changes: Any) -> Sampler:
    """The same sampler with other ``steps`` or another ``grid``; one that wraps another changes the inner one."""
    own = {f.name for f in dataclasses.fields(sampler) if f.init}
    if own >= changes.keys():
        return dataclasses.replace(sampler, **changes)
    inner = [name for name in sorted(own) if isinstance(getattr(sampler, name), Sampler)]
    what = f"{type(sampler).__name__} should have settings {sorted(changes)} or wrap a sampler that has"
    expect(len(inner) == 1, f"{what}; the command line changes steps by name")
    changed: dict[str, Any] = {inner[0]: resized(getattr(sampler, inner[0]), **changes)}
    return dataclasses.replace(sampler, **changed)


def _witness(process: Process) -> Denoiser:
    """An exact denoiser told labels; where the noise is not normal, one whose probability flow is exact at least."""
    return mixture(process) if process.gaussian else Normals(process)  # type: ignore[attr-defined, arg-type]


def _serves(sampler: Sampler, process: Process) -> bool:
    """Whether a sampler's first step on a process is not refused."""
    try:
        walked(sampler, _witness(process), labels(1), [0], times=sampler.grid(process, sampler.steps)[:2])
    except Refusal:
        return False
    return True


def walked(sampler: Sampler, denoiser: Denoiser, cond: Condition, seeds: Sequence[int], **more: Any) -> list[State]:
    """The states of a run, without gradients."""
    with torch.no_grad():
        return list(sampler.trajectory(denoiser, cond, rng=Rng(seeds), **more))


def _runs(sampler: Sampler, process: Process, who: str) -> None:
    """From the prior to clean data in 1, 2, 3 and 7 steps and on every grid, asking nothing odd on the way."""
    truth = Watched(_witness(process))
    why = "a run begins at the prior and ends at clean data, in any number of steps on any grid"
    for steps in (1, 2, 3, 7):
        name = f"{who} with {steps} steps"
        states = walked(resized(sampler, steps=steps), truth, labels(2), range(2))
        finite(f"the end of {name}", states[-1].x, why)
        shaped(f"the end of {name}", states[-1].x, (2, *SHAPE), "samples have the model's shape")
        expect(bool((states[-1].t == 0).all()), f"{name} should end at t = 0; samples are clean data")
    # One row a grid, side by side: a short one waits at its end for the long ones.
    grids: list[Any] = [example(cls) for cls in parts("grid", "mezzotint.samplers")]
    if not rises(process):
        grids = [grid for grid in grids if bool((grid(process, 3).diff(dim=0) <= 0).all())]
    times = _side_by_side([grid(process, 3) for grid in grids])
    ends = walked(resized(sampler, steps=3), truth, labels(len(grids)), range(len(grids)), times=times)[-1].x
    for grid, end in zip(grids, ends, strict=True):
        finite(f"the end of {who} with 3 steps on {grid}", end, why)
    expect(truth.asked, f"{who} should ask the denoiser but never does; what it returns is not the model's")
    for x, t, told, _ in truth.asked:
        rows = f"{len(x)} samples"
        expect(
            t.dtype == torch.float64,
            f"{who} should ask at times in float64 but asks in {t.dtype}; float32 blurs levels",
        )
        expect(
            t.shape in ((len(x),), (len(x), 1, 1, 1)),
            f"{who} should ask at one time per sample but asks at {tuple(t.shape)}",
        )
        expect(
            bool(((t >= 0) & (t <= 1)).all()), f"{who} should ask at times in [0, 1] but asks at {float(t.max()):.4g}"
        )
        expect(len(told) == len(x), f"{who} should pass on a condition row for each of {rows} but passes {len(told)}")
        finite(f"x handed to the denoiser by {who}", x, "a network answers nonsense to it")


def _side_by_side(columns: Sequence[Tensor]) -> Tensor:
    """Times of several lengths as one table (points, rows), the short ones waiting at their end."""
    longest = max(len(column) for column in columns)
    return torch.stack([torch.cat([c, c[-1:].expand(longest - len(c))]) for c in columns], 1)


def _is_its_own(sampler: Sampler, process: Process, who: str) -> None:
    """The same bits alone, in a crowd, reordered, and from the middle of a run."""
    # 17 rows: vectorised arithmetic takes up to 16 at once and what is left one by one.
    truth, cond, runner = _witness(process), labels(17), resized(sampler, steps=4)
    crowd = walked(runner, truth, cond, range(17))
    expect(len(torch.unique(crowd[-1].x.flatten(1), dim=0)) == 17, f"17 seeds of {who} should give 17 samples")
    for rows in ([3], [16, 3, 1, 2, 0]):
        few = walked(runner, truth, cond[rows], rows)[-1].x
        same(f"samples {rows} of {who} in a batch of their own", few, crowd[-1].x[rows], _ALONE)
    u = torch.linspace(0.95, 0.05, 120, dtype=torch.float64)
    x = Rng(range(120)).normal("x", SHAPE).double()
    many, to = State(x, process.time(u), Rng(range(120))), process.time(0.8 * u)
    with torch.no_grad():
        after = sampler.step(truth, many, to, labels(120)).x
        for start in range(0, 120, 13):
            some = slice(start, start + 1 + start % 9)
            alone = sampler.step(truth, many[some], to[some], labels(120)[some]).x
            same(f"rows of {who} at 120 times of their own, and a few of them", alone, after[some], _ALONE)
    middle = len(crowd) // 2
    before, told = crowd[middle].x.clone(), cond[[4, 0]]
    state = cat([crowd[middle][4], crowd[middle][0]])
    with torch.no_grad():
        for later in crowd[middle + 1 :]:
            state = runner.step(truth, state, later.t[0], told)
        runner.step(truth, crowd[middle], crowd[middle + 1].t, cond)
    why = "searches branch and stack runs"
    same(f"{who} cut in two and gone on with rows taken out", state.x, crowd[-1].x[[4, 0]], why)
    why = "a step is pure: the same state may be tried again"
    same(f"x of the state that {who} stepped from", crowd[middle].x, before, why)


def _path(process: Process) -> Tensor:
    """Four rows with times of their own, (points, 4): they fall, wait and rise side by side, if anything rises."""
    levels = [
        [0.9, 0.9, 0.4, 0.7 if rises(process) else 0.9],
        [0.6, 0.9, 0.4, 0.8],
        [0.4, 0.2, 0.4, 0.5],
        [0.3, 0.1, 0.0, 0.2],
        [0.3, 0.0, 0.0, 0.0],
    ]
    return process.time(torch.tensor(levels, dtype=torch.float64))


def _rests(sampler: Sampler, process: Process, who: str) -> None:
    """Rows that stand are untouched and unasked; rows at different times do not disturb each other."""
    truth = Watched(Normals(process, (3,)))  # type: ignore[arg-type]
    path = _path(process)
    x = Rng(range(4)).normal("x", (3,)).double()
    together = walked(sampler, truth, NONE, range(4), times=path, start=x)
    why = "a finished row, a given stream and an inpainted frame are the same case, t == s"
    same(f"rows with t == s after a step of {who}", together[1].x[1:3], x[1:3], why)
    keys = (together[1].rng.keys[1:3], together[0].rng.keys[1:3])
    same(f"keys of rows with t == s after a step of {who}", *keys, "what others do does not move a row's draws")
    for row in (0, 3):
        alone = walked(sampler, truth, NONE, [row], times=path[:, row : row + 1], start=x[row : row + 1])
        for step, (one, whole) in enumerate(zip(alone, together, strict=True)):
            same(f"row {row} of {who} at its own times, step {step}", one.x[0], whole.x[row], _ALONE)
    truth.asked.clear()
    still = together[2]
    with torch.no_grad():
        after = sampler.step(truth, still, still.t)
        expect(not truth.asked, f"{who} should not ask when every row has t == s but asks; {why}")
        same(f"x after a step of {who} to the times where it stands", after.x, still.x, why)
        if rises(process):
            sampler.step(truth, still, torch.maximum(still.t, path[0]))
    expect(not truth.asked, f"{who} should not ask about rows that rise but asks; the process re-noises them")


def _holds(sampler: Sampler, process: Process, who: str) -> None:
    """Entries of one row with t == s pass bit for bit while the others move as if alone."""
    truth = Normals(process, (2, 3))  # type: ignore[arg-type]
    x = Rng(range(2)).normal("x", (2, 3)).double()
    u = torch.tensor([0.8, 0.5, 0.2, 0.05, 0.0], dtype=torch.float64)
    levels = torch.stack([torch.zeros_like(u), torch.full_like(u, 0.5), u], 1)
    end = walked(sampler, truth, NONE, range(2), times=process.time(levels).reshape(-1, 1, 1, 3), start=x)[-1].x
    why = "given streams and known pixels stand at t == s inside a row that moves"
    same(f"entries with t == s beside others in {who}", end[..., :2], x[..., :2], why)
    finite(f"entries of {who} beside others with t == s", end, why)
    if _steady(sampler, process):
        alone = walked(sampler, truth, NONE, range(2), times=process.time(u), start=x)[-1].x
        close(f"entries of {who} beside others with t == s, and alone", end[..., 2], alone[..., 2], 1e-9, why)


def _steady(sampler: Sampler, process: Process) -> bool:
    """Whether it draws nothing between its ends."""
    truth = Normals(process, (3,))  # type: ignore[arg-type]
    start, times = torch.ones(2, 3, dtype=torch.float64), process.time(torch.tensor([0.8, 0.5, 0.2, 0.0]).double())
    end = walked(sampler, truth, NONE, range(2), times=times, start=start)[-1].x
    return torch.equal(end[0], end[1])


def _remembers(sampler: Sampler, process: Process, who: str) -> None:
    """Zeros in memory mean nothing; rising forgets; what was done to x in between is kept."""
    truth = Normals(process, (2, 3))  # type: ignore[arg-type]
    times = process.time(torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5], dtype=torch.float64))
    start = Rng(range(2)).normal("x", (2, 3)).double()
    states = walked(sampler, truth, NONE, range(2), times=times, start=start)
    now = states[3]
    for place, memory in enumerate(now.memory):
        expect(
            len(memory) == 2,
            f"memory {place} of {who} should have a row per sample but is {tuple(memory.shape)}; rows branch",
        )
        finite(f"memory {place} of {who}", memory, "0 times what it holds must be 0")
    zeros = tuple(torch.zeros_like(memory) for memory in now.memory)
    with torch.no_grad():
        fresh = sampler.step(truth, State(now.x, now.t, now.rng), times[4])
        blank = sampler.step(truth, State(now.x, now.t, now.rng, zeros), times[4])
        same(f"a step of {who} with memory () and with zeros", blank.x, fresh.x, "zeros in memory mean nothing yet")
        if rises(process):
            risen = sampler.step(truth, now, times[0])
            left = sum(float(memory.abs().sum()) for memory in risen.memory)
            expect(not left, f"memory of {who} should be zeros after rising; it belongs to a path that was left")
        # What becomes of a small change of one entry, beside the same run without it.
        nudged = now.x.clone()
        nudged[:, 0, 0] += 1e-3
        state = cat([now, State(nudged, now.t, now.rng, now.memory)])
        for u in (0.5, 0.4, 0.3, 0.2, 0.1, 0.0):
            state = sampler.step(truth, state, process.time(torch.tensor(u, dtype=torch.float64)))
    plain, moved = state.x[:2], state.x[2:]
    at = [torch.full((2,), float(time), dtype=torch.float64) for time in (times[3], 0.0)]
    due = truth.flow(nudged, *at) - truth.flow(now.x, *at)
    share = ((moved - plain)[:, 0, 0] / due[:, 0, 0]).min()
    least = 0.7 if _steady(sampler, process) else 0.01
    expect(
        float(share) >= least,
        f"{who} should carry on at least {least} of what a change of x between steps comes to, but carries on "
        f"{float(share):.3g}; searches, projections and edits change x between steps",
    )


def _differentiates(sampler: Sampler, process: Process, who: str) -> None:
    """The gradient of a run's end by its start is that of finite differences."""
    truth, cond = _witness(process), labels(2)
    times = process.time(torch.tensor([0.8, 0.5, 0.2, 0.0], dtype=torch.float64))
    start = Rng(range(2)).normal("x", SHAPE).double()
    way = Rng(range(2)).normal("way", SHAPE).double()

    def end(x: Tensor) -> Tensor:
        return list(sampler.trajectory(truth, cond, rng=Rng(range(2)), times=times, start=x))[-1].x.sum()

    start.requires_grad_()
    why = "rewards differentiate runs; never wrap a move in no_grad"
    total = end(start)
    expect(total.requires_grad, f"the end of a run of {who} should have a gradient by its start but has none; {why}")
    (gradient,) = torch.autograd.grad(total, start)
    finite(f"the gradient of a run of {who}", gradient, why)
    with torch.no_grad():
        up, down = end(start + 1e-5 * way), end(start - 1e-5 * way)
    close(
        f"the gradient of a run of {who} and finite differences", (gradient * way).sum(), (up - down) / 2e-5, 1e-5, why
    )


def _formats(sampler: Sampler, process: Process, who: str) -> None:
    """One sample alone, one time for all, float32."""
    truth = Normals(process, (4,))  # type: ignore[arg-type]
    times = process.time(torch.tensor([0.8, 0.4, 0.0], dtype=torch.float64))
    start = Rng(range(3)).normal("x", (4,))
    wide = walked(sampler, truth, NONE, range(3), times=times, start=start.double())[-1].x
    ranked = walked(sampler, truth, NONE, range(3), times=times[:, None, None], start=start.double())[-1].x
    same(f"{who} at times (B,) and (B, 1)", ranked, wide, "both say one time per sample")
    narrow = walked(sampler, truth, NONE, range(3), times=times, start=start)[-1].x
    expect(
        narrow.dtype == torch.float32, f"{who} should stay in float32 when it starts there but ends in {narrow.dtype}"
    )
    close(
        f"{who} in float32 and in float64", narrow.double(), wide, 1e-4, "scales belong in float64, samples in either"
    )
