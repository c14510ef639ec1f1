"""Set transport against enumeration, linear programmes, closed forms and finite differences."""

from __future__ import annotations

import math
from functools import partial
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import wasserstein_distance
from torch import Tensor

from mezzotint.core import Refusal, Rng
from mezzotint.core.transport import set_w2

METHODS, COSTS = ("exact", "sinkhorn"), ("squared", "rms")


def points(name: str, *shape: int, seed: int = 0) -> Tensor:
    return Rng([seed]).at(name).normal("points", shape)[0].double()


def price(x: Tensor, y: Tensor, cost: str) -> float:
    """The cost of one pair, a number at a time."""
    squares = [(p - q) ** 2 for p, q in zip(x.tolist(), y.tolist(), strict=True)]
    return sum(squares) if cost == "squared" else math.sqrt(sum(squares) / len(squares))


def enumerated(a: Tensor, b: Tensor, cost: str) -> float:
    costs = [[price(x, y, cost) for y in b] for x in a]
    return min(sum(costs[q][p] for q, p in enumerate(order)) / len(a) for order in permutations(range(len(b))))


def programmed(a: Tensor, b: Tensor, cost: str) -> float:
    """Kantorovich's linear programme over all plans of uniform marginals."""
    n, m = len(a), len(b)
    costs = torch.tensor([[price(x, y, cost) for y in b] for x in a], dtype=torch.float64)
    rows = torch.eye(n).repeat_interleave(m, 1)
    columns = torch.eye(m).repeat(1, n)
    due = torch.cat([torch.ones(n).double() / n, torch.ones(m).double() / m])
    marginals = torch.cat([rows, columns]).double().numpy()
    return float(linprog(costs.flatten().numpy(), A_eq=marginals, b_eq=due.numpy()).fun)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_all_matchings_are_searched(size: int, d: int, cost: str) -> None:
    a, b = points("a", 4, size, d), points("b", 4, size, d)
    due = torch.tensor([enumerated(x, y, cost) for x, y in zip(a, b, strict=True)], dtype=torch.float64)
    for method in ("auto", "exact", *(["sort"] if d == 1 else [])):
        torch.testing.assert_close(set_w2(a, b, method, cost), due, rtol=1e-12, atol=0)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("n", "m", "d"), [(8, 5, 2), (3, 8, 3), (1, 7, 2), (4, 8, 1), (6, 4, 1), (1, 5, 1)])
def test_sizes_that_differ_are_a_linear_programme(n: int, m: int, d: int, cost: str) -> None:
    a, b = points("a", 3, n, d), points("b", 3, m, d)
    due = torch.tensor([programmed(x, y, cost) for x, y in zip(a, b, strict=True)], dtype=torch.float64)
    for method in ("exact", *(["sort"] if d == 1 else [])):
        torch.testing.assert_close(set_w2(a, b, method, cost), due, rtol=1e-9, atol=0)


def test_sorted_distances_are_scipy_s() -> None:
    """Its 1-Wasserstein distance is another integral: of the distance between two distribution functions."""
    a, b = points("a", 60, 1), points("b", 35, 1)
    due = wasserstein_distance(a[:, 0].numpy(), b[:, 0].numpy())
    assert float(set_w2(a, b, cost="rms")) == pytest.approx(due, rel=1e-12)
    least = (points("a", 9, 1).flatten().sort().values - points("b", 9, 1).flatten().sort().values).square().mean()
    assert float(set_w2(points("a", 9, 1), points("b", 9, 1), "exact")) == pytest.approx(float(least), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from(COSTS))
