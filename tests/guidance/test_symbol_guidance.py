"""Guidance of symbols by the code that guides reals, against tables: tilted laws, given entries, intervals."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mezzotint.core import Categorical, Condition, Refusal, Rng
from mezzotint.denoiser import Counted, Denoiser, Enumerated
from mezzotint.guidance import CFG, Autoguidance, Known, between
from mezzotint.processes import Absorbing, Blockwise, Discrete, Multinomial
from mezzotint.samplers import Ancestral, AnyOrder, Confidence, Reuse, Sampler, Uniform
from mezzotint.testing.truth import table

V, L = 3, 3
TEXTS = torch.tensor(list(itertools.product(range(V), repeat=L)))
named = pytest.mark.parametrize("process", [Absorbing(V), Multinomial(V)], ids=lambda p: type(p).__name__)


def asked(process: Discrete) -> tuple[Tensor, Tensor, Condition]:
    """Corrupted texts at many times, with labels."""
    t = torch.linspace(0.05, 0.95, len(TEXTS), dtype=torch.float64)
    x = process.corrupt(TEXTS, t).sample(Rng(range(len(TEXTS))))
    return x, t, Condition(label=torch.arange(len(TEXTS)) % 2)


def tilted(strong: Tensor, weak: Tensor, scale: Tensor | float) -> Tensor:
    """p_s^w p_w^(1 - w), normalised, entry by entry; a hard zero of both stays one."""
    p = torch.where(strong > 0, strong, 1.0) ** scale * torch.where(weak > 0, weak, 1.0) ** (1 - scale)
    p = torch.where((strong > 0) | (weak > 0), p, 0.0)
    return p / p.sum(-1, keepdim=True)


def bayes(model: Enumerated, process: Discrete, x: Tensor, t: Tensor, label: int | None) -> Tensor:
    """p(x_0^i = v | x_t, label) by summing over texts, one number after the other."""
    joint = model.table.exp().sum(0) if label is None else model.table[label].exp()
    found = torch.zeros(L, V, dtype=torch.float64)
    for text, p in zip(TEXTS, joint, strict=True):
        chance = process.corrupt(text[None], t[None]).mean[0].gather(-1, x[:, None]).prod()
        for i, v in enumerate(text.tolist()):
            found[i, v] += p * chance
    return found / found.sum(-1, keepdim=True)


@named
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.5, -1.0])
def test_cfg_is_the_tilted_law(process: Discrete, scale: float) -> None:
    model = table(process)
    x, t, cond = asked(process)
    answer = CFG(model, scale)(x, t, cond).mean
    for row in range(0, len(x), 4):
        strong, weak = (bayes(model, process, x[row], t[row], label) for label in (int(cond["label"][row]), None))
        torch.testing.assert_close(answer[row], tilted(strong, weak, scale), rtol=0, atol=1e-9)


@named
def test_autoguidance_is_the_tilted_law(process: Discrete) -> None:
    model, bad = table(process), table(process, 1.5)
    x, t, cond = asked(process)
    answer = Autoguidance(model, bad, 1.7)(x, t, cond).mean
    for row in range(0, len(x), 4):
        label = int(cond["label"][row])
        strong, weak = (bayes(each, process, x[row], t[row], label) for each in (model, bad))
        torch.testing.assert_close(answer[row], tilted(strong, weak, 1.7), rtol=0, atol=1e-9)


@named
def test_an_interval_goes_by_the_level(process: Discrete) -> None:
    model = table(process)
    x, t, cond = asked(process)
    guided, plain, full = (m(x, t, cond).mean for m in (CFG(model, between(3.0, 0.3, 0.7)), model, CFG(model, 3.0)))
    inside = (process.level(t) > 0.3) & (process.level(t) < 0.7)
    assert 5 < int(inside.sum()) < 20
    assert torch.equal(guided[~inside], plain[~inside]) and torch.equal(guided[inside], full[inside])
    assert not torch.equal(guided[inside], plain[inside])


def test_what_depends_on_the_level_is_said_through_guidance() -> None:
    masks, redraws = table(Absorbing(V)), table(Multinomial(V))
    free: list[Denoiser] = [
        CFG(masks, 2.0),
        CFG(masks, "strength"),
        Known(CFG(masks, 2.0)),
        CFG(Known(Counted(masks)), 2.0),
        Autoguidance(masks, table(Absorbing(V), 1.0), 2.0),
        table(Blockwise(Absorbing(V), 3)),
    ]
    bound: list[Denoiser] = [CFG(masks, between(2.0, 0.2, 0.8)), CFG(redraws, 2.0), Known(redraws)]
    assert not any(model.uses_level for model in free) and all(model.uses_level for model in bound)


def test_guided_samples_are_of_the_tilted_law() -> None:
    """A text of one symbol, where the tilted answer at the prior is the tilted law."""
    model = table(Absorbing(V), entries=1)
    joint = model.table.exp()
    wanted = tilted(joint[1] / joint[1].sum(), joint.sum(0), 2.5)
    count = 3000
    x = Ancestral(3, grid=Uniform())(CFG(model, 2.5), Condition(label=torch.ones(count).long()), rng=Rng(range(count)))
    seen, due = torch.bincount(x[:, 0], minlength=V).double(), wanted * count
    assert float(((seen - due) ** 2 / due).sum()) < 13.8  # two degrees of freedom, 1 in 1000


GIVEN = torch.tensor([False, True, False])


def conditional(model: Enumerated, symbol: int) -> Tensor:
    p = model.table.logsumexp(0).softmax(0) * (TEXTS[:, 1] == symbol)
    return p / p.sum()


def known(count: int, symbol: int) -> Condition:
    x = torch.full((count, L), -7)  # what lies outside the mask is not read
    x[:, 1] = symbol
    return Condition(**{"known.x": x, "known.mask": GIVEN.expand(count, -1)})


@pytest.mark.parametrize("sampler", [AnyOrder(3), AnyOrder(2, "raster"), Reuse(AnyOrder(3))], ids=str)
@pytest.mark.parametrize("symbol", [0, 2])
def test_given_symbols_lead_to_the_exact_conditional_law(sampler: Sampler, symbol: int) -> None:
    """Though they are said when their turn comes, or last of all: the model is shown them from the start."""
    model, count = table(Absorbing(V)), 3000
    times = Uniform()(model.process, sampler.steps)
    x = sampler(Known(model), known(count, symbol), rng=Rng(range(count)), times=times)
    assert bool((x[:, 1] == symbol).all())
    wanted = conditional(model, symbol)
    seen, due = torch.bincount(model.number(x), minlength=len(TEXTS)).double(), wanted * count
    there = due > 0
    assert float(((seen - due) ** 2)[there].div(due[there]).sum()) < 26.1  # eight degrees of freedom, 1 in 1000
    joint = model.table.logsumexp(0).softmax(0)
    alone = torch.stack(
        [joint[(TEXTS[:, 0] == a)].sum() * joint[(TEXTS[:, 2] == c)].sum() for a, _, c in TEXTS.tolist()]
    )
    off = alone * (TEXTS[:, 1] == symbol) * count
    assert float(((seen - off) ** 2)[there].div(off[there]).sum()) > 60  # not the others' own law


@named
def test_given_symbols_are_forced_by_any_sampler(process: Discrete) -> None:
    x = Ancestral(5, grid=Uniform())(Known(table(process)), known(64, 2), rng=Rng(range(64)))
    assert bool((x[:, 1] == 2).all()) and len(x.unique(dim=0)) > 4


def test_rows_without_anything_known_are_plain() -> None:
    model, cond = table(Absorbing(V)), known(8, 1).drop("known")
    plain = AnyOrder(3, grid=Uniform())(model, rng=Rng(range(8)))
    assert torch.equal(AnyOrder(3, grid=Uniform())(Known(model), cond, rng=Rng(range(8))), plain)
    answer = Known(model)(torch.full((8, L), V), torch.ones(8).double(), known(8, 1))
    assert isinstance(answer, Categorical) and bool((answer.mean[:, 1] == torch.tensor([0.0, 1.0, 0.0])).all())


@pytest.mark.parametrize("sampler", [Ancestral(3), AnyOrder(3), Confidence(3)], ids=str)
def test_a_start_that_says_otherwise_is_refused(sampler: Sampler) -> None:
    """On masks it would stay as it is, beside entries that are drawn as if it were what is known."""
    times, start = torch.tensor([0.5, 0.25, 0.0]), torch.full((2, L), V)
    model = Known(table(Absorbing(V)))
    start[:, 1] = 2
    assert bool((sampler(model, known(2, 2), rng=Rng([0, 1]), times=times, start=start)[:, 1] == 2).all())
    with pytest.raises(Refusal, match="start with masks"):
        sampler(model, known(2, 0), rng=Rng([0, 1]), times=times, start=start)
