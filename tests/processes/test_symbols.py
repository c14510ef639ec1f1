"""Processes of symbols against matrices written out here in numpy, and against the papers' exact checks.

The matrices know one-step laws only: (1 - beta) I + beta R, R with the law of a lost symbol in every row. Products of
them, and Bayes' rule on them, are what the closed forms have to be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from mezzotint.core import Categorical, Dirac, Gaussian, Refusal, Rng
from mezzotint.processes import Absorbing, Blockwise, Discrete, Geometric, Knots, Linear, Multinomial, Sine
from mezzotint.testing import check_process

Array = NDArray[np.float64]
BARS = (1.0, 0.910, 0.815, 0.702, 0.515, 0.0)


def times(steps: int) -> torch.Tensor:
    return torch.arange(steps + 1, dtype=torch.float64) / steps


def at(t: float | torch.Tensor, count: int = 1) -> torch.Tensor:
    return torch.full((count,), float(t), dtype=torch.float64)


def lost(process: Discrete) -> Array:
    """Every row the law of a lost symbol, written out."""
    n = process.vocab + (process.mask is not None)
    law = np.full(n, 1 / n) if process.mask is None else np.eye(n)[-1]
    return np.tile(law, (n, 1))


def chain(process: Discrete, bars: list[float]) -> list[Array]:
    """One-step matrices, rows from and columns to, of given shares."""
    rest = lost(process)
    betas = [1 - b / a for a, b in zip(bars, bars[1:], strict=False)]
    return [(1 - beta) * np.eye(len(rest)) + beta * rest for beta in betas]


def row(law: object) -> Array:
    assert isinstance(law, Categorical)
    found: Array = law.mean.reshape(-1, law.logits.shape[-1]).numpy()
    return found


KINDS = [Multinomial, Absorbing]
both = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


@both
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("bars", [[1 - k / 4 for k in range(5)], list(BARS)], ids=["equal stages", "ImageBART's"])
def test_laws_are_products_of_one_step_matrices_and_bayes_rule(kind: type, size: int, bars: list[float]) -> None:
    """corrupt, renoise, the normaliser of the posterior, and the posterior for every x_t and x_0 (K up to 5)."""
    steps = len(bars) - 1
    process = kind(size, Knots(tuple(bars)))
    matrices, t = chain(process, bars), times(steps)
    n = len(matrices[0])
    whole = np.eye(n)
    for k, step in enumerate(matrices, 1):
        before, whole = whole, whole @ step
        clean = torch.arange(size)[:, None]
        np.testing.assert_allclose(row(process.corrupt(clean, at(t[k], size))), whole[:size], atol=1e-14)
        some = torch.arange(n)[:, None]
        np.testing.assert_allclose(row(process.renoise(some, at(t[k - 1], n), at(t[k], n))), step, atol=1e-14)
        for u, v in itertools.product(range(n), range(size)):
            normaliser = whole[v, u]
            if normaliser == 0:
                continue
            bayes = before[v] * step[:, u] / normaliser
            assert bayes.sum() == pytest.approx(1, abs=1e-12)  # the identity of the normaliser
            x, x0 = torch.tensor([[u]]), torch.tensor([[v]])
            np.testing.assert_allclose(row(process.bridge(x, x0, at(t[k]), at(t[k - 1])))[0], bayes, atol=1e-13)


def test_the_two_ends_of_the_posterior() -> None:
    """Where everything is lost in one step x_t says nothing; at the last step the posterior is the clean symbol."""
    process, k = Multinomial(4, Knots(BARS)), torch.arange(4)
    x, x0 = (side.reshape(-1, 1) for side in torch.meshgrid(k, k, indexing="ij"))
    first = row(process.bridge(x, x0, at(1.0, 16), at(0.8, 16)))
    due = 0.515 * np.eye(4)[x0[:, 0]] + (1 - 0.515) / 4
    np.testing.assert_allclose(first, due, atol=1e-14)
    last = row(process.bridge(x, x0, at(0.2, 16), at(0.0, 16)))
    np.testing.assert_array_equal(last, np.eye(4)[x0[:, 0]])
    np.testing.assert_allclose(row(process.corrupt(x0, at(1.0, 16))), 0.25)  # so p(x_1) needs no model


@pytest.mark.parametrize("size", [2, 5])
def test_a_redraw_may_come_back(size: int) -> None:
    """Redrawing with probability beta keeps the symbol with (1 - beta) + beta / K, in draws and in the law."""
    process, count = Multinomial(size), 20_000
    x = torch.zeros(count, 1, dtype=torch.int64)
    s, t = at(0.25, count), at(0.5, count)
    beta = 1 - 0.5 / 0.75
    law = process.renoise(x, s, t)
    keeps = (1 - beta) + beta / size
    assert float(law.mean[0, 0, 0]) == pytest.approx(keeps, abs=1e-14)
    kept = float((law.sample(Rng(range(count))) == 0).double().mean())
    assert abs(kept - keeps) < 4 * (keeps * (1 - keeps) / count) ** 0.5 and abs(kept - (1 - beta)) > 0.03


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_unmasking_is_radd_s(steps: int) -> None:
    """Tweedie's q = (e^-sbar(s) - e^-sbar(t)) / (1 - e^-sbar(t)); for log-linear noise it is 1 / (steps left)."""
    p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    for process in (Absorbing(3), Absorbing(3, Linear(1e-3)), Absorbing(3, Sine()), Absorbing(3, Geometric())):
        mask = torch.full((1, 1), 3)
        for k in range(steps, 0, -1):
            t, s = k / steps, (k - 1) / steps
            law = row(process.bridge(mask, Categorical(p.log().reshape(1, 1, 3)), at(t), at(s)))[0]
            e_t, e_s = float(process.alive(at(t))), float(process.alive(at(s)))
            q = (e_s - e_t) / (1 - e_t)
            assert 0 <= q <= 1
            np.testing.assert_allclose(law, [*(q * p.numpy()), 1 - q], atol=1e-12)
            if process.schedule == Linear():
                assert law[3] == pytest.approx(1 - 1 / k, abs=1e-15)
        assert law[3] == 0  # the last step leaves no mask
    known = torch.tensor([[0, 1, 2]])
    held = process.bridge(known, Categorical(torch.zeros(1, 3, 3)), at(0.9), at(0.1))
    assert row(held).tolist() == np.eye(4)[:3].tolist()


