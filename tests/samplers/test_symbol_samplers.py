"""Samplers of symbols against laws that are enumerated: whole chains as matrices over all states, without noise."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Categorical, Condition, Distribution, Refusal, Rng
from mezzotint.denoiser import Denoiser, Enumerated
from mezzotint.processes import EDM, Absorbing, Blockwise, Discrete, Multinomial
from mezzotint.processes.alive import Geometric, Linear, Sine
from mezzotint.samplers import (
    Ancestral,
    AnyOrder,
    Confidence,
    Level,
    Sampler,
    State,
    TauLeaping,
    Transition,
    Uniform,
)
from mezzotint.testing.truth import mixture, table

V, L = 3, 3
TEXTS = torch.tensor(list(itertools.product(range(V), repeat=L)))


def law(model: Enumerated) -> Tensor:
    return model.table.logsumexp(0).softmax(0)


def states(process: Discrete, entries: int = L) -> Tensor:
    return torch.tensor(list(itertools.product(range(process.symbols), repeat=entries)))


def matrix(sampler: Transition, model: Denoiser, t: float, s: float) -> Tensor:
    """p(x_s | x_t) from every state to every state, from the sampler's own law."""
    process = model.process
    assert isinstance(process, Discrete)
    x = states(process, model.shape[0])
    t_, s_ = (torch.full((len(x),), value, dtype=torch.float64) for value in (t, s))
    p = sampler.transition(model, State(x, t_, Rng(range(len(x)))), s_, NONE).mean
    return p[:, torch.arange(x.shape[1]), x].prod(-1)  # (from, to): the product over entries


def end(sampler: Transition, model: Denoiser, times: Tensor | None = None) -> Tensor:
    """The exact law of clean texts at the end of a run from the prior."""
    process = model.process
    assert isinstance(process, Discrete)
    x = states(process, model.shape[0])
    now = process.prior((model.shape[0],)).mean[0][torch.arange(x.shape[1]), x].prod(-1)
    times = Uniform()(process, sampler.steps) if times is None else times
    for t, s in itertools.pairwise(times.tolist()):
        now = now @ matrix(sampler, model, t, s)
    clean = (x < process.vocab).all(1)
    assert float(now[~clean].sum()) < 1e-12 and float(now.sum()) == pytest.approx(1)
    return now[clean]


def away(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().sum() / 2)


@dataclass(frozen=True)
class Printed(Transition):
    """The kernel printed in D3PM (2107.03006, eq. 4), sum_v p(v) q(x_t | x_s) q(x_s | v), made to sum to one."""

    def transition(self, denoiser: Denoiser, state: State, s: Tensor, cond: Condition) -> Distribution:
        process, x, t = denoiser.process, state.x, state.t
        assert isinstance(process, Discrete)
        p = denoiser(x, t, cond).mean
        columns = []
        for y in range(process.symbols):
            up = process.renoise(torch.full_like(x, y), s, t).mean.gather(-1, x[..., None])[..., 0]
            down = sum(p[..., v] * process.corrupt(torch.full_like(x, v), s).mean[..., y] for v in range(process.vocab))
            columns.append(up * down)
        law = torch.stack(columns, -1)
        # States that no run reaches, as a symbol said at t = 1, have no posterior at all.
        return Categorical(torch.where(law.sum(-1, keepdim=True) > 0, law, 1.0).log())


PROCESSES = [Absorbing(V), Multinomial(V)]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)


@named
@pytest.mark.parametrize("kind", [Ancestral, TauLeaping])
def test_more_steps_come_to_the_joint_in_proportion(kind: type[Transition], process: Discrete) -> None:
    model = table(process)
    off = {steps: away(end(kind(steps, grid=Uniform()), model), law(model)) for steps in (1, 2, 4, 8, 16, 32, 64)}
    assert off[1] > 0.15 and off[64] < 0.02
    for steps in (8, 16, 32):
        assert 0.4 < off[2 * steps] / off[steps] < 0.6


@named
def test_one_step_is_the_product_of_marginals(process: Discrete) -> None:
    model = table(process)
    p = law(model)
    single = [torch.stack([p[TEXTS[:, i] == v].sum() for v in range(V)]) for i in range(L)]
    product = torch.stack([single[i][TEXTS[:, i]] for i in range(L)], 1).prod(1)
    for sampler in (Ancestral(1, grid=Uniform()), TauLeaping(1, grid=Uniform())):
        torch.testing.assert_close(end(sampler, model), product, rtol=0, atol=1e-12)


