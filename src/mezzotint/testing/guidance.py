"""The contract of a guidance: a denoiser made from a denoiser, which takes what is meant for it and passes on the rest.

Guidances stack in any order, wrap counters and are wrapped by them, and a sampler never knows that it asks one. So a
guidance hands through what it does not change - process, shape, nulls, preparation, side outputs - answers every row by
itself at every time, works where gradients are switched off, and leaves the model it holds as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser, Trainable, taken
from mezzotint.operators.base import Operator
from mezzotint.processes.edm import EDM
from mezzotint.samplers.heun import Heun
from mezzotint.testing.denoiser import agree, answers, gradients, samples, tolerance
from mezzotint.testing.example import around
from mezzotint.testing.expect import expect, finite, same, works
from mezzotint.testing.operator import observed
from mezzotint.testing.spec import check_made
from mezzotint.testing.truth import Watched, labels, mixture


def check_guidance(
    guidance: Denoiser | Callable[[Denoiser], Denoiser],
    denoiser: Denoiser | None = None,
    cond: Condition | None = None,
) -> None:
    """Check that a guidance keeps the promises samplers and other guidances rely on.

    Arguments:
        guidance: an instance whose first argument is the denoiser it guides, or ``denoiser -> guided denoiser``.
        denoiser: what to guide; None: what the instance guides, or an exact mixture in three classes.
        cond: conditions to ask with, seven rows; None: what :func:`usual` makes.

    Raises:
        AssertionError: naming the promise that is broken.
    """
    make = around(guidance) if isinstance(guidance, Denoiser) else guidance
    if denoiser is None:
        denoiser = next(iter(guidance._arguments.values())) if isinstance(guidance, Denoiser) else mixture(EDM())
    watched = Watched(denoiser)
    watched.eval()
    with works("making the guidance around a denoiser", "a guidance is made from a denoiser"):
        guided = make(watched)
    who = type(guided).__name__
    expect(
        isinstance(guided, Denoiser),
        f"a guidance should be a denoiser.Denoiser but is a {who}; samplers ask it like any other",
    )
    if isinstance(guidance, Denoiser):
        check_made(guidance)
    with works(f"asking {who}", "samplers ask at every time from the prior to clean data"):
        _hands_through(guided, denoiser, who)
        x, t = samples(denoiser)
        told = cond if cond is not None else usual(guided, len(x))
        ready = _prepares(guided, watched, told, who)
        _leaves_alone(guided, watched, x, t, ready, who)
        with torch.no_grad():
            answers(guided, x, t, ready, who)
            _wants(guided, watched, x, t, ready, who)
            low = guided(x.float(), t, ready).mean
            expect(low.dtype == torch.float32, f"{who} asked in float32 should answer in it but answers in {low.dtype}")
        gradients(guided, x, t, ready, who)
        _samples(guided, told, who)
        _stacks(make, guided, x, t, told, who)


def usual(guided: Denoiser, count: int) -> Condition:
    """Labels where the model may be told some, and rows for every family that a guidance takes.

    Those are ``known`` entries, what an operator inside ``observed``, another label as a ``negative``, or else a number
    from 0 to 2: a scale a row.
    """
    told = labels(count) if "label" in guided.nulls else NONE
    draws, shape = Rng(range(count)), tuple(guided.shape)
    for name in sorted(taken(guided) - set(Watched.takes)):
        if name == "known":
            mask = draws.uniform("mask", shape) < 0.4
            told |= Condition(**{"known.x": draws.normal("known", shape), "known.mask": mask})
        elif name == "observed":
            arguments = [value for inner in guided.modules() for value in getattr(inner, "_arguments", {}).values()]
            operator = next(value for value in arguments if isinstance(value, Operator))
            read = observed(count, shape)
            told |= read | Condition(**{"observed.y": operator.forward(draws.normal("seen", shape), read)})
        elif name == "negative":
            told |= Condition(**{"negative.label": labels(count + 1)["label"][1:]}) if "label" in told else NONE
        else:
            told |= Condition(**{name: torch.linspace(0, 2, count)})
    return told


def _hands_through(guided: Denoiser, denoiser: Denoiser, who: str) -> None:
    pairs = {
        "process": (guided.process, denoiser.process),
        "shape": (tuple(guided.shape), tuple(denoiser.shape)),
        "nulls": (set(guided.nulls), set(denoiser.nulls) - taken(guided)),
        "clean": (guided.clean, denoiser.clean),
        "dtype": (guided.dtype, denoiser.dtype),
        "device": (guided.device, denoiser.device),
    }
    for name, (found, due) in pairs.items():
        expect(
            found == due,
            f"{who} should have the {name} of what it guides, {due}, but has {found}; samplers read it",
        )
    times = (guided.times, denoiser.times)
    agreed = times[0] is times[1] or (times[0] is not None and times[1] is not None and torch.equal(times[0], times[1]))
    expect(agreed, f"{who} should have the times of what it guides; a student is asked at no other")
    expect(
        guided.uses_level or not denoiser.uses_level,
        f"{who} should say uses_level where what it guides does; rows are reused where not",
    )


def _prepares(guided: Denoiser, watched: Watched, told: Condition, who: str) -> Condition:
    watched.prepared = 0
    ready = guided.prepare(told)
    expect(watched.prepared, f"{who}.prepare should pass the condition on to what it guides; frozen encoders run there")
    for name, value in told.values.items():
        expect(
            name in ready, f"{who}.prepare should keep {name!r} but drops it; the guidance reads it again when asked"
        )
        same(f"{name!r} after {who}.prepare", ready[name], value, "prepare adds values and replaces none")
    return ready


def _leaves_alone(guided: Denoiser, watched: Watched, x: Tensor, t: Tensor, ready: Condition, who: str) -> None:
    """The model answers as before, no gradient stays in its weights, and gradients may be switched off."""
    inner = watched.prepare(usual(watched, len(x)))
    with torch.no_grad():
        before = watched(x, t, inner).mean
        off = guided(x, t, ready).mean
    weights = [p.requires_grad for p in watched.parameters()]
    on = guided(x, t, ready).mean
    agree(f"{who} with gradients and without", on.detach(), off, tolerance(guided), "samplers switch them off")
    left = [name for name, p in watched.named_parameters() if p.grad is not None]
    expect(not left, f"{who} should leave no gradient in the weights of what it guides but leaves one in {left[:1]}")
    expect(
        weights == [p.requires_grad for p in watched.parameters()] and not watched.training,
        f"{who} should leave weights and mode of what it guides as they are; it may be training elsewhere",
    )
    with torch.no_grad():
        after = watched(x, t, inner).mean
    same(f"what {who} guides, asked before and after", after, before, "a guidance holds a model and does not change it")


def _wants(guided: Denoiser, watched: Watched, x: Tensor, t: Tensor, ready: Condition, who: str) -> None:
    """Side outputs are asked of the model and come back."""
    inner = watched.denoiser
    name = "output" if isinstance(inner, Trainable) else "log_density"
    try:
        inner(x[:1], t[:1], inner.prepare(usual(inner, 1)), want=(name,))
    except Refusal:
        return
    watched.asked.clear()
    answer = guided(x, t, ready, want=(name,))
    why = "terms and rewards read side outputs through any guidance"
    expect(
        any(name in want for *_, want in watched.asked),
        f"{who} wanted to give {name!r} should ask what it guides for it; {why}",
    )
    expect(
        name in answer.aux, f"{who} wanted to give {name!r} should have it in aux but has {sorted(answer.aux)}; {why}"
    )
    found = len(answer.aux[name])
    expect(found == len(x), f"{name!r} of {who} should have a row per sample but has {found} for {len(x)}; {why}")


def _samples(guided: Denoiser, told: Condition, who: str) -> None:
    """A run from the prior to clean data, the same alone."""
    count = len(told) or 3
    crowd = Heun(2)(guided, told, rng=Rng(range(count)))
    finite(f"samples under {who}", crowd, "that is what guidance is for")
    alone = Heun(2)(guided, told[[1]] if told else told, rng=Rng([1]))
    within = 100 * tolerance(guided)  # the scale of the prior is in it
    agree(
        f"a sample under {who} alone and in a crowd",
        alone,
        crowd[[1]],
        within,
        "a sample is its own under guidance too",
    )


def _stacks(
    make: Callable[[Denoiser], Denoiser], guided: Denoiser, x: Tensor, t: Tensor, told: Condition, who: str
) -> None:
    """A guidance around a guidance is one, unless it refuses."""
    try:
        twice = make(guided)
        told = usual(twice, len(x)) | told
        with torch.no_grad():
            answer = twice(x, t, twice.prepare(told)).mean
    except Refusal:
        return
    finite(f"{who} around {who}", answer, "guidances stack")
