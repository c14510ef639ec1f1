"""What a sampler that serves processes of symbols promises on them, beside what it promises on reals.

A sample is its own to the last bit, what stands still is neither touched nor asked about, memory belongs to rows, what
was said is never taken back where lost symbols are masks, and a text of one symbol has the model's own law, at any
number of steps: there is nothing that symbols drawn at once would not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mezzotint.core.batched import cat
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.processes.absorbing import Absorbing
from mezzotint.processes.discrete import Discrete
from mezzotint.processes.multinomial import Multinomial
from mezzotint.samplers.base import Sampler, State
from mezzotint.samplers.grids import Level, Uniform
from mezzotint.testing.expect import expect, same, shaped, works
from mezzotint.testing.truth import Watched, table

_LABELS = 2
_DRAWS = 1500
Make = Callable[[int], Sampler]


def check_symbols(sampler: Sampler, make: Make) -> bool:
    """Check a sampler on every process of symbols that it does not refuse.

    Arguments:
        sampler: an instance.
        make: the same with so many steps.

    Returns:
        Whether it serves any.
    """
    served = [process for process in (Absorbing(3), Multinomial(3)) if _serves(sampler, process)]
    for process in served:
        who = f"{type(sampler).__name__} on {type(process).__name__}"
        with works(
            f"a run of {who}", "a sampler that cannot run on a process says so with a Refusal at its first step"
        ):
            _runs(make, process, who)
            _is_its_own(make(4), process, who)
            _rests(sampler, process, who)
            _forgets(sampler, process, who)
            if process.mask is not None:
                _keeps(make(7), process, who)
                _one(make, process, who)
    return bool(served)


def _told(count: int) -> Condition:
    return Condition(label=torch.arange(count) % _LABELS)


def _walked(sampler: Sampler, denoiser: Denoiser, cond: Condition, seeds: Sequence[int], **more: Any) -> list[State]:
    if "times" not in more:
        more["times"] = Uniform()(denoiser.process, sampler.steps)
    with torch.no_grad():
        return list(sampler.trajectory(denoiser, cond, rng=Rng(seeds), **more))


def _serves(sampler: Sampler, process: Discrete) -> bool:
    times = Uniform()(process, sampler.steps)[:2]
    try:
        _walked(sampler, table(process), _told(1), [0], times=times)
    except Refusal:
        return False
    except AttributeError as error:  # scales, noise or a variance, which symbols and their laws do not have
        if error.obj is process or isinstance(error.obj, Categorical):
            return False
        raise
    return True


def _runs(make: Make, process: Discrete, who: str) -> None:
    """From the prior to clean symbols in 1, 2, 3 and 7 steps."""
    for steps in (1, 2, 3, 7):
        for grid in (Uniform(), Level()):
            truth, name = Watched(table(process)), f"{who} with {steps} steps on {grid}"
            end = _walked(make(steps), truth, _told(5), range(5), times=grid(process, steps))[-1]
            shaped(f"the end of {name}", end.x, (5, 3), "samples have the model's shape")
            why = "a run ends at clean data, which hold no mask"
            expect(bool(((end.x >= 0) & (end.x < process.vocab)).all()), f"{name} should end at clean symbols; {why}")
            expect(end.x.dtype == torch.int64, f"{name} should keep symbols int64 but ends in {end.x.dtype}")
            expect(truth.asked, f"{name} should ask the denoiser but never does; what it returns is not the model's")
            for x, t, cond, _ in truth.asked:
                there = t.dtype == torch.float64 and len(t) == len(x) == len(cond)
                expect(there, f"{name} should ask at one float64 time and with one condition a row")


def _is_its_own(sampler: Sampler, process: Discrete, who: str) -> None:
    """The same symbols alone, in a crowd, reordered, and from the middle of a run."""
    truth, cond = table(process), _told(17)
    crowd = _walked(sampler, truth, cond, range(17))
    why = "sample k is the same alone, in any batch and in any order"
    for rows in ([3], [16, 3, 1, 2, 0]):
        few = _walked(sampler, truth, cond[rows], rows)[-1].x
        same(f"samples {rows} of {who} in a batch of their own", few, crowd[-1].x[rows], why)
    middle = len(crowd) // 2
    state, told = cat([crowd[middle][4], crowd[middle][0]]), cond[[4, 0]]
    with torch.no_grad():
        for later in crowd[middle + 1 :]:
            state = sampler.step(truth, state, later.t[0], told)
    why = "searches branch and stack runs"
    same(f"{who} cut in two and gone on with rows taken out", state.x, crowd[-1].x[[4, 0]], why)


def _rests(sampler: Sampler, process: Discrete, who: str) -> None:
    """Rows at times of their own, some of which stand; entries of a row that stand."""
    truth = Watched(table(process))
    path = torch.tensor([[0.9, 0.9, 0.4, 0.7], [0.6, 0.9, 0.4, 0.8], [0.2, 0.3, 0.4, 0.5], [0, 0.1, 0, 0]]).double()
    x = process.prior((3,)).repeat(4).sample(Rng(range(4)))
    x[2] = torch.tensor([0, 2, 1])
    together = _walked(sampler, truth, NONE, range(4), times=path, start=x)
    why = "rows with t == s pass untouched; they are given, or wait"
    same(f"rows with t == s after a step of {who}", together[1].x[1:3], x[1:3], why)
    keys = (together[1].rng.keys[1:3], together[0].rng.keys[1:3])
    same(f"keys of rows with t == s after a step of {who}", *keys, "what others do does not move a row's draws")
    for row in (0, 3):
        alone = _walked(sampler, truth, NONE, [row], times=path[:, row : row + 1], start=x[row : row + 1])
        same(f"row {row} of {who} at its own times", alone[-1].x[0], together[-1].x[row], "a row's fate is its own")
    truth.asked.clear()
    sampler.step(truth, together[2], together[2].t)
    expect(not truth.asked, f"{who} should not ask when every row has t == s but asks; {why}")
    held = torch.stack([torch.zeros(5), torch.full((5,), 0.5), torch.linspace(1, 0, 5)], 1).double()[:, None, :]
    start = process.prior((3,)).repeat(2).sample(Rng(range(2)))
    start[:, 0] = 1
    end = _walked(sampler, truth, NONE, range(2), times=held, start=start)[-1].x
    same(f"entries with t == s beside others in {who}", end[:, :2], start[:, :2], "given entries stand inside a row")
    expect(bool((end[:, 2] < process.vocab).all()), f"{who} should say the entries that move beside others that stand")


def _forgets(sampler: Sampler, process: Discrete, who: str) -> None:
    """Zeros in memory mean nothing; rising forgets."""
    truth, start = table(process), process.prior((3,)).repeat(4).sample(Rng(range(4)))
    now = _walked(sampler, truth, NONE, range(4), times=torch.tensor([1.0, 0.8, 0.6]).double(), start=start)[-1]
    zeros = tuple(torch.zeros_like(memory) for memory in now.memory)
    with torch.no_grad():
        fresh = sampler.step(truth, State(now.x, now.t, now.rng), 0.3)
        blank = sampler.step(truth, State(now.x, now.t, now.rng, zeros), 0.3)
        same(f"a step of {who} with memory () and with zeros", blank.x, fresh.x, "zeros in memory mean nothing yet")
        edited = now.x.clone()
        edited[:, 0] = 2
        changed = sampler.step(truth, State(edited, now.t, now.rng, now.memory), 0.3)
        without = sampler.step(truth, State(edited, now.t, now.rng, zeros), 0.3)
        why = "searches, projections and edits change x between steps"
        same(f"a step of {who} after x was changed, with its memory and without", changed.x, without.x, why)
        risen = sampler.step(truth, now, 0.9)
        left = sum(float(memory.abs().sum()) for memory in risen.memory)
        expect(not left, f"memory of {who} should be zeros after rising; it belongs to a path that was left")


def _keeps(sampler: Sampler, process: Discrete, who: str) -> None:
    """What was said is not taken back."""
    states = _walked(sampler, table(process), NONE, range(40))
    for before, after in zip(states, states[1:], strict=False):
        said = before.x != process.mask
        same(f"symbols that {who} has said", after.x[said], before.x[said], "a bridge of masks changes masks only")


def _one(make: Make, process: Discrete, who: str) -> None:
    """A text of one symbol has the model's law."""
    truth = table(process, entries=1)
    law = truth.table.logsumexp(0).softmax(0)
    for steps in (1, 5):
        x = _walked(make(steps), truth, NONE, range(_DRAWS))[-1].x
        seen = torch.bincount(x[:, 0], minlength=process.vocab).double()
        away = float(((seen - _DRAWS * law) ** 2 / (_DRAWS * law)).sum())
        expect(
            away < 18.4,  # two degrees of freedom, 1 in 10,000
            f"texts of one symbol by {who} with {steps} steps should have the model's law but are {away:.3g} away in "
            "chi-square; there is nothing a step could miss",
        )
