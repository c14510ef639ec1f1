"""Injected error: of the size it says, before every step, and nothing else is disturbed."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from mezzotint.core import NONE, Refusal, Rng, build, config, spec
from mezzotint.denoiser import Counted, Empirical, Mixture
from mezzotint.denoiser.exact_poisson import EmpiricalPoisson
from mezzotint.processes import EDM, Flow
from mezzotint.processes.poisson import PoissonFlow
from mezzotint.samplers import Ancestral, Churn, Euler, Heun, Karras, Multistep, Sampler, State, Uniform, UniPC
from mezzotint.samplers.perturbed import Perturbed

MIXTURE = Mixture(EDM(), [[-1.0, 0.5], [1.0, 0.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.4]]])
POINT = torch.tensor([[0.5, -1.0, 2.0]]).double()


@pytest.mark.parametrize(
    "sampler",
    [
        Euler(5),
        Heun(5),
        Multistep(6, order=3),
        UniPC(6, order=3),
        Ancestral(5),
        Multistep(5, eta=1.0),
        Churn(5, churn=2.0),
    ],
    ids=repr,
)
def test_no_error_is_the_plain_sampler(sampler: Sampler) -> None:
    runs = (each.trajectory(MIXTURE, rng=Rng(range(4))) for each in (sampler, Perturbed(sampler, 0.0)))
    for plain, same in zip(*runs, strict=True):
        assert torch.equal(plain.x, same.x) and torch.equal(plain.t, same.t)
        assert torch.equal(plain.rng.keys, same.rng.keys)
        assert all(torch.equal(a, b) for a, b in zip(plain.memory, same.memory, strict=True))
    assert not torch.equal(Perturbed(sampler, 0.1)(MIXTURE, rng=Rng(range(4))), sampler(MIXTURE, rng=Rng(range(4))))


@pytest.mark.parametrize(
    "model", [Empirical(EDM(), POINT), EmpiricalPoisson(PoissonFlow(3.0), POINT)], ids=["edm", "pf"]
)
def test_errors_add_up(model: Empirical) -> None:
    """With one point of data a step keeps (x - y) / sigma, so after n steps it is off by N(0, n scale^2)."""
    count, scale = 2000, 0.3
    start = POINT + 80 * torch.ones(count, 3).double()
    times = torch.tensor([1.0, 0.7, 0.2, 0.1, 0.004]).double()
    states = list(Perturbed(Euler(4), scale).trajectory(model, rng=Rng(range(count)), times=times, start=start))
    for n, state in enumerate(states[1:], 1):
        off = (state.x - POINT) / (80 * times[n]) - 1
        assert float(off.std()) == pytest.approx(scale * n**0.5, rel=0.03)
        assert stats.kstest((off.flatten() / (scale * n**0.5)).numpy(), "norm").pvalue > 0.001
    steps = torch.stack([(s.x - POINT) / (80 * t) for s, t in zip(states, times, strict=True)]).diff(dim=0)
    assert float(torch.corrcoef(steps.flatten(1)).fill_diagonal_(0).abs().max()) < 4 / (3 * count) ** 0.5


def test_the_wrapped_sampler_keeps_its_own_draws() -> None:
    """On one point the bridge is affine: the error passes through it, and the fresh noise is the same and another."""
    model, rng = Empirical(EDM(), POINT), Rng(range(500))
    t, s = torch.full((500,), 0.5).double(), 0.2
    x = POINT + 40 * rng.normal("x", (3,)).double()
    state = State(x, t, rng)
    plain, disturbed = (sampler.step(model, state, s).x for sampler in (Ancestral(3), Perturbed(Ancestral(3), 0.1)))
    error = (Perturbed(Euler(3), 0.1).step(model, state, s).x - Euler(3).step(model, state, s).x) * (0.5 / 0.2)
    torch.testing.assert_close(disturbed - plain, error * (0.2 / 0.5) ** 2, rtol=1e-8, atol=1e-8)
    fresh = plain - POINT - (0.2 / 0.5) ** 2 * (x - POINT)
    assert abs(float(torch.corrcoef(torch.stack([fresh.flatten(), error.flatten()]))[0, 1])) < 4 / 1500**0.5


def test_what_stands_still_is_not_disturbed() -> None:
    sampler, model = Perturbed(Euler(3), 0.5), Counted(Empirical(Flow(), torch.randn(3, 4)))
    x, rng = torch.randn(3, 4).double(), Rng(range(3))
    t = torch.tensor([0.5, 0.3, 0.0]).double()
    after = sampler.step(model, State(x, t, rng), torch.tensor([0.2, 0.3, 0.0]).double(), NONE)
    assert torch.equal(after.x[1:], x[1:]) and not torch.equal(after.x[0], x[0]) and model.rows == 1


def test_steps_and_grid_are_the_wrapped_ones() -> None:
    sampler = Perturbed(Heun(7, grid=Uniform()), 0.25)
    assert sampler.steps == 7 and sampler.grid == Uniform()
    assert len(list(sampler.trajectory(MIXTURE, rng=Rng([0])))) == 8
    tree = spec(sampler)
    assert tree["part"] == "samplers.perturbed.Perturbed" and set(tree) == {"part", "sampler", "scale"}
    assert build(config.loads(config.dumps(tree))) == sampler
    with pytest.raises(Refusal, match="nesting"):  # both would draw the same error
        Perturbed(Perturbed(Heun(3, grid=Karras()), 0.1), 0.1)


def test_refusals() -> None:
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(Refusal, match="share of the noise"):
            Perturbed(Heun(3), wrong)
    with pytest.raises(Refusal, match="disturbs the steps of a sampler"):
        Perturbed(MIXTURE, 0.1)  # type: ignore[arg-type]
