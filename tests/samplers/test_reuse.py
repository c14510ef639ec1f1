"""Reuse: the same bits for fewer questions, as many as the formula says, and never an answer that is out of date."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Chunked, Counted, Denoiser, Markov
from mezzotint.guidance import CFG, between
from mezzotint.processes import EDM, Absorbing, Blockwise, Multinomial
from mezzotint.samplers import Ancestral, AnyOrder, Confidence, Euler, Reuse, Sampler, TauLeaping, Uniform
from mezzotint.testing.truth import mixture, table

MOVES = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]


def text(entries: int) -> Markov:
    return Markov(Absorbing(3), [0.5, 0.3, 0.2], MOVES, (entries,))


@pytest.mark.parametrize(("steps", "rows"), [(16, 16), (64, 64), (256, 16), (1024, 8)])
def test_a_row_costs_as_many_questions_as_it_has_changes(steps: int, rows: int) -> None:
    """n (1 - (1 - 1/n)^l) within 3 %; with the first and the last step counted as they are, closer still."""
    length, met = 64, Counted(text(64))
    Reuse(Ancestral(steps, grid=Uniform()))(met, rng=Rng(range(rows)))
    changes = 1 - (1 - 1 / steps) ** length
    assert met.rows / rows == pytest.approx(steps * changes, rel=0.03)
    assert met.rows / rows == pytest.approx(1 + (steps - 1) * changes, rel=0.02)
    assert met.rows <= rows * length and met.calls <= steps


@pytest.mark.parametrize(
    "sampler",
    [Ancestral(40, grid=Uniform()), TauLeaping(40, grid=Uniform()), AnyOrder(9), Confidence(20), Ancestral(40, 0.0)],
    ids=lambda s: f"{type(s).__name__} {getattr(s, 'eta', '')}",
)
def test_the_same_bits_for_less(sampler: Sampler) -> None:
    plain, met = Counted(text(12)), Counted(text(12))
    times = Uniform()(text(12).process, sampler.steps)
    one = sampler(plain, rng=Rng(range(30)), times=times)
    other = Reuse(sampler)(met, rng=Rng(range(30)), times=times)
    assert torch.equal(one, other)
    assert met.rows <= plain.rows
    if not isinstance(sampler, AnyOrder):  # every question of which follows a change
        assert met.rows < 0.7 * plain.rows


def test_the_same_bits_under_a_network() -> None:
    module: Any = pytest.importorskip("mezzotint.networks.token_transformer")
    tokens: Any = pytest.importorskip("mezzotint.denoiser.tokens")
    torch.manual_seed(0)
    network = module.TokenTransformer(6, 5, (4, 4), width=32, depth=2, heads=2)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    model = Chunked(tokens.Tokens(network, Absorbing(5)).eval(), 8)
    sampler, met = Ancestral(64, grid=Uniform()), Counted(model)
    one = sampler(model, rng=Rng(range(11)))
    assert torch.equal(one, Reuse(sampler)(met, rng=Rng(range(11)))) and met.rows < 11 * 20
    assert len(torch.unique(one.flatten(1), dim=0)) == 11


def walk(sampler: Sampler, model: Denoiser, state: Any, levels: list[float], cond: Condition) -> Any:
    for s in levels:
        state = sampler.step(model, state, s, cond)
    return state


def test_every_row_is_told_its_own_and_a_new_condition_is_asked_about() -> None:
    met, cond = Counted(table(Absorbing(3))), Condition(label=torch.arange(40) % 2)
    sampler = Ancestral(30, grid=Uniform())
    plain = sampler(met, cond, rng=Rng(range(40)))
    assert torch.equal(Reuse(sampler)(met, cond, rng=Rng(range(40))), plain)
    start = next(sampler.trajectory(met, cond, rng=Rng(range(40))))
    falling, low = [0.99, 0.98], [0.5, 0.2, 0.0]
    for other in (Condition(label=1 - cond["label"]), cond.drop("label")):
        ends = []
        for runner in (sampler, Reuse(sampler)):
            now = walk(runner, met, start, falling, cond)
            ends.append(walk(runner, met, now, low, other).x)
        assert torch.equal(*ends)
    now = walk(Reuse(sampler), met, start, falling, cond)
    met.reset()
    told = Condition(label=torch.where(torch.arange(40) < 7, 1 - cond["label"], cond["label"]))
    same = (now.x == now.memory[0]).all(1)  # nobody changed in the last step, so their answers still stand
    Reuse(sampler).step(met, now, 0.97, told)
    assert met.rows == int((~same | (torch.arange(40) < 7)).sum()) < 40


def test_what_was_changed_from_outside_is_asked_about_and_what_rose_forgets() -> None:
    met, runner = Counted(table(Absorbing(3))), Reuse(Ancestral(30, grid=Uniform()))
    start = next(runner.trajectory(met, rng=Rng(range(20))))
    now = walk(runner, met, start, [0.999], Condition())
    x = now.x.clone()
    x[4, 1] = 2
    met.reset()
    after = runner.step(met, replace(now, x=x), 0.998)
    assert met.rows == int((x != now.memory[0]).any(1).sum()) < 5
    assert torch.equal(after.x[4], Ancestral(30).step(met, replace(now, x=x, memory=()), 0.998).x[4])
    s = torch.full((20,), 0.998, dtype=torch.float64)
    s[:6] = 1.0  # back up, though nothing was said that could be lost
    risen = runner.step(met, now, s)
    assert not any(bool(memory[:6].any()) for memory in risen.memory) and all(bool(m[6:].any()) for m in risen.memory)
    met.reset()
    runner.step(met, risen, 0.99)
    assert met.rows >= 6


def test_rows_that_wait_are_neither_asked_about_nor_forgotten() -> None:
    met, runner = Counted(text(8)), Reuse(Ancestral(30, grid=Uniform()))
    start = next(runner.trajectory(met, rng=Rng(range(6))))
    now = walk(runner, met, start, [0.999], Condition())
    s = torch.tensor([0.999, 0.999, 0.999, 0.998, 0.998, 0.998], dtype=torch.float64)
    later = runner.step(met, now, s)
    for before, after in zip(now.memory, later.memory, strict=True):
        assert torch.equal(before[:3], after[:3])


def test_under_guidance_and_where_the_level_counts() -> None:
    cond, sampler = Condition(label=torch.arange(12) % 2), Ancestral(60, grid=Uniform())
    for scale, reused in ((2.0, True), (between(2.0, 0.2, 0.8), False)):
        met = Counted(table(Absorbing(3)))
        model = CFG(met, scale)
        assert model.uses_level is not reused
        one = sampler(model, cond, rng=Rng(range(12)))
        whole = met.rows
        met.reset()
        assert torch.equal(Reuse(sampler)(model, cond, rng=Rng(range(12))), one)
        assert (met.rows < 0.2 * whole) if reused else (met.rows == whole)
    for process in (Multinomial(3), Blockwise(Absorbing(3), 3)):
        met = Counted(table(process))
        one = sampler(met, rng=Rng(range(12)))
        whole = met.rows
        met.reset()
        assert torch.equal(Reuse(sampler)(met, rng=Rng(range(12))), one)
        assert (met.rows == whole) is (process.mask is None)


def test_reals_pass_through_and_refusals() -> None:
    sampler = Euler(6)
    cond = Condition(label=torch.arange(3))
    model = mixture(EDM())
    assert torch.equal(Reuse(sampler)(model, cond, rng=Rng(range(3))), sampler(model, cond, rng=Rng(range(3))))
    with pytest.raises(Refusal, match="runs a sampler"):
        Reuse("Ancestral")  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="leave out the inner"):
        Reuse(Reuse(sampler))
    walk = Reuse(AnyOrder(3))
    state = next(walk.trajectory(text(3), rng=Rng([0]), times=torch.tensor([1.0, 0.5])))
    with pytest.raises(Refusal, match="no draw from a law"):
        walk.transition(text(3), state, torch.tensor([0.5]).double(), Condition())