def test_the_concrete_score_is_the_conditional() -> None:
    """RADD, theorem 1, on p_t by enumeration: p_t(x with v) / p_t(x) = e^-s / (1 - e^-s) p_0(v | unmasked)."""
    size, length, mask = 3, 3, 3
    rng = np.random.default_rng(0)
    clean = list(itertools.product(range(size), repeat=length))
    p0 = dict(zip(clean, rng.dirichlet(np.full(len(clean), 0.5)), strict=True))
    process = Absorbing(size, Linear(1e-3))
    for t in (0.1, 0.5, 0.99):
        matrix = row(process.corrupt(torch.arange(size)[:, None], at(t, size)))  # (x_0, x_t)
        states = list(itertools.product(range(size + 1), repeat=length))
        pt = {
            state: sum(p * np.prod([matrix[v, u] for v, u in zip(text, state, strict=True)]) for text, p in p0.items())
            for state in states
        }
        assert sum(pt.values()) == pytest.approx(1, abs=1e-12)
        noise = -np.log(1 - (1 - 1e-3) * t)
        checked = 0
        for state in states:
            agrees = [x for x in clean if all(u in (mask, v) for v, u in zip(x, state, strict=True))]
            total = sum(p0[x] for x in agrees)
            for i, v in itertools.product(range(length), range(size)):
                if state[i] == mask:
                    said = (*state[:i], v, *state[i + 1 :])
                    conditional = sum(p0[x] for x in agrees if x[i] == v) / total
                    assert pt[said] / pt[state] == pytest.approx(conditional / np.expm1(noise), rel=1e-9)
                    checked += 1
        assert checked == 3 * 3 * 4**2


