"""Guidance by a reward's gradient, where Bayes' rule, Tweedie's formula or a linear-Gaussian posterior is the truth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Categorical, Condition, Dirac, Distribution, Gaussian, Refusal, Rng
from mezzotint.core.reward import gradient
from mezzotint.denoiser import Counted, Denoiser, Mixture, Preconditioned
from mezzotint.guidance import CFG, AtEstimate, AtNoise, Autoguidance, Backward, ThroughDenoiser, Unaware, Without
from mezzotint.guidance import between as between_levels
from mezzotint.networks import UNet
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow
from mezzotint.rewards import NoiseAwareClassifier, Posterior
from mezzotint.samplers import Heun

PROCESSES = [EDM(), VP(), Cosine(), Flow(), DDPM(100, 1e-3, 0.2)]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
LEVELS = torch.tensor([0.05, 0.2, 0.4, 0.5, 0.6, 0.9], dtype=torch.float64)
LABELS = Condition(label=[0, 1, 2, 0, 1, 2])
KINDS = [AtNoise, AtEstimate, ThroughDenoiser, Backward]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)


def model(process: Continuous, seed: int = 1) -> Mixture:
    draws = Rng([seed])
    factors = draws.normal("factors", (4, 3, 3))[0].double()
    covariances = factors @ factors.transpose(1, 2) / 3 + 0.05 * torch.eye(3)
    return Mixture(process, draws.normal("means", (4, 3))[0] + 0.5, covariances, labels=[0, 1, 2, 0])


def case(process: Continuous) -> tuple[Tensor, Tensor]:
    t, draws = process.time(LEVELS), Rng(range(6))
    x0, noise = draws.normal("x0", (3,)).double(), draws.normal("noise", (3,)).double()
    return process.alpha(t)[:, None] * x0 + process.sigma(t)[:, None] * noise, t


def curved(x: Tensor, cond: Condition = NONE, t: Tensor | None = None) -> Tensor:
    """A reward with slopes and curvatures everywhere."""
    return torch.sin(x).sum(1) - 0.3 * (x[:, 0] * x[:, 1]) + 0.1 * x[:, 2] ** 3


def uphill(x: Tensor) -> Tensor:
    """Its gradient, by hand."""
    rest = torch.stack([-0.3 * x[:, 1], -0.3 * x[:, 0], 0.3 * x[:, 2] ** 2], 1)
    return torch.cos(x) + rest


class Noisy:
    """A reward that notes for how many rows it was asked, and whether it was told a time."""

    def __init__(self, inner: Callable[..., Tensor] = curved) -> None:
        self.inner, self.rows, self.times = inner, 0, set[bool]()

    def __call__(self, x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        self.rows += len(x)
        self.times.add(t is not None)
        return self.inner(x, cond, t)


@named
def test_classifier_guidance_is_classifier_free_guidance(process: Continuous) -> None:
    """CFG(w) = classifier guidance of the free model by w = that of the conditional model by w - 1."""
    exact, (x, t) = model(process), case(process)
    for w in (0.5, 1.0, 2.0, 7.5, -1.0):
        free = CFG(exact, w)(x, t, LABELS).mean
        for by_class in (AtNoise(Without(exact), Posterior(exact), w), AtNoise(exact, Posterior(exact), w - 1)):
            torch.testing.assert_close(by_class(x, t, LABELS).mean, free, rtol=1e-7, atol=1e-7)


@named
def test_linear_gaussian_universal_guidance_is_the_exact_posterior(process: Continuous) -> None:
    """p(x0) = N(m, C), y = M x0 without noise: pushed through D with the weight (M S M')^-1 it is E[x0 | x_t, y]."""
    draws = Rng([4])
    factor, m = draws.normal("factor", (5, 5))[0].double(), draws.normal("m", (5,))[0].double()
    cov, look = factor @ factor.T / 5 + 0.1 * torch.eye(5), draws.normal("M", (2, 5))[0].double()
    y = draws.normal("y", (2,))[0].double()
    prior = Mixture(process, m[None], cov[None])
    for u in LEVELS:
        t = process.time(u[None])
        a, s = process.alpha(t), process.sigma(t)
        x = a * (m + factor @ draws.normal("x0", (5,))[0].double() * 0.3)[None] + s * draws.normal("n", (5,)).double()
        gain = a * cov @ torch.linalg.inv(a**2 * cov + s**2 * torch.eye(5))
        left = cov - a * gain @ cov
        weight = torch.linalg.inv(look @ left @ look.T)

        def reward(x0: Tensor, cond: Condition, t: Tensor | None = None, weight: Tensor = weight) -> Tensor:
            off = y - x0 @ look.T
            return -0.5 * ((off @ weight) * off).sum(1)

        mean = m + gain @ (x[0] - a * m)
        exact = mean + left @ look.T @ weight @ (y - look @ mean)  # conditioning x0 | x_t on M x0 = y
        found = ThroughDenoiser(prior, reward, 1.0)(x, t).mean[0]
        torch.testing.assert_close(found, exact, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(look @ found, y, rtol=1e-9, atol=1e-9)


@named
def test_through_the_denoiser_is_a_step_of_the_posterior_covariance(process: Continuous) -> None:
    """sigma^2 / alpha dD/dx_t is Cov[x0 | x_t] (Tweedie's second formula), on any mixture and any reward."""
    exact, (x, t) = model(process), case(process)
    answer = exact(x, t, LABELS, want=("covariance",))
    step = (answer.aux["covariance"] @ uphill(answer.mean)[..., None])[..., 0]
    for scale in (0.3, -2.0):
        found = ThroughDenoiser(exact, curved, scale)(x, t, LABELS).mean
        torch.testing.assert_close(found, answer.mean + scale * step, rtol=1e-8, atol=1e-9)


@named
def test_at_the_estimate_the_denoiser_is_held_fixed(process: Continuous) -> None:
    class Held(Mixture):
        def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Dirac:
            assert not x.requires_grad and not torch.is_grad_enabled()
            return super().forward(x, t, cond, want)

    held, (x, t) = model(process), case(process)
    held.__class__ = Held
    counted, judge = Counted(held), Noisy()
    with torch.no_grad():
        found = AtEstimate(counted, judge, 0.7)(x, t, LABELS).mean
        plain = held(x, t, LABELS).mean
    alpha, sigma = process.alpha(t)[:, None], process.sigma(t)[:, None]
    torch.testing.assert_close(found, plain + 0.7 * sigma**2 / alpha * uphill(plain))
    assert (counted.rows, judge.rows, judge.times) == (6, 6, {False})


def test_who_is_told_the_time() -> None:
    """A reward of noisy samples is, one of clean samples is not; each costs one evaluation of the model."""
    x, t = case(VP())
    for kind, told in ((AtNoise, True), (AtEstimate, False), (ThroughDenoiser, False), (Backward, False)):
        counted, judge = Counted(model(VP())), Noisy()
        kind(counted, judge, 0.5)(x, t, LABELS)
        assert judge.times == {told} and counted.rows == 6
        assert judge.rows == (60 if kind is Backward else 6)


@kinds
@named
def test_zero_is_the_plain_denoiser_and_asks_for_no_gradient(process: Continuous, kind: type) -> None:
    exact, judge, (x, t) = model(process), Noisy(), case(process)
    plain = exact(x, t, LABELS).mean
    nowhere = between_levels(3.0, 0.5, 0.5)
    for scale in (0.0, nowhere):
        assert torch.equal(kind(exact, judge, scale)(x, t, LABELS).mean, plain)
    assert judge.rows == 0
    guided = kind(exact, judge, between_levels(0.4, 0.3, 0.7))(x, t, LABELS).mean  # 0.4, 0.5 and 0.6
    assert torch.equal(guided[[0, 1, 5]], plain[[0, 1, 5]])
    assert judge.rows == 3 * (10 if kind is Backward else 1)
    assert torch.equal(guided[2:5], kind(exact, curved, 0.4)(x, t, LABELS).mean[2:5])


@kinds
def test_not_a_number_is_the_plain_model(kind: type) -> None:
    """In a function of the level and in a family, for a gradient as for a contrast."""
    exact, (x, t) = model(VP()), case(VP())
    plain, nan = exact(x, t, LABELS).mean, float("nan")
    cond = LABELS | Condition(by=[nan, 0.5, nan, 0.5, nan, 0.5])
    own = torch.tensor([[True], [False]]).repeat(3, 1)
    found = kind(exact, curved, "by")(x, t, cond).mean
    assert torch.equal(found, torch.where(own, plain, kind(exact, curved, 0.5)(x, t, LABELS).mean))
    contrast = CFG(exact, "by")(x, t, cond).mean
    assert torch.equal(contrast, torch.where(own, plain, CFG(exact, 0.5)(x, t, LABELS).mean))


@kinds
def test_a_row_is_its_own(kind: type) -> None:
    """Alone, in a crowd and in any order, with a scale of its own: the same to the bit. A mean over rows would not."""
    exact, (x, t) = model(Flow()), case(Flow())
    cond = LABELS | Condition(by=[0.5, 0.0, -1.0, 2.0, 1.0, 0.1])
    guided = kind(exact, curved, "by")
    ready = guided.prepare(cond)
    assert set(ready.families) == {"label", "by"}
    together = guided(x, t, ready).mean
    for k in range(6):
        one = kind(exact, curved, float(cond["by"].double()[k]))(x[[k]], t[[k]], LABELS[[k]]).mean
        assert torch.equal(together[[k]], one), k
    order = [3, 0, 5, 1]
    assert torch.equal(guided(x[order], t[order], ready[order]).mean, together[order])


@kinds
@named
def test_callers_may_differentiate_what_they_get(process: Continuous, kind: type) -> None:
    """The derivative by x against finite differences, second derivatives of the reward and the model included."""
    exact, (x, t) = model(process), case(process)
    x, t, cond = x[2:4], t[2:4], LABELS[2:4]
    guided = kind(exact, Posterior(exact) if kind is AtNoise else curved, 0.3)
    assert torch.autograd.gradcheck(lambda x: guided(x, t, cond).mean, (x.clone().requires_grad_(),), atol=1e-6)
    with torch.no_grad():
        quiet = guided(x, t, cond).mean
        asked = x.clone().requires_grad_()
        assert torch.equal(guided(asked, t, cond).mean, quiet) and asked.grad is None
    loud = guided(x.clone().requires_grad_(), t, cond).mean
    torch.testing.assert_close(loud.detach(), quiet, rtol=1e-14, atol=1e-14)
    assert loud.requires_grad and not quiet.requires_grad
    assert not guided(x, t, cond).mean.requires_grad  # nobody differentiates: no graph is left behind


@pytest.mark.parametrize("kind", [AtEstimate, ThroughDenoiser, Backward], ids=lambda k: k.__name__)
def test_training_sees_through_the_guidance(kind: type) -> None:
    """The derivative by a weight of the model against a difference quotient."""
    network = UNet((1, 4, 4), width=8, multipliers=(1,), attention=(), middle="plain", vector=None).double()
    torch.nn.init.normal_(network.leave.weight, std=0.3)
    inner = Preconditioned(network, VP())
    guided = kind(inner, lambda x, cond, t=None: torch.sin(x).flatten(1).sum(1), 0.2)
    x, t = Rng([0]).normal("x", (1, 4, 4)).double(), torch.tensor([0.3], dtype=torch.float64)
    weight = network.leave.weight
    (slope,) = torch.autograd.grad(guided(x, t).mean.square().sum(), weight)
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight[0, 3, 1, 1] += sign * 1e-5
            values.append(float(guided(x, t).mean.square().sum()))
            weight[0, 3, 1, 1] -= sign * 1e-5
    assert float(slope[0, 3, 1, 1]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
    assert all(p.grad is None for p in network.parameters())


def test_where_nothing_of_the_data_is_left_the_answer_is_left() -> None:
    x, t = case(Flow())
    t = torch.where(LEVELS > 0.8, 1.0, t)
    for process in (Flow(), Cosine(), DDPM(50, 1e-3, 0.2, zero_terminal=True)):
        exact, judge = model(process), Noisy()
        for kind in (AtNoise, AtEstimate, ThroughDenoiser):
            found, plain = kind(exact, judge, 3.0)(x, t, LABELS).mean, exact(x, t, LABELS).mean
            assert bool(torch.isfinite(found).all()) and torch.equal(found[5], plain[5])
        assert judge.rows == 15


@kinds
def test_what_a_gradient_adds_depends_on_the_level(kind: type) -> None:
    """Even where the model does not: its rows may not be taken from an earlier answer. A contrast by a number may."""
    exact = model(VP())
    exact.uses_level = False
    assert kind(exact, curved, 0.5).uses_level
    assert not CFG(exact, 2.0).uses_level and CFG(exact, between_levels(2.0, 0.2, 0.8)).uses_level


@kinds
def test_a_reward_that_abstains_guides_nobody(kind: type) -> None:
    exact, (x, t) = model(VP()), case(VP())
    blind = torch.tensor([False, True, False, False, True, False])

    def judge(x: Tensor, cond: Condition, t: Tensor | None = None) -> Tensor:
        return curved(x) * torch.where(blind, torch.nan, 1.0)  # whose gradient is not a number in those rows

    found = kind(exact, judge, 0.5)(x, t, LABELS).mean
    seen, plain = kind(exact, curved, 0.5)(x, t, LABELS).mean, exact(x, t, LABELS).mean
    assert torch.equal(found, torch.where(blind[:, None], plain, seen))
    dropped = LABELS.drop("label")
    by_class = AtNoise(exact, Posterior(exact), 2.0)(x, t, dropped).mean
    assert torch.equal(by_class, exact(x, t).mean)  # a class that was dropped is not climbed towards


def test_what_cannot_be_climbed_is_refused() -> None:
    exact, (x, t) = model(VP()), case(VP())
    with pytest.raises(Refusal, match="choose a column"):
        AtEstimate(exact, lambda x, cond, t=None: x[:, :2], 1.0)(x, t, LABELS)
    for flat in (lambda x, cond, t=None: torch.ones(len(x)), lambda x, cond, t=None: x.detach().sum(1)):
        with pytest.raises(Refusal, match="no gradient to climb"):
            AtNoise(exact, flat, 1.0)(x, t, LABELS)
    with torch.inference_mode(), pytest.raises(Refusal, match="use torch.no_grad"):
        AtNoise(exact, curved, 1.0)(x, t, LABELS)
    chain = model(VP())
    chain.clean = False
    with pytest.raises(Refusal, match="clean data"):
        ThroughDenoiser(chain, curved, 1.0)

    class Symbols(Mixture):
        def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Distribution:
            return Categorical(x[..., None] * torch.ones(4))

    symbols = model(VP())
    symbols.__class__ = Symbols
    with pytest.raises(Refusal, match="not a Categorical"):
        AtNoise(symbols, curved, 1.0)(x, t, LABELS)


class Spread(Denoiser):
    """The exact answer of a mixture with a spread beside it, as a learnt variance would be."""

    def __init__(self, inner: Mixture) -> None:
        super().__init__()
        self.inner, self.process, self.shape = inner, inner.process, inner.shape

    def forward(self, x: Tensor, t: Tensor, cond: Condition = NONE, want: tuple[str, ...] = ()) -> Distribution:
        answer = self.inner(x, t, cond, want)
        return Gaussian(answer.mean, 0.1 + answer.mean**2, answer.aux)


@kinds
def test_a_learnt_spread_and_what_was_asked_for_stay(kind: type) -> None:
    exact, (x, t) = model(VP()), case(VP())
    found = kind(Spread(exact), curved, 0.5)(x, t, LABELS, want=("log_density",))
    assert isinstance(found, Gaussian)
    torch.testing.assert_close(found.mean, kind(exact, curved, 0.5)(x, t, LABELS).mean)
    plain = exact(x, t, LABELS, want=("log_density",))
    assert torch.equal(found.variance, 0.1 + plain.mean**2)
    assert torch.equal(found.aux["log_density"], plain.aux["log_density"])


@pytest.mark.parametrize("process", [EDM(20.0), VP()], ids=lambda p: type(p).__name__)
def test_an_unconditional_model_is_guided_to_a_class_it_does_not_know(process: Continuous) -> None:
    """Bayes' rule along a whole run: the free model and the classifier draw what the conditional model draws."""
    told = model(process)
    free = Mixture(process, told.means, told.axes.transpose(1, 2) @ (told.spreads[..., None] * told.axes))
    wish, rng = Condition(target=LABELS["label"]), Rng(range(6))
    with pytest.raises(Refusal, match="'target'"):
        Heun(10)(AtNoise(free, Posterior(told, "target"), 1.0), wish, rng=rng)
    guided = AtNoise(Unaware(free, ("target",)), Posterior(told, "target"), 1.0)
    assert guided.prepare(wish).families == ("target",) and guided.dtype == torch.float64
    found = Heun(10)(guided, wish, rng=rng)
    torch.testing.assert_close(found, Heun(10)(told, LABELS, rng=rng), rtol=1e-6, atol=1e-6)
    # A model beside it is not given what is not meant for it.
    beside = Autoguidance(guided, free, 1.5)
    ready = beside.prepare(wish)
    x, t = case(process)
    expected = 1.5 * guided(x, t, wish).mean - 0.5 * free(x, t).mean
    torch.testing.assert_close(beside(x, t, ready).mean, expected)


def test_a_classifier_in_another_precision_guides_an_exact_model() -> None:
    """A float32 network judges float64 samples; the run starts in the precision of the model, not of the judge."""
    exact = Mixture(EDM(), torch.zeros(1, 32), torch.eye(32)[None], shape=(2, 4, 4))
    network = UNet((2, 4, 4), width=8, multipliers=(1,), attention=(), middle="plain", vector=None, outputs=3)
    torch.nn.init.normal_(network.leave.weight)
    guided = AtNoise(Unaware(exact, ("label",)), NoiseAwareClassifier(network, EDM()), 2.0)
    assert guided.dtype == torch.float64
    x, t = Rng(range(6)).normal("x", (2, 4, 4)).double(), EDM().time(LEVELS)
    moved = guided(x, t, LABELS).mean - exact(x, t).mean
    assert moved.dtype == torch.float64 and float(moved.abs().amax((1, 2, 3)).min()) > 0


def test_the_gradient_of_a_sum() -> None:
    """Rows are summed: eight copies of a row have each the gradient that one has."""
    x = torch.randn(1, 3, dtype=torch.float64)
    one = gradient(curved, x)
    assert torch.equal(gradient(curved, x.expand(8, 3)), one.expand(8, 3))
    torch.testing.assert_close(one, uphill(x))


@pytest.mark.cuda
@kinds
def test_on_a_device_with_times_on_the_cpu(kind: type) -> None:
    """As samplers ask: x and the condition where the model is, times on the CPU."""
    exact, (x, t) = model(VP()), case(VP())
    judge = Posterior(exact) if kind is AtNoise else curved
    cond = LABELS | Condition(by=[0.5, 0.0, -1.0, 2.0, 1.0, 0.1])
    here = CFG(kind(exact, judge, "by"), between_levels(2.0, 0.3, 0.7))(x, t, cond).mean
    exact.cuda()
    there = CFG(kind(exact, judge, "by"), between_levels(2.0, 0.3, 0.7))(x.cuda(), t, cond.to("cuda")).mean
    torch.testing.assert_close(there.cpu(), here, rtol=1e-9, atol=1e-9)
