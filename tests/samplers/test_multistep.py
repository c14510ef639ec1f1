"""Multistep and UniPC: their weights against arbitrary precision, their limits against first-order methods, and the
variance that the stochastic one keeps against an exact propagation of moments."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Refusal, Rng
from mezzotint.denoiser import Counted, Empirical, Mixture
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Multistep, Sampler, Shifted, State, UniPC
from mezzotint.samplers.history import phis

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
EVERY = [Multistep(7), Multistep(7, order=3), Multistep(7, eta=1.0), Multistep(7, order=3, eta=0.5), UniPC(7, order=1)]
EVERY += [UniPC(7), UniPC(7, order=3), UniPC(7, variant="bh1"), UniPC(7, order=3, variant="bh1")]


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(5)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    return Mixture(process, 2 * torch.randn(4, 3) + 1, factors @ factors.transpose(1, 2) / 3 + 0.1 * torch.eye(3))


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_phi_to_full_precision(k: int) -> None:
    """phi_k(z) = 1F1(1; k + 1; z) / k!, at fifty digits."""
    mpmath.mp.dps = 50
    for z in (0.0, -1e-14, -1e-6, -0.01, -0.3, -0.999999, -1.0, -1.000001, -3.0, -40.0, -1e4):
        exact = float(mpmath.hyp1f1(1, k + 1, mpmath.mpf(z)) / mpmath.factorial(k))
        assert float(phis(4, torch.tensor(z, dtype=torch.float64))[k - 1]) == pytest.approx(exact, rel=4e-15)
    assert float(phis(k, torch.tensor(-math.inf, dtype=torch.float64))[-1]) == 0


@named
@pytest.mark.parametrize("sampler", EVERY, ids=str)
def test_a_single_point_is_hit_from_anywhere(process: Continuous, sampler: Sampler) -> None:
    """Where the answer never changes there is nothing to extrapolate, and every method is exact."""
    point = torch.tensor([[0.3, -2.0]])
    x = sampler(Empirical(process, point), rng=Rng(range(4)))
    torch.testing.assert_close(x, point.double().expand(4, 2), rtol=0, atol=1e-12)


@named
def test_first_order_is_ancestral(process: Continuous) -> None:
    model, rng = mixture(process), Rng(range(6))
    torch.testing.assert_close(Multistep(9, order=1)(model, rng=rng), Euler(9)(model, rng=rng), rtol=1e-12, atol=1e-12)
    for eta in (1.0, 0.4):
        one, other = Multistep(9, order=1, eta=eta), Ancestral(9, eta=eta)
        assert torch.equal(one(model, rng=rng), other(model, rng=rng))


@named
@pytest.mark.parametrize("sampler", [Multistep(5, lower_order_final=True), UniPC(5, lower_order_final=True)], ids=str)
def test_one_step_and_evaluations(process: Continuous, sampler: Sampler) -> None:
    model = Counted(mixture(process))
    sampler(model, rng=Rng(range(3)))
    assert model.rows == 3 * 5
    one = type(sampler)(1)
    torch.testing.assert_close(
        one(model, rng=Rng(range(3))), Euler(1)(model, rng=Rng(range(3))), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("other", [VP(), VP(0.5, 12.0)], ids=str)
@pytest.mark.parametrize("sampler", EVERY, ids=str)
def test_every_process_is_edm_after_rescaling(sampler: Sampler, other: VP) -> None:
    one = torch.ones(1, dtype=torch.float64)
    ratio = float(other.sigma(one) / other.alpha(one))
    kappa = torch.cat([torch.logspace(math.log10(ratio), -2, 30, dtype=torch.float64), torch.zeros(1)])
    times = other.time(kappa / (1 + kappa))
    times[0] = 1.0
    rng = Rng(range(5))
    x = ratio * rng.normal("x", (3,)).double()
    a = list(sampler.trajectory(mixture(EDM(sigma_max=ratio)), rng=rng, times=kappa / ratio, start=x))
    b = list(sampler.trajectory(mixture(other), rng=rng, times=times, start=x * other.alpha(one)))
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(right.x / other.alpha(right.t)[:, None], left.x, rtol=1e-10, atol=1e-10)


def variance(sampler: Multistep, process: Continuous, c: float) -> float:
    """The exact variance at the end of a stochastic run on N(0, c^2): its moments, carried through affine steps.

    A step is affine in (x, m_1, m_2), so its action on three unit vectors is its matrix.
    """
    model = Mixture(process, torch.zeros(1, 1), torch.full((1, 1, 1), c**2, dtype=torch.float64))
    times = sampler.grid(process, sampler.steps)
    size = max(2, sampler.order)
    places = sampler.order - 1
    alpha, sigma = process.alpha(times[0]), process.sigma(times[0])
    moments = torch.zeros(size, size, dtype=torch.float64)
    moments[0, 0] = alpha**2 * c**2 + sigma**2
    unit = torch.eye(size, dtype=torch.float64)
    past: list[Tensor] = []
    for t, s in zip(times[:-1], times[1:], strict=True):
        stamps = [p.expand(size) for p in past[:places]] + [torch.zeros(size).double()] * (places - len(past))
        memory = (*[unit[:, k, None] for k in range(1, places + 1)], *stamps)
        state = State(unit[:, :1], t.expand(size), Rng(range(size)), memory)
        law = sampler.transition(model, state, s.expand(size), NONE)
        answer = model(unit[:, :1], t.expand(size)).mean
        step = torch.zeros(size, size, dtype=torch.float64)
        step[0] = law.mean[:, 0]
        step[1] = answer[:, 0]
        if size == 3:
            step[2, 1] = 1.0
        fresh = float(law.variance[0, 0]) if sampler.eta else 0.0
        moments = step @ moments @ step.T
        moments[0, 0] += fresh
        past.insert(0, t)
    return float(moments[0, 0])


@pytest.mark.parametrize("process", [EDM(), Flow()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("eta", [1.0, 0.5, 0.0])
def test_the_variance_is_kept_to_second_order(process: Continuous, eta: float) -> None:
    """DDPM loses spread like 1 / N; leaning on the last answer like 1 / N^2, with fresh noise and without."""
    second, first = (
        [variance(Multistep(n, order=k, eta=eta), process, 0.6) / 0.36 - 1 for n in (40, 120)] for k in (2, 1)
    )
    print(f"\n{type(process).__name__:7} eta {eta}: DDPM and DDIM {first}, second order {second}", end="")
    assert abs(math.log(second[0] / second[1], 3) - 2) < 0.25 and abs(math.log(first[0] / first[1], 3) - 1) < 0.25
    third = variance(Multistep(120, order=3, eta=eta), process, 0.6) / 0.36 - 1
    assert abs(third) < abs(second[1]) < 0.15 * abs(first[1])


def test_a_changed_state_keeps_its_change() -> None:
    """The corrector adds to where the state is, and does not put it back on its own path."""
    model, sampler, rng = mixture(Flow()), UniPC(20), Rng(range(3))
    states = list(sampler.trajectory(model, rng=rng))
    at, pushed = states[8], torch.tensor([0.5, 0.0, -0.5], dtype=torch.float64)
    plain = sampler.step(model, at, states[9].t)
    moved = sampler.step(model, State(at.x + pushed, at.t, at.rng, at.memory), states[9].t)
    difference = (moved.x - plain.x) - pushed
    assert float(difference.abs().max()) < 0.25 and float((moved.x - plain.x)[:, 0].min()) > 0.2


def test_a_sampler_around_it_keeps_its_memory() -> None:
    """Unshifted, the wrapped sampler is the sampler: what it remembers passes through."""
    inner, model, rng = Multistep(12, eta=1.0), mixture(Flow()), Rng(range(3))
    plain = Shifted(inner, lambda x, cond, t=None: x.sum(1), scale=0.0)
    assert torch.equal(plain(model, rng=rng), inner(model, rng=rng))
    assert not torch.equal(inner(model, rng=rng), Ancestral(12)(model, rng=rng))


def test_lower_order_final_counts_the_intervals_left() -> None:
    """Lowering the order at the end changes only the last intervals before the one that is of first order anyway."""
    model, rng = mixture(EDM()), Rng(range(3))
    for make in (Multistep, UniPC):
        high = list(make(12, order=3, lower_order_final=False).trajectory(model, rng=rng))
        low = list(make(12, order=3, lower_order_final=True).trajectory(model, rng=rng))
        same = [torch.equal(a.x, b.x) for a, b in zip(high, low, strict=True)]
        assert same == [True] * 11 + [False] * 2
    for make in (Multistep, UniPC):
        auto, told = make(9, order=2), make(9, order=2, lower_order_final=True)
        assert torch.equal(auto(model, rng=rng), told(model, rng=rng))


def test_refusals() -> None:
    for make in (
        lambda: Multistep(5, order=4),
        lambda: Multistep(5, eta=1.2),
        lambda: Multistep(5, compat="other"),
        lambda: UniPC(5, order=0),
        lambda: UniPC(5, variant="bh3"),
    ):
        with pytest.raises(Refusal):
            make()