@both
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_every_eta_has_the_marginals(kind: type, eta: float) -> None:
    """A chain of true steps from x_1 ends at each q(x_s | x_0), whatever the share of fresh redraws."""
    process, grid = kind(3, Sine()), 1 - times(7)
    law = np.tile(lost(process)[0], (3, 1))  # (x_0, x_t)
    for t, s in itertools.pairwise(grid):
        n = law.shape[1]
        x, x0 = (side.reshape(-1, 1) for side in torch.meshgrid(torch.arange(n), torch.arange(3), indexing="ij"))
        count = len(x)
        down = row(process.bridge(x, x0, at(t, count), at(s, count), eta)).reshape(n, 3, n)
        law = np.einsum("vu,uvw->vw", law, down)
        np.testing.assert_allclose(law, row(process.corrupt(torch.arange(3)[:, None], at(s, 3))), atol=1e-12)


def test_eta_0_is_ddim_s_multinomial_form() -> None:
    """DDIM, appendix A, with sigma at its largest: sigma x_t + (a_s - sigma a_t) x_0 + the rest, which is then none."""
    process, t, s, size = Multinomial(4, Knots(BARS)), 0.7, 0.3, 4
    bars = np.interp([t, s], np.linspace(0, 1, 6), BARS)
    sigma = (1 - bars[1]) / (1 - bars[0])
    rest = (1 - bars[1]) - (1 - bars[0]) * sigma
    for u, v in itertools.product(range(size), repeat=2):
        law = row(process.bridge(torch.tensor([[u]]), torch.tensor([[v]]), at(t), at(s), 0.0))[0]
        due = sigma * np.eye(size)[u] + (bars[1] - sigma * bars[0]) * np.eye(size)[v] + rest / size
        np.testing.assert_allclose(law, due, atol=1e-14)
        assert set(np.nonzero(law)[0]) == {u, v}  # nothing is drawn anew


@pytest.mark.parametrize("size", [2, 4])
def test_eta_0_redraws_least(size: int) -> None:
    """How often a symbol changes on the way down falls with eta, and at eta = 0 nothing could change less.

    The least is the total variation between the two marginals: what two laws share can stay where it is. Between the
    ends of eta that share of steps is the process's own, so the changes are a straight line in it.
    """
    process, t, s = Multinomial(size), 0.8, 0.4
    there, here = (row(process.corrupt(torch.tensor([[0]]), at(time)))[0] for time in (t, s))
    x, x0 = torch.arange(size)[:, None], torch.zeros(size, 1, dtype=torch.int64)
    moved = []
    for eta in (0.0, 0.3, 0.7, 1.0):
        down = row(process.bridge(x, x0, at(t, size), at(s, size), eta))
        moved.append(float(there @ (1 - np.diag(down))))
    assert moved[0] == pytest.approx(0.5 * np.abs(there - here).sum(), abs=1e-12)
    assert all(b > a + 1e-3 for a, b in itertools.pairwise(moved))
    np.testing.assert_allclose(np.diff(moved) / np.diff([0.0, 0.3, 0.7, 1.0]), moved[3] - moved[0], rtol=1e-9)