def test_the_kernel_printed_in_d3pm_is_right_on_masks_only() -> None:
    for steps in (4, 16):
        model = table(Absorbing(V))
        ours, printed = (end(kind(steps, grid=Uniform()), model) for kind in (Ancestral, Printed))
        torch.testing.assert_close(printed, ours, rtol=0, atol=1e-12)
    model = table(Multinomial(V))
    off = [away(end(Printed(steps, grid=Uniform()), model), law(model)) for steps in (8, 16, 32, 64)]
    ours = [away(end(Ancestral(steps, grid=Uniform()), model), law(model)) for steps in (8, 64)]
    assert min(off) > 0.1 and off[-1] > 0.8 * off[0]  # it does not fall
    assert ours[1] < 0.02 and ours[1] < 0.2 * off[-1]


def test_any_eta_has_the_same_marginals_of_one_symbol() -> None:
    """A text of one symbol has nothing to miss, whatever share is redrawn."""
    for process in PROCESSES:
        model = table(process, entries=1)
        for eta in (0.0, 0.5, 1.0):
            torch.testing.assert_close(end(Ancestral(5, eta, grid=Uniform()), model), law(model), rtol=0, atol=1e-12)


def coupled(seed: int) -> Enumerated:
    """ImageBART's toy: six sites of two symbols, energies 2 / sqrt(6) N(0, 1) a pair of symbols, 0.3 N(0, 1) each."""
    draws = torch.Generator().manual_seed(seed)
    pairs = 2 / 6**0.5 * torch.randn(6, 6, 2, 2, generator=draws, dtype=torch.float64)
    fields = 0.3 * torch.randn(6, 2, generator=draws, dtype=torch.float64)
    x = states(Multinomial(2), 6)
    energy = fields[torch.arange(6), x].sum(1)
    for i, j in itertools.combinations(range(6), 2):
        energy = energy + pairs[i, j][x[:, i], x[:, j]]
    return Enumerated(Multinomial(2), energy)


def test_what_imagebart_loses_without_autoregression() -> None:
    """Chains of factorised steps, 12 seeds: 0.251, 0.170, 0.121, 0.093, 0.047, 0.023, 0.011 at these T."""
    models, found, errors = [coupled(seed) for seed in range(12)], {}, {}
    for steps in (1, 2, 3, 4, 8, 16, 32):
        sampler = Ancestral(steps, grid=Uniform())
        each = torch.tensor([away(end(sampler, model), law(model)) for model in models])
        found[steps], errors[steps] = float(each.mean()), float(each.std()) / 12**0.5
    page = {1: 0.251, 2: 0.170, 3: 0.121, 4: 0.093, 8: 0.047, 16: 0.023, 32: 0.011}  # of other seeds
    assert all(abs(found[steps] - page[steps]) < 2.5 * errors[steps] for steps in page)
    assert 0.06 < found[4] < 0.13
    assert 0.4 < found[8] / found[4] < 0.6 and 0.4 < found[32] / found[16] < 0.6
    assert all(a > b for a, b in itertools.pairwise(found.values()))


def test_tau_leaping_is_ancestral_where_noise_is_log_linear() -> None:
    """(t - s) / t both, to the end; RADD's end of 1e-3 as well. With another schedule they differ."""
    for schedule in (Linear(), Linear(end=1e-3)):
        model = table(Absorbing(V, schedule))
        for t, s in ((1.0, 0.75), (0.75, 0.3), (0.3, 1e-3), (0.3, 0.0)):
            both = [matrix(kind(4, grid=Uniform()), model, t, s) for kind in (Ancestral, TauLeaping)]
            torch.testing.assert_close(both[1], both[0], rtol=0, atol=1e-12)
    model = table(Absorbing(V, Sine()))
    both = [matrix(kind(4, grid=Uniform()), model, 0.75, 0.5) for kind in (Ancestral, TauLeaping)]
    assert float((both[1] - both[0]).abs().max()) > 1e-2


@named
def test_tau_leaping_has_the_rates_of_the_reverse_process(process: Discrete) -> None:
    """d p_t / dt by enumeration: flows into and out of every state, balanced by the exact reverse rates."""
    model = table(process)
    x, t, h = states(process), 0.6, 1e-5

    def marginal(at: float) -> Tensor:
        each = process.corrupt(TEXTS, torch.full((len(TEXTS),), at, dtype=torch.float64)).mean
        spread = each[:, None, torch.arange(L)].expand(-1, len(x), -1, -1).gather(-1, x[None, ..., None].expand(
            len(TEXTS), -1, -1, 1
        ))  # fmt: skip
        return law(model) @ spread[..., 0].prod(-1)

    falling = (marginal(t - h) - marginal(t + h)) / (2 * h)  # downwards in t
    step = matrix(TauLeaping(4, grid=Uniform()), model, t, t - h) - torch.eye(len(x))
    torch.testing.assert_close(marginal(t) @ step / h, falling, rtol=0, atol=1e-3)