def test_a_distance_of_multisets(seed: int, n: int, m: int, d: int, cost: str) -> None:
    a, b = points("a", n, d, seed=seed), points("b", m, d, seed=seed)
    near = partial(torch.testing.assert_close, rtol=1e-12, atol=1e-14)
    value = set_w2(a, b, cost=cost)
    near(value, set_w2(b, a, cost=cost))
    order = torch.argsort(points("order", m, seed=seed))
    near(value, set_w2(a.flip(0), b[order], cost=cost))
    assert value > 0
    assert set_w2(b[order], b, cost=cost) == 0
    assert set_w2(a, torch.cat([a.flip(0), a]), cost=cost) == 0  # the same law in another number of points
    twice = torch.cat([a, a[:1]])
    other = torch.cat([a, a[-1:]])  # the same points, another of them twice
    assert (set_w2(twice, other, cost=cost) == 0) == (n == 1)
    shift = points("shift", d, seed=seed)
    due = shift.square().sum() if cost == "squared" else shift.square().mean().sqrt()
    torch.testing.assert_close(set_w2(a, a + shift, cost=cost), due, rtol=1e-12, atol=1e-13)


def test_no_pairing_is_cheaper() -> None:
    a, b = points("a", 500, 8, 3), points("b", 500, 8, 3)
    assert (set_w2(a, b) <= (a - b).square().sum(-1).mean(-1) + 1e-12).all()
    assert (set_w2(a, b) < (a - b).square().sum(-1).mean(-1)).float().mean() > 0.9


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("n", "m", "d", "method"), [(5, 5, 2, "exact"), (4, 6, 3, "exact"), (6, 4, 1, "sort")])
def test_gradients_are_finite_differences(n: int, m: int, d: int, method: str, cost: str) -> None:
    a, b = (x.requires_grad_() for x in (points("a", 2, n, d), points("b", 2, m, d)))
    assert torch.autograd.gradcheck(lambda x, y: set_w2(x, y, method, cost), (a, b), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("cost", COSTS)
def test_gradients_of_plans_approach_those_of_matchings(cost: str) -> None:
    a, b = points("a", 6, 2).requires_grad_(), points("b", 6, 2)
    (found,) = torch.autograd.grad(set_w2(a, b, "sinkhorn", cost, regulariser=2e-3, iterations=4000), a)
    (due,) = torch.autograd.grad(set_w2(a, b, "exact", cost), a)
    torch.testing.assert_close(found, due, rtol=0.01, atol=5e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cost", COSTS)
def test_sets_that_coincide_have_gradients(method: str, cost: str) -> None:
    a = points("a", 4, 3).requires_grad_()
    value = set_w2(a, a.detach().clone(), method, cost)
    value.backward()  # type: ignore[no-untyped-call]
    assert a.grad is not None and a.grad.isfinite().all()
    if method == "exact":
        assert (a.grad == 0).all()


@pytest.mark.parametrize("d", [1, 3])
def test_many_draws_approach_the_closed_form_from_above(d: int) -> None:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S2^(1/2) S1 S2^(1/2))^(1/2)), by eigenvalues of S1 S2."""
    roots = [torch.eye(d).double() + 0.4 * points(name, d, d) for name in ("root 1", "root 2")]
    s1, s2 = (root @ root.T for root in roots)
    means = [points(name, d) for name in ("mean 1", "mean 2")]
    cross = torch.linalg.eigvals(s1 @ s2).real.sqrt().sum()
    due = (means[0] - means[1]).square().sum() + s1.trace() + s2.trace() - 2 * cross
    a, b = (points(name, 2**14, d) @ root.T + mean for name, root, mean in zip("ab", roots, means, strict=True))
    gaps = [float(set_w2(a.view(-1, n, d), b.view(-1, n, d)).mean() - due) for n in (8, 32, 128)]
    assert gaps[0] > gaps[1] > gaps[2] > -0.1
    assert gaps[2] < 0.3 * gaps[0]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("n", "m"), [(6, 6), (5, 8)])
def test_plans_approach_the_matching_from_above(n: int, m: int, cost: str) -> None:
    a, b = points("a", 20, n, 2), points("b", 20, m, 2)
    exact = set_w2(a, b, "exact", cost)
    gaps = [set_w2(a, b, "sinkhorn", cost, regulariser=r, iterations=i) - exact for r, i in
            ((1.0, 50), (0.1, 500), (0.01, 5000))]  # fmt: skip
    assert all((gap > -1e-12).all() for gap in gaps)
    assert (gaps[0] > gaps[1]).all() and (gaps[1] >= gaps[2] - 1e-9).all()
    assert float((gaps[2] / exact).max()) < 0.01
    few = set_w2(a, b, "sinkhorn", cost, regulariser=1e-4, iterations=1)  # far from converged: still a plan
    assert (few >= exact - 1e-12).all()


@pytest.mark.parametrize("method", ["auto", "exact", "sinkhorn"])
@pytest.mark.parametrize("d", [1, 3])
def test_any_leading_axes(method: str, d: int) -> None:
    a, b = points("a", 2, 3, 5, d), points("b", 3, 4, d)
    value = set_w2(a, b, method)
    assert value.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(value[i, j], set_w2(a[i, j], b[j], method), rtol=1e-10, atol=1e-12)
    assert set_w2(a[:1, :1], b[:1], method).shape == (1, 1)
    for none in (set_w2(a[:0], b, method), set_w2(a[:, :0], b[:0], method)):
        assert none.numel() == 0 and none.dtype == torch.float64


@pytest.mark.parametrize("method", ["auto", "exact", "sinkhorn"])
@pytest.mark.parametrize("d", [1, 3])
def test_precisions(method: str, d: int) -> None:
    a, b = points("a", 7, 8, d), points("b", 7, 8, d)
    due = set_w2(a, b, method)
    low = a.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = set_w2(low, b.float(), method)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), set_w2(low.detach().double(), b, method), rtol=1e-4, atol=1e-5)
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert low.grad is not None and low.grad.dtype == torch.bfloat16
    torch.testing.assert_close(set_w2(a.float(), b, method), set_w2(a.float().double(), b, method))
    torch.testing.assert_close(set_w2(a.float(), b.float(), method).double(), due, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (((4, 2), (4, 3)), "the same d"),
        (((4,), (4,)), "the same d"),
        (((0, 2), (4, 2)), "at least one point"),
        (((4, 0), (4, 0)), "at least one point"),
        (((2, 4, 3), (3, 4, 3)), "leading axes"),
        (((4, 2), (4, 2), "sort"), "take method='exact'"),
        (((4, 2), (4, 2), "hungarian"), "no method 'hungarian'"),
        (((4, 2), (4, 2), "exact", "l1"), "no cost 'l1'"),
        (((199, 2), (200, 2)), "39,800 points"),
    ],
)
def test_what_is_refused(arguments: tuple[object, ...], sentence: str) -> None:
    a, b, *rest = arguments
    with pytest.raises(Refusal, match=sentence):
        set_w2(torch.zeros(a), torch.zeros(b), *rest)  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("d", [1, 2])
def test_numbers_that_are_not_finite_are_refused(d: int, bad: float) -> None:
    for a, b in ((torch.full((3, d), bad), torch.zeros(3, d)), (torch.zeros(3, d), torch.full((3, d), bad))):
        with pytest.raises(Refusal, match="not finite"):
            set_w2(a, b)


@pytest.mark.parametrize(("regulariser", "iterations"), [(0.0, 10), (-1.0, 10), (math.nan, 10), (0.1, 0)])
def test_sinkhorn_without_a_regulariser_is_refused(regulariser: float, iterations: int) -> None:
    with pytest.raises(Refusal, match="regulariser above 0"):
        set_w2(torch.zeros(2, 2), torch.zeros(2, 2), "sinkhorn", regulariser=regulariser, iterations=iterations)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["auto", "exact", "sinkhorn"])
@pytest.mark.parametrize(("n", "m", "d"), [(8, 8, 1), (8, 8, 3), (8, 5, 1), (8, 5, 3)])
def test_devices_agree(method: str, n: int, m: int, d: int) -> None:
    a, b = points("a", 50, n, d).requires_grad_(), points("b", 50, m, d)
    here = set_w2(a, b, method)
    (due,) = torch.autograd.grad(here.sum(), a)
    there = set_w2(a.cuda(), b.cuda(), method)
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(there.sum(), a)[0], due, rtol=1e-6, atol=1e-9)