def test_a_soft_answer_is_the_mean_of_posteriors_and_not_the_kernel_of_d3pm() -> None:
    """By Bayes' rule in numpy for each x_0; the product of two sums is another law, but not on a mask."""
    p = np.array([0.7, 0.1, 0.2])
    for process in (Multinomial(3, Sine()), Absorbing(3, Sine())):
        bars = process.alive(torch.tensor([0.3, 0.6], dtype=torch.float64)).tolist()
        rest = lost(process)
        q_s, up = (a * np.eye(len(rest)) + (1 - a) * rest for a in (bars[0], bars[1] / bars[0]))
        q_t = q_s @ up
        for u in range(len(rest)):
            if process.mask is not None and u != process.mask:
                continue
            mean = sum(p[v] * q_s[v] * up[:, u] / q_t[v, u] for v in range(3))
            answer = Categorical(torch.tensor(p).log().reshape(1, 1, 3))
            law = row(process.bridge(torch.tensor([[u]]), answer, at(0.6), at(0.3)))[0]
            np.testing.assert_allclose(law, mean, atol=1e-13)
            kernel = (p @ q_s[:3]) * up[:, u]
            gap = np.abs(law - kernel / kernel.sum()).max()
            assert gap < 1e-13 if process.mask is not None else gap > 0.01


@dataclass(frozen=True)
class Skewed(Multinomial):
    """Lost symbols are drawn from a law of their own, which never gives the last."""

    @property
    def rest(self) -> torch.Tensor:
        return torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64)


@pytest.mark.parametrize("process", [Skewed(3), Blockwise(Skewed(3), 1)], ids=["plain", "one block"])
def test_lost_symbols_may_have_any_law(process: Discrete) -> None:
    """Bayes' rule again, for a law that is not equal and leaves a symbol out; what cannot be drawn was never lost."""
    rest = np.tile([0.7, 0.3, 0.0], (3, 1))
    assert process.rest.tolist() == rest[0].tolist()
    before, step = 0.8 * np.eye(3) + 0.2 * rest, 0.5 * np.eye(3) + 0.5 * rest
    whole = before @ step
    symbols = torch.arange(3)[:, None]
    np.testing.assert_allclose(row(process.corrupt(symbols, at(0.6, 3))), whole, atol=1e-14)
    for u, v in itertools.product(range(3), repeat=2):
        if whole[v, u]:
            law = row(process.bridge(torch.tensor([[u]]), torch.tensor([[v]]), at(0.6), at(0.2)))[0]
            np.testing.assert_allclose(law, before[v] * step[:, u] / whole[v, u], atol=1e-14)
    answer = Categorical(torch.zeros(1, 1, 3, dtype=torch.float64))
    assert row(process.bridge(torch.tensor([[2]]), answer, at(0.6), at(0.2)))[0].tolist() == [0, 0, 1]
    check_process(process)


