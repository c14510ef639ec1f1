"""Cascades of exact stages: the law that comes out, what is asked on the way, and what each model is told."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mezzotint.cascades import Cascade, Stage
from mezzotint.conditions import Encoder, Image, Noised
from mezzotint.core import NONE, Condition, Rng
from mezzotint.core.distribution import Distribution
from mezzotint.denoiser import Counted, Denoiser, JointMixture, NormalEntries, Preconditioned, Wrapper
from mezzotint.denoiser.base import Want
from mezzotint.networks import UNet
from mezzotint.objectives import Denoising
from mezzotint.operators import BlockMean
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Level, Respaced, Sampling, Uniform, UniPC

ROWS, WIDE = 200, 500
BASES = {"EDM": EDM(), "Flow": Flow(), "VP": VP(), "VP that ends in noise": VP(zero_terminal=True)}


def keys(count: int = ROWS) -> Rng:
    return Rng(range(count)).at("exact cascades")


def errors(x: Tensor, z: Tensor, covariance: float) -> Tensor:
    """Mean, variance, and covariance with z of x that is to be N(0, 1), in standard errors; z has a variance of 1."""
    root = math.sqrt(x.numel())
    found = torch.stack([x.mean(), (x.var() - 1) / math.sqrt(2), (x * z).mean() - covariance])
    return found * root / torch.tensor([1, 1, math.sqrt(1 + covariance**2)])


class Told(Wrapper):
    """Passes on, and keeps what it was told and when."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        self.heard: list[tuple[Tensor, Condition]] = []

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: Want = ()) -> Distribution:
        self.heard.append((t, cond))
        return self.denoiser(x, t, cond, want)


@pytest.mark.parametrize("truncated", [False, True], ids=["not truncated", "truncated"])
@pytest.mark.parametrize("process", BASES.values(), ids=BASES)
def test_the_law_is_the_data_s_whatever_the_base_s_process(process: Continuous, truncated: bool) -> None:
    """z_u comes on the scale of the augmentation, and says as much of z as it should: Cov(x, z) = rho a^(1/2) Var.

    A state of the base is compared on the scale of variance one: EDM's and a flow's have none of their own.
    """
    rho, noise = 0.8, VP()
    base = Sampling(Ancestral(5), NormalEntries(process, (1, WIDE)))
    larger = Sampling(Ancestral(3, grid=Uniform()), NormalEntries(Flow(), (1, WIDE), rho=rho, corruption=noise))
    cascade = Cascade((Stage("base", base), Stage("larger", larger, augment=Noised(noise))))
    for level in (0.0, 0.2, 0.5, 0.8, 0.98):
        first, last = cascade.at((level,), truncated).walk(rng=keys())
        s = noise.time(torch.tensor(level, dtype=torch.float64))
        left = float(noise.alpha(s)) ** 2
        z = first.x
        if first.t > 0:
            alpha, sigma = (f(torch.tensor(first.t, dtype=torch.float64)) for f in (process.alpha, process.sigma))
            assert float(process.level(torch.tensor(first.t, dtype=torch.float64))) == pytest.approx(level, abs=1e-9)
            z = z / (alpha**2 + sigma**2).sqrt()
        assert (first.t > 0) == (truncated and level > 0)
        assert errors(last.x, z, rho * (math.sqrt(left) if first.t > 0 else left)).abs().max() < 4


@pytest.mark.parametrize("truncated", [False, True], ids=["not truncated", "truncated"])
def test_three_stages_are_exact(truncated: bool) -> None:
    """Each told the one before at a level of its own, it depends on that as much as it should, and on the first."""
    low, high, noise, shape = 0.9, 0.7, Cosine(), (1, WIDE)
    second = NormalEntries(Cosine(), shape, rho=low, corruption=noise)
    third = NormalEntries(EDM(), shape, rho=high, corruption=noise)
    stages = (
        Stage("small", Sampling(Ancestral(3), NormalEntries(Cosine(), shape))),
        Stage("larger", Sampling(Ancestral(3), second), augment=Noised(noise)),
        Stage("largest", Sampling(Ancestral(3), third), augment=Noised(noise)),
    )
    for levels in ((0.0, 0.0), (0.3, 0.1), (0.0, 0.6), (0.5, 0.0), (1.0, 0.2), (0.4, 1.0)):
        small, larger, largest = (handed.x for handed in Cascade(stages).at(levels, truncated).walk(rng=keys()))
        a, b = (float(noise.alpha(noise.time(torch.tensor(u, dtype=torch.float64)))) for u in levels)
        if truncated:
            assert errors(larger, small, low * a * b).abs().max() < 4
            assert errors(largest, larger, high * b).abs().max() < 4
        else:
            assert errors(larger, small, low * a**2).abs().max() < 4
            assert errors(largest, larger, high * b**2).abs().max() < 4
            assert errors(largest, small, low * a**2 * high * b**2).abs().max() < 4


