"""The bound of masked symbols on a table whose every text is known: the losses' own values, every draw enumerated.

Nothing here restates a loss. A :class:`Told` hands the objective the uniforms that lead to one mask at one level, the
objective says what that costs, and the sum over all of them with their probabilities is its mean: over masks exactly,
over levels by Gauss-Legendre nodes, which are exact for the polynomials that losses are in the level.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Categorical, Refusal, Rng
from mezzotint.denoiser import Denoiser, Enumerated
from mezzotint.denoiser.base import Wrapper
from mezzotint.objectives import (
    Bound,
    Importance,
    LevelBound,
    LogNormal,
    Objective,
    OrderBound,
    TimeBound,
    UniformTimes,
)
from mezzotint.processes import EDM, Absorbing, Blockwise, Discrete, Multinomial
from mezzotint.processes.alive import Alive, Geometric, Linear, Sine
from mezzotint.testing.truth import Guess, mixture, table

V, L = 3, 3
NODES, SHARES = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(24))
LEVELS, SHARES = (NODES + 1) / 2, SHARES / 2
NEAR_ONE = 1 - 2.0**-53


class Told(Rng):
    """Keys that give prescribed uniforms, by the path that leads to them."""

    def __init__(self, count: int, told: dict[tuple[str, ...], Tensor], path: tuple[str, ...] = ()) -> None:
        super().__init__(range(count))
        for name, value in {"told": told, "path": path}.items():
            object.__setattr__(self, name, value)

    def at(self, *path: object) -> Told:
        return Told(len(self), self.told, (*self.path, *map(str, path)))

    def uniform(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return self.told[(*self.path, name)].reshape(-1, *shape)


class Warm(Wrapper):
    """The exact answer at another temperature: conditionals of no joint law at all, so no order is like another."""

    def __init__(self, denoiser: Denoiser, temperature: float) -> None:
        super().__init__(denoiser)
        self.temperature = temperature

    def forward(self, x: Tensor, t: Tensor, cond=NONE, want=()) -> Categorical:  # type: ignore[no-untyped-def]
        return Categorical(self.denoiser(x, t, cond, want).logits / self.temperature)


TEXTS = torch.tensor(list(itertools.product(range(V), repeat=L)))
MASKS = torch.tensor(list(itertools.product([False, True], repeat=L)))


def truth(process: Discrete) -> Enumerated:
    return table(process)


def shares(model: Denoiser) -> Tensor:
    return model.table.logsumexp(0).softmax(0)  # type: ignore[operator, no-any-return]


def entropy(model: Enumerated) -> float:
    p = shares(model)
    return float(-(p * p.log()).sum())


def everything() -> Iterator[tuple[Tensor, Tensor]]:
    """Every text beside every mask: (216, L) each."""
    yield TEXTS.repeat_interleave(len(MASKS), 0), MASKS.repeat(len(TEXTS), 1)


def masked_at(objective: Objective, model: Denoiser, share: float, place: float, noise: str) -> Tensor:
    """E over texts and masks of the objective's value, where each entry is masked with this probability.

    Arguments:
        place: the uniform that makes the objective draw this level.
        noise: the name of the uniforms that mask.
    """
    ((x, lost),) = everything()
    told = {
        ("levels", "level"): torch.full((len(x),), place, dtype=torch.float64),
        ("noise", noise): lost.double() * NEAR_ONE,
    }
    if noise == "lost":  # masked below the level, where the other draws a symbol by inverting its law
        told["noise", noise] = NEAR_ONE - told["noise", noise]
    value = objective(model, x, NONE, Told(len(x), told)).value
    count = lost.double().sum(1)
    chance = share**count * (1 - share) ** (L - count) * shares(exact_of(model)).repeat_interleave(len(MASKS))
    assert float(chance.detach().sum()) == pytest.approx(1)
    return (chance * value).sum()


def exact_of(model: Denoiser) -> Denoiser:
    """The law of the data, whoever is asked."""
    return table(Absorbing(V))


def by_level(model: Denoiser, objective: Objective | None = None) -> Tensor:
    chosen = LevelBound() if objective is None else objective
    each = [masked_at(chosen, model, float(u), 1 - float(u), "lost") for u in LEVELS]
    return (SHARES * torch.stack(each)).sum()


def by_time(model: Denoiser, score: bool, schedule: Alive) -> Tensor:
    objective, total = TimeBound(score=score), torch.zeros((), dtype=torch.float64)
    end = 1 - float(schedule(torch.ones((), dtype=torch.float64)))
    for u, share in zip(LEVELS * end, SHARES * end, strict=True):
        t = schedule.time(1 - u)
        each = masked_at(objective, model, 1 - float(schedule(t)), 1 - float(t), "symbol")
        total = total + share / schedule.rate(t) * each
    return total


def by_order(model: Denoiser) -> Tensor:
    """All orders of L entries under all counts; the law of an order is uniform, every one is drawn once."""
    orders = torch.tensor(list(itertools.permutations(range(L))), dtype=torch.float64)
    x = TEXTS.repeat_interleave(len(orders) * L, 0)
    told = {
        ("levels", "count"): ((torch.arange(L, dtype=torch.float64) + 0.5) / L).repeat(len(TEXTS) * len(orders)),
        ("noise", "order"): (orders.repeat_interleave(L, 0) / L).repeat(len(TEXTS), 1),
    }
    value = OrderBound()(model, x, NONE, Told(len(x), told)).value
    return (shares(exact_of(model)) * value.reshape(len(TEXTS), -1).mean(1)).sum()


def test_the_three_are_the_entropy_on_the_truth() -> None:
    model = truth(Absorbing(V))
    wanted = entropy(model)
    assert wanted > 2
    for found in (by_level(model), by_order(model), *(by_time(model, score, Linear()) for score in (False, True))):
        assert float(found) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("schedule", [Geometric(), Sine()], ids=lambda s: type(s).__name__)
def test_the_schedule_plays_no_part(schedule: Alive) -> None:
    model = truth(Absorbing(V, schedule))
    assert float(by_time(model, True, schedule)) == pytest.approx(entropy(model), abs=1e-6)
    assert float(by_level(model)) == pytest.approx(entropy(model), abs=1e-9)


@pytest.mark.parametrize("end", [0.0, 1e-3])
def test_the_log_term_has_mean_zero_where_both_ends_are_alike(end: float) -> None:
    """RADD's own ends, t from 1e-3 and alive(1) = 1e-3, cancel; either one alone leaves 8e-3 nats an entry."""
    low, count = 1e-3, 60_000
    process = Absorbing(V, Linear(end=end))
    x = TEXTS[[5]].expand(count, -1)
    rng = Rng(range(count))
    # The same draws with and without the term: what is left is the term alone.
    both = [TimeBound(score, low=low)(truth(process), x, NONE, rng).value for score in (False, True)]
    # Its mean over what masks do, K = L lambda, is left to be averaged over levels alone.
    from scipy.integrate import quad

    top = 1 - end
    wanted = L * quad(lambda u: np.log(u / (1 - u)), low * top, top)[0] / (1 - low)
    off = both[0] - both[1]
    assert abs(float(off.mean()) - wanted) < 3 * float(off.std()) / count**0.5
    assert abs(wanted) < 3e-5 if end else wanted == pytest.approx(3 * 7.9e-3, rel=0.02)


