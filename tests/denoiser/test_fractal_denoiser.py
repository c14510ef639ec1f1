"""The denoiser of the trees against the general mixture and scipy, and as the mean of what it saw."""

import pytest
import torch
from scipy.stats import multivariate_normal

from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.spec import build, spec
from mezzotint.data import Fractal as Points
from mezzotint.data.fractal import tree
from mezzotint.denoiser import Fractal, Mixture
from mezzotint.processes import EDM, VP, Flow

PROCESSES = [EDM(sigma_max=5.0), VP(zero_terminal=True), Flow()]


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("told", ["label", "some", "none"])
def test_it_is_the_mixture(process, told) -> None:  # type: ignore[no-untyped-def]
    law = tree(3, 4)
    general = Mixture(process, law.means, law.covariances, law.weights, law.labels)
    count = 64
    t = torch.linspace(0, 1, count, dtype=torch.float64)
    x0, cond = Points(depth=3, seed=4)[:count]
    x = process.corrupt(x0.double(), t).sample(Rng(range(count)))
    if told == "some":
        cond = cond.dropout(0.5, Rng(range(count)))
    elif told == "none":
        cond = NONE
    mine, theirs = Fractal(process, 3, 4)(x, t, cond).mean, general(x, t, cond).mean
    assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)
    alone = torch.cat([Fractal(process, 3, 4)(x[[k]], t[[k]], cond[[k]] if cond else cond).mean for k in (5, 40)])
    assert torch.equal(alone, mine[[5, 40]])


def test_density_is_scipys_and_has_mass_one() -> None:
    exact, law = Fractal(EDM(), depth=2), tree(2)
    x = Points(depth=2)[:40][0].double()
    for cond, own in (
        (Condition(label=torch.ones(40, dtype=torch.int64)), law.labels == 1),
        (NONE, law.labels >= 0),
        (Condition(label=torch.ones(40, dtype=torch.int64)).drop(), law.labels >= 0),
    ):
        weights = law.weights[own] / law.weights[own].sum()
        parts = zip(weights, law.means[own], law.covariances[own], strict=True)
        due = sum(float(w) * multivariate_normal(m.numpy(), c.numpy()).pdf(x.numpy()) for w, m, c in parts)
        assert torch.allclose(exact.log_density(x, cond).exp(), torch.as_tensor(due), rtol=1e-9, atol=1e-300)
    axis = torch.linspace(-2, 2, 500, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    label = Condition(label=torch.zeros(len(plane), dtype=torch.int64))
    mass = exact.log_density(plane, label).exp().sum() * (4 / 499) ** 2
    assert float(mass) == pytest.approx(1, abs=0.01)


def test_it_answers_with_the_mean_of_what_may_have_been() -> None:
    """Of many points at one level, those of a cell have the mean that it says there on average."""
    process, count = EDM(sigma_max=5.0), 20_000
    x0, cond = Points(depth=3, size=count)[:]
    t = torch.full((count,), 0.05, dtype=torch.float64)
    x = process.corrupt(x0, t).sample(Rng(range(count)).at("noise"))
    missed = Fractal(process, depth=3)(x, t, cond).mean - x0
    for cell in (x[:, 0] > 0.3, x[:, 1] < -0.2, x.norm(dim=1) < 0.4):
        part = missed[cell]
        assert bool((part.mean(0).abs() < 4 * part.std(0) / len(part) ** 0.5).all())


def test_plain_arguments_and_refusals() -> None:
    exact = Fractal(EDM(sigma_max=5.0), depth=2, seed=3)
    again = build(spec(exact))
    assert spec(again) == spec(exact) and torch.equal(again.means, exact.means)
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5, dtype=torch.float64)
    with pytest.raises(Refusal, match="out of range"):
        exact(x, t, Condition(label=[0, 2]))
    with pytest.raises(Refusal, match="knows label"):
        exact(x, t, Condition(text=[0, 1]))
    with pytest.raises(Refusal, match="one time per sample"):
        exact(x, torch.tensor([[0.1, 0.2]] * 2, dtype=torch.float64))
