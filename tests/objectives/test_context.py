"""Context prediction against what can be counted by hand: neighbours, closed forms of silent decoders, gradients."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from torch import Tensor

import mezzotint as mz
from mezzotint import training
from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.store import load_model
from mezzotint.denoiser import Preconditioned, Tokens
from mezzotint.denoiser.base import Denoiser
from mezzotint.networks import MLP, DiT, TokenTransformer, UNet, UViT
from mezzotint.networks.context import Output
from mezzotint.objectives import (
    Bound,
    ContextPrediction,
    Denoising,
    LevelBound,
    Levels,
    Loss,
    Objective,
    OrderedDecoder,
    SetDecoder,
    UniformTimes,
)
from mezzotint.objectives.neighbourhood import Neighbourhood
from mezzotint.processes import EDM, Absorbing, Cosine, Flow, Multinomial
from mezzotint.processes.base import Continuous, Process
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.recipes import codes
from mezzotint.testing.truth import CLASSES, labels, model, nudge

LINE, PLANE, SOLID = (5,), (5, 7), (3, 4, 5)


def around(space: tuple[int, ...], site: int, stride: int) -> list[int]:
    """Numbers of the neighbours of a site, by looking at every site of the grid."""
    places = list(product(*map(range, space)))
    here = places[site]
    return [
        n for n, p in enumerate(places) if 1 <= max(abs(a - b) for a, b in zip(p, here, strict=True)) <= stride
    ]  # fmt: skip


@pytest.mark.parametrize("space", [LINE, PLANE, SOLID, (1, 6)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_is_gathered_is_what_stands_around(space: tuple[int, ...], stride: int) -> None:
    """x_0[h, w] = h W + w: every site's list, in rows whose sites come in orders of their own."""
    count = int(torch.Size(space).numel())
    numbers = torch.arange(count, dtype=torch.float64)
    values = torch.stack((numbers, -numbers)).reshape(1, 2, *space).expand(3, -1, *space).clone()
    values[1] += 1000
    sites = torch.stack((torch.arange(count), torch.arange(count).flip(0), torch.arange(count).roll(2)))
    found, there = Neighbourhood(space, stride).gather(values, sites)
    assert found.shape[:2] == there.shape[:2] == (3, count) and there.dtype == torch.bool and found.shape[-1] == 2
    for row, n in product(range(3), range(count)):
        due = [value + 1000.0 * (row == 1) for value in around(space, int(sites[row, n]), stride)]
        seen = found[row, n][there[row, n]]
        assert sorted(seen[:, 0].tolist()) == due, (row, n)
        assert sorted((-seen[:, 1] + 2000 * (row == 1)).tolist()) == due


def test_how_many_neighbours_there_are() -> None:
    grid = {s: Neighbourhood((9, 11), s) for s in (1, 2, 3)}
    assert [len(grid[s].offsets) for s in (1, 2, 3)] == [8, 24, 48]
    assert len(Neighbourhood((9,), 3).offsets) == 6 and len(Neighbourhood((5, 5, 5), 1).offsets) == 26
    for s in (1, 2, 3):  # the offsets themselves: all within the distance, none twice, not the site itself
        offsets = {tuple(offset) for offset in grid[s].offsets.tolist()}
        assert offsets == set(product(range(-s, s + 1), repeat=2)) - {(0, 0)}
    _, there = grid[1].gather(torch.zeros(1, 1, 9, 11), torch.tensor([[0, 5, 4 * 11 + 5, 8 * 11 + 10, 3 * 11]]))
    assert there.sum(-1).tolist() == [[3, 5, 8, 3, 5]]


def network(shape: tuple[int, ...], **more: object) -> UNet:
    return UNet(shape, width=8, multipliers=(1, 1), vector=8, head=4, **more)  # type: ignore[arg-type]


def unet(shape: tuple[int, ...], process: Continuous | None = None, **more: object) -> Preconditioned:
    more = {"sigma_data": 1.0} | more
    made = Preconditioned(network(shape), process or EDM(), Encoder(label=Classes(CLASSES, 8)), **more)  # type: ignore[arg-type]
    nudge(made)
    return made.eval()


def noise(count: int, shape: tuple[int, ...]) -> Tensor:
    return 0.5 * Rng(range(count)).normal("data", shape)


def silent(objective: ContextPrediction, learner: Denoiser, x: Tensor, says: float = 0.0) -> ContextPrediction:
    """The same with a decoder that says one number, whatever it sees."""
    objective.meet(learner, x[:1], NONE, 0)
    with torch.no_grad():
        *_, bias = (p for p in objective.decoder.parameters() if p.ndim == 1)
        for weight in objective.decoder.parameters():
            weight.zero_()
        bias.fill_(says)
    return objective


