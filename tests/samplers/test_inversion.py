"""Inversion: up and down again is where one began, and up alone is what the closed form says."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import NONE, Condition, Dirac, Refusal, Rng, build, spec
from mezzotint.denoiser import Counted, Denoiser, Mixture
from mezzotint.guidance import CFG
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Euler, Heun, Inversion, Inverted, Karras, Level, Recurrence, Sampling, below

PROCESSES = [EDM(), Cosine()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
ONE = torch.ones(1, dtype=torch.float64)
D = 3


def mixture(process: Continuous) -> Mixture:
    """Three overlapping components, full covariances, off centre, in two classes."""
    torch.manual_seed(3)
    factor = torch.randn(3, D, D, dtype=torch.float64)
    cov = factor @ factor.mT / D + 0.1 * torch.eye(D)
    return Mixture(process, 1.5 * torch.randn(3, D) + 0.5, cov, labels=(0, 1, 1))


def data(model: Mixture, count: int, cond: Condition = NONE) -> torch.Tensor:
    return Heun(40)(model, cond, rng=Rng(range(count)))


@named
def test_up_and_down_again_is_where_one_began(process: Continuous) -> None:
    """To the tolerance for the iteration, at first order for the plain inversion."""
    model = mixture(process)
    x0, rng = data(model, 6), Rng(range(6))
    for t in (1.0, float(process.time(torch.tensor(0.6, dtype=torch.float64)))):
        up = Inversion(20, iterations=200, tolerance=1e-8)(model, x0, t=t)
        down = Euler(20)(model, rng=rng, times=below(Karras(), process, 20, t), start=up)
        torch.testing.assert_close(down, x0, rtol=0, atol=1e-6)
        assert float((up - x0).abs().min()) > 1e-4
    apart = []
    for steps in (20, 80):
        up = Inversion(steps, grid=Level(), iterations=0)(model, x0)
        down = Euler(steps, grid=Level())(model, rng=rng, start=up)
        apart.append(float((down - x0).norm(dim=1).median()))
    order = math.log(apart[0] / apart[1], 4)
    print(f"\n{type(process).__name__}: {apart[0]:.3f} {apart[1]:.3f} order {order:.2f}", end="")
    assert apart[0] > 0.05 and abs(order - 1) < 0.25


@pytest.mark.parametrize("iterations", [0, 100])
@named
def test_the_code_of_one_normal_is_its_standardised_self(process: Continuous, iterations: int) -> None:
    """(x - alpha mu) / sqrt(alpha^2 c^2 + sigma^2) is constant along the flow; both inversions reach it at order 1."""
    mu, c = torch.tensor([2.0, -1.0], dtype=torch.float64), 0.7
    model = Mixture(process, mu[None], (c**2 * torch.eye(2))[None])
    code = Rng(range(5)).normal("code", (2,)).double()
    alpha, sigma = process.alpha(ONE), process.sigma(ONE)
    errors = []
    for steps in (20, 80):
        up = Inversion(steps, grid=Level(), iterations=iterations)(model, mu + c * code)
        errors.append(float(((up - alpha * mu) / (alpha**2 * c**2 + sigma**2).sqrt() - code).abs().max()))
    assert errors[1] < 0.05 and abs(math.log(errors[0] / errors[1], 4) - 1) < 0.25


def test_every_sample_is_iterated_to_its_own_rest() -> None:
    """The same bits alone and in any order, no sample asked about once it stands, evaluations counted row by row."""
    model = Counted(mixture(VP()))
    inversion, x0 = Inversion(8, grid=Level(), iterations=100), data(mixture(VP()), 4)
    whole = inversion.solve(model, x0)
    rows = model.rows
    alone, asked = [], []
    for row in range(4):
        model.reset()
        alone.append(inversion.solve(model, x0[row : row + 1]))
        asked.append(model.rows)
    assert torch.equal(torch.cat([one.x for one in alone]), whole.x)
    assert torch.equal(torch.cat([one.residual for one in alone]), whole.residual)
    assert sum(asked) == rows and len(set(asked)) > 1
    assert torch.equal(inversion(mixture(VP()), x0[[3, 1]]), whole.x[[3, 1]])
    assert bool((whole.residual <= 1e-6).all()) and bool((whole.residual > 0).all())
    model.reset()
    Inversion(8, iterations=0)(model, x0)
    assert model.rows == 8 * 4


def test_what_does_not_come_to_rest_is_told() -> None:
    """Between two far and narrow modes the answer turns faster than a long step can follow; shorter ones can."""
    narrow = Mixture(EDM(), [[-3.0], [3.0]], [[[0.01]], [[0.01]]])
    x0 = torch.tensor([[3.05], [0.02]], dtype=torch.float64)
    found = Inversion(6, iterations=100).solve(narrow, x0)
    assert float(found.residual[0]) <= 1e-6 < float(found.residual[1])
    with pytest.raises(Refusal, match="1 of 2 samples did not come to rest"):
        Inversion(6, iterations=100)(narrow, x0)
    assert bool(torch.isfinite(Inversion(6, iterations=100)(narrow, x0[:1])).all())
    assert bool(torch.isfinite(Inversion(6, iterations=0)(narrow, x0)).all())
    broken = Inversion(4).solve(Wild(), torch.ones(2, 1, dtype=torch.float64))
    assert not bool((broken.residual <= 1e-6).any())


class Wild(Denoiser):
    """Answers that run away."""

    def __init__(self) -> None:
        super().__init__()
        self.process, self.shape = Flow(), (1,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        return Dirac(torch.exp(50 * x.abs()))


def test_up_with_one_model_and_down_with_another() -> None:
    """With another class the code gives that class's counterpart: of two normals, the same place in the other one."""
    centres, spreads = torch.tensor([[-2.0, 1.0], [3.0, -1.0]], dtype=torch.float64), (0.5, 1.2)
    model = Mixture(
        Flow(), centres, torch.stack([c**2 * torch.eye(2, dtype=torch.float64) for c in spreads]), labels=(0, 1)
    )
    code = Rng(range(6)).normal("code", (2,)).double()
    cond = Condition(label=[0] * 6)
    x0 = centres[0] + spreads[0] * code
    down = Euler(40, grid=Level())
    up = Inversion(40, grid=Level(), tolerance=1e-7)(model, x0, cond)
    other = down(model, Condition(label=[1] * 6), rng=Rng(range(6)), start=up)
    torch.testing.assert_close(other, centres[1] + spreads[1] * code, rtol=0, atol=0.15)
    torch.testing.assert_close(down(model, cond, rng=Rng(range(6)), start=up), x0, rtol=0, atol=1e-6)
    # As a start: the condition carries the picture, and the denoisers see the rest of it.
    start = Inverted(Inversion(40, grid=Level(), tolerance=1e-7), model)
    told = cond | Condition(reference=x0)
    assert torch.equal(start(told, Rng(range(6))), up)
    torch.testing.assert_close(Sampling(down, model, start=start)(told, Rng(range(6))), x0, rtol=0, atol=1e-6)
    guided = Sampling(down, CFG(model, 2.0), start=start)(told, Rng(range(6)))
    assert float((guided - x0).abs().max()) > 0.1
    part = Inverted(Inversion(30), model, t=0.4)
    back = Sampling(Euler(30), model, start=part)(told, Rng(range(6)))
    torch.testing.assert_close(back, x0, rtol=0, atol=1e-4)


def test_gradients_precision_and_settings() -> None:
    model = mixture(Cosine())
    x0 = data(model, 2).requires_grad_()
    found = Inversion(6, iterations=3).solve(model, x0).x
    (slope,) = torch.autograd.grad(found.sum(), x0)
    moved = Inversion(6, iterations=3).solve(model, (x0 + 1e-6).detach()).x
    torch.testing.assert_close(((moved - found) / 1e-6).detach().sum(), slope.sum(), rtol=1e-3, atol=1e-4)
    assert not Inversion(6, iterations=0)(model, x0).requires_grad
    assert Inversion(6, iterations=0)(model, x0.detach().float()).dtype == torch.float64
    assert torch.equal(Inversion(6)(model, x0.detach(), t=0.0), x0.detach())
    assert build(spec(Inversion(6, tolerance=1e-4))) == Inversion(6, tolerance=1e-4)
    with pytest.raises(Refusal, match="only falls"):
        Inversion(6, grid=Recurrence(Karras(), 2))(model, x0)
    for wrong in ({"steps": 0}, {"steps": 3, "iterations": -1}, {"steps": 3, "tolerance": 0.0}):
        with pytest.raises(Refusal):
            Inversion(**wrong)