def test_any_model_pays_the_same_in_all_of_them() -> None:
    """They are one bound, and the model need not be of any joint law."""
    model = Warm(truth(Absorbing(V)), 1.6)
    found = [by_level(model), by_order(model), by_time(model, False, Linear()), by_time(model, True, Linear())]
    assert max(found) - min(found) < 1e-9
    assert float(found[0]) > entropy(truth(Absorbing(V))) + 0.02


def test_drawn_they_agree_within_their_errors() -> None:
    model, count = Warm(truth(Absorbing(V)), 1.6), 40_000
    rng = Rng(range(count))
    x = TEXTS[rng.categorical("data", shares(truth(Absorbing(V))).log().expand(count, -1))]
    exact = float(by_order(model))
    for each in (LevelBound(), OrderBound(), TimeBound(), TimeBound(score=True)):
        value = each(model, x, NONE, rng.at(type(each).__name__)).value
        error = float(value.std()) / count**0.5
        assert error < 0.1 and abs(float(value.mean()) - exact) < 2 * error


def test_a_wrong_table_pays_its_divergence() -> None:
    """E -log q = H + KL for conditionals of one joint q, whatever q is."""
    right, wrong = truth(Absorbing(V)), table(Absorbing(V), 2.0)
    p, q = shares(right), shares(wrong)
    cross = float(-(p * q.log()).sum())
    assert cross > entropy(right) + 0.05
    for found in (by_level(wrong), by_order(wrong), by_time(wrong, True, Linear())):
        assert float(found) == pytest.approx(cross, abs=1e-9)


