"""Optimal transport between small sets of points: the squared 2-Wasserstein distance of two empirical laws.

Two sets a (n, d) and b (m, d) stand for the laws (1/n) sum delta_(a_q) and (1/m) sum delta_(b_q). Where n = m an
optimal plan is a matching (Birkhoff's theorem), and so it is for any sizes once both sets are repeated to the least
common multiple of n and m, which leaves the laws alone.

Source: Peyre and Cuturi 2019, "Computational optimal transport" (1803.00567, sections 2.3, 2.6 and 4); Altschuler et
al. 2017, "Near-linear time approximation algorithms for optimal transport via Sinkhorn iteration" (1705.09634,
algorithm 2); the cost ``rms`` is that of the code of Tang et al. 2022, "Graph auto-encoder via neighborhood Wasserstein
reconstruction" (2202.09025).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.errors import Refusal, nearest

METHODS, COSTS = ("auto", "sort", "exact", "sinkhorn"), ("squared", "rms")
LARGEST = 8192
"""To how many points sets of two sizes are repeated at most: their costs then take half a gigabyte."""


def set_w2(
    a: Tensor,
    b: Tensor,
    method: str = "auto",
    cost: str = "squared",
    *,
    regulariser: float = 0.01,
    iterations: int = 200,
) -> Tensor:
    """The squared 2-Wasserstein distance between sets of points of equal weight.

        W(a, b) = min over matchings pi of mean_q c(a_q, b_pi(q)),    c(x, y) = |x - y|^2, summed over d

    Its gradient is that of the matched costs with the matching held still (the envelope theorem); it is exact where one
    matching alone is best, and one of the possible gradients where several are. Both sets receive it.

    Arguments:
        a: points (..., n, d), on any device; less than float32 is computed in float32.
        b: points (..., m, d) of the same device, with leading axes that are those of ``a`` or broadcast against them.
        method: ``sort`` (d = 1, exact), ``exact`` (an assignment per pair of sets, on the CPU in float64),
            ``sinkhorn`` (an entropic plan, on the device of the points) or ``auto``: ``sort`` where d = 1, else
            ``exact``.
        cost: ``squared``, or ``rms``, the distance |x - y| / sqrt(d) itself, whose minimum is a 1-Wasserstein distance.
        regulariser: of ``sinkhorn``, as a share of the mean cost of each pair of sets.
        iterations: of ``sinkhorn``, each an update of both potentials in the log domain.

    Returns:
        (...), float32 or float64. ``sinkhorn`` gives the cost of its plan, made to have the right marginals, so that it
        is never below the exact value and tends to it as the regulariser falls and the iterations suffice. Its gradient
        holds the plan still.

    Raises:
        Refusal: points that are not finite, axes that do not fit, empty sets, an unknown method or cost, ``sort`` with
            d > 1, and two sizes whose least common multiple is beyond ``LARGEST`` under ``exact``.
    """
    a, b = _checked(a, b)
    if method not in METHODS:
        raise Refusal(f"there is no method {method!r} of transport; {nearest(method, METHODS)}")
    if cost not in COSTS:
        raise Refusal(f"there is no cost {cost!r} of transport; {nearest(cost, COSTS)}")
    if method == "sinkhorn":
        if not (regulariser > 0 and math.isfinite(regulariser) and iterations >= 1):
            raise Refusal(
                f"sinkhorn needs a regulariser above 0 and at least one iteration, not {regulariser} and {iterations}"
            )
        return _entropic(a, b, cost, regulariser, iterations)
    if method == "sort" or (method == "auto" and a.shape[-1] == 1):
        return _sorted(a, b, cost)
    return _assigned(a, b, cost)


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets with the same leading axes and at least in float32."""
    here, there = tuple(a.shape), tuple(b.shape)
    if a.ndim < 2 or b.ndim < 2 or here[-1] != there[-1]:
        raise Refusal(f"sets of points are (..., n, d) and (..., m, d) with the same d, not {here} and {there}")
    if 0 in (*here[-2:], *there[-2:]):
        raise Refusal(f"sets of points need at least one point of at least one number, not {here} and {there}")
    if a.is_complex() or b.is_complex():
        raise Refusal("points of sets are real; give the real and the imaginary part as two numbers")
    try:
        leading = np.broadcast_shapes(here[:-2], there[:-2])  # torch's own loads symbolic algebra first
    except ValueError:
        raise Refusal(f"leading axes {here[:-2]} and {there[:-2]} of two batches of sets do not fit") from None
    kind = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = (x.to(kind).expand(*leading, *x.shape[-2:]) for x in (a, b))
    if not (bool(a.isfinite().all()) and bool(b.isfinite().all())):
        raise Refusal("sets of points hold numbers that are not finite, between which no distance is defined")
    return a, b


