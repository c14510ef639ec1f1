"""What context prediction reads and how it counts: levels, features of every network, latents, symbols, precisions."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from surroundings import At, mean_around, noise, silent, unet
from torch import Tensor

import mezzotint as mz
from mezzotint import training
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.store import load_model
from mezzotint.denoiser import Preconditioned, Tokens
from mezzotint.denoiser.base import Denoiser
from mezzotint.networks import MLP, DiT, TokenTransformer, UNet, UViT
from mezzotint.networks.context import Output
from mezzotint.networks.space import grown, halved
from mezzotint.objectives import (
    Bound,
    ContextPrediction,
    Denoising,
    LevelBound,
    Loss,
    Objective,
    OrderedDecoder,
    UniformTimes,
)
from mezzotint.objectives.context import _read
from mezzotint.processes import EDM, Absorbing, Cosine, Flow, Multinomial
from mezzotint.processes.base import Continuous
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.recipes import codes
from mezzotint.testing.truth import model, nudge


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


@pytest.mark.parametrize("sizes", [(7, 4), (14, 7, 4), (5, 3), (9, 5), (13, 7, 4, 2), (8, 4, 2), (3, 2, 1)])
def test_coarse_features_are_read_where_the_network_grows_them(sizes: tuple[int, ...]) -> None:
    """Halved and grown back as a U-Net does it, a map of the numbers of cells says in which of them a site lies."""
    due = torch.arange(float(sizes[-1])).reshape(1, 1, -1)
    for size in reversed(sizes[:-1]):
        assert halved(torch.zeros(1, 1, size)).shape[2] == due.shape[2]
        due = grown(due, (size,))
    read = _read(torch.arange(float(sizes[-1])).reshape(1, 1, -1), sizes[:1], torch.arange(sizes[0])[None])
    assert torch.equal(read[0, :, 0], due[0, 0])
    assert (read[0, :, 1].abs() < 0.5).all()
    flat = _read(torch.arange(2.0 * sizes[-1]).reshape(1, 1, 2, -1), (6, sizes[0]), torch.arange(6 * sizes[0])[None])
    rows = torch.arange(6).repeat_interleave(sizes[0]) // 3
    assert torch.equal(flat[0, :, 0], rows * sizes[-1] + due[0, 0].repeat(6))


def test_features_of_patches_are_read_by_patch() -> None:
    read = _read(torch.arange(5.0).reshape(1, 1, 5), (15,), torch.arange(15)[None])
    assert torch.equal(read[0, :, 0], torch.arange(5.0).repeat_interleave(3))
    torch.testing.assert_close(read[0, :, 1], torch.tensor([-1 / 3, 0, 1 / 3]).repeat(5))


def test_finer_features_are_read_in_the_middle_of_a_site() -> None:
    """Of 12 cells over 4 sites the one in the middle of each; of 5 over 3 the one in which it lies, and where."""
    read = _read(torch.arange(12.0).reshape(1, 1, 12), (4,), torch.arange(4)[None])
    assert read[0].tolist() == [[1.0, 0.0], [4.0, 0.0], [7.0, 0.0], [10.0, 0.0]]
    read = _read(torch.arange(5.0).reshape(1, 1, 5), (3,), torch.arange(3)[None])
    torch.testing.assert_close(read[0], torch.tensor([[0.0, 1 / 3], [2.0, 0.0], [4.0, -1 / 3]]))


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
