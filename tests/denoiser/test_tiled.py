"""Windows and their blend: against denoisers that know nothing but one entry, and networks that look a few away."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mezzotint.conditions import Encoder, Image
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.distribution import Categorical, Dirac, Distribution, Gaussian, expand
from mezzotint.denoiser import Chunked, Counted, Denoiser, Mixture, Preconditioned, Tiled
from mezzotint.denoiser.base import Want
from mezzotint.networks import UNet
from mezzotint.networks.context import EMPTY, Context
from mezzotint.processes import EDM, VP, Absorbing, Continuous, Flow
from mezzotint.samplers import Ancestral, Heun, Multistep, Sampler
from mezzotint.testing import check_denoiser


class Entrywise(Denoiser):
    """Exact for entries N(1/4 + told, v) that are independent: what each may be depends on itself alone."""

    process: Continuous

    def __init__(self, shape: tuple[int, ...], spread: bool = False) -> None:
        super().__init__()
        self.process, self.shape, self.spread = VP(), shape, spread

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        alpha, sigma = (expand(s, x) for s in (self.process.alpha(t), self.process.sigma(t)))
        mean, v = torch.full_like(x, 0.25), 0.5
        if "low" in cond:
            low = cond["low"]
            for axis in range(2, x.ndim):
                low = low.repeat_interleave(x.shape[axis] // low.shape[axis], axis)
            mean = mean + low
        total = alpha**2 * v + sigma**2
        answer = mean + alpha * v / total * (x - alpha * mean)
        return Gaussian(answer, (sigma**2 * v / total).to(x)) if self.spread else Dirac(answer)


class Says(Denoiser):
    """Answers every window with a number of its own: which question it was."""

    def __init__(self, shape: tuple[int, ...], kind: type[Distribution] = Dirac) -> None:
        super().__init__()
        self.process, self.shape, self.kind = EDM(), shape, kind
        self.asked = 0

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        self.asked += 1
        value = torch.full_like(x, float(self.asked))
        if self.kind is Categorical:
            return Categorical(torch.zeros(*x.shape, 3))
        return Gaussian(value, value**2) if self.kind is Gaussian else Dirac(value)


class Convolution(nn.Module):
    """Two convolutions of three: an entry depends on what is at most two away."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, shape[0], 3, padding=1)
        )

    def forward(self, x: Tensor, noise: Tensor, context: Context = EMPTY, want: Want = ()) -> Tensor:
        answer: Tensor = self.layers(x)
        return answer


SIZES = [(23,), (16, 27), (9, 14, 11)]


def question(shape: tuple[int, ...], rows: int = 3) -> tuple[Tensor, Tensor]:
    rng = Rng(range(rows))
    return rng.normal("x", shape).double(), 0.05 + 0.9 * rng.uniform("t", ())


