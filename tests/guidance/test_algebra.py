"""The algebra of contrasts: identities that hold for every model, level and scale, under random ones."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mezzotint.core import NONE, Categorical, Condition, Dirac, Distribution, Refusal, Rng
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.guidance import CFG, Autoguidance, Between, Contrast, Unaware, Without, between
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Heun

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
SIZE, CLASSES, BATCH = 3, 3, 5

processes = st.sampled_from(PROCESSES)
seeds = st.integers(0, 2**32)
scales = st.one_of(st.sampled_from([0.0, 1.0, 0.5, -1.0, 7.5]), st.floats(-3, 9))
few = settings(max_examples=15)


def mixture(process: Continuous, seed: int) -> Mixture:
    """Any mixture of four Gaussians in three classes."""
    draws = Rng([seed]).at("mixture")
    factors = draws.normal("factors", (4, SIZE, SIZE))[0].double()
    spread = draws.uniform("spread", (4, 1, 1))[0]
    covariances = spread * factors @ factors.transpose(1, 2) + 0.02 * torch.eye(SIZE)
    means = 2 * draws.normal("means", (4, SIZE))[0].double()
    weights = 0.1 + draws.uniform("weights", (4,))[0]
    return Mixture(process, means, covariances, weights=weights, labels=[0, 1, 2, 0])


def case(process: Continuous, seed: int) -> tuple[Tensor, Tensor, Condition]:
    """Samples where they may stand, at five levels from nearly clean to pure noise, each of some class."""
    draws = Rng([seed] * BATCH).at("case", torch.arange(BATCH))
    t = process.time(0.02 + 0.96 * draws.uniform("level", ()))
    t[-1] = 1.0
    x0, noise = 2 * draws.normal("x0", (SIZE,)).double(), draws.normal("noise", (SIZE,)).double()
    x = process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise
    return x, t, Condition(label=(CLASSES * draws.uniform("label", ())).long())


def close(found: Tensor, expected: Tensor, scale: float = 1.0) -> None:
    """Equal to rounding, amplified as extrapolation by ``scale`` amplifies it."""
    size = 1 + float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11 * size * (1 + abs(scale)))


@few
@given(processes, seeds, scales)
def test_one_is_the_strong_model_and_asks_nobody_else(process: Continuous, seed: int, scale: float) -> None:
    strong, weak = Counted(mixture(process, seed)), Counted(mixture(process, seed + 1))
    x, t, cond = case(process, seed)
    for guided in (Autoguidance(strong, weak, 1.0), Contrast(strong, weak, between(scale, 0.7, 0.7))):
        assert torch.equal(guided(x, t, cond).mean, strong.denoiser(x, t, cond).mean)
    assert (strong.rows, weak.rows) == (2 * BATCH, 0)
    assert torch.equal(Autoguidance(strong, weak, 0.0)(x, t, cond).mean, weak.denoiser(x, t, cond).mean)
    assert (strong.rows, weak.rows) == (2 * BATCH, BATCH)
    assert torch.equal(CFG(strong, 1.0)(x, t, cond).mean, strong.denoiser(x, t, cond).mean)
    assert strong.rows == 3 * BATCH


@few
@given(processes, seeds, scales, scales)
def test_linear_in_the_scale(process: Continuous, seed: int, a: float, b: float) -> None:
    exact, (x, t, cond) = mixture(process, seed), case(process, seed)
    told, free = exact(x, t, cond).mean, exact(x, t).mean
    one, two = CFG(exact, a)(x, t, cond).mean, CFG(exact, b)(x, t, cond).mean
    close(one - two, (a - b) * (told - free), abs(a) + abs(b))


@few
@given(processes, seeds, scales)
def test_a_model_guided_by_itself_is_itself(process: Continuous, seed: int, scale: float) -> None:
    exact, (x, t, cond) = mixture(process, seed), case(process, seed)
    assert torch.equal(Autoguidance(exact, exact, scale)(x, t, cond).mean, exact(x, t, cond).mean)


@few
@given(processes, seeds, scales, scales)
def test_contrasts_of_two_models_multiply(process: Continuous, seed: int, a: float, b: float) -> None:
    """A contrast against the same weak answer again: 0 and 1 stay where they are and the scales multiply."""
    strong, weak, (x, t, cond) = mixture(process, seed), mixture(process, seed + 1), case(process, seed)
    twice = Contrast(Contrast(strong, weak, a), weak, b)(x, t, cond).mean
    close(twice, Contrast(strong, weak, a * b)(x, t, cond).mean, abs(a * b) + abs(a) + abs(b))
    # Mirrored: weak towards strong is strong towards weak from the other end.
    close(Contrast(weak, strong, 1 - a)(x, t, cond).mean, Contrast(strong, weak, a)(x, t, cond).mean, a)


@few
@given(processes, seeds, scales, st.floats(0.5, 4))
def test_chained_guidance_is_nested_guidance(process: Continuous, seed: int, w: float, v: float) -> None:
    """D_c + (v - 1)(D_c - D_0) + (w - 1)(D_c - D_u) is Autoguidance(CFG(D, 1 + (w - 1) / v), D_0, v), and no other."""
    exact, bad, (x, t, cond) = mixture(process, seed), mixture(process, seed + 1), case(process, seed)
    told, free, wrong = exact(x, t, cond).mean, exact(x, t).mean, bad(x, t, cond).mean
    chained = told + (v - 1) * (told - wrong) + (w - 1) * (told - free)
    close(Autoguidance(CFG(exact, 1 + (w - 1) / v), bad, v)(x, t, cond).mean, chained, abs(w) + v)
    nested = told + v * (w - 1) * (told - free) + (v - 1) * (told - wrong)
    close(Autoguidance(CFG(exact, w), bad, v)(x, t, cond).mean, nested, v * abs(w) + v)
    # The other way round, where the bad model drops the condition with the good one.
    wrong_free = bad(x, t).mean
    inner, outer = told + (v - 1) * (told - wrong), free + (v - 1) * (free - wrong_free)
    close(CFG(Autoguidance(exact, bad, v), w)(x, t, cond).mean, outer + w * (inner - outer), v * abs(w) + v)


@few
@given(processes, seeds, scales, st.floats(0, 1), st.floats(0, 1))
def test_intervals(process: Continuous, seed: int, scale: float, one: float, two: float) -> None:
    """Inside the guided answer, outside the plain one, each bit for bit; (0, 1] is everywhere, an empty one nowhere."""
    low, high = min(one, two), max(one, two)
    exact, (x, t, cond) = Counted(mixture(process, seed)), case(process, seed)
    plain, everywhere = exact(x, t, cond).mean, CFG(exact, scale)(x, t, cond).mean
    exact.reset()
    found = CFG(exact, between(scale, low, high))(x, t, cond).mean
    u = process.level(t)
    inside = (low < u) & (u <= high)
    assert torch.equal(found, torch.where(inside[:, None], everywhere, plain))
    asked = {0.0: 1, 1.0: 1}.get(scale, 2)
    assert exact.rows == BATCH + (asked - 1) * int(inside.sum())
    assert torch.equal(CFG(exact, between(scale, 0, 1))(x, t, cond).mean, everywhere)
    assert torch.equal(CFG(exact, between(scale, low, low))(x, t, cond).mean, plain)


@few
@given(processes, seeds, st.lists(scales, min_size=BATCH, max_size=BATCH), st.permutations(range(BATCH)))
def test_one_scale_per_sample_is_as_many_runs(
    process: Continuous, seed: int, mixed: list[float], order: list[int]
) -> None:
    exact, (x, t, cond) = Counted(mixture(process, seed)), case(process, seed)
    alone = torch.cat([CFG(exact, w)(x[[k]], t[[k]], cond[[k]]).mean for k, w in enumerate(mixed)])
    cost, _ = exact.rows, exact.reset()
    cond = cond | Condition(strength=torch.tensor(mixed, dtype=torch.float64))
    together = CFG(exact, "strength")(x, t, cond).mean
    assert torch.equal(together, alone) and exact.rows == cost
    shuffled = CFG(exact, "strength")(x[order], t[order], cond[order]).mean
    assert torch.equal(shuffled, together[order])


@settings(max_examples=6)
@given(processes, seeds, st.lists(scales, min_size=BATCH, max_size=BATCH), scales)
def test_two_families_of_scales(process: Continuous, seed: int, mixed: list[float], other: float) -> None:
    """Contrasts inside one another read each its own scale, whatever the weak model knows; or both read one."""
    exact, bad, (x, t, cond) = mixture(process, seed), mixture(process, seed + 1), case(process, seed)
    first, second = torch.tensor(mixed, dtype=torch.float64), torch.full((BATCH,), other, dtype=torch.float64)
    inner = CFG(exact, "inner")
    made = {
        "strong within": Autoguidance(inner, bad, "outer.by"),
        "weak within": Autoguidance(bad, inner, "outer.by"),
        "deep": Autoguidance(Counted(Without(inner)), Unaware(bad, ("nothing",)), "outer.by"),
    }
    cond = cond | Condition(inner=first, **{"outer.by": second})
    rows = [(x[[k]], t[[k]], cond.take("label")[0][[k]]) for k in range(BATCH)]
    for name, guided in made.items():
        ready = guided.prepare(cond)
        assert set(ready.families) == {"label", "inner", "outer"}
        alone = []
        for w, (x_k, t_k, cond_k) in zip(mixed, rows, strict=True):
            plain: Denoiser = CFG(exact, w)
            pair = {"strong within": (plain, bad), "weak within": (bad, plain), "deep": (Without(plain), bad)}[name]
            alone.append(Autoguidance(*pair, other)(x_k, t_k, cond_k).mean)
        assert torch.equal(guided(x, t, ready).mean, torch.cat(alone)), name
    both = CFG(Autoguidance(exact, bad, "knob"), "knob")
    knob = cond.take("label")[0] | Condition(knob=first)
    one_knob = [CFG(Autoguidance(exact, bad, w), w)(*row).mean for w, row in zip(mixed, rows, strict=True)]
    assert torch.equal(both(x, t, both.prepare(knob)).mean, torch.cat(one_knob))


def test_a_scale_that_cannot_be_read_is_refused() -> None:
    exact, (x, t, cond) = mixture(VP(), 0), case(VP(), 0)
    with pytest.raises(Refusal, match="does not hold"):
        CFG(exact, "strength")(x, t, cond)
    with pytest.raises(Refusal, match="one per sample"):
        CFG(exact, "strength")(x, t, cond | Condition(strength=torch.ones(BATCH, 2)))
    with pytest.raises(Refusal, match="one scale per level"):
        CFG(exact, lambda u: torch.ones(2))(x, t, cond)
    assert torch.equal(CFG(exact, lambda u: 3.0)(x, t, cond).mean, CFG(exact, 3.0)(x, t, cond).mean)


def test_models_that_answer_about_two_things_are_refused() -> None:
    chain = mixture(VP(), 1)
    chain.clean = False
    with pytest.raises(Refusal, match="next time"):
        Autoguidance(mixture(VP(), 0), chain, 2.0)


@pytest.mark.parametrize("sampler", [Heun(9), Euler(9), Ancestral(9)], ids=lambda s: type(s).__name__)
def test_a_run_counts_two_inside_the_interval_and_one_outside(sampler: Heun | Euler | Ancestral) -> None:
    """Rows that were asked about, level by level of the run's own evaluations."""
    asked: list[float] = []

    class Noted(Mixture):
        def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Dirac:
            asked.extend(self.process.level(t).tolist())
            return super().forward(x, t, cond, want)

    model = Noted(EDM(), [[-1.0], [1.0]], [[[0.25]], [[0.25]]], labels=[0, 1])
    cond, rng = Condition(label=[0, 1, 1]), Rng(range(3))
    sampler(model, cond, rng=rng)
    plain = list(asked)
    assert len(plain) == 3 * (17 if isinstance(sampler, Heun) else 9)
    asked.clear()
    sampler(CFG(model, between(2.0, 0.16, 0.617)), cond, rng=rng)
    inside = sum(0.16 < u <= 0.617 for u in plain)
    assert 0 < inside < len(plain) and len(asked) == len(plain) + inside
    asked.clear()
    sampler(CFG(model, 2.0), cond, rng=rng)
    assert len(asked) == 2 * len(plain)