def _between(difference: Tensor, cost: str) -> Tensor:
    """Costs of differences (..., d) -> (...)."""
    if cost == "squared":
        return difference.square().sum(-1)
    # The norm's own derivative at zero is zero, where a root of a sum of squares would give NaN.
    norm: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return norm / math.sqrt(difference.shape[-1])


def _all(a: Tensor, b: Tensor, cost: str) -> Tensor:
    """Costs of all pairs, (..., n, m); from differences, since the expanded square cancels where points are close."""
    distance = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.square() if cost == "squared" else distance / math.sqrt(a.shape[-1])


def _sorted(a: Tensor, b: Tensor, cost: str) -> Tensor:
    if a.shape[-1] != 1:
        raise Refusal(f"sets are sorted where their points are one number, not {a.shape[-1]}; take method='exact'")
    a, b = a.sort(-2).values, b.sort(-2).values
    n, m = a.shape[-2], b.shape[-2]
    if n == m:
        return _between(a - b, cost).mean(-1)
    # Of both sets repeated to their common size only the runs of equal pairs are written down: n + m of them at most.
    common = math.lcm(n, m)
    starts = torch.cat([torch.arange(k, device=a.device) * (common // k) for k in (n, m)])
    starts = torch.unique(starts)
    share = torch.diff(starts, append=starts.new_tensor([common])).to(a.dtype) / common
    a, b = (x.index_select(-2, starts // (common // x.shape[-2])) for x in (a, b))
    return (_between(a - b, cost) * share).sum(-1)


def _assigned(a: Tensor, b: Tensor, cost: str) -> Tensor:
    n, m, d = a.shape[-2], b.shape[-2], a.shape[-1]
    if n == 1 or m == 1:
        return _between(a - b, cost).mean(-1)  # there is one plan only
    common = math.lcm(n, m)
    if n != m and common > LARGEST:
        raise Refusal(
            f"sets of {n} and {m} points are {common:,} points each once repeated to a common size, more than "
            f"{LARGEST:,}; draw sizes with a smaller common multiple, or take method='sinkhorn'"
        )
    leading = a.shape[:-2]
    count = math.prod(leading)
    with torch.no_grad():
        x, y = (each.detach().cpu().double().reshape(count, each.shape[-2], d) for each in (a, b))
        partner = torch.from_numpy(_matchings(_all(x, y, cost).numpy(), common)).to(a.device)
    repeated = a if n == common else a.repeat_interleave(common // n, dim=-2)
    partner = (partner // (common // m)).reshape(*leading, common, 1)
    return _between(repeated - b.take_along_dim(partner, -2), cost).mean(-1)


def _matchings(costs: NDArray[np.float64], common: int) -> NDArray[np.int64]:
    """The best partner of every point, (count, common), of sets repeated to a common size, from costs (count, n, m)."""
    from scipy.optimize import linear_sum_assignment  # loaded when needed

    count, n, m = costs.shape
    found = np.empty((count, common), dtype=np.int64)
    for row, each in enumerate(costs):
        if n != m:
            each = each.repeat(common // n, 0).repeat(common // m, 1)
        found[row] = linear_sum_assignment(each)[1]  # of a square matrix the first answer is 0, 1, 2, ...
    return found


def _entropic(a: Tensor, b: Tensor, cost: str, regulariser: float, iterations: int) -> Tensor:
    costs = _all(a, b, cost)
    return (_plan(costs.detach(), regulariser, iterations) * costs).sum((-2, -1))


@torch.no_grad()
def _plan(costs: Tensor, regulariser: float, iterations: int) -> Tensor:
    """An entropic plan of costs (..., n, m), rounded to one whose marginals are uniform."""
    n, m = costs.shape[-2:]
    scale = costs.mean((-2, -1), keepdim=True)
    kernel = -costs / (regulariser * torch.where(scale > 0, scale, 1.0))
    v = torch.zeros_like(kernel[..., :1, :])
    for _ in range(iterations):
        u = math.log(m) - (kernel + v).logsumexp(-1, keepdim=True)
        v = math.log(n) - (kernel + u).logsumexp(-2, keepdim=True)
    plan = (kernel + u + v).exp() / (n * m)
    plan = plan * (1 / (n * plan.sum(-1, keepdim=True))).clamp(max=1)
    plan = plan * (1 / (m * plan.sum(-2, keepdim=True))).clamp(max=1)
    rows, columns = ((1 / k - plan.sum(axis, keepdim=True)).clamp(min=0) for k, axis in ((n, -1), (m, -2)))
    missing = rows.sum(-2, keepdim=True)
    spread = rows * columns / torch.where(missing > 0, missing, 1.0)
    return torch.where(missing > 0, plan + spread, plan)