def context(objective: ContextPrediction, learner: Denoiser, x: Tensor, keys: range | None = None) -> Tensor:
    rng = Rng(range(len(x)) if keys is None else keys)
    return objective(learner, x, NONE, rng).parts["context"].detach()


def mean_around(x: Tensor, stride: int, says: float = 0.0) -> Tensor:
    """Mean over sites of the mean over neighbours of (x_j - says)^2, averaged over channels, (B,), by looking."""
    space, count = tuple(x.shape[2:]), x[0, 0].numel()
    flat = (x.double().flatten(2) - says).square().mean(1)
    return torch.stack([flat[:, around(space, site, stride)].mean(1) for site in range(count)]).mean(0)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 4, 6), (16, 3, 3), (2, 9), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("strides", [(1,), (2,), (1, 2), (3, 1)], ids=str)
def test_an_ordered_decoder_that_says_one_number(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """The term is then a closed form of the data: every site, every neighbour there is, nothing padded."""
    x, learner = noise(3, shape), unet(shape)
    for says in (0.0, 0.3):
        objective = ContextPrediction(
            Denoising(), OrderedDecoder(), strides=strides, sites=1.0, by_level=False
        )  # fmt: skip
        found = context(silent(objective, learner, x, 0.0), learner, x)
        due = torch.stack([mean_around(x, stride) for stride in strides]).mean(0)
        torch.testing.assert_close(found.double(), due, rtol=1e-5, atol=1e-6)
        if says:
            with torch.no_grad():
                objective.decoder.heads.bias.fill_(says)
            due = torch.stack([mean_around(x, stride, says) for stride in strides]).mean(0)
            torch.testing.assert_close(context(objective, learner, x).double(), due, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cost", ["squared", "rms"])
def test_distances_mean_the_same_for_data_of_any_scale_and_any_channels(cost: str) -> None:
    """Ten times the data, told so, or the same channel thrice: the same term, of a decoder that says nothing."""
    terms = []
    for channels, scale in ((1, 1.0), (1, 0.1), (1, 10.0), (3, 1.0)):
        shape = (channels, 4, 5)
        learner, x = unet(shape, sigma_data=scale), (2 * scale * noise(3, (1, 4, 5))).expand(3, *shape)
        objective = silent(ContextPrediction(Denoising(), SetDecoder(cost=cost), sites=1.0, by_level=False), learner, x)
        terms.append(context(objective, learner, x))
    assert float(terms[0].min()) > 0.1
    for other in terms[1:]:
        torch.testing.assert_close(other, terms[0])


def test_draws_are_of_all_neighbours_while_there_are_enough() -> None:
    """With Q = K no interior site leaves one out; with half of them every one is drawn as often as another."""
    shape, rows = (1, 5, 6), 100
    learner = unet(shape)
    for row, column in ((1, 1), (2, 4)):
        number = row * 6 + column
        x = torch.zeros(rows, *shape)
        x[:, 0, row, column] = 2.0
        whole, few = (
            silent(ContextPrediction(Denoising(), SetDecoder(draws=draws), sites=1.0, by_level=False), learner, x)
            for draws in (8, 4)
        )
        # A site with k neighbours shows this one 8 / k times of 8, to within one; inside, where k = 8, exactly once.
        counts = [len(around((5, 6), other, 1)) for other in around((5, 6), number, 1)]
        low, high = (
            sum(4 * each / 8 for each in some) for some in ([8 // k for k in counts], [-(-8 // k) for k in counts])
        )
        mean = sum(4 / k for k in counts)
        found = context(whole, learner, x).double() * 30
        assert float(found.min()) >= low - 1e-4 and float(found.max()) <= high + 1e-4
        assert abs(float(found.mean()) - mean) < 4 * float(found.std()) / rows**0.5 + 1e-4
        found = context(few, learner, x).double() * 30
        assert float(found.std()) > 0.1 and abs(float(found.mean()) - mean) < 4 * float(found.std()) / rows**0.5


def test_no_neighbour_is_drawn_twice_before_all_are_drawn() -> None:
    """Straight at the decoder: of 24 neighbours 24 different ones, of 3 at a corner 8 draws with counts 2, 3, 3."""
    decoder = SetDecoder(draws=24)
    clean = torch.arange(24.0).reshape(1, 1, 24, 1).expand(5, 2, 24, 1)
    all_there = torch.ones(5, 2, 24, dtype=torch.bool)
    drawn = decoder.drawn(clean, all_there, Rng(range(5)))
    assert torch.equal(drawn.sort(2).values, clean) and not torch.equal(drawn, clean)
    assert not torch.equal(drawn[0], drawn[1])
    few = SetDecoder(draws=8)
    corner = torch.zeros(50, 1, 8, dtype=torch.bool)
    corner[:, :, [3, 5, 6]] = True
    values = torch.arange(8.0).reshape(1, 1, 8, 1).expand(50, 1, 8, 1)
    counts = torch.stack([(few.drawn(values, corner, Rng(range(50))) == v).sum((1, 2, 3)) for v in range(8)], 1)
    assert not bool(counts[:, [0, 1, 2, 4, 7]].any())
    assert counts[:, [3, 5, 6]].sort(1).values.tolist() == [[2, 3, 3]] * 50
    assert all(set(column.tolist()) == {2, 3} for column in counts[:, [3, 5, 6]].T)  # whichever gets two is drawn too


class Borrowed(SetDecoder):
    """A set decoder whose draws are what an ordered one says."""

    def said(self, h: Tensor, rng: Rng) -> Tensor:
        return self.ordered.said(h, self.draws)


@pytest.mark.parametrize("d", [1, 3])
def test_the_set_loss_is_below_the_ordered_one_and_is_the_least_over_permutations(d: int) -> None:
    count = 5
    ordered = OrderedDecoder(width=16)
    ordered.meet(4, d, count, 0)
    borrowed = Borrowed(draws=count)
    borrowed.meet(4, d, count, 0)
    borrowed.ordered = ordered
    h = Rng(range(6)).normal("h", (7, 4))
    clean = Rng(range(6)).normal("clean", (7, count, d))
    there = torch.ones(6, 7, count, dtype=torch.bool)
    least, exact = borrowed(h, clean, there, Rng(range(6))), ordered(h, clean, there, Rng(range(6)))
    assert bool((least <= exact + 1e-6).all()) and float((least < 0.9 * exact).float().mean()) > 0.8
    said = ordered.said(h, count)
    brute = torch.stack(
        [(said - clean[:, :, list(order)]).square().sum(-1).mean(-1) for order in permutations(range(count))]
    ).amin(0)
    torch.testing.assert_close(least, brute, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decoder", [SetDecoder, OrderedDecoder], ids=lambda d: d.__name__)
def test_a_constant_image_costs_nothing_to_whoever_says_its_colour(decoder: type) -> None:
    shape = (2, 4, 5)
    learner, x = unet(shape), torch.full((3, *shape), -0.7)
    objective = silent(ContextPrediction(Denoising(), decoder(), sites=1.0, strides=(1, 2), by_level=False), learner, x)
    torch.testing.assert_close(context(objective, learner, x), torch.full((3,), 0.49))
    with torch.no_grad():
        last = objective.decoder.body[-1] if decoder is SetDecoder else objective.decoder.heads
        last.bias.fill_(-0.7)
    assert float(context(objective, learner, x).abs().max()) < 1e-12


@pytest.mark.parametrize("draws", [1, 2])
def test_a_gaussian_decoder_about_a_point_costs_its_distance_and_its_spread(draws: int) -> None:
    """psi = N(mu, s^2 I) about a point mass: |mu - c|^2 + d s^2, whatever the number of draws, as all targets agree."""
    d, mu, c, s = 2, 0.4, -0.3, 0.5
    decoder = SetDecoder(draws=draws, hidden=d, width=d)
    decoder.meet(3, d, 8, 0)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.zero_()
        decoder.law.bias[:d], decoder.law.bias[d:] = mu, 8.0 * torch.atanh(torch.tensor(s).log() / 8)
        for layer in decoder.body:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.copy_(torch.eye(d))
        decoder.body[0].bias.fill_(50.0)  # far from the ReLU's bend, and back
        decoder.body[-1].bias.fill_(-50.0)
        clean, there = torch.full((4000, 1, 8, d), c), torch.ones(4000, 1, 8, dtype=torch.bool)
        values = decoder(torch.zeros(4000, 1, 3), clean, there, Rng(range(4000))).double()
    error = float(values.std()) / values.numel() ** 0.5
    assert abs(float(values.mean()) - (d * (mu - c) ** 2 + d * s**2)) < 4 * error


class Fixed(Objective):
    """An objective that draws the same for all keys, for what is beside it to differ alone."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner
        self.summed = inner.summed

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(model, x, cond, Rng([0] * len(x)), player)
        return loss


@pytest.mark.parametrize("decoder", [OrderedDecoder(), SetDecoder(draws=2)], ids=lambda d: type(d).__name__)
def test_a_share_of_the_sites_is_all_of_them_in_the_mean(decoder: SetDecoder | OrderedDecoder) -> None:
    shape = (1, 4, 5)
    learner, x = unet(shape), 2 * noise(1, shape)
    means, errors = [], []
    for sites, turns in ((1.0, 60), (0.1, 400)):
        objective = ContextPrediction(Fixed(Denoising()), decoder, sites=sites, by_level=False)
        with torch.no_grad():
            seen = context(objective, learner, x.expand(turns, -1, -1, -1)).double()
        means.append(float(seen.mean()))
        errors.append(float(seen.std()) / turns**0.5)
    if isinstance(decoder, OrderedDecoder):
        assert errors[0] < 1e-6  # nothing is drawn where all are asked
    assert errors[1] > 1e-3  # and something is, where few are
    assert abs(means[1] - means[0]) < 4 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5


class Leaf(ContextPrediction):
    """Targets that stand apart, to see whether a gradient comes their way."""

    def clean(self, shot: object) -> Tensor:
        return self.leaf


@pytest.mark.parametrize("source", ["features", "prediction"])
@pytest.mark.parametrize("decoder", [SetDecoder, OrderedDecoder], ids=lambda d: d.__name__)
def test_the_gradient_reaches_the_backbone_and_no_target(source: str, decoder: type) -> None:
    shape = (2, 4, 6)
    learner, x = unet(shape), noise(4, shape)
    objective = Leaf(Denoising(), decoder(), source=source, sites=1.0, by_level=False)
    objective.leaf = x.clone().requires_grad_()
    loss = objective(learner, x, NONE, Rng(range(4)))
    own = Denoising()(learner, x, NONE, Rng(range(4)))
    weights = [(name, p) for name, p in learner.named_parameters() if not name.startswith("encoder")]
    found = torch.autograd.grad(
        loss.value.sum(), [*(p for _, p in weights), objective.leaf], allow_unused=True, retain_graph=True
    )
    alone = torch.autograd.grad(own.value.sum(), [p for _, p in weights], allow_unused=True)
    assert found[-1] is None
    moved = {
        name.split(".")[1]: bool((a - b).any()) for (name, _), a, b in zip(weights, found, alone, strict=False)
    }  # fmt: skip
    assert moved["enter"] and moved["down"] and moved["up"] and moved["leave"]  # the estimate is read in both
    heard = torch.autograd.grad(loss.value.sum(), list(objective.decoder.parameters()))
    assert all(bool(g.any()) for g in heard)


def test_meeting_leaves_torch_s_generator_alone_though_layers_drop_out() -> None:
    torch.manual_seed(0)
    network = UNet((1, 4, 6), width=8, vector=None, dropout=0.5)
    learner, x = Preconditioned(network, EDM()).train(), noise(2, (1, 4, 6))
    learner.network.mid.eval() if learner.network.mid is not None else None
    modes = [part.training for part in learner.modules()]
    state = torch.random.get_rng_state()
    ContextPrediction(Denoising(dropout=0.0)).meet(learner, x[:1], NONE, 3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert [part.training for part in learner.modules()] == modes
    weights = ContextPrediction(Denoising(dropout=0.0), weight=0.0)
    weights.meet(learner, x[:1], NONE, 3)
    values = []
    for objective in (Denoising(dropout=0.0), weights):
        torch.manual_seed(1)
        values.append(objective(learner, x, NONE, Rng(range(2))).value)
    assert torch.equal(*values)


class Own(Objective):
    """An objective of a user's that holds another one and knows nothing of meeting."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(model, x, cond, rng, player)
        return loss


def test_what_stands_inside_another_meets_the_model_too() -> None:
    learner, x = unet((1, 4, 6)), noise(2, (1, 4, 6))
    outer = Own(ContextPrediction(Denoising()))
    assert outer.remembers and not Own(Denoising()).remembers
    assert not list(outer.parameters())
    outer.meet(learner, x[:1], learner.prepare(labels(1)), 3)
    alone = ContextPrediction(Denoising())
    alone.meet(learner, x[:1], learner.prepare(labels(1)), 3)
    for mine, other in zip(outer.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_met_again_with_other_symbols_it_is_made_anew() -> None:
    objective = ContextPrediction(LevelBound(), sites=1.0)
    for vocab in (5, 7):
        learner = Tokens(TokenTransformer(vocab + 1, vocab, (4, 3), width=8, depth=1, heads=1), Absorbing(vocab))
        x = (vocab * Rng(range(2)).uniform("x", (4, 3))).long()
        objective.meet(learner, x[:1], NONE)
        assert objective(learner, x, NONE, Rng(range(2))).value.isfinite().all()
        assert tuple(objective.vectors.shape) == (vocab, vocab)
        assert not any("vectors" in name for name in objective.state_dict())  # they can be made again


@pytest.mark.parametrize(
    "made",
    [
        lambda: SetDecoder(draws=1.5), lambda: SetDecoder(draws=True), lambda: SetDecoder(draws=10**7),
        lambda: SetDecoder(width=10**9), lambda: SetDecoder(hidden=0), lambda: OrderedDecoder(width=1.5),
        lambda: OrderedDecoder(width=10**10), lambda: ContextPrediction(Denoising(), feature=3),
        lambda: ContextPrediction(Denoising(), sites=True), lambda: ContextPrediction(Denoising(), weight=float("nan")),
        lambda: Neighbourhood((64, 64), 100),
    ],
)  # fmt: skip
def test_hostile_settings_are_refused_at_once(made: object) -> None:
    with pytest.raises(Refusal) as refused:
        made()  # type: ignore[operator]
    assert "\n" not in str(refused.value)


def test_draws_of_its_own_leave_the_inner_s_alone() -> None:
    shape = (2, 4, 6)
    learner, x, told = unet(shape), noise(8, shape), labels(8)
    learner.encoder.parts["label"].null_trained.fill_(True)
    cond, rng = learner.prepare(told), Rng(range(8))
    own = Denoising(dropout=0.5)(learner, x, cond, rng)
    assert own.shot is not None
    state = torch.random.get_rng_state()
    values = []
    for wrapped in (
        ContextPrediction(Denoising(dropout=0.5)),
        ContextPrediction(Denoising(dropout=0.5), OrderedDecoder(), strides=(2, 1), sites=0.5),
        ContextPrediction(Denoising(dropout=0.5), SetDecoder(draws=3), source="prediction", weight=7.0),
    ):
        shot = wrapped(learner, x, cond, rng).shot
        assert shot is not None and torch.equal(shot.x_t, own.shot.x_t) and torch.equal(shot.t, own.shot.t)
        assert torch.equal(shot.answer.mean, own.shot.answer.mean)  # so the same labels were dropped, too
        values.append(context(wrapped, learner, x))
    assert torch.equal(state, torch.random.get_rng_state())
    one, other = (context(ContextPrediction(Denoising()), learner, x, range(k, k + 8)) for k in (0, 8))
    assert not torch.equal(one, other)


def test_weights_come_from_the_seed_alone() -> None:
    shape = (1, 4, 5)
    learner, x = unet(shape), noise(1, shape)
    made = []
    for place, seed in enumerate((3, 3, 4)):
        torch.manual_seed(place)
        before = torch.random.get_rng_state()
        objective = ContextPrediction(Denoising())
        objective.meet(learner, x, NONE, seed)
        assert torch.equal(before, torch.random.get_rng_state())
        made.append(torch.cat([p.flatten() for p in objective.parameters()]))
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2]) and len(made[0]) > 1000


class At(Levels):
    """Every row at a time of its own."""

    unbiased = True

    def __init__(self, times: tuple[float, ...], weight: float = 1.0) -> None:
        super().__init__()
        self.times, self.weight = times, weight

    def forward(self, process: Process, shape: tuple[int, ...], rng: Rng) -> tuple[Tensor, Tensor]:
        t = torch.tensor(self.times, dtype=torch.float64)[: len(rng)]
        return t, torch.full_like(t, self.weight)


@pytest.mark.parametrize("process", [EDM(), Flow(), Cosine(), PoissonFlow(64.0)], ids=lambda p: type(p).__name__)
def test_the_weight_by_level_of_real_data(process: Continuous) -> None:
    """min(SNR, 5) / 5 against w = 1: 1 next to clean data, (alpha / sigma)^2 / 5 in noise, monotone between."""
    shape, snrs = (1, 4, 5), (1e6, 40.0, 5.0, 1.0, 0.2, 1e-4)
    # The time at which the signal-to-noise ratio is what it should be, by bisection on alpha / sigma.
    times = []
    for snr in snrs:
        low, high = 0.0, 1.0
        for _ in range(80):
            mid = torch.tensor((low + high) / 2, dtype=torch.float64)
            more = float(process.alpha(mid) / process.sigma(mid)) ** 2 > snr
            low, high = (float(mid), high) if more else (low, float(mid))
        times.append((low + high) / 2)
    learner, x = unet(shape, process, prediction="x0"), noise(1, shape).expand(6, -1, -1, -1).contiguous()
    for weight in (1.0, 3.0):
        gains = []
        for by_level in (True, False):
            inner = Denoising(At(tuple(times), weight), weight="x0")
            objective = silent(
                ContextPrediction(inner, OrderedDecoder(), 0.5, sites=1.0, by_level=by_level), learner, x
            )
            loss = objective(learner, x, NONE, Rng(range(6)))
            gains.append((loss.value - inner(learner, x, NONE, Rng(range(6))).value).detach().double())
        due = 0.5 * weight * mean_around(x, 1)
        torch.testing.assert_close(gains[1], due, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(gains[0] / due, torch.tensor([min(s, 5) / 5 for s in snrs]).double(), rtol=2e-3,
                                   atol=1e-3)  # fmt: skip


class Mean(Objective):
    """Cross-entropy as a mean over entries: a bound's shot, counted another way."""

    def __init__(self, inner: Objective) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, model: Denoiser, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        loss: Loss = self.inner(model, x, cond, rng, player)
        return Loss(loss.value / x[0].numel(), loss.parts, loss.shot)


def test_symbols_count_by_what_is_alive_and_as_nats_do() -> None:
    """Vectors at one distance, a decoder that says 0: every neighbour is off by 1; sums count every entry."""
    V, shape, shares = 5, (3, 4), (0.25, 0.5, 1.0)
    network = TokenTransformer(V + 1, V, shape, width=16, depth=2, heads=2, level=True)
    learner, x = nudge(Tokens(network, Absorbing(V))).eval(), (V * Rng(range(3)).uniform("x", shape)).long()
    for inner, entries in ((LevelBound(At(shares)), 12), (Mean(LevelBound(At(shares))), 1)):
        for by_level in (True, False):
            objective = ContextPrediction(inner, OrderedDecoder(), 0.5, sites=1.0, by_level=by_level)
            gain = silent(objective, learner, x)(learner, x, NONE, Rng(range(3))).value
            gain = (gain - inner(learner, x, NONE, Rng(range(3))).value).detach().double()
            alive = torch.tensor([1 - share if by_level else 1.0 for share in shares]).double()
            torch.testing.assert_close(gain, 0.5 * entries * alive, rtol=1e-4, atol=1e-4)


def test_the_value_is_the_inner_s_and_the_part_s() -> None:
    shape = (2, 4, 6)
    learner, x, rng = unet(shape), noise(5, shape), Rng(range(5))
    for weight in (0.1, 2.0):
        loss = ContextPrediction(Denoising(), weight=weight)(learner, x, NONE, rng)
        own = Denoising()(learner, x, NONE, rng).value
        torch.testing.assert_close(loss.value, own + weight * loss.parts["context"])
        assert not loss.parts["context"].requires_grad


def images() -> list[tuple[str, Preconditioned]]:
    shape = (2, 4, 8)
    made = {
        "UNet": UNet(shape, width=8, vector=None),
        "UNet without a bend": UNet(shape, width=8, multipliers=(1,), vector=None),
        "DiT": DiT(shape, width=16, depth=2, heads=2, patch=2, vector=None),
        "DiT patch 1": DiT(shape, width=16, depth=2, heads=2, patch=1, vector=None),
        "UViT": UViT(shape, width=16, depth=2, heads=2, patch=2, vector=None),
        "MLP": MLP(shape, width=16, depth=2, vector=None),
    }
    return [(name, nudge(Preconditioned(network, Flow(), None, prediction="velocity")).eval())  # type: ignore[misc]
            for name, network in made.items()]  # fmt: skip


@pytest.mark.parametrize("source", ["features", "prediction"])
def test_every_network_is_read(source: str) -> None:
    """Features of the site's own grid, of a coarser one, and of none; a gradient comes back through every one."""
    for name, learner in images():
        x = noise(3, (2, 4, 8))
        objective = ContextPrediction(Denoising(UniformTimes(0.1)), weight=1.0, source=source, sites=1.0)
        loss = objective(learner, x, NONE, Rng(range(3)))
        assert bool(torch.isfinite(loss.value).all()), name
        own = Denoising(UniformTimes(0.1))(learner, x, NONE, Rng(range(3)))
        weights = list(learner.network.parameters())
        changes = [
            bool((a - b).any())
            for a, b in zip(
                torch.autograd.grad(loss.value.sum(), weights, allow_unused=True),
                torch.autograd.grad(own.value.sum(), weights, allow_unused=True),
                strict=True,
            )
            if a is not None and b is not None
        ]
        assert sum(changes) > 0.7 * len(changes), name
        alone = objective(learner, x[1:2], NONE, Rng([1]))
        torch.testing.assert_close(alone.value, loss.value[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feature", UNet((2, 4, 8), width=8, vector=None).wants)
def test_any_feature_can_be_named(feature: str) -> None:
    learner, x = images()[0][1], noise(2, (2, 4, 8))
    loss = ContextPrediction(Denoising(UniformTimes(0.1)), feature=feature)(learner, x, NONE, Rng(range(2)))
    assert feature in loss.shot.answer.aux and bool(torch.isfinite(loss.value).all())


def test_features_are_those_of_the_site() -> None:
    """A coarse feature moves the sites of its cell and no other; a fine one its own site; places in a cell differ."""

    class Seen(OrderedDecoder):
        def forward(self, h: Tensor, clean: Tensor, there: Tensor, rng: Rng) -> Tensor:
            self.h = h.detach().clone()
            return super().forward(h, clean, there, rng)

    class Told(torch.nn.Module):
        """A network whose feature is a map that is given."""

        def __init__(self, grid: tuple[int, ...]) -> None:
            super().__init__()
            self.shape, self.wants = (1, 4, 6), ("map",)
            self.map = torch.nn.Parameter(torch.arange(float(torch.Size(grid).numel())).reshape(1, 1, *grid))

        def forward(self, x: Tensor, noise: Tensor, context: object, want: tuple[str, ...] = ()) -> object:
            return Output(0 * x, {"map": self.map.expand(len(x), -1, -1, -1)}) if want else 0 * x

    for grid in ((4, 6), (2, 3), (2, 6), (1, 1)):
        learner = Preconditioned(Told(grid), Flow(), None, prediction="velocity")  # type: ignore[arg-type]
        seen = Seen()
        ContextPrediction(Denoising(), seen, sites=1.0)(learner, noise(2, (1, 4, 6)), NONE, Rng(range(2)))
        due = [
            (r * grid[0] // 4) * grid[1] + c * grid[1] // 6 for r, c in product(range(4), range(6))
        ]  # fmt: skip
        columns = seen.h[0].T
        assert any(torch.equal(column, torch.tensor(due).to(column)) for column in columns), grid
        if grid != (4, 6):  # those of one cell are told apart by where they are in it
            cells = {}
            for site, cell in enumerate(due):
                cells.setdefault(cell, set()).add(tuple(seen.h[0, site, 1:4].tolist()))
            assert all(len(found) == due.count(cell) for cell, found in cells.items())


def test_latents_with_learnt_variance_and_bounds() -> None:
    """A Gaussian answer gives its mean; a bound in nats has the term once for every number of a sample."""
    learner, x, rng = model(EDM(), variance=True), noise(4, (3, 4, 6)), Rng(range(4))
    own = Bound(10)(learner, x, NONE, rng)
    objective = silent(ContextPrediction(Bound(10), OrderedDecoder(), 1.0, sites=1.0, by_level=False), learner, x)
    loss = objective(learner, x, NONE, rng)
    assert bool(torch.isfinite(loss.value).all())
    gain = (loss.value - own.value).detach().double()
    if own.shot is not None and own.shot.weight is not None:
        gain = gain / own.shot.weight
    due = 72 * mean_around(x, 1) / 0.8**2  # the model's own standard deviation of the data
    torch.testing.assert_close(gain, due, rtol=1e-2, atol=0)


def test_bf16_inside_the_network_and_not_in_the_loss() -> None:
    shape = (2, 4, 6)
    learner, x = unet(shape), noise(4, shape)
    objective = ContextPrediction(Denoising(), weight=1.0, sites=1.0)
    full = objective(learner, x, NONE, Rng(range(4)))
    learner.lower(torch.bfloat16)
    half = objective(learner, x, NONE, Rng(range(4)))
    assert half.value.dtype == torch.float32 and not torch.equal(half.value, full.value)
    torch.testing.assert_close(half.parts["context"], full.parts["context"], rtol=0.1, atol=0.05)
    half.value.sum().backward()
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in objective.parameters())


def test_float64_throughout() -> None:
    shape = (2, 4, 6)
    learner, x = unet(shape).double(), noise(4, shape).double()
    loss = ContextPrediction(Denoising())(learner, x, NONE, Rng(range(4)))
    assert loss.value.dtype == torch.float64 and bool(torch.isfinite(loss.value).all())


def test_a_neighbourhood_larger_than_the_picture_is_the_picture() -> None:
    shape = (1, 2, 3)
    learner, x = unet(shape), noise(2, shape)
    objective = silent(
        ContextPrediction(Denoising(), OrderedDecoder(), sites=1.0, strides=(9,), by_level=False), learner, x
    )
    torch.testing.assert_close(context(objective, learner, x).double(), mean_around(x, 9), rtol=1e-5, atol=1e-6)


def test_a_decoder_learns_what_there_is_to_know() -> None:
    """Stripes of two shades, whose neighbours follow from a site: the ordered loss falls far below their variance."""
    shape = (1, 4, 6)
    stripes = torch.ones(1, *shape)
    stripes[..., 1::2] = -1.0
    signs = torch.where(torch.arange(32) % 2 == 0, 1.0, -1.0)[:, None, None, None]
    x, learner = signs * stripes, unet(shape)
    objective = ContextPrediction(Denoising(At((0.001,) * 32)), OrderedDecoder(), sites=0.5)
    objective.meet(learner, x[:1], NONE, 0)
    optimizer = torch.optim.Adam([*objective.parameters(), *learner.parameters()], 1e-2)
    first = float(context(objective, learner, x).mean())
    for step in range(40):
        optimizer.zero_grad()
        objective(learner, x, NONE, Rng(range(32)).at(step)).value.mean().backward()
        optimizer.step()
    assert float(context(objective, learner, x).mean()) < 0.2 < first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"weight": -0.1}, "weight"), ({"weight": float("nan")}, "weight"), ({"strides": ()}, "strides"),
        ({"strides": (0,)}, "strides"), ({"strides": (1.5,)}, "strides"), ({"sites": 0}, "sites"),
        ({"sites": 1.1}, "sites"), ({"sites": float("nan")}, "sites"), ({"source": "feature"}, "features"),
        ({"decoder": 3}, "SetDecoder"), ({"inner": 3}, "objective"),
        ({"source": "prediction", "feature": "mid"}, "mid"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_refused_at_once(given: dict[str, object], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        ContextPrediction(**{"inner": Denoising(), **given})  # type: ignore[arg-type]


def test_models_it_cannot_serve_are_refused_with_a_sentence() -> None:
    point = nudge(Preconditioned(MLP((6,), width=16, depth=1, vector=None), EDM())).eval()
    with pytest.raises(Refusal, match=r"site|grid|neighbour"):
        ContextPrediction(Denoising())(point, torch.zeros(2, 6), NONE, Rng(range(2)))
    learner, x = unet((1, 4, 6)), noise(2, (1, 4, 6))
    with pytest.raises(Refusal, match="features 'up.9'"):
        ContextPrediction(Denoising(), feature="up.9")(learner, x, NONE, Rng(range(2)))
    with pytest.raises(Refusal, match="decoder"):  # weights of another model
        objective = ContextPrediction(Denoising())
        objective(learner, x, NONE, Rng(range(2)))
        objective(unet((2, 4, 6)), noise(2, (2, 4, 6)), NONE, Rng(range(2)))


@pytest.fixture(scope="module")
def vq(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Tensor]:
    """A short run of a VQ autoencoder, and its vectors."""
    data = mz.data.Digits()
    tree = codes.of_data(data, kind="vq", images=128, width=8, down=1)
    tree["training"] |= {"batch": 64}
    run = training.train(tree, tmp_path_factory.mktemp("vq") / "run")
    book = load_model(run.path).codebook.weight.detach().float()
    return str(run.path), book


@pytest.mark.parametrize("kind", [Absorbing, Multinomial], ids=lambda p: p.__name__)
def test_symbols_stand_for_the_vectors_of_a_codebook(kind: type, vq: tuple[str, Tensor]) -> None:
    """Of two symbols each is the other's context: a decoder that says 0 is off by its vector, of variance 1 in all."""
    folder, book = vq
    V = len(book)
    process = kind(V)
    learner = nudge(Tokens(TokenTransformer(process.symbols, V, (2,), width=16, depth=2, heads=2, level=True), process))
    x = torch.stack((torch.arange(V), torch.arange(V).roll(1)), 1)
    inner = Bound(5)
    objective = ContextPrediction(inner, OrderedDecoder(), 1.0, sites=1.0, by_level=False, codebook=folder)
    silent(objective, learner.eval(), x)
    with torch.no_grad():
        gain = objective(learner, x, NONE, Rng(range(V))).value - inner(learner, x, NONE, Rng(range(V))).value
    assert float(gain.double().mean()) / 2 == pytest.approx(1.0, abs=1e-3)
    squares = (book - book.mean(0)).double().square().mean(1)
    due = (squares + squares.roll(1)) / squares.mean()
    torch.testing.assert_close(gain.double(), due, rtol=1e-2, atol=1e-2)
    with pytest.raises(Refusal, match="symbols"):
        network = TokenTransformer(8, 7, (2,), width=16, depth=2, heads=2, level=True)
        ContextPrediction(inner, codebook=folder)(Tokens(network, Absorbing(7)), x % 7, NONE, Rng(range(V)))


def test_what_is_not_finite_is_a_loss_that_is_not_and_no_error() -> None:
    """The trainer skips such a step; an error would end the run."""
    decoder = SetDecoder()
    decoder.meet(4, 2, 8)
    h, clean = torch.randn(3, 5, 4), torch.randn(3, 5, 8, 2)
    there = torch.ones(3, 5, 8, dtype=torch.bool)
    whole = decoder(h, clean, there, Rng(range(3)))
    h[1, 2], clean[2] = float("nan"), float("inf")
    found = decoder(h, clean, there, Rng(range(3)))
    assert torch.isnan(found).nonzero().tolist() == [[1, 2], *([2, site] for site in range(5))]
    assert torch.equal(found[~torch.isnan(found)], whole[~torch.isnan(found)])