@pytest.mark.parametrize("space", SIZES)
@pytest.mark.parametrize("spread", [False, True])
def test_what_knows_only_itself_is_answered_as_a_whole(space: tuple[int, ...], spread: bool) -> None:
    """In one, two and three axes, whatever the windows: nothing is cut that such a denoiser sees."""
    x, t = question((2, *space))
    exact = Entrywise((2, *(7 for _ in space)), spread)
    for tile, overlap in ((None, None), (7, 0), (7, 6), (8, 3), (tuple(5 + k for k in range(len(space))), 2)):
        answer, whole = Tiled(exact, tile, overlap)(x, t), exact(x, t)
        torch.testing.assert_close(answer.mean, whole.mean, rtol=0, atol=1e-12)
        if isinstance(whole, Gaussian):
            assert isinstance(answer, Gaussian)
            torch.testing.assert_close(answer.variance.expand_as(x), whole.variance.expand_as(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("space", [(24,), (16, 28), (8, 14, 12)])
def test_a_condition_on_the_grid_is_cut_with_it(space: tuple[int, ...]) -> None:
    """At every factor, odd windows of the coarse grid too; what is told of the whole goes to every window."""
    x, t = question((2, *space))
    for factor in (1, 2):
        low = Rng(range(3)).normal("low", (2, *(n // factor for n in space)))
        cond = Condition(low=low, **{"low.level": torch.rand(3)})
        exact = Entrywise((2, *(6 for _ in space)))
        answer = Tiled(exact, overlap=1, families={"low": factor})(x, t, cond)
        torch.testing.assert_close(answer.mean, exact(x, t, cond).mean, rtol=0, atol=1e-12)


def test_windows_begin_at_whole_entries_of_every_grid() -> None:
    """Factors 2 and 3 along one axis: windows move by 6, and what they are told belongs to them."""
    seen = []

    class Looks(Entrywise):
        def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
            seen.append({name: value.clone() for name, value in cond.values.items()} | {"x": x.clone()})
            return Dirac(x)

    places = torch.arange(60.0).reshape(1, 1, 60)
    told = Condition(low=places[..., ::2], lower=places[..., ::3], label=torch.zeros(1))
    tiled = Tiled(Looks((1, 18)), overlap=5, families={"low": 2, "lower": 3})
    torch.testing.assert_close(tiled(places, torch.ones(1), told).mean, places)
    assert len(seen) > 3
    for one in seen:
        assert torch.equal(one["low"], one["x"][..., ::2]) and torch.equal(one["lower"], one["x"][..., ::3])


@pytest.mark.parametrize(
    ("space", "tile", "overlap"),
    [((23,), 7, 3), ((23,), 7, 6), ((40,), 8, 5), ((16, 27), (7, 9), (2, 0)), ((9, 14, 11), 6, 2), ((5, 30), 8, 2)],
)
def test_weights_sum_to_one(space: tuple[int, ...], tile: int, overlap: int) -> None:
    """Everywhere; neighbours share what was asked for, and where a window is alone its weight is one."""
    tiled = Tiled(Entrywise((1, *space)), tile, overlap)
    total, covered = torch.zeros(space, dtype=torch.float64), torch.zeros(space)
    for at, weight in tiled.weights(space):
        assert weight.min() > 0
        total[at] += weight
        covered[at] += 1
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-15)
    for at, weight in tiled.weights(space):
        assert (weight[covered[at] == 1] == 1).all()
    for axis, (side, shared) in enumerate(zip(tiled.tile, tiled.overlap, strict=True)):
        starts = sorted({at[axis].start for at, _ in tiled.weights(space)})
        assert all(a + side - b >= shared for a, b in zip(starts, starts[1:], strict=False))
        assert starts[0] == 0 and starts[-1] + min(side, space[axis]) == space[axis]


def test_the_ramp_is_linear() -> None:
    """Two windows that share four entries: an eighth, three eighths, five eighths and seven eighths of the second."""
    answer = Tiled(Says((1, 8)), overlap=4)(torch.zeros(1, 1, 12), torch.ones(1)).mean - 1
    assert torch.equal(answer[0, 0], torch.tensor([0.0] * 4 + [0.125, 0.375, 0.625, 0.875] + [1.0] * 4))


def test_a_window_that_is_alone_has_its_own_word() -> None:
    """To the bit; means and variances, in any precision."""
    for kind, dtype in ((Dirac, torch.float32), (Gaussian, torch.float64), (Dirac, torch.bfloat16)):
        answer = Tiled(Says((1, 8), kind), overlap=2)(torch.zeros(1, 1, 14, dtype=dtype), torch.ones(1))
        assert (answer.mean[..., :6] == 1).all() and (answer.mean[..., 8:] == 2).all() and answer.mean.dtype == dtype
        if isinstance(answer, Gaussian):
            assert (answer.variance[..., :6] == 1).all() and (answer.variance[..., 8:] == 4).all()


def network(shape: tuple[int, ...] = (2, 12, 12)) -> Preconditioned:
    made = Preconditioned(Convolution(shape), Flow(), prediction="velocity")
    return made.eval().requires_grad_(False)


def test_a_network_is_the_whole_where_it_sees_no_edge() -> None:
    """Two entries from the edge of a window; nearer it is another answer, or this would show nothing."""
    model = network()
    x, t = question((2, 12, 20))
    x = x.float()
    answer, whole = Tiled(model, overlap=4)(x, t).mean, model(x, t).mean
    near = slice(8, 12)  # the windows are 0-12 and 8-20
    away = (answer - whole).abs().amax((0, 1, 2))
    assert away[:8].max() < 1e-6 and away[12:].max() < 1e-6 and away[near].max() > 1e-3
    cut = (model(x[..., :12], t).mean - whole[..., :12]).abs().amax((0, 1, 2))
    assert cut[:10].max() < 1e-6 and cut[10:].max() > away[near].max()


def test_one_window_is_the_plain_denoiser_to_the_bit() -> None:
    """Smaller than a window along one axis or both, side outputs included; and the same through a sampler."""
    model = network()
    for space in ((12, 12), (5, 7), (1, 12), (12, 3)):
        x, t = question((2, *space))
        told = model(x.float(), t, want=("output",))
        answer = Tiled(model, 12, 6)(x.float(), t, want=("output",))
        assert torch.equal(answer.mean, told.mean) and torch.equal(answer.aux["output"], told.aux["output"])
    x = Heun(3)(Tiled(model), rng=Rng(range(2)), shape=(2, 9, 11))
    assert torch.equal(x, Heun(3)(model, rng=Rng(range(2)), shape=(2, 9, 11)))


def superres() -> Preconditioned:
    """A U-Net told a picture at its own size, with weights that say something."""
    unet = UNet((1, 8, 8), width=16, multipliers=(1, 2), vector=None, maps=1)
    made = Preconditioned(unet, EDM(), Encoder(low=Image(1)))
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("sampler", [Heun(2), Ancestral(3)])
def test_a_row_does_not_feel_the_others(sampler: Sampler) -> None:
    """To the bit where the network is asked in pieces of one size, however many windows are asked at once."""
    model, rng = Chunked(superres(), 4), Rng(range(3))
    low = rng.normal("low", (1, 11, 13)).float()  # 2 x 2 windows
    crowds = [
        sampler(Tiled(model, 8, 3, {"low": 1}, rows), Condition(low=low), rng=rng, shape=(1, 11, 13))
        for rows in (None, 1, 5, 1000)
    ]
    assert all(torch.equal(crowd, crowds[0]) for crowd in crowds)
    for index in ([1], [2, 0]):
        some = sampler(Tiled(model, 8, 3, {"low": 1}, 3), Condition(low=low[index]), rng=rng[index], shape=(1, 11, 13))
        assert torch.equal(some, crowds[0][index])


class Flat(Denoiser):
    """Exact for samples of one shade, of any spread: windows differ as much as they can."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.process, self.shape = EDM(), shape

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        return Dirac(x.flatten(1).mean(1).reshape(-1, 1, 1).expand_as(x).clone())


@pytest.mark.parametrize("sampler", [Heun(4), Ancestral(6), Multistep(5)])
def test_no_seam_is_left(sampler: Sampler) -> None:
    """Where windows of different shades meet, the jump is the smaller the more they share."""
    jumps = []
    for overlap in (0, 4, 8):
        x = sampler(Tiled(Flat((1, 16)), overlap=overlap), rng=Rng(range(50)), shape=(1, 48))
        jumps.append(float(x.diff(dim=-1).abs().amax(-1).mean()))
    assert jumps[2] < 0.6 * jumps[1] < 0.4 * jumps[0], jumps


def test_cost_and_count() -> None:
    """As many multiply-accumulates as its windows; questions of ``rows`` rows."""
    model = superres()
    inner = Counted(model)
    tiled = Tiled(inner, 8, 2, {"low": 1}, rows=4)
    x, t = question((1, 14, 20))  # 2 x 3 windows of 3 samples
    cond = Condition(low=torch.zeros(3, 1, 14, 20))
    tiled(x.float(), t, cond)
    assert (inner.calls, inner.rows) == (5, 18)
    each = model.cost((1, 8, 8), Condition(low=torch.zeros(1, 1, 8, 8)))
    assert each and tiled.cost((1, 14, 20), cond[:1]) == 6 * each
    outer = Counted(tiled)
    outer(x.float(), t, cond)
    assert outer.macs == 18 * each


def test_times_of_entries_are_cut_with_them() -> None:
    """A time a frame, a column or an entry."""
    exact = Entrywise((1, 6, 6))
    x, _ = question((1, 10, 15))
    for shape in ((3, 1, 10, 1), (3, 1, 1, 15), (3, 1, 10, 15)):
        t = 0.1 + 0.8 * torch.rand(shape, dtype=torch.float64)
        torch.testing.assert_close(Tiled(exact)(x, t).mean, exact(x, t).mean, rtol=0, atol=1e-12)


def test_gradients_go_through() -> None:
    """A reward may be differentiated: of an entrywise answer, entry by entry."""
    x, t = question((1, 9, 16))
    x.requires_grad_()
    Tiled(Entrywise((1, 6, 6)))(x, t).mean.square().sum().backward()  # type: ignore[no-untyped-call]
    found, x.grad = x.grad, None
    Entrywise((1, 6, 6))(x, t).mean.square().sum().backward()  # type: ignore[no-untyped-call]
    assert found is not None and x.grad is not None
    torch.testing.assert_close(found, x.grad, rtol=1e-10, atol=1e-12)


def test_the_contract_of_a_denoiser() -> None:
    """With several windows, where the contract made from the signature alone has one."""
    check_denoiser(Tiled(superres(), 4, 1, {"low": 1}), Condition(low=torch.zeros(7, 1, 8, 8)))
    series = Mixture(EDM(), [[0.0, 1.0]], [torch.eye(2).tolist()])
    with pytest.raises(Refusal, match="axes of space"):
        Tiled(series)


def test_refusals() -> None:
    exact = Entrywise((1, 8, 8))
    x, t = question((1, 20, 20))
    for words, wrong in {
        "window": {"tile": 0},
        "one for each of 2 axes": {"tile": (4, 4, 4)},
        "overlap": {"overlap": -1},
        "smaller overlap": {"overlap": 8},
        "move on": {"overlap": 7, "families": {"low": 2}},
        "not whole": {"tile": 5, "families": {"low": 2}},
        "factor": {"families": {"low": 0}},
        "row": {"rows": 0},
    }.items():
        with pytest.raises(Refusal, match=words):
            Tiled(exact, **wrong)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="pad them"):
        Tiled(exact, families={"low": 2})(x[..., :19], t, Condition(low=x[..., :9]))
    with pytest.raises(Refusal, match="'low' is .* but at the factor"):
        Tiled(exact, families={"low": 2})(x, t, Condition(low=x))
    with pytest.raises(Refusal, match="Categorical"):
        Tiled(Says((1, 8, 8), Categorical))(x, t)
    with pytest.raises(Refusal, match="'mid' .* put together"):
        Tiled(superres(), families={"low": 1})(x.float(), t, Condition(low=x.float()), want=("mid",))
    with pytest.raises(Refusal, match="axes"):
        Tiled(exact)(x[..., 0], t)
    symbols = Says((4,))
    symbols.process = Absorbing(3)
    with pytest.raises(Refusal, match="Absorbing"):
        Tiled(symbols)
    assert math.isclose(float(sum(w.sum() for _, w in Tiled(exact).weights((20, 20)))), 400)