def pictures() -> tuple[Cascade, JointMixture]:
    """Small pictures of two kinds, drawn at half their size first; classes are told to both stages."""
    torch.manual_seed(1)
    roots = 0.3 * torch.randn(2, 8, 8, dtype=torch.float64)
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) + 0.5 * torch.randn(2, 8, dtype=torch.float64)
    covariances = roots @ roots.mT + 0.01 * torch.eye(8)
    large = JointMixture.of(Flow(), means, covariances, (1, 2, 4), BlockMean(2), Cosine(), (0.3, 0.7), (0, 1))
    base = Sampling(Ancestral(12), large.before(EDM()))
    larger = Stage("larger", Sampling(Ancestral(6), large), augment=Noised(Cosine()))
    return Cascade((Stage("base", base), larger)), large


def test_level_0_is_the_same_both_ways_bit_for_bit() -> None:
    """And the same as without an augmentation; with samplers that draw, so all keys count."""
    cascade, _ = pictures()
    told = Condition(label=torch.arange(20) % 2)
    plain = Cascade(tuple(replace(stage, augment=None) for stage in cascade.stages))
    cut, whole, bare = (c(told, keys(20)) for c in (cascade.at((0.0,), True), cascade.at((0.0,)), plain))
    assert torch.equal(cut, whole)
    assert torch.equal(whole, bare)
    assert not torch.equal(cascade.at((0.05,), True)(told, keys(20)), cut)
    assert torch.equal(
        cascade.at((0.3,), True)(told, keys(20))[3:9], cascade.at((0.3,), True)(told[3:9], keys(20)[3:9])
    )


def test_at_level_0_pictures_have_the_low_resolution_that_was_drawn() -> None:
    """And of the class that both stages were told."""
    cascade, large = pictures()
    flow = replace(cascade.stages[1], pipeline=Sampling(UniPC(24), large))
    label = torch.arange(30) % 2
    low, last = Cascade((cascade.stages[0], flow)).at((0.0,)).walk(Condition(label=label), keys(30))
    torch.testing.assert_close(BlockMean(2).forward(last.x), low.x, atol=5e-3, rtol=0)
    seen = large.alone(Flow())(last.x, torch.full((30,), 0.01, dtype=torch.float64), want=("classes",)).aux["classes"]
    assert (seen.argmax(1) == label).float().mean() > 0.95


def test_at_level_1_x_does_not_depend_on_the_base() -> None:
    """Not truncated, another base changes nothing; truncated, the base is not asked at all."""
    cascade, large = pictures()
    other = Sampling(Ancestral(3), Counted(large.before(EDM())))
    changed = Cascade((replace(cascade.stages[0], pipeline=other), cascade.stages[1]))
    one, two = (c.at((1.0,))(rng=keys(40)) for c in (cascade, changed))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-9)
    meter = Counted(large.before(Flow()))
    Cascade((Stage("base", Sampling(Ancestral(5), meter)), cascade.stages[1])).at((1.0,), True)(rng=keys(40))
    assert meter.rows == 0