def test_the_gradient_is_the_same() -> None:
    model = Guess(Absorbing(V), (L,))
    losses: list[Callable[[], Tensor]] = [
        lambda: by_level(model),
        lambda: by_time(model, False, Linear()),
        lambda: by_time(model, True, Linear()),
        lambda: by_order(model),
    ]
    first, *others = [torch.autograd.grad(loss(), model.reads)[0] for loss in losses]
    assert float(first.abs().max()) > 0.05
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-6)


@pytest.mark.parametrize("blocks", [1, 3])
def test_block_by_block_is_the_entropy_as_well(blocks: int) -> None:
    """Three blocks of one entry: the chain rule from left to right. Each entry is masked on its own block's clock."""
    process = Blockwise(Absorbing(V), blocks)
    model = table(process)
    objective, total = TimeBound(score=True), 0.0
    ((x, lost),) = everything()
    for block in range(blocks):
        for u, share in zip((block + LEVELS) / blocks, SHARES / blocks, strict=True):
            told = {
                ("levels", "level"): torch.full((len(x),), 1 - float(u), dtype=torch.float64),
                ("noise", "symbol"): lost.double() * NEAR_ONE,
            }
            gone = process.corrupt(x, torch.full((len(x),), float(u), dtype=torch.float64)).mean[..., V]
            chance = torch.where(lost, gone, 1 - gone).prod(1) * shares(model).repeat_interleave(len(MASKS))
            value = objective(model, x, NONE, Told(len(x), told)).value
            total += float(share * (chance * value)[chance > 0].sum())
    assert total == pytest.approx(entropy(model), abs=1e-9)


def chain(model: Denoiser, steps: int) -> float:
    """The mean of Bound over texts, intervals and every x_t there is."""
    process, bound = model.process, Bound(steps)
    assert isinstance(process, Discrete)
    states = torch.tensor(list(itertools.product(range(process.symbols), repeat=L)))
    x, x_t = TEXTS.repeat_interleave(len(states), 0), states.repeat(len(TEXTS), 1)
    p, total = shares(exact_of(model)).repeat_interleave(len(states)), 0.0
    for k in range(1, steps + 1):
        law = process.corrupt(x, torch.full((len(x),), k / steps, dtype=torch.float64)).mean
        chance = law.gather(-1, x_t[..., None])[..., 0]
        below = law.cumsum(-1).gather(-1, x_t[..., None])[..., 0] - chance / 2  # the middle of the symbol's own stretch
        told = {
            ("levels", "level"): torch.full((len(x),), 1 - (k - 0.5) / steps, dtype=torch.float64),
            ("noise", "symbol"): below,
        }
        loss = bound(model, x, NONE, Told(len(x), told))
        there = chance.prod(1) > 0
        assert loss.shot is not None and torch.equal(loss.shot.x_t[there], x_t[there])
        total += float((p * chance.prod(1) * loss.value.double())[there].sum()) / steps
    return total


