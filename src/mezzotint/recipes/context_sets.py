"""What context prediction rests on, all exact: distances between sets, neighbourhoods, and the two decoders.

What they must be is said here in other words: every matching tried, linear programmes, sites found by a search through
all pairs, and laws whose distances have closed forms. Each section yields rows: a kind, what it is of, and how far what
is equal lies apart, or how many entries are wrong.

Sources: Yang et al. 2023, "Improving diffusion-based image synthesis with context prediction" (2401.02015), whose
averaging bound this is; Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mezzotint.core.rng import Rng
from mezzotint.core.transport import set_w2
from mezzotint.evidence.recipe import Setting
from mezzotint.objectives.decoders import OrderedDecoder, SetDecoder
from mezzotint.objectives.neighbourhood import Neighbourhood

Rows = Iterator[tuple[str, dict[str, float]]]
SIZES = (8, 32, 128)
GRIDS: dict[str, tuple[tuple[int, ...], int]] = {
    "plane, 1": ((7, 9), 1), "plane, 2": ((7, 9), 2), "plane, 3": ((7, 9), 3), "plane, 4": ((9, 10), 4),
    "line, 2": ((11,), 2), "space, 1": ((3, 4, 5), 1), "one row, 2": ((1, 6), 2),
}  # fmt: skip
"""Sides of a grid and how far neighbourhoods reach."""


def apart(a: Tensor, b: Tensor | float) -> float:
    """The largest difference."""
    return float((a - b).abs().max())


def differ(a: Tensor, b: Tensor) -> float:
    """How many entries are not the same to the bit."""
    return float((a != b).sum())


def points(rng: Rng, name: str, *shape: int) -> Tensor:
    """Normal points of one key, in float64."""
    return rng.normal(name, shape)[0].double()


def away(found: Tensor, due: float) -> float:
    """How many standard errors the mean of numbers lies from what it is due."""
    return abs(float(found.mean()) - due) / (float(found.std()) / math.sqrt(found.numel()))


def tried(a: Tensor, b: Tensor) -> Tensor:
    """The least mean cost of all n! matchings of sets (..., n, d)."""
    orders = torch.tensor(list(itertools.permutations(range(b.shape[-2]))))
    return (a[..., None, :, :] - b[..., orders, :]).square().sum(-1).mean(-1).amin(-1)


def programmed(a: Tensor, b: Tensor) -> float:
    """The least cost of all plans with uniform marginals, by a linear programme."""
    from scipy.optimize import linprog  # loaded when needed

    n, m = len(a), len(b)
    costs = (a[:, None] - b).square().sum(-1).flatten()
    whole = torch.cat([torch.eye(n).repeat_interleave(m, 1), torch.eye(m).repeat(1, n)]).double()
    due = torch.cat([torch.ones(n).double() / n, torch.ones(m).double() / m])
    return float(linprog(costs.numpy(), A_eq=whole.numpy(), b_eq=due.numpy()).fun)


def distances(s: Setting, seed: int) -> Rows:
    """Sets against every matching, against other orders of themselves, and against sets that are moved."""
    rng = Rng([seed]).at("distances")
    for d in (1, 2, 3):
        gap = 0.0
        for n in range(1, 7):
            a, b = (points(rng.at(d, n), name, s.sets, n, d) for name in ("a", "b"))
            methods = ("auto", "exact", "sort") if d == 1 else ("auto", "exact")
            gap = max(gap, *(apart(set_w2(a, b, method), tried(a, b)) for method in methods))
        yield f"distance: every matching, {d}", {"apart": gap}
    a, b, v = points(rng, "a", s.sets, 8, 3), points(rng, "b", s.sets, 8, 3), points(rng, "v", s.sets, 1, 3)
    order = points(rng, "order", s.sets, 8, 1).argsort(1)
    mixed = b.take_along_dim(order, 1)
    due = set_w2(a, b)
    yield "distance: the other way round", {"apart": apart(set_w2(b, a), due)}
    yield "distance: in another order", {"apart": max(apart(set_w2(a, mixed), due), apart(set_w2(a.flip(1), b), due))}
    yield "distance: moved", {"apart": apart(set_w2(a, a + v), v.square().sum((1, 2)))}
    line = (points(rng, name, s.sets, 8, 1) for name in ("c", "d"))
    c, e = (each.sort(1).values for each in line)
    yield "distance: sorted", {"apart": apart(set_w2(c.flip(1), e), (c - e).square().mean((1, 2)))}
    yield "distance: equal sets", {"differ": float((set_w2(b, mixed) != 0).sum())}
    once = torch.cat([b, b[:, :1]], 1)
    other = torch.cat([b, b[:, 1:2]], 1)  # the same points, another of them twice
    yield "distance: other sets", {"differ": float((set_w2(once, other) <= 0).sum() + (due <= 0).sum())}
    pairs = (a - mixed).square().sum(-1).mean(-1)
    yield "distance: a fixed pairing", {"differ": float((due > pairs + 1e-12).sum())}
    few = [(points(rng.at(k), "few", 5, 2), points(rng.at(k), "many", 8, 2)) for k in range(4)]
    yield "distance: a linear programme", {"apart": max(apart(set_w2(x, y), programmed(x, y)) for x, y in few)}
    hot = [torch.eye(5).double()[(5 * rng.uniform(name, (s.sets, 8))[0]).long()] for name in ("hot", "other")]
    variation = (hot[0].mean(1) - hot[1].mean(1)).abs().sum(-1) / 2
    yield "distance: symbols and total variation", {"apart": apart(set_w2(hot[0], hot[1]), 2 * variation)}


@torch.enable_grad()
def slopes(s: Setting, seed: int) -> Rows:
    """Finite differences, away from ties; and entropic plans as their regulariser falls."""
    rng = Rng([seed]).at("slopes")
    for n, m, d in ((6, 6, 3), (4, 6, 2), (5, 5, 1)):
        a, b = (points(rng.at(n, m), name, s.sets, k, d).requires_grad_() for name, k in (("a", n), ("b", m)))
        found = torch.autograd.grad(set_w2(a, b).sum(), (a, b), materialize_grads=True)
        gap, step = 0.0, 1e-6
        for x, grad in zip((a, b), found, strict=True):
            for q, k in itertools.product(range(x.shape[1]), range(d)):
                up, down = x.detach().clone(), x.detach().clone()
                up[:, q, k] += step
                down[:, q, k] -= step
                sides = [set_w2(each, b) if x is a else set_w2(a, each) for each in (up, down)]
                gap = max(gap, apart(grad[:, q, k], ((sides[0] - sides[1]) / (2 * step)).detach()))
        yield f"slopes: {n} and {m} points of {d}", {"apart": gap}
    a, b = (points(rng, name, s.sets, 8, 2) for name in ("a", "b"))
    due, before = set_w2(a, b), math.inf
    for strength, iterations in ((1.0, 50), (0.1, 500), (0.01, 3000)):
        plan = set_w2(a, b, "sinkhorn", regulariser=strength, iterations=iterations)
        share = float((plan / due - 1).mean())
        below = float((plan < due - 1e-12).sum()) + float(share >= before)
        yield f"entropic: {strength:g}", {"differ": below, **({"above": share} if strength == 0.01 else {})}
        before = share


def normals(s: Setting, seed: int) -> Rows:
    """Draws of two normal laws in sets of 8, 32 and 128: above the closed form, and less so the larger they are."""
    for d in (1, 2):
        rng = Rng([seed]).at("normals", d)
        roots = [torch.eye(d).double() + 0.4 * points(rng, f"root {k}", d, d) for k in range(2)]
        means = [points(rng, f"mean {k}", d) for k in range(2)]
        due = float((means[0] - means[1]).square().sum())
        if d == 1:
            due += float((roots[0].abs() - roots[1].abs()).square())
        else:
            one, two = (root @ root.T for root in roots)
            values, vectors = torch.linalg.eigh(two)
            half = vectors @ values.sqrt().diag() @ vectors.T
            cross = torch.linalg.eigvalsh(half @ one @ half).clamp(min=0).sqrt().sum()
            due += float(one.trace() + two.trace() - 2 * cross)
        x, y = (points(rng, f"draws {k}", s.draws, d) @ roots[k].T + means[k] for k in range(2))
        found = [set_w2(x.view(-1, n, d), y.view(-1, n, d)) for n in SIZES]
        gaps = [float(each.mean()) - due for each in found]
        error = float(found[-1].std()) / math.sqrt(len(found[-1]))
        # The same draws throughout, so that larger sets are nearer for certain (the distance is convex).
        yield f"normal laws: {d}", {
            "below": -gaps[-1] / error, "left": gaps[-1] / gaps[0], "differ": float(sorted(gaps)[::-1] != gaps),
        }  # fmt: skip


def neighbours(s: Setting, seed: int) -> Rows:
    """Neighbourhoods against a search through all pairs of sites, on pictures that show where they are."""
    for name, (space, stride) in GRIDS.items():
        room = Neighbourhood(space, stride)
        count = math.prod(space)
        values = torch.arange(count).double().reshape(1, 1, *space)  # h W + w at (h, w)
        found, there = room.gather(values, torch.arange(count)[None])
        sites = list(itertools.product(*map(range, space)))
        wrong = 0
        for number, here in enumerate(sites):
            near = [max(abs(x - y) for x, y in zip(here, other, strict=True)) for other in sites]
            due = [float(k) for k, far in enumerate(near) if 1 <= far <= stride]
            wrong += sorted(found[0, number, there[0, number], 0].tolist()) != due
        full = (2 * stride + 1) ** len(space) - 1
        most = max(int(there.sum(-1).max()), room.count, len(room.offsets))
        # Of a row that is one site wide nobody has all of them.
        yield f"neighbours: {name}", {"differ": float(wrong), "count": float(most != full and 1 not in space)}
    counts = Neighbourhood((7, 9), 1).gather(torch.zeros(1, 1, 7, 9), torch.tensor([[0, 8, 54, 62, 4, 9, 31]]))[1]
    yield "neighbours: corners, edges, inside", {"count": differ(counts.sum(-1), torch.tensor([[3, 3, 3, 3, 5, 5, 8]]))}
    yield from drawn(s, seed)


def drawn(s: Setting, seed: int) -> Rows:
    """Q draws of what a corner, an edge and the inside of a plane see, each neighbour under a number of its own."""
    rows = Rng([seed]).at("drawn").repeat(s.rows).at(torch.arange(s.rows))
    clean = torch.arange(1.0, 64.0).reshape(1, 1, 7, 9).expand(s.rows, -1, -1, -1)
    sites = torch.tensor([[0, 4, 31]]).expand(s.rows, -1)
    around, there = Neighbourhood((7, 9), 1).gather(clean, sites)
    off, errors = 0.0, 0.0
    for Q in (2, 3, 5, 8, 11):
        found = SetDecoder(draws=Q).drawn(around, there, rows.at(Q))[..., 0]  # (rows, 3, Q)
        times = (found[..., None] == around[..., None, :, 0]).sum(2)  # (rows, 3, K)
        n = there.sum(-1, keepdim=True)
        low, high = Q // n, -(-Q // n)
        off += float((there & ((times < low) | (times > high))).sum() + (times * there).sum(-1).ne(Q).sum())
        chance = (Q % n / n)[0].double()  # to be drawn once more than others
        extra = (times - low).double().mean(0)
        spread = (chance * (1 - chance) / s.rows).sqrt()
        sure = there[0] & (spread > 0)
        errors = max(errors, float(((extra - chance).abs() / spread)[sure].max()) if sure.any() else 0.0)
    yield "draws: of valid neighbours, as often", {"differ": off, "errors": errors}


class _Table(nn.Module):
    """A layer that gives back what it is given, so that heads after it are a table of what is said."""

    def forward(self, h: Tensor) -> Tensor:
        return h


def spoken(values: Tensor) -> tuple[OrderedDecoder, Tensor]:
    """An ordered decoder that says values (n, K, d) of n sites, and the vectors (1, n, n) that make it."""
    n, K, d = values.shape
    decoder = OrderedDecoder(width=n).double()
    decoder.meet(n, d, K)
    decoder.double()
    decoder.body = _Table()  # type: ignore[assignment]
    with torch.no_grad():
        decoder.heads.weight.copy_(values.reshape(n, K * d).T)
        decoder.heads.bias.zero_()
    return decoder, torch.eye(n).double()[None]


def averaged(s: Setting, seed: int) -> Rows:
    """On a torus the average of all that is said of a site is off by at most what is said is off, over K + 1.

    xbar^i = ( xhat^i + sum_j said_(i-j)^j ) / (K + 1),    |x_0 - xbar|^2 <= L_ordered / (K + 1)
    """
    d, space = 2, (6, 5)
    for stride in (1, 2):
        rng = Rng([seed]).at("averaged", stride)
        room = Neighbourhood(space, stride)
        x0, guess = points(rng, "x0", d, *space), points(rng, "guess", d, *space)
        shifts = [tuple(int(-o) for o in offset) for offset in room.offsets]
        # A guess of everything, of which each site says the part around it: all K + 1 opinions on a site are then one.
        agreed = torch.stack([guess.roll(shift, (1, 2)) for shift in shifts], -1).flatten(1, 2).permute(1, 2, 0)
        wild = points(rng, "said", *agreed.shape)
        for name, said in (("one opinion", agreed), ("any opinions", wild)):
            decoder, h = spoken(said)
            # The torus as the middle of a larger plane, so that every site has all its neighbours.
            plane = nn.functional.pad(x0[None], (stride,) * 4, mode="circular")
            rows, columns = torch.meshgrid(*map(torch.arange, space), indexing="ij")
            sites = ((rows + stride) * plane.shape[3] + columns + stride).reshape(1, -1)
            around, there = Neighbourhood(tuple(plane.shape[2:]), stride).gather(plane, sites)
            ordered = decoder(h, around, there, rng) * room.count
            loss = float(ordered.sum() + (x0 - guess).square().sum())
            heard = [each.T.reshape(d, *space) for each in decoder.said(h, room.count)[0].unbind(1)]
            moved = (
                each.roll(tuple(int(o) for o in offset), (1, 2))
                for each, offset in zip(heard, room.offsets, strict=True)
            )
            mean = (guess + sum(moved)) / (room.count + 1)
            ratio = float((x0 - mean).square().sum()) * (room.count + 1) / loss
            found = {"apart": abs(ratio - 1)} if name == "one opinion" else {"over": ratio}
            yield f"average: {name}, {stride}", found


def identity(d: int, mean: Tensor, spread: float, draws: int, sites: int) -> tuple[SetDecoder, Tensor]:
    """A set decoder whose FNN is the identity, x = relu(x) - relu(-x), told one law at every site; and its input."""
    decoder = SetDecoder(draws=draws, hidden=d, width=2 * d)
    decoder.meet(1, d, 8)
    decoder.double()
    one = torch.eye(d).double()
    layers = [layer for layer in decoder.body if isinstance(layer, nn.Linear)]
    both = torch.cat([one, -one])
    with torch.no_grad():
        for layer, weight in zip(layers, (both, *(torch.eye(2 * d).double(),) * 2, both.T), strict=True):
            layer.weight.copy_(weight)
            layer.bias.zero_()
        decoder.law.weight.zero_()
        inside = 8 * math.atanh(math.log(spread) / 8) if spread > 0 else -1e3  # which is bounded smoothly to [-8, 8]
        decoder.law.bias.copy_(torch.cat([mean, torch.full((d,), inside)]))
    return decoder, torch.zeros(1, sites, 1).double()


def constant(s: Setting, seed: int) -> Rows:
    """A picture of one colour c: whatever is matched with whatever, the loss is E |said - c|^2 = |mu - c|^2 + d s^2."""
    rng, d = Rng([seed]).at("constant"), 3
    c, mean, spread = points(rng, "c", d), points(rng, "mean", d), 0.3 + float(rng.uniform("s", ()))
    picture = c[None, :, None, None].expand(s.rows, -1, 3, 3)
    keys = rng.repeat(s.rows).at(torch.arange(s.rows))
    around, there = Neighbourhood((3, 3), 1).gather(picture, torch.tensor([[0, 4]]).expand(s.rows, -1))
    due = float((mean - c).square().sum()) + d * spread**2
    for Q in (1, 8):
        decoder, h = identity(d, mean, spread, Q, 2)
        found = decoder(h.expand(s.rows, -1, -1), around, there, keys).mean(1)
        yield f"one colour: {Q} draws", {"errors": away(found, due)}
    decoder, h = identity(d, c, 0.0, 8, 2)
    yield "one colour: all said at c", {"apart": float(decoder(h.expand(s.rows, -1, -1), around, there, keys).max())}


def orders(s: Setting, seed: int) -> Rows:
    """With all K neighbours the set loss is at most the ordered one, which is the mean over those that are there."""
    rng, d = Rng([seed]).at("orders"), 2
    room = Neighbourhood((5, 6), 1)
    x, said = points(rng, "x", d, 5, 6), points(rng, "said", 30, 8, d)
    decoder, h = spoken(said)
    around, there = room.gather(x[None], torch.arange(30)[None])
    ordered = decoder(h, around, there, rng)[0]
    due, more = torch.zeros(30).double(), 0.0
    for site, (here, row, valid) in enumerate(zip(said, around[0], there[0], strict=True)):
        off = [(here[k] - row[k]).square().sum() for k in range(8) if valid[k]]
        due[site] = torch.stack(off).mean()
        more += float(set_w2(here[valid], row[valid]) > due[site] + 1e-12)
    yield "orders: of those that are there", {"apart": apart(ordered, due), "differ": more}
    inside = torch.tensor([[7, 14, 22]])
    around, there = room.gather(x[None], inside)
    every = SetDecoder(draws=8).drawn(around, there, rng)
    yield "orders: the whole neighbourhood", {"differ": float((set_w2(every, around) != 0).sum())}


SECTIONS = (distances, slopes, normals, neighbours, averaged, constant, orders)
