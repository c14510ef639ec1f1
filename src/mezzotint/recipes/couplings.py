"""Binary sites with random couplings, every state enumerated: what a chain of autoregressive stages loses by law.

    log p(x) = sum over pairs J_ij(x_i, x_j) + sum over sites h_i(x_i) + const,    J ~ N(0, 4 / L),  h ~ N(0, 0.09),

a table J_ij of 2 x 2 numbers for every pair. Transition matrices over all states are multiplied, nothing is drawn.
A row stands for a number of equal stages; its columns are total variations. ``chain`` and ``factorised`` are between
the law of what a run ends in and the data: stages that are joint laws, and products of their exact marginals.
``completing`` is of the first half of the sites given the second, averaged over the second: known sites are shown
clean at every stage.
``redrawn`` shows them as noisy as the rest. ``tables`` is ``factorised``, averaged over eight tables.
"""

from __future__ import annotations

from functools import cache, reduce

import torch
from torch import Tensor

from mezzotint.core.condition import NONE, Condition
from mezzotint.core.distribution import Categorical
from mezzotint.core.rng import Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.enumerated import Enumerated
from mezzotint.denoiser.enumerated_chain import EnumeratedChain
from mezzotint.denoiser.raster import Raster
from mezzotint.evidence.recipe import Setting
from mezzotint.evidence.verdict import Criterion, Figure, Numbers, Seen, Verdict, at, ratio
from mezzotint.guidance.known import Known
from mezzotint.processes.alive import Knots
from mezzotint.processes.multinomial import Multinomial
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.base import State

SITES, VOCAB, TABLES = 6, 2, 8
KNOWN = SITES // 2
STAGES = (1, 2, 3, 4, 8, 16, 32)
CUSTOM = (1.0, 0.848, 0.653, 0.0)
"""The paper's schedule of three stages: what is alive after each."""


@cache
def states() -> Tensor:
    """Every state there is, int64 (2^L, L), in the order of the table."""
    return torch.cartesian_prod(*(torch.arange(VOCAB) for _ in range(SITES)))