@pytest.mark.parametrize("process", [Absorbing(V), Multinomial(V)], ids=lambda p: type(p).__name__)
def test_the_bound_by_intervals_falls_to_the_same(process: Discrete) -> None:
    """More than the entropy by what entries drawn at once do not know of each other: in proportion to 1 / T."""
    model = truth(process)
    over = [chain(model, steps) - entropy(model) for steps in (1, 2, 4, 8, 16)]
    assert over[0] > 0.1 and all(a > b > 0 for a, b in itertools.pairwise(over))
    assert 0.4 < over[4] / over[3] < 0.6


def test_one_interval_is_the_product_of_marginals() -> None:
    p = shares(truth(Absorbing(V)))
    alone = sum(
        -float((m * m.log()).sum())
        for m in (torch.stack([p[TEXTS[:, i] == v].sum() for v in range(V)]) for i in range(L))
    )
    for process in (Absorbing(V), Multinomial(V)):
        assert chain(truth(process), 1) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize("process", [Absorbing(V), Multinomial(V)], ids=lambda p: type(p).__name__)
def test_the_gradient_of_the_bound_is_that_of_finite_differences(process: Discrete) -> None:
    model = Guess(process, (L,)).double()
    x, rng = TEXTS, Rng(range(len(TEXTS)))

    def value() -> Tensor:
        return Bound(6)(model, x, NONE, rng).value.double().sum()

    (gradient,) = torch.autograd.grad(value(), model.reads)
    assert gradient.isfinite().all() and float(gradient.abs().max()) > 0.1
    way = torch.sin(torch.arange(model.reads.numel()).double()).reshape(model.reads.shape)
    with torch.no_grad():
        sides = []
        for sign in (1, -1):
            model.reads.add_(sign * 1e-3 * way)
            sides.append(float(value()))
            model.reads.sub_(sign * 1e-3 * way)
    assert float((gradient * way).sum()) == pytest.approx((sides[0] - sides[1]) / 2e-3, rel=1e-3)


def test_a_divergence_of_laws_with_zeros_has_a_gradient_both_ways() -> None:
    logits = torch.zeros(2, 1, 4, dtype=torch.float64)
    logits[..., 0] = -torch.inf  # a hard zero of both: -inf - -inf
    one, other = logits.clone().requires_grad_(), (logits + torch.arange(4)).requires_grad_()
    found = Categorical(one).kl(Categorical(other))
    assert float(found[0].detach()) == pytest.approx(float(torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=one.detach()[0, 0, 1:]),
        torch.distributions.Categorical(logits=other.detach()[0, 0, 1:]),
    )))  # fmt: skip
    for gradient in torch.autograd.grad(found.sum(), [one, other]):
        assert gradient.isfinite().all() and gradient.any()


def test_the_literal_score_entropy() -> None:
    """SEDD's sum as RADD prints it, with scores c a, against what TimeBound says of the same draw."""
    process = Absorbing(V, Geometric(1e-3, 4.0))
    model, x = Warm(truth(process), 1.3), TEXTS
    rng = Rng(range(len(x)))
    dce, dse = (TimeBound(score)(model, x, NONE, rng) for score in (False, True))
    shot = dse.shot
    assert shot is not None
    noise = -process.alive(shot.t).log()
    growth = process.rate(shot.t) / process.alive(shot.t)  # d noise / dt
    a = 1 / torch.expm1(noise)
    c = shot.answer.mean
    lost = (shot.x_t == V).double()
    own = c.gather(-1, x[..., None])[..., 0]
    printed = growth * a * (lost * -(own * a[:, None]).log()).sum(1)
    torch.testing.assert_close(dce.value, printed, rtol=1e-9, atol=1e-9)
    extra = growth * (lost * ((c * a[:, None, None]).sum(-1) + (a * (a.log() - 1))[:, None])).sum(1)
    torch.testing.assert_close(dse.value, printed + extra, rtol=1e-9, atol=1e-9)