class Said(Denoiser):
    """Answers with the same categorical law whatever it is asked."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.process, self.shape = EDM(), tuple(logits.shape[1:-1])
        self.logits = logits

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Distribution:
        return Categorical(self.logits[x.flatten(1)[:, 0].long()])


SYMBOLS = st.lists(st.one_of(st.just(-math.inf), st.floats(-4, 4)), min_size=4, max_size=4).filter(
    lambda logits: max(logits) > -math.inf
)


def law(logits: list[float]) -> Categorical:
    return Categorical(torch.tensor(logits, dtype=torch.float64)[None, None])


@settings(max_examples=60)
@given(SYMBOLS, SYMBOLS, st.floats(-2, 4))
def test_symbols_are_bent_into_a_law_whatever_they_forbid(a: list[float], b: list[float], weight: float) -> None:
    one, two = law(a), law(b)
    bent = one.lerp(two, weight).mean[0, 0]
    assert bool(torch.isfinite(bent).all()) and abs(float(bent.sum()) - 1) < 1e-12
    nearer = two if weight >= 0.5 else one
    shared = (one.mean > 0) & (two.mean > 0)
    if not bool(shared.any()):  # nothing both allow: there is no geometric mean, and the nearer law stands
        torch.testing.assert_close(bent, nearer.mean[0, 0])
    torch.testing.assert_close(one.lerp(two, 0.0).mean, one.mean)
    torch.testing.assert_close(one.lerp(two, 1.0).mean, two.mean)
    torch.testing.assert_close(one.lerp(one, weight).mean, one.mean)
    if weight != 0.5 and 1 - (1 - weight) == weight:  # a weight that a subtraction from 1 keeps
        torch.testing.assert_close(two.lerp(one, 1 - weight).mean[0, 0], bent, rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(st.lists(st.floats(-4, 4), min_size=4, max_size=4), st.lists(st.floats(-4, 4), min_size=4, max_size=4))
def test_symbols_bent_twice(a: list[float], b: list[float]) -> None:
    """Between laws that forbid nothing: from a towards b by w and the rest by v is w + v - w v at once."""
    one, two = law(a), law(b)
    for w, v in ((0.3, 0.6), (2.0, 0.5), (1.5, 2.0), (-1.0, 3.0)):
        torch.testing.assert_close(one.lerp(two, w).lerp(two, v).mean, one.lerp(two, w + v - w * v).mean)


def test_disjoint_symbols_position_by_position() -> None:
    """One position where nothing is shared, one where one symbol is: only the first falls back, row by row."""
    ends = [[[1.0, 0, 0], [0.5, 0.5, 0]], [[0, 0.25, 0.75], [0, 0.5, 0.5]]]
    far, near = (Categorical(torch.tensor([p], dtype=torch.float64).log()) for p in ends)
    half = torch.tensor([0.25, 0.75], dtype=torch.float64)
    bent = far.repeat(2).lerp(near.repeat(2), half).mean
    expected = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0.25, 0.75], [0, 1, 0]]], dtype=torch.float64)
    torch.testing.assert_close(bent, expected)


def test_symbols_are_guided_row_by_row_and_entry_by_entry() -> None:
    torch.manual_seed(0)
    strong, weak = Said(torch.randn(3, 2, 4).double()), Said(torch.randn(3, 2, 4).double())
    x = torch.arange(3).double()[:, None].expand(3, 2)
    t = torch.full((3,), 0.1, dtype=torch.float64)
    by_row = Contrast(strong, weak, "w")(x, t, Condition(w=[1.0, 0.0, 2.5]))
    rows = [Categorical(model.logits[[k]]) for k, model in enumerate((strong, weak))]
    assert torch.equal(by_row.mean[0], rows[0].mean[0]) and torch.equal(by_row.mean[1], rows[1].mean[0])
    odds = 2.5 * strong.logits[2].log_softmax(-1) - 1.5 * weak.logits[2].log_softmax(-1)
    torch.testing.assert_close(by_row.mean[2], odds.softmax(-1))
    # A time of its own for each position: the interval is decided there.
    u = torch.tensor([[0.1, 0.9], [0.9, 0.1], [0.9, 0.9]], dtype=torch.float64)
    by_entry = Contrast(strong, weak, Between(2.5, 0.5, 1.0))(x, EDM().time(u), NONE).mean
    whole = Contrast(strong, weak, 2.5)(x, t).mean
    plain = strong(x, t).mean
    torch.testing.assert_close(by_entry, torch.where((u > 0.5)[..., None], whole, plain))