def numpy_clock(t: float, entries: int, blocks: int) -> Array:
    """What time it is in the block of each entry: the last block goes first on the way up."""
    own = np.repeat(np.arange(blocks), entries // blocks)
    return np.clip(t * blocks - (blocks - 1 - own), 0, 1)


@both
@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("blocks", [1, 2, 3, 6])
def test_a_block_is_the_inner_process_at_its_own_time(kind: type, shape: tuple[int, ...], blocks: int) -> None:
    """Entry by entry, in any shape: all laws of the inner process at the times of the entry's block."""
    inner = kind(3, Sine())
    process = Blockwise(inner, blocks)
    x = torch.arange(6).reshape(1, *shape) % 3
    answer = Categorical(Rng([0]).normal("logits", (*shape, 3)))
    t, s = 0.71, 0.4
    found = [
        process.corrupt(x, at(t)),
        process.renoise(x, at(s), at(t)),
        process.bridge(x, answer, at(t), at(s), 0.5),
    ]
    for entry, (late, early) in enumerate(zip(numpy_clock(t, 6, blocks), numpy_clock(s, 6, blocks), strict=True)):
        one = x.reshape(1, 6)[:, [entry]]
        said = Categorical(answer.logits.reshape(1, 6, 3)[:, [entry]])
        alone = [
            inner.corrupt(one, at(late)),
            inner.renoise(one, at(early), at(late)),
            inner.bridge(one, said, at(late), at(early), 0.5),
        ]
        for whole, single in zip(found, alone, strict=True):
            np.testing.assert_allclose(row(whole)[entry], row(single)[0], atol=1e-12)
    if blocks == 1:
        for whole, plain in zip(
            found,
            (inner.corrupt(x, at(t)), inner.renoise(x, at(s), at(t)), inner.bridge(x, answer, at(t), at(s), 0.5)),
            strict=True,
        ):
            assert torch.equal(whole.logits, plain.logits)  # type: ignore[attr-defined]


@pytest.mark.parametrize("inner", [Absorbing(3), Absorbing(3, Sine()), Multinomial(3, Linear(0.01))], ids=str)
@pytest.mark.parametrize("blocks", [1, 3, 7])
def test_the_level_of_blocks_is_their_mean(inner: Discrete, blocks: int) -> None:
    process, t = Blockwise(inner, blocks), torch.linspace(0, 1, 211, dtype=torch.float64)
    clocks = torch.tensor(np.array([numpy_clock(float(time), blocks, blocks) for time in t]))
    torch.testing.assert_close(process.level(t), inner.level(clocks).mean(1), rtol=0, atol=1e-12)
    torch.testing.assert_close(process.time(process.level(t)), t, rtol=0, atol=3e-8)
    u = process.level(torch.ones(1, dtype=torch.float64)) * t
    torch.testing.assert_close(process.level(process.time(u)), u, rtol=0, atol=1e-12)
    assert process.time(t[[0, -1]]).tolist() == [0.0, 1.0]
    x = torch.zeros(1, blocks, dtype=torch.int64)
    masked = torch.stack([process.corrupt(x, at(time)).mean[0, :, 0].mean() for time in t[::30]])
    kept = 1 - process.level(t[::30])
    torch.testing.assert_close(masked, kept if inner.mask is not None else kept + (1 - kept) / 3)


def test_what_a_bridge_takes() -> None:
    """Points, symbols and laws over the vocabulary; a law of something else is refused or no use."""
    process, x = Absorbing(3), torch.tensor([[3, 3], [1, 3]])
    t, s = at(0.5, 2), at(0.2, 2)
    x0 = torch.tensor([[0, 2], [1, 1]])
    point = process.bridge(x, Dirac(x0, {"cost": torch.ones(2)}), t, s)
    assert torch.equal(point.logits, process.bridge(x, x0, t, s).logits) and "cost" in point.aux
    sure = Categorical(torch.nn.functional.one_hot(x0, 3).double().log())
    torch.testing.assert_close(process.bridge(x, sure, t, s).mean, point.mean, rtol=0, atol=1e-15)
    with pytest.raises(Refusal, match=r"logits \(2, 2, 3\), not \(2, 2, 4\)"):
        process.bridge(x, Categorical(torch.zeros(2, 2, 4)), t, s)
    with pytest.raises(TypeError, match="not Gaussian"):
        process.bridge(x, Gaussian(torch.zeros(2, 2), torch.ones(2, 2)), t, s)


def test_draws_follow_the_law_and_their_own_seeds() -> None:
    """A chi-squared of corrupted symbols (4 cells, below its one-in-a-million quantile), and rows of any batch."""
    process, count = Multinomial(4), 4000
    x0 = torch.ones(count, 2, 3, dtype=torch.int64)
    x = process.corrupt(x0, at(0.6, count)).sample(Rng(range(count)))
    assert x.dtype == torch.int64
    seen = np.bincount(x.flatten().numpy(), minlength=4)
    due = x.numel() * np.array([0.15, 0.55, 0.15, 0.15])
    assert float(((seen - due) ** 2 / due).sum()) < stats.chi2.isf(1e-6, 3)
    alone = process.corrupt(x0[:1], at(0.6)).sample(Rng([17]))
    assert torch.equal(alone, x[[17]])
    start = process.prior((2, 3)).repeat(5).sample(Rng(range(5)))
    assert start.shape == (5, 2, 3) and len(start.flatten(1).unique(dim=0)) > 1  # not one start a batch
    assert bool((Absorbing(4).prior((2, 3)).repeat(5).sample(Rng(range(5))) == 4).all())