def test_tau_leaping_clips_and_leaves_no_mask() -> None:
    model = table(Absorbing(V, Geometric()))
    for t, s in ((1.0, 0.9), (0.9, 0.2), (0.2, 0.0)):
        found = matrix(TauLeaping(4, grid=Uniform()), model, t, s)
        assert bool((found >= 0).all()) and torch.allclose(found.sum(1), torch.ones(len(found)).double())
    assert away(end(TauLeaping(200, grid=Uniform()), model), law(model)) < 0.1


def drawn(sampler: Sampler, model: Enumerated, count: int, times: Tensor | None = None) -> Tensor:
    times = Uniform()(model.process, sampler.steps) if times is None else times
    x = sampler(model, rng=Rng(range(count)), times=times)
    return torch.bincount(model.number(x), minlength=model.table.shape[-1]).double()


def chi_square(seen: Tensor, wanted: Tensor) -> float:
    due = wanted * seen.sum()
    kept = due > 1e-9
    assert not seen[~kept].any()
    return float((((seen - due) ** 2)[kept] / due[kept]).sum())


@pytest.mark.parametrize("order", ["random", "raster"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_any_order_has_the_joint_law_on_any_grid(order: str, steps: int) -> None:
    model = table(Absorbing(V))
    seen = drawn(AnyOrder(steps, order), model, 3000)
    assert chi_square(seen, law(model)) < 54.1  # 26 degrees of freedom, 1 in 1000
    one = end(Ancestral(1, grid=Uniform()), model)
    assert chi_square(seen, one) > 150  # the product of marginals is another


def test_any_order_says_as_many_as_the_schedule_and_one_a_question() -> None:
    process = Absorbing(V, Sine())
    model = Enumerated(process, [0.0] * V**6, (2, 3))
    times = Uniform()(process, 5)
    for sampler in (AnyOrder(5), AnyOrder(5, "raster")):
        walk = list(sampler.trajectory(model, rng=Rng(range(30)), times=times))
        for now, t in zip(walk, times, strict=True):
            masked = (now.x == V).flatten(1).sum(1)
            assert torch.equal(masked, torch.full((30,), round(6 * float(process.level(t)))))
    first = [s.x.flatten(1) for s in AnyOrder(5, "raster").trajectory(model, rng=Rng(range(30)), times=times)]
    for x in first:
        assert bool(((x == V).long().diff(dim=1) >= 0).all())  # said from the left
    places = [s.x.flatten(1) for s in AnyOrder(6).trajectory(model, rng=Rng(range(3000)), times=torch.tensor([1, 0.7]))]
    said = (places[1] != V).double().mean(0)
    assert float((said - said.mean()).abs().max()) < 0.05 and 0 < float(said.mean()) < 1  # every place alike


def test_any_order_of_blocks_is_left_to_right() -> None:
    process = Blockwise(Absorbing(V), 3)
    model = Enumerated(process, table(Absorbing(V)).table.logsumexp(0))
    seen = drawn(AnyOrder(3, "raster"), model, 3000)
    assert chi_square(seen, law(table(Absorbing(V)))) < 54.1
    exact = end(Ancestral(3, grid=Uniform()), model)  # one entry a step: nothing is drawn at once
    torch.testing.assert_close(exact, law(table(Absorbing(V))), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "sampler", [AnyOrder(1), AnyOrder(1, "raster"), Confidence(1), Confidence(1, temperature=0.0)], ids=str
)
@pytest.mark.parametrize("steps", [2, 4, 8, 3])
def test_a_block_is_said_before_the_next_one(sampler: Sampler, steps: int) -> None:
    """Without it the second block is said before what it follows, and no state on the way is one that was trained."""
    process = Blockwise(Absorbing(2), 2)
    model = Enumerated(process, table(Absorbing(2), entries=4).table)
    times = Uniform()(process, steps)
    walk = list(replace(sampler, steps=steps).trajectory(model, rng=Rng(range(50)), times=times))
    for now, t in zip(walk, times, strict=True):
        masked = torch.eq(now.x, process.mask)
        due = process.lost(t.expand(len(masked)), now.x)
        assert not bool((masked[:, :2].any(1) & ~masked[:, 2:].all(1)).any())
        if steps == 4:  # one entry a step
            assert torch.equal(masked.sum(1), due.sum(1).round().long())


def surest(model: Enumerated, counts: list[int]) -> Tensor:
    """The law of MaskGIT's decoding without noise, by enumerating everything that may be drawn."""
    ends: dict[tuple[int, ...], float] = {}

    def walk(x: tuple[int, ...], chance: float, left: list[int]) -> None:
        if not left:
            ends[x] = ends.get(x, 0.0) + chance
            return
        masked = [i for i in range(L) if x[i] == V]
        p = model(torch.tensor([x]), torch.full((1,), 0.5).double()).mean[0]
        for symbols in itertools.product(range(V), repeat=len(masked)):
            each = [float(p[i, v]) for i, v in zip(masked, symbols, strict=True)]
            best = sorted(range(len(masked)), key=lambda k: -each[k])[: len(masked) - left[0]]
            y = list(x)
            for k in best:
                y[masked[k]] = symbols[k]
            walk(tuple(y), chance * float(torch.tensor(each).double().prod()), left[1:])

    walk((V,) * L, 1.0, counts)
    return torch.tensor([ends.get(tuple(text), 0.0) for text in TEXTS.tolist()], dtype=torch.float64)


def test_confidence_keeps_the_surest() -> None:
    model = table(Absorbing(V))
    wanted = surest(model, [2, 1, 0])
    seen = drawn(Confidence(3, temperature=0.0), model, 4000)
    assert chi_square(seen, wanted) < 54.1
    assert away(wanted, law(model)) > 0.05 and chi_square(seen, law(model)) > 100  # it is not the model's law


def test_confidence_without_end_of_noise_is_any_order() -> None:
    model = table(Absorbing(V))
    assert chi_square(drawn(Confidence(3, temperature=1e9), model, 4000), law(model)) < 54.1


@pytest.mark.parametrize("temperature", [0.6, 1.5])
def test_confidence_draws_places_by_probability_to_the_power_of_one_over_the_noise(temperature: float) -> None:
    """The largest of log p + c Gumbel is at i with probability p_i^(1/c) over their sum; c falls with the time."""
    model = Enumerated(Absorbing(V), 4 * table(Absorbing(V)).table.logsumexp(0))
    to, count = 2 / 3, 8000  # one of three entries is said
    p = model(torch.full((1, L), V), torch.ones(1).double()).mean[0]
    wanted = torch.zeros(L, V, dtype=torch.float64)
    for text in TEXTS.tolist():
        each = p[range(L), text]
        chosen = each ** (1 / (temperature * to))
        for i, v in enumerate(text):
            wanted[i, v] += each.prod() * chosen[i] / chosen.sum()
    walk = Confidence(1, temperature=temperature).trajectory(model, rng=Rng(range(count)), times=torch.tensor([1, to]))
    x = list(walk)[-1].x
    seen = torch.stack([(x == v).sum(0) for v in range(V)], 1)
    assert chi_square(seen.double().flatten(), wanted.flatten()) < 26.1  # 8 degrees of freedom, 1 in 1000


def test_confidence_says_one_at_least_in_every_step() -> None:
    model = table(Absorbing(V))
    walk = list(Confidence(50).trajectory(model, rng=Rng(range(5)), times=Uniform()(model.process, 50)))
    masked = torch.stack([(s.x == V).sum(1) for s in walk], 1)
    assert bool((masked[:, :4] == torch.tensor([3, 2, 1, 0])).all())


@pytest.mark.parametrize(
    "sampler", [Ancestral(6), TauLeaping(6), AnyOrder(6), Confidence(6)], ids=lambda s: type(s).__name__
)
def test_what_was_said_never_changes(sampler: Sampler) -> None:
    model = table(Absorbing(V))
    walk = list(sampler.trajectory(model, rng=Rng(range(200)), times=Level()(model.process, 6)))
    for before, after in itertools.pairwise(walk):
        said = before.x != V
        assert torch.equal(after.x[said], before.x[said])
    assert bool((walk[-1].x < V).all())


def test_refusals() -> None:
    masks = (AnyOrder(2, grid=Uniform()), Confidence(2, grid=Uniform()))
    for sampler in masks:
        with pytest.raises(Refusal, match="process that masks"):
            sampler(table(Multinomial(V)), rng=Rng([0]))
    for sampler in (*masks, TauLeaping(2, grid=Uniform())):
        with pytest.raises(Refusal, match=r"process that masks|process of symbols"):
            sampler(mixture(EDM()), rng=Rng([0]))
    with pytest.raises(Refusal, match="no order"):
        AnyOrder(2, "rastr")
    with pytest.raises(Refusal, match="temperature"):
        Confidence(2, temperature=-1.0)


@pytest.mark.parametrize(
    "sampler", [Ancestral(4), TauLeaping(4), AnyOrder(4), Confidence(4)], ids=lambda s: type(s).__name__
)
@pytest.mark.parametrize("shape", [(2, 2), (1, 4, 1)])
def test_any_shape_of_symbols(sampler: Sampler, shape: tuple[int, ...]) -> None:
    """Pictures and volumes of symbols are the texts of their entries, row by row."""
    flat = table(Absorbing(2), entries=4)
    model = Enumerated(Absorbing(2), flat.table, shape)
    times = Uniform()(flat.process, 4)
    x = sampler(model, rng=Rng(range(20)), times=times)
    assert x.shape == (20, *shape)
    assert torch.equal(x.flatten(1), sampler(flat, rng=Rng(range(20)), times=times))
    assert torch.equal(sampler(model, rng=Rng([7]), times=times)[0], x[7])