def couplings(seed: int, number: int = 0) -> Tensor:
    """log p of every state, unnormalised, float64 (2^L,): so many tables a seed."""
    rng, pairs = Rng([seed]).at("table", number), [(i, j) for i in range(SITES) for j in range(i + 1, SITES)]
    bound = rng.normal("couplings", (len(pairs), VOCAB, VOCAB))[0].double() * 2 / SITES**0.5
    alone = rng.normal("fields", (SITES, VOCAB))[0].double() * 0.3
    x = states()
    said = torch.zeros(len(x), dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        said = said + bound[k, x[:, i], x[:, j]]
    for i in range(SITES):
        said = said + alone[i, x[:, i]]
    return said


def variation(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().sum() / 2)


def moves(law: Raster) -> Tensor:
    """The probability of every state by the law of each row, (rows, 2^L)."""
    many = len(states())
    wide = law[torch.arange(len(law)).repeat_interleave(many)]
    return wide.log_prob(states().repeat(len(law), 1)).exp().reshape(len(law), many)


def kernels(model: Denoiser, cond: Condition = NONE) -> list[Tensor]:
    """The transition matrix (2^L, 2^L) of every stage."""
    assert model.times is not None
    answers = [model(states(), t.expand(len(states())), cond) for t in model.times]
    return [moves(answer) for answer in answers if isinstance(answer, Raster)]


def walked(start: Tensor, steps: list[Tensor]) -> Tensor:
    """The law of what a chain ends in, from the law of where it starts."""
    return reduce(torch.matmul, steps, start)


def factorised(model: Enumerated, stages: int) -> Tensor:
    """The law of what a run of so many equal steps ends in, each the product of its exact marginals."""
    law = torch.full((len(states()),), 1 / len(states()), dtype=torch.float64)
    times = torch.arange(stages, -1, -1, dtype=torch.float64) / stages
    for t, s in zip(times, times[1:], strict=False):
        rows = State(states(), t.expand(len(states())), Rng(range(len(states()))))
        answer = Ancestral(1).transition(model, rows, s.expand(len(states())), NONE)
        assert isinstance(answer, Categorical)
        sites = range(SITES)
        law = law @ torch.stack([answer.mean[:, site][:, states()[:, site]] for site in sites]).prod(0)
    return law


def redrawn(model: EnumeratedChain, steps: list[Tensor], due: Tensor) -> Tensor:
    """The law of a completion where the known sites are drawn anew from q(x_t | x_0) before every stage."""
    assert model.times is not None
    half = VOCAB**KNOWN
    law = torch.full((half, half), 1 / half, dtype=torch.float64)  # of the first half, for every second half
    clean = states()[:half]  # their second halves are all there are
    for t, step in zip(model.times, steps, strict=True):
        first = step.reshape(half, half, half, half).sum(-1)  # (first, second at t) -> first at s
        law = torch.einsum("ya,yb,abc->yc", law, noised(model, clean, t), first)
    return law.T * due.reshape(half, half).sum(0)


def noised(model: EnumeratedChain, clean: Tensor, t: Tensor) -> Tensor:
    """q(second half at t | second half), (2^K, 2^K)."""
    law = model.process.corrupt(clean, t.expand(len(clean)))
    assert isinstance(law, Categorical)
    sites = range(SITES - KNOWN, SITES)
    return torch.stack([law.mean[:, site][:, clean[:, site]] for site in sites]).prod(0)


def measure(s: Setting, seed: int) -> Numbers:
    """Total variations by the number of stages, and of the paper's schedule of three."""
    logits = couplings(seed)
    due, half = logits.softmax(0), VOCAB**KNOWN
    start = torch.full((len(due),), 1 / len(due), dtype=torch.float64)
    known = Condition(
        **{"known.x": states(), "known.mask": (torch.arange(SITES) >= SITES - KNOWN).expand(len(due), SITES)}
    )
    second = due.reshape(half, half).sum(0).repeat(half) / half  # what is known is drawn from the data, the rest evenly
    table = Enumerated(Multinomial(VOCAB), logits)
    found = dict[str, dict[str, float]]()
    for name, process, stages in (
        *((str(n), Multinomial(VOCAB), n) for n in STAGES),
        ("custom", Multinomial(VOCAB, Knots(CUSTOM)), len(CUSTOM) - 1),
    ):
        times = (torch.arange(stages, 0, -1, dtype=torch.float64) / stages).tolist()
        model = EnumeratedChain(process, logits, times=times)
        steps = kernels(model)
        row = {
            "chain": variation(walked(start, steps), due),
            "completing": variation(walked(second, kernels(Known(model), known)), due),
            "redrawn": variation(redrawn(model, steps, due).flatten(), due),
        }
        found[name] = row if name == "custom" else row | {"factorised": variation(factorised(table, stages), due)}
    others = [variation(factorised(Enumerated(Multinomial(VOCAB), y), 4), y.softmax(0)) for y in more(seed)]
    found["4"]["tables"] = (found["4"]["factorised"] + sum(others)) / TABLES
    return found


def more(seed: int) -> list[Tensor]:
    """The further tables of a seed."""
    return [couplings(seed, number) for number in range(1, TABLES)]


def figures(seen: Seen) -> list[Figure]:
    """What both kinds of stages lose, and completions, against how many there are."""

    def line(column: str) -> list[tuple[float, float]]:
        return [(n, seen.mean(at(str(n), column))) for n in STAGES]

    return [
        Figure("What factorising a stage costs", "stages", "total variation", {n: line(n) for n in LINES[:2]}),
        Figure("The first half given the second", "stages", "total variation", {n: line(n) for n in LINES[2:]}),
    ]


LINES = ("chain", "factorised", "completing", "redrawn")


def verdict(seen: Seen) -> Verdict:
    """What the page of the method asks of enumerated states."""
    longer = [str(n) for n in STAGES[1:]]
    raster = at("1", "completing")

    def halved(n: int) -> Criterion:
        falls = ratio(at(str(2 * n), "factorised"), at(str(n), "factorised"))
        return seen.within(f"factorised: variation at {2 * n} stages over {n}", falls, 0.5, 0.1)

    def nearer(name: str) -> tuple[Criterion, ...]:
        over = ratio(at(name, "completing"), raster)
        return (
            seen.at_most(f"completing, {name}: variation over raster order's", over, 0.75),
            seen.always(f"completing, {name}: the same at every seed", over, 1.0),
        )

    return seen.all(
        *(seen.always(f"chain, {n}: variation", at(n, "chain"), 1e-10) for n in ("1", *longer, "custom")),
        seen.within("factorised, 4: variation, eight tables", at("4", "tables"), 0.095, 0.035),
        *map(halved, (4, 16)),
        *(found for name in (*longer, "custom") for found in nearer(name)),
        *(
            seen.at_most(
                f"completing: variation at {n} stages over {m}", ratio(at(n, "completing"), at(m, "completing")), 1.0
            )
            for m, n in zip(longer, longer[1:], strict=False)
        ),
        seen.more_often("completing, 4: less when clean", lambda n: n["4"]["redrawn"] - n["4"]["completing"]),
    )
