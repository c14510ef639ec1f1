"""Context prediction against what can be counted by hand: closed forms of silent decoders, sets, sites, gradients."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from surroundings import At, around, context, mean_around, noise, silent, unet
from torch import Tensor

from mezzotint.core import NONE, Condition, Rng
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives import (
    ContextPrediction,
    Denoising,
    Loss,
    Objective,
    OrderedDecoder,
    SetDecoder,
)


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