def test_nothing_masked_costs_nothing() -> None:
    x = TEXTS[:4]
    told = {
        ("levels", "level"): torch.full((4,), NEAR_ONE, dtype=torch.float64),  # a level of 1e-16
        ("noise", "lost"): torch.full((4, L), 0.5, dtype=torch.float64),
        ("noise", "symbol"): torch.full((4, L), 0.5, dtype=torch.float64),
    }
    for each in (LevelBound(), TimeBound(), TimeBound(score=True)):
        loss = each(truth(Absorbing(V)), x, NONE, Told(4, told))
        assert loss.shot is not None and torch.equal(loss.shot.x_t, x) and not loss.value.any()


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 3, 1)])
def test_any_shape_of_symbols(shape: tuple[int, ...]) -> None:
    flat, model = table(Absorbing(V)), Enumerated(Absorbing(V), table(Absorbing(V)).table.tolist(), shape)
    for each in (LevelBound(), TimeBound(), OrderBound(), Bound(4)):
        found = each(model, TEXTS.reshape(-1, *shape), NONE, Rng(range(len(TEXTS))))
        same = each(flat, TEXTS, NONE, Rng(range(len(TEXTS))))
        torch.testing.assert_close(found.value, same.value, rtol=1e-6, atol=1e-12)
        one = each(model, TEXTS[[7]].reshape(1, *shape), NONE, Rng([7]))
        assert torch.equal(one.value, found.value[[7]])


def test_order_masks_every_subset_of_every_size_alike() -> None:
    count = 14_000
    loss = OrderBound()(truth(Absorbing(V)), TEXTS[[0]].expand(count, -1), NONE, Rng(range(count)))
    assert loss.shot is not None
    number = ((loss.shot.x_t == V).long() * torch.tensor([1, 2, 4])).sum(1)
    seen = torch.bincount(number, minlength=8).double()
    wanted = torch.tensor([0, 1, 1, 1, 1, 1, 1, 3]).double() * count / 9
    assert seen[0] == 0
    assert float(((seen - wanted)[1:] ** 2 / wanted[1:]).sum()) < 22.5  # six degrees of freedom, 1 in 1000


def test_levels_that_prefer_are_weighed_down_again() -> None:
    """Importance draws where it costs most; the mean stays, and it hears of levels, not of times."""
    model, count = truth(Absorbing(V, Sine())), 20_000
    x = TEXTS[Rng(range(count)).categorical("data", shares(model).log().expand(count, -1))]
    for made in (LevelBound, lambda levels: TimeBound(True, levels=levels)):
        # Near the clean end most losses are 0 and a few are large, so the window is long and many draws stay uniform.
        levels = Importance(bins=8, window=200, uniform=0.2)
        objective = made(levels)
        for turn in range(30):
            part = Rng(range(512)).at(turn)
            objective.update(model, objective(model, x[:512], NONE, part))
        assert float(levels.shares().max()) > 0.15
        value = objective(model, x, NONE, Rng(range(count))).value
        error = float(value.std()) / count**0.5
        assert abs(float(value.mean()) - entropy(model)) < 3 * error


def test_refusals() -> None:
    x, rng = TEXTS[:2], Rng(range(2))
    for each in (LevelBound(), TimeBound(), OrderBound()):
        with pytest.raises(Refusal, match="process that masks"):
            each(truth(Multinomial(V)), x, NONE, rng)
        with pytest.raises(Refusal, match="process that masks"):
            each(mixture(EDM()), torch.zeros(2, 1, 2, 3), NONE, rng)
    for alike in (LevelBound(), OrderBound()):
        with pytest.raises(Refusal, match="use TimeBound"):
            alike(table(Blockwise(Absorbing(V), 3)), x, NONE, rng)
    for made in (LevelBound, lambda levels: TimeBound(levels=levels)):
        with pytest.raises(Refusal, match="mean over all levels"):
            made(LogNormal())
        with pytest.raises(Refusal, match="use Bound"):
            made(UniformTimes(steps=10))
    with pytest.raises(Refusal, match="say it to the levels"):
        TimeBound(low=0.1, levels=UniformTimes(low=0.0))
    with pytest.raises(Refusal, match="low lies in"):
        TimeBound(low=1.0)
    with pytest.raises(Refusal, match="dropout"):
        OrderBound(dropout=1.0)
