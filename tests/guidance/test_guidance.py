"""Guidance on exact models, where what it should do is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Condition, Refusal, Rng, build, spec
from mezzotint.core.store import load_model, save_model
from mezzotint.denoiser import Counted, Mixture, Preconditioned
from mezzotint.guidance import CFG, Autoguidance, Between, Contrast, Without, between
from mezzotint.networks import UNet
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Heun, Karras

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
LABELS = Condition(label=[0, 1, 2, 0, 1, 2])


def model(process: Continuous, seed: int = 1) -> Mixture:
    torch.manual_seed(seed)
    factors = torch.randn(4, 3, 3, dtype=torch.float64)
    covariances = factors @ factors.transpose(1, 2) / 3 + 0.05 * torch.eye(3)
    return Mixture(process, torch.randn(4, 3) + 0.5, covariances, labels=[0, 1, 2, 0])


def case(process: Continuous) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    u = torch.tensor([0.05, 0.2, 0.4, 0.5, 0.6, 0.9], dtype=torch.float64)
    t = process.time(u)
    x = process.alpha(t)[:, None] * torch.randn(6, 3) + process.sigma(t)[:, None] * torch.randn(6, 3)
    return x, t


@named
def test_guidance_climbs_the_class_posterior(process: Continuous) -> None:
    """alpha (D_guided - D_free) = scale sigma^2 grad log p(c | x_t), the gradient by autograd."""
    exact, (x, t) = model(process), case(process)
    x = x.requires_grad_()
    logs = exact(x, t, want=("classes",)).aux["classes"].gather(1, LABELS["label"][:, None])
    (score,) = torch.autograd.grad(logs.sum(), x)
    x = x.detach()
    for scale in (0.0, 0.4, 1.0, 3.0, -1.0):
        guided = CFG(exact, scale)(x, t, LABELS).mean
        moved = process.alpha(t)[:, None] * (guided - exact(x, t).mean)
        torch.testing.assert_close(moved, scale * process.sigma(t)[:, None] ** 2 * score, rtol=1e-7, atol=1e-8)


@named
def test_one_is_the_model_and_zero_the_weak_one(process: Continuous) -> None:
    strong, weak = Counted(model(process)), Counted(model(process, 2))
    x, t = case(process)
    assert torch.equal(Autoguidance(strong, weak, 1.0)(x, t, LABELS).mean, strong.denoiser(x, t, LABELS).mean)
    assert (strong.rows, weak.rows) == (6, 0)
    assert torch.equal(Autoguidance(strong, weak, 0.0)(x, t, LABELS).mean, weak.denoiser(x, t, LABELS).mean)
    assert (strong.rows, weak.rows) == (6, 6)
    one = CFG(strong, 1.0)(x, t, LABELS).mean
    assert torch.equal(one, strong.denoiser(x, t, LABELS).mean) and strong.rows == 12
    zero = CFG(strong, 0.0)(x, t, LABELS).mean
    assert torch.equal(zero, strong.denoiser(x, t).mean) and strong.rows == 18


def test_scales_are_decided_row_by_row() -> None:
    exact = Counted(model(Flow()))
    x, t = case(Flow())
    guided = CFG(exact, between(2.5, 0.2, 0.6))(x, t, LABELS).mean
    assert exact.rows == 6 + 3  # u = 0.05 and 0.2 outside, 0.4, 0.5 and 0.6 inside, 0.9 outside
    plain, strong = exact.denoiser(x, t, LABELS).mean, CFG(exact.denoiser, 2.5)(x, t, LABELS).mean
    assert torch.equal(guided[[0, 1, 5]], plain[[0, 1, 5]])
    assert torch.equal(guided[2:5], strong[2:5])
    exact.reset()
    cond = LABELS | Condition(**{"scale": [1.0, 0.0, 2.5, 1.0, 2.5, 0.0]})
    by_row = CFG(exact, "scale")
    assert by_row.prepare(cond).families == ("label", "scale")
    mixed = by_row(x, t, cond).mean
    assert exact.rows == 6 + 2
    free = exact.denoiser(x, t).mean
    assert torch.equal(mixed, torch.stack([plain[0], free[1], strong[2], plain[3], strong[4], free[5]]))
    with pytest.raises(Refusal, match="scale"):
        by_row(x, t, LABELS)


def test_what_was_asked_for_stays_in_its_row() -> None:
    exact, (x, t) = model(Flow()), case(Flow())
    cond = LABELS | Condition(scale=[1.0, 0.0, 2.5, 1.0, 2.5, 0.0])
    answer = CFG(exact, "scale")(x, t, cond, want=("log_density",))
    strong = exact(x, t, LABELS, want=("log_density",)).aux["log_density"]
    free = exact(x, t, want=("log_density",)).aux["log_density"]
    expected = torch.where(cond["scale"] == 0, free, strong)
    assert torch.equal(answer.aux["log_density"], expected)


def test_between_is_open_below_and_closed_above() -> None:
    u = torch.tensor([0.0, 0.2, 0.2000001, 0.8, 0.8000001, 1.0], dtype=torch.float64)
    scale = between(3.1, 0.2, 0.8)
    assert scale(u).nan_to_num(-1.0).tolist() == [-1.0, -1.0, 3.1, 3.1, -1.0, -1.0]  # not a number: the plain model
    assert build(spec(scale)) == Between(3.1, 0.2, 0.8)
    with pytest.raises(Refusal):
        between(2.0, 0.8, 0.2)


def test_a_null_that_was_never_trained_is_refused() -> None:
    def make() -> Preconditioned:
        network = UNet((1, 8, 8), width=8, vector=8, attention=(), middle="plain")
        return Preconditioned(network, EDM(), Encoder(label=Classes(3, width=8)))

    x, t = torch.zeros(1, 1, 8, 8), torch.full((1,), 0.1, dtype=torch.float64)
    cond = Condition(label=[1])
    for guided in (CFG(make(), 2.0), Without(make()), Contrast(make(), Without(make()), 2.0)):
        with pytest.raises(Refusal, match="dropout"):
            guided.prepare(cond)
        with pytest.raises(Refusal, match="dropout"):
            guided(x, t, cond)
    assert CFG(make(), 1.0)(x, t, cond).mean.shape == x.shape  # nobody asks what it never learnt
    trained = make()
    trained.encoder["label"].null_trained.fill_(True)  # type: ignore[index]
    assert CFG(trained, 2.0).nulls == ("label",) and Without(trained).families == ("label",)
    with pytest.raises(Refusal, match="'text'"):
        Without(trained, ("text",)).prepare(cond)
    with pytest.raises(Refusal, match="'label',"):
        Without(trained, "label")  # type: ignore[arg-type]
    with pytest.raises(Refusal):
        CFG(Mixture(EDM(), [[0.0]], [[[1.0]]]), 2.0).prepare(Condition())


def test_a_stored_guidance_is_found_again(tmp_path: Path) -> None:
    """Whether a null was trained is told by the weights, which come after the guidance was made."""
    trained = Preconditioned(
        UNet((1, 8, 8), width=8, vector=8, attention=(), middle="plain"), EDM(), Encoder(label=Classes(3, width=8))
    )
    trained.encoder["label"].null_trained.fill_(True)  # type: ignore[index]
    torch.nn.init.normal_(trained.network.leave.weight)  # type: ignore[union-attr, arg-type]
    guided = CFG(trained, between(2.0, 0.1, 0.9)).eval()
    again = load_model(save_model(tmp_path / "guided", guided))
    x, t = torch.randn(2, 1, 8, 8), torch.full((2,), 0.02, dtype=torch.float64)
    cond = again.prepare(Condition(label=[1, 2]))
    assert torch.equal(again(x, t, cond).mean, guided(x, t, cond).mean)
    assert again.weak.denoiser is again.strong


def test_models_of_two_worlds_are_refused() -> None:
    with pytest.raises(Refusal, match="same process"):
        Autoguidance(model(EDM()), model(VP()), 2.0)


def test_what_guidance_draws_is_not_the_tilted_law() -> None:
    """Classes N(-1, 1/4) and N(1, 1/4), scale 2 towards the second, a fine probability flow from even quantiles.

    Quadrature of p(x) p(c | x)^2 gives mean 1.036 and spread 0.468; guidance goes further and narrower, and limited to
    sigma in (0.3, 2] not as far. Its own figures are those of an adaptive Runge-Kutta solver (scipy's DOP853 at 1e-9).
    """
    exact = Mixture(EDM(), [[-1.0], [1.0]], [[[0.25]], [[0.25]]], labels=[0, 1])
    count = 200
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    start = 1 + (80**2 + 0.25) ** 0.5 * torch.special.ndtri(even)[:, None]  # q(x_1 | c) itself, not the prior
    cond = Condition(label=[1] * count)

    def drawn(scale: object) -> torch.Tensor:
        guided = CFG(exact, scale)  # type: ignore[arg-type]
        return Heun(120)(guided, cond, rng=Rng(range(count)), start=start)

    plain, everywhere = drawn(1.0), drawn(2.0)
    limited = drawn(between(2.0, 0.3 / 1.3, 2.0 / 3.0))
    x = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    one, other = (torch.distributions.Normal(m, 0.5).log_prob(x).exp() for m in (1.0, -1.0))
    tilted = (one + other) * (one / (one + other)) ** 2
    mean = (tilted * x).sum() / tilted.sum()
    spread = ((tilted * (x - mean) ** 2).sum() / tilted.sum()).sqrt()
    assert float(mean) == pytest.approx(1.036, abs=1e-3) and float(spread) == pytest.approx(0.468, abs=1e-3)
    assert float(plain.mean()) == pytest.approx(1.0, abs=1e-3) and float(plain.std()) == pytest.approx(0.5, abs=3e-3)
    assert float(everywhere.mean()) == pytest.approx(1.3200, abs=1e-3)
    assert float(everywhere.std()) == pytest.approx(0.3585, abs=3e-3) and float(everywhere.std()) < float(spread)
    assert float(limited.mean()) == pytest.approx(1.1725, abs=0.01)  # its ends fall between points of the grid
    assert float(plain.mean()) < float(limited.mean()) < float(everywhere.mean())


def test_published_intervals_in_levels() -> None:
    """sigma (0.19, 1.61] on EDM's grid of 32 steps is guided at the indices 17 to 22 that the paper's code names."""
    process = EDM()
    sigma = process.sigma(Karras()(process, 32))
    scale = between(2.0, 0.19 / 1.19, 1.61 / 2.61)(process.level(sigma / 80))
    guided = scale.isfinite().nonzero()[:, 0].tolist()
    assert guided == list(range(17, 23))
    assert [round(float(sigma[i]), 2) for i in (17, 22)] == [1.61, 0.28]
    wide = between(2.0, 0.6 / 1.6, 5.0 / 6.0)(process.level(sigma / 80))
    assert wide.isfinite().nonzero()[:, 0].tolist() == list(range(13, 20))


def test_guidances_stack() -> None:
    """Autoguidance over CFG is linear in both scales."""
    strong, weak, (x, t) = model(VP()), model(VP(), 2), case(VP())
    stacked = Autoguidance(CFG(strong, 3.0), weak, 1.5)(x, t, LABELS).mean
    plain, free, bad = strong(x, t, LABELS).mean, strong(x, t).mean, weak(x, t, LABELS).mean
    torch.testing.assert_close(stacked, 1.5 * (3 * plain - 2 * free) - 0.5 * bad, rtol=1e-10, atol=1e-10)
