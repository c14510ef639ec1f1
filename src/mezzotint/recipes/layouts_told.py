"""What a layout is to a network: where it is heard, how far it reaches, and what stands for none at all.

The networks are real ones, U-Nets with spatially-adaptive norms and the ``conditions.Layout`` before them, with weights
drawn at random and none left at zero, in float64. What they must be is said here in other words: group norms of torch
with one scale and shift, a U-Net that has no port for maps, one-hot vectors, neighbours visited one by one.

Sources: Park et al. 2019, "Semantic image synthesis with spatially-adaptive normalization" (1903.07291); Wang et al.
2022, "Semantic image synthesis via diffusion models" (2207.00050).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mezzotint.conditions import Encoder, Layout
from mezzotint.conditions.layout import UNSAID, edges_of
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Setting
from mezzotint.networks import UNet
from mezzotint.networks.context import Context, Output
from mezzotint.networks.spatial_norm import SpatialNorm, resized
from mezzotint.objectives import Denoising
from mezzotint.processes.flow import Flow

THINGS, SPACE, HIDDEN, RATE = 5, (8, 12), 4, 0.2
PORT = "decoder"
Rows = Iterator[tuple[str, dict[str, float]]]
M = TypeVar("M", bound=nn.Module)


def alive(module: M, rng: Rng) -> M:
    """The same module in float64 and evaluation, each weight drawn under its name: what begins at zero would hide."""
    with torch.no_grad():
        for name, weight in module.double().named_parameters():
            weight.copy_(0.3 * (weight.ndim == 1) + 0.15 * rng.at(name).normal("weight", tuple(weight.shape))[0])
    return module.eval().requires_grad_(False)


def unet(maps: int, rng: Rng, **settings: int) -> UNet:
    """A U-Net of two levels whose middle and way up are told so many maps; of none, a plain one."""
    shape = (2, *SPACE)
    return alive(UNet(shape, 16, (1, 2), vector=None, decoder_maps=maps, hidden=HIDDEN, **settings), rng)  # type: ignore[arg-type]


def told(rng: Rng, edges: bool = False, **settings: int) -> Preconditioned:
    """A denoiser of pictures with a layout, its null among what was drawn."""
    part = Layout(THINGS, 3, PORT, edges)
    network = unet(part.width, rng, **settings)
    made = Preconditioned(network, Flow(), Encoder(layout=part), variance="outputs" in settings)
    alive(part, rng.at("layout"))
    part.null_trained.fill_(True)
    return made


def layouts(rng: Rng, count: int, space: tuple[int, ...] = SPACE, things: int = THINGS) -> Tensor:
    """Random things at random places, (B, H, W)."""
    return (things * rng.uniform("things", (count, *space))[0]).long()


def pictures(rng: Rng, count: int) -> tuple[Tensor, Tensor]:
    """Noisy pictures and their times."""
    return rng.normal("x", (count, 2, *SPACE))[0].double(), 0.1 + 0.8 * rng.uniform("t", (count,))[0]


@torch.no_grad()
def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return float((a - b).abs().max())


def differ(a: Tensor, b: Tensor) -> float:
    """How many entries are not the same to the bit."""
    return float((a != b).sum())


def same(a: Tensor, b: Tensor) -> float:
    """How many entries are."""
    return float((a == b).sum())


def norms(s: Setting, seed: int) -> Rows:
    """Every norm that is told a map, where the map says the same everywhere, nothing, or one thing at one place."""
    rng = Rng([seed]).at("norms")
    network = unet(THINGS, rng)
    found = {name: norm for name, norm in network.named_modules() if isinstance(norm, SpatialNorm)}
    gaps = {"constant maps": 0.0, "zero convolutions": 0.0, "a constant layout": 0.0}
    reach = {"outside": 0.0, "unfelt": 0.0}
    for name, norm in found.items():
        C, groups, eps, own = norm.norm.num_channels, norm.norm.num_groups, norm.norm.eps, rng.at(name)
        h = own.normal("h", (2, C, 9, 11))[0].double()
        one, two = (F.one_hot(layouts(own.at(k), 2, (9, 11)), THINGS).movedim(-1, 1).double() for k in range(2))
        constant = one[:, :, :1, :1].expand_as(one)
        # Away from the border a convolution of a constant map is the sum of its taps.
        read, say = cast(nn.Conv2d, norm.read), cast(nn.Conv2d, norm.say)
        assert read.bias is not None and say.bias is not None
        hidden = torch.einsum("oiyx,bi->bo", read.weight, constant[..., 0, 0]) + read.bias
        said = torch.einsum("oiyx,bi->bo", say.weight, hidden.relu()) + say.bias
        due = [F.group_norm(row[None], groups, 1 + each[:C], each[C:], eps) for row, each in zip(h, said, strict=True)]
        inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        gap = apart(norm(h, constant)[inner], torch.cat(due)[inner])
        gaps["a constant layout"] = max(gaps["a constant layout"], gap)
        other = one.clone()
        other[:, :, 4, 5] = one[:, :, 4, 5].roll(1, 1)
        felt = (norm(h, one) != norm(h, other)).any(1).any(0)
        reach["unfelt"] += float((~felt[2:7, 3:8]).sum())
        reach["outside"] += float(felt.sum() - felt[2:7, 3:8].sum())
        say.weight.zero_()
        affine = F.group_norm(h, groups, 1 + say.bias[:C], say.bias[C:], eps)
        gap = max(apart(norm(h, y), affine) for y in (one, two))
        gaps["constant maps"] = max(gaps["constant maps"], gap)
        bias = say.bias.clone()
        say.bias.zero_()
        gap = apart(norm(h, one), F.group_norm(h, groups, eps=eps))
        gaps["zero convolutions"] = max(gaps["zero convolutions"], gap)
        say.bias.copy_(bias)
    yield from ((f"norms: {name}", {"apart": gap}) for name, gap in gaps.items())
    yield "norms: reach", {"differ": reach["outside"] + reach["unfelt"], "few": float(len(found) < 10)}
    # Their scales and shifts are constants now, so the network is one that has no port for maps.
    plain = unet(0, rng)
    state = network.state_dict()
    for name, norm in found.items():
        gamma, state[f"{name}.bias"] = cast(nn.Conv2d, norm.say).bias.chunk(2)  # type: ignore[union-attr]
        state[f"{name}.weight"] = 1 + gamma
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    x, t = pictures(rng, 2)
    maps = [Context(maps={PORT: rng.at(k).normal("map", (2, THINGS, *SPACE))[0].double()}) for k in range(2)]
    yield "norms: a whole network", {"apart": max(apart(network(x, t, each), plain(x, t)) for each in maps)}


def heard(s: Setting, seed: int) -> Rows:
    """Who hears of a layout, what numbers of things mean, and what is said where there is no layout."""
    rng = Rng([seed]).at("heard")
    model = told(rng, edges=True)
    network, part = cast(UNet, model.network), cast(Layout, cast(Encoder, model.encoder)["layout"])
    x, t = pictures(rng, 3)
    one, two = (
        Condition(layout=layouts(rng.at(k), 3), **{"layout.instances": layouts(rng.at(k), 3, things=9)})
        for k in range(2)
    )
    a, b = (model(x, t, cond, want=network.wants) for cond in (one, two))
    for name in network.wants:
        kind = {"differ": differ} if name.startswith("down.") else {"same": same}
        yield f"heard: {name}", {column: how(a.aux[name], b.aux[name]) for column, how in kind.items()}
    yield "heard: the answer", {"same": same(a.mean, b.mean)}
    order = rng.uniform("order", (THINGS,))[0].argsort()
    other = Condition(layout=order[one["layout"]], **{"layout.instances": one["layout.instances"]})
    table = part.table.weight.clone()
    part.table.weight[order] = table[:THINGS]
    yield "heard: things renumbered", {"differ": differ(model(x, t, other).mean, a.mean)}
    part.table.weight.copy_(table)
    yield from _onehot(rng, x, t)
    none, dropped = model(x, t, NONE).mean, one.drop("layout")
    zeros = Context(maps={PORT: torch.zeros(3, part.width, *SPACE, dtype=torch.float64)})
    null = differ(model(x, t, dropped).mean, none) + differ(model(x, t, two.drop("layout")).mean, none)
    yield "heard: a dropped layout", {"differ": null, "same": same(none, a.mean)}
    void = Condition(layout=torch.full_like(one["layout"], UNSAID))
    yield "heard: wholly unsaid", {"same": same(model(x, t, void).mean, none)}
    few = one.drop("layout", rows=torch.tensor([False, True, False]))
    mixed = torch.stack([a.mean[0], none[1], a.mean[2]])
    yield "heard: one row dropped", {"apart": apart(model(x, t, few).mean, mixed)}
    part.null.zero_()  # the paper's null
    as_zeros = Preconditioned(_Told(network, zeros), model.process)
    yield "heard: a null of zeros", {"differ": differ(model(x, t, dropped).mean, as_zeros(x, t).mean)}


class _Told(nn.Module):
    """A network whose maps are given."""

    def __init__(self, network: UNet, context: Context) -> None:
        super().__init__()
        self.network, self.context, self.shape = network, context, network.shape

    def forward(self, x: Tensor, noise: Tensor, context: Context, want: tuple[str, ...] = ()) -> Tensor | Output:
        found: Tensor | Output = self.network(x, noise, self.context, want)
        return found


def _onehot(rng: Rng, x: Tensor, t: Tensor) -> Rows:
    """Classes permuted together with the inputs of every first convolution, as one-hot maps reach it."""
    network, order = unet(THINGS, rng.at("one-hot")), rng.uniform("order", (THINGS,))[0].argsort()
    y = F.one_hot(layouts(rng, 3), THINGS).movedim(-1, 1).double()
    before = network(x, t, Context(maps={PORT: y}))
    moved = network(x, t, Context(maps={PORT: y[:, order]}))
    for norm in network.modules():
        if isinstance(norm, SpatialNorm):
            read = cast(nn.Conv2d, norm.read)
            read.weight.copy_(read.weight[:, order].clone())
    after = network(x, t, Context(maps={PORT: y[:, order]}))
    yield "heard: channels permuted", {"apart": apart(after, before), "same": same(moved, before)}


def maps(s: Setting, seed: int) -> Rows:
    """Edges against every pair of neighbours; vectors of things against one-hot ones; maps at another size."""
    rng = Rng([seed]).at("maps")
    which = layouts(rng, 4, (7, 9), 3)
    due = torch.zeros(4, 7, 9, dtype=torch.bool)
    for b, row, column in itertools.product(range(4), range(7), range(9)):
        for down, right in ((1, 0), (0, 1)):
            here, there = (b, row, column), (b, row + down, column + right)
            if there[1] < 7 and there[2] < 9 and which[here] != which[there]:
                due[here] = due[there] = True
    yield "edges: every pair", {"differ": differ(edges_of(which), due)}
    stripes = torch.arange(8).ge(3).long().expand(1, 5, 8)
    lines = torch.zeros(1, 5, 8, dtype=torch.bool)
    lines[..., 2:4] = True
    yield "edges: two stripes", {"differ": differ(edges_of(stripes), lines)}
    yield "edges: one instance", {"differ": float(edges_of(torch.full_like(which, 7)).sum())}
    flips = sum(differ(edges_of(which.flip(axis)).flip(axis), due) for axis in (1, 2))
    yield "edges: mirrored", {"differ": float(flips)}
    part = alive(Layout(THINGS, 3, PORT, edges=True), rng.at("part"))
    layout = torch.where(rng.uniform("unsaid", (4, 7, 9))[0] < 0.2, UNSAID, layouts(rng.at("layout"), 4, (7, 9)))
    found = part({"layout": layout, "layout.instances": which}, torch.ones(4, dtype=torch.bool)).maps[PORT]
    hot = F.one_hot(torch.where(layout == UNSAID, THINGS, layout), THINGS + 1).double()
    vectors = torch.cat([(hot @ part.table.weight).movedim(-1, 1), due[:, None].double()], 1)
    yield "one-hot: times the table", {"apart": apart(found, vectors)}
    spread, size = hot.movedim(-1, 1), (4, 5)
    small = resized(spread, size)
    off = float((small.sum(1) != 1).sum() + ((small != 0) & (small != 1)).sum())
    yield "one-hot: at another size", {"differ": off}
    labels = resized(torch.where(layout == UNSAID, THINGS, layout)[:, None].double(), size)[:, 0].long()
    yield "one-hot: or of labels at that size", {"differ": differ(small.argmax(1), labels)}


def dropped(s: Setting, seed: int) -> Rows:
    """What training drops: whole layouts with their edges, at the rate that was asked for."""
    keys = Rng([seed]).at("dropped").repeat(s.rows).at(torch.arange(s.rows))
    layout = (THINGS * keys.uniform("layout", (4, 4))).long()
    cond = Condition(layout=layout, **{"layout.instances": (3 * keys.uniform("instances", (4, 4))).long()})
    part = alive(Layout(THINGS, 3, PORT, edges=True), Rng([seed]).at("part"))
    network = alive(UNet((1, 4, 4), 8, (1,), vector=None, decoder_maps=part.width, hidden=1), Rng([seed]))
    model = Preconditioned(network, Flow(), Encoder(layout=part))
    loss = Denoising(dropout={"layout": RATE})(model, keys.normal("x", (1, 4, 4)).double(), cond, keys)
    assert loss.shot is not None and model.encoder is not None
    left = loss.shot.cond
    kept = left.kept("layout")
    error = (float((~kept).sum()) - RATE * s.rows) / math.sqrt(s.rows * RATE * (1 - RATE))
    full = part(dict(cond.values), torch.ones(s.rows, dtype=torch.bool)).maps[PORT]
    heard = model.encoder(left, s.rows).maps[PORT]
    due = torch.where(kept[:, None, None, None], full, part.null[:, None, None])
    yield "dropped: at a rate of 0.2", {"errors": abs(error), "differ": differ(heard, due)}
