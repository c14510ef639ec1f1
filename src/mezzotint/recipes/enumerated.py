"""Symbols whose every text is enumerated: what samplers and losses of tokens come to, without a network.

A row of steps holds the total variation between the law of a sampler's texts, computed by multiplying its transition
matrices over all states, and the law of the data; a row of a loss how far its mean over texts and draws lies from the
cross-entropy, in standard errors; a row of the cache the calls of a text of l symbols in n steps over
(n - 1) (1 - (1 - 1/n)^l), the first call apart, and how many symbols differ from those of a run that asks every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mezzotint.core.condition import NONE
from mezzotint.core.distribution import Categorical
from mezzotint.core.rng import Rng
from mezzotint.denoiser.counted import Counted
from mezzotint.denoiser.enumerated import Enumerated
from mezzotint.denoiser.markov import Markov
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Criterion, Figure, Numbers, Seen, Verdict, at, ratio
from mezzotint.processes.absorbing import Absorbing
from mezzotint.processes.discrete import Discrete, logs
from mezzotint.processes.multinomial import Multinomial
from mezzotint.recipes.texts import LOSSES
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.base import State
from mezzotint.samplers.grids import Uniform
from mezzotint.samplers.reuse import Reuse

VOCAB, ENTRIES, STEPS, CALLS = 3, 3, (1, 8, 16, 32, 64), (16, 64, 256, 1024)
SETTING = {"draws": 20_000, "texts": 64, "entries": 64}
Kernel = Callable[[Enumerated, Tensor, Tensor, Tensor], Categorical]


def bridged(model: Enumerated, x: Tensor, t: Tensor, s: Tensor) -> Categorical:
    """What Ancestral draws from: the mean of posteriors."""
    law = Ancestral(1).transition(model, State(x, t, Rng(range(len(x)))), s, NONE)
    assert isinstance(law, Categorical)
    return law


def printed(model: Enumerated, x: Tensor, t: Tensor, s: Tensor) -> Categorical:
    """D3PM's kernel as printed: q(x_t | x_s) times the mean of q(x_s | x_0), without the posteriors' denominators."""
    process, p = model.process, model(x, t).mean
    every = torch.arange(process.vocab)
    up = process.renoise(every[None, None].expand(len(x), ENTRIES, -1), s, t).mean
    seen = up.gather(-1, x[..., None, None].expand(*up.shape[:-1], 1))[..., 0]
    a = process.alive(s)[:, None, None]
    return Categorical(logs(seen * (a * p + (1 - a) / process.vocab)))


def texts_of(symbols: int) -> Tensor:
    return torch.cartesian_prod(*(torch.arange(symbols) for _ in range(ENTRIES)))


def variation(model: Enumerated, steps: int, kernel: Kernel) -> float:
    """Total variation between the texts of a run of so many equal steps and the data."""
    process: Discrete = model.process
    states, times = texts_of(process.symbols), Uniform()(process, steps)
    law = process.prior((ENTRIES,)).repeat(len(states)).log_prob(states).exp()
    for t, s in zip(times, times[1:], strict=False):
        each = kernel(model, states, t.expand(len(states)), s.expand(len(states))).mean
        moves = torch.ones(len(states), len(states), dtype=torch.float64)
        for entry in range(ENTRIES):
            moves = moves * each[:, entry][:, states[:, entry]]
        law = law @ moves
    clean = (states < process.vocab).all(1)
    due = torch.zeros_like(law).masked_scatter(clean, model.log_prob(states[clean]).exp())
    return float((law - due).abs().sum() / 2)


def measure(s: Setting, seed: int) -> Numbers:
    """A random table a seed; and a random chain for the cache."""
    rng = Rng([seed])
    table, other = (1.5 * rng.normal(name, (VOCAB**ENTRIES,))[0].double() for name in ("table", "other"))
    found = dict[str, dict[str, float]]()
    for process in (Absorbing(VOCAB), Multinomial(VOCAB)):
        model = Enumerated(process, table)
        found |= {f"{type(process).__name__}, {n}": {"variation": variation(model, n, bridged)} for n in STEPS}
    found["printed, 64"] = {"variation": variation(model, 64, printed)}
    data, wrong = Enumerated(Absorbing(VOCAB), table), Enumerated(Absorbing(VOCAB), other)
    keys = rng.at("texts").repeat(s.draws).at(torch.arange(s.draws))
    x = data.text(keys.categorical("text", data.table.expand(s.draws, -1)))
    due = -float((data.table.exp() * wrong.table).sum())  # of a consistent model the bound is the likelihood itself
    for name, loss in LOSSES.items():
        nats = loss(wrong, x, NONE, keys.at("loss")).value.double()
        found[name] = {"errors": abs(float(nats.mean()) - due) / (float(nats.std()) / math.sqrt(s.draws))}
    start, *rows = (1.5 * rng.normal("chain", (5, 4))[0].double()).softmax(-1)
    chain, keys = Markov(Absorbing(4), start, torch.stack(rows), (s.entries,)), keys[: s.texts]
    for n in CALLS:
        meter, sampler = Counted(chain), Ancestral(n, grid=Uniform())
        kept = Reuse(sampler)(meter, rng=keys)
        due = (n - 1) * (1 - (1 - 1 / n) ** s.entries)
        found[f"cache, {n}"] = {"calls": (meter.rows / s.texts - 1) / due}
        if n <= 64:
            found[f"cache, {n}"]["differ"] = float((sampler(chain, rng=keys) != kept).sum())
    return found


def figures(seen: Seen) -> list[Figure]:
    """Variation against steps."""
    kinds = ("Absorbing", "Multinomial")
    lines = {name: [(n, seen.mean(at(f"{name}, {n}", "variation"))) for n in STEPS] for name in kinds}
    lines["as printed in D3PM"] = [(64, seen.mean(at("printed, 64", "variation")))]
    return [Figure("What factorising a step costs", "steps", "total variation", lines)]


def verdict(seen: Seen) -> Verdict:
    """What the page of the method asks of symbols that are enumerated."""

    def halved(name: str, n: int) -> Criterion:
        falls = ratio(at(f"{name}, {2 * n}", "variation"), at(f"{name}, {n}", "variation"))
        return seen.within(f"{name}: variation at {2 * n} steps over {n}", falls, 0.5, 0.1)

    def spared(n: int) -> Criterion:
        return seen.within(f"calls at {n} steps over the formula", at(f"cache, {n}", "calls"), 1.0, 0.03)

    return seen.all(
        *(halved(name, n) for name in ("Absorbing", "Multinomial") for n in (8, 16, 32)),
        seen.at_least("printed kernel over the mean of posteriors",
                      ratio(at("printed, 64", "variation"), at("Multinomial, 64", "variation")), 5.0),
        *(seen.always(f"{name}: standard errors from the cross-entropy", at(name, "errors"), 4.0) for name in LOSSES),
        *map(spared, CALLS),
        *(seen.always(f"symbols that differ at {n} steps", at(f"cache, {n}", "differ"), 0.0) for n in CALLS[:2]),
    )  # fmt: skip