@pytest.mark.parametrize("grid", [Respaced(), Level(), Uniform()], ids=lambda g: type(g).__name__)
@pytest.mark.parametrize("process", [EDM(), VP(), DDPM()], ids=lambda p: type(p).__name__)
def test_a_base_is_asked_once_for_each_time_above_the_level(process: Continuous, grid: Uniform) -> None:
    """Counted by hand from the levels of the grid; a level that is on the grid itself is where the run ends."""
    _, large = pictures()
    meter = Counted(large.before(process))
    base = Sampling(Ancestral(10, grid=grid), meter)
    levels = process.level(grid(process, 10))
    for u in (0.0, float(levels[6]), 0.2, 0.5, 0.75):
        meter.reset()
        stopped = base.until(u)
        x = stopped(rng=keys(4))
        assert meter.rows == 4 * sum(float(v) > u for v in levels)
        assert x.shape == (4, 1, 1, 2)
        if process.kind == "real":
            assert float(process.level(torch.tensor(stopped.ends, dtype=torch.float64))) == pytest.approx(u, abs=1e-9)


@pytest.mark.parametrize("truncated", [False, True], ids=["not truncated", "truncated"])
@pytest.mark.parametrize("noise", [Cosine(), VP(), EDM()], ids=lambda p: type(p).__name__)
def test_the_level_that_is_told_is_the_level_that_was_used(noise: Continuous, truncated: bool) -> None:
    """On a respaced grid, where an index is no level: with z = 3, z_u is N(3 alpha, sigma^2) at the level told."""
    wide = (1, WIDE)
    heard = Told(NormalEntries(Cosine(), wide, rho=0.5, corruption=noise))
    base = Sampling(Ancestral(7, grid=Respaced(total=1000)), NormalEntries(VP(), wide, mean=3.0, spread=0.0))
    larger = Sampling(Ancestral(3, grid=Uniform()), heard)
    cascade = Cascade((Stage("base", base), Stage("larger", larger, augment=Noised(noise))))
    for level in (0.1, 0.33, 0.7):
        heard.heard.clear()
        cascade.at((level,), truncated)(rng=keys())
        assert len(heard.heard) == 3
        for _, cond in heard.heard:
            assert torch.allclose(cond["low.level"], torch.tensor(level, dtype=torch.float64), atol=1e-9)
            t = noise.time(cond["low.level"][:1])
            off = (cond["low"].double() - 3 * noise.alpha(t)) / noise.sigma(t)
            assert abs(float(off.mean())) * math.sqrt(off.numel()) < 4
            assert abs(float(off.var()) - 1) * math.sqrt(off.numel() / 2) < 4


@pytest.mark.parametrize("noise", [Cosine(), EDM(4.0)], ids=lambda p: type(p).__name__)
def test_in_training_too(noise: Continuous) -> None:
    """The network's own question, row by row: levels differ, some are 0, and the noise in z is of the level told."""
    network = UNet((1, 8, 8), 16, vector=16, maps=1, attention=())
    model = Preconditioned(network, EDM(), Encoder(low=Image(1, up=2, level=16)))
    objective = Denoising(augment=Noised(noise), dropout=0.0)
    heard: list[Condition] = []
    model.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    z = 3 * torch.ones(300, 1, 4, 4)
    objective(model, torch.zeros(300, 1, 8, 8), Condition(low=z), Rng(range(300)))
    (cond,) = heard
    level = cond["low.level"]
    clean = level == 0
    assert 12 <= int(clean.sum()) <= 54  # one in ten, and four standard deviations
    assert torch.equal(cond["low"][clean], z[clean])
    assert len(level[~clean].unique()) == int((~clean).sum())
    t = noise.time(level[~clean].double())[:, None, None, None]
    off = (cond["low"][~clean].double() - 3 * noise.alpha(t)) / noise.sigma(t)
    assert abs(float(off.mean())) * math.sqrt(off.numel()) < 4
    assert abs(float(off.var()) - 1) * math.sqrt(off.numel() / 2) < 4
    rows = off.flatten(1).var(1)  # of every row its own level, not of one for the batch
    assert 0.2 < float(rows.min()) < float(rows.max()) < 3.5
    places = noise.time(level[~clean].double()).sort().values  # uniform on the clock
    steps = (torch.arange(len(places)) + 0.5) / len(places)
    assert float((places - steps).abs().max()) < 1.63 / math.sqrt(len(places)) + 0.5 / len(places)  # Kolmogorov, 1 %
