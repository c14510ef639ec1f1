"""Projections look as what was observed, and are the exact posterior where that has a closed form."""

from __future__ import annotations

import pytest
import torch

from mezzotint.core import NONE, Categorical, Condition, Dirac, Gaussian, Refusal, Rng
from mezzotint.denoiser import Denoiser, Mixture
from mezzotint.guidance import CFG, Known, Projection
from mezzotint.operators import BlockMean, Mask
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Heun, Karras, Recurrence, RePaint
from mezzotint.testing import check_guidance

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
named = pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
SHAPE = (1, 2, 4)
COUNT = 5


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(4)
    factor = torch.randn(3, 8, 8, dtype=torch.float64)
    return Mixture(process, torch.randn(3, 8), factor @ factor.mT / 8, labels=(0, 1, 1), shape=SHAPE)


def case(process: Continuous) -> tuple[torch.Tensor, torch.Tensor]:
    rng = Rng(range(COUNT))
    t = process.time(torch.tensor([0.05, 0.2, 0.5, 0.8, 0.95], dtype=torch.float64))
    return rng.normal("x", SHAPE).double(), t


def observed() -> Condition:
    rng = Rng(range(COUNT))
    mask = rng.uniform("mask", SHAPE) < 0.5
    return Condition(**{"observed.y": rng.normal("y", SHAPE).double(), "observed.mask": mask})


@named
def test_answers_and_samples_look_as_what_was_observed(process: Continuous) -> None:
    operator, (x, t) = BlockMean(2), case(process)
    y = Rng(range(COUNT)).normal("y", (1, 1, 2)).double()
    cond = Condition(**{"observed.y": y})
    model, projected = mixture(process), Projection(mixture(process), operator)
    answer = projected(x, t, cond).mean
    torch.testing.assert_close(operator.forward(answer), y, rtol=1e-13, atol=1e-13)
    # The unseen part is the model's, and doing it twice is doing it once.
    plain = model(x, t).mean
    unseen = answer - operator.pinv(operator.forward(answer))
    torch.testing.assert_close(unseen, plain - operator.pinv(operator.forward(plain)), rtol=1e-12, atol=1e-12)
    twice = Projection(projected, operator, family="again")
    again = twice(x, t, cond | Condition(**{"again.y": y})).mean
    torch.testing.assert_close(again, answer, rtol=1e-13, atol=1e-13)
    for sampler in (Heun(6), Ancestral(6, grid=RePaint(Karras(), 2, 2))):
        end = sampler(projected, cond, rng=Rng(range(COUNT)))
        torch.testing.assert_close(operator.forward(end), y, rtol=1e-12, atol=1e-12)
        assert torch.equal(sampler(projected, cond[[3, 1]], rng=Rng([3, 1])), end[[3, 1]])
    assert torch.equal(projected(x, t).mean, plain)  # nothing observed: the plain model
    dropped = projected(x, t, cond.drop("observed")).mean
    assert torch.equal(dropped, plain)


@named
def test_with_missing_entries_it_is_known(process: Continuous) -> None:
    """Bit for bit, in answers and in whole runs, beside a label and a guidance; y is read under the mask only."""
    (x, t), cond = case(process), observed() | Condition(label=[0, 1, 1, 0, 1])
    values, mask = cond["observed.y"], cond["observed.mask"]
    known = Condition(label=[0, 1, 1, 0, 1], **{"known.x": values, "known.mask": mask})
    model = CFG(mixture(process), 1.5)
    one, other = Projection(model, Mask()), Known(model)
    assert torch.equal(one(x, t, cond).mean, other(x, t, known).mean)
    assert torch.equal(one(x, t, cond).mean[mask], values[mask])
    for sampler in (Heun(5), Ancestral(5)):
        ends = sampler(one, cond, rng=Rng(range(COUNT))), sampler(other, known, rng=Rng(range(COUNT)))
        assert torch.equal(*ends)
    everywhere = Condition(label=[0], **{"observed.y": values[:1], "observed.mask": torch.ones(1, *SHAPE).bool()})
    assert torch.equal(one(x[:1], t[:1], everywhere).mean, values[:1])


@named
def test_white_data_are_restored_exactly(process: Continuous) -> None:
    """Of x_0 ~ N(m, v I) what is not seen is independent of what is: the posterior is the projected law at any t."""
    m, v = 0.5, 0.8
    model = Mixture(process, torch.full((1, 8), m), (v * torch.eye(8))[None], shape=SHAPE)
    operator, (x, t) = BlockMean((2, 2)), case(process)
    y = Rng(range(COUNT)).normal("y", (1, 1, 2)).double()
    a = torch.cat([operator.forward(e.reshape(1, *SHAPE)).reshape(-1, 1) for e in torch.eye(8).double()], 1)
    answer = Projection(model, operator)(x, t, Condition(**{"observed.y": y})).mean
    for row in range(COUNT):
        alpha, sigma = float(process.alpha(t[row])), float(process.sigma(t[row]))
        # E[x_0 | x_t, y] by conditioning the joint normal on both at once.
        both = torch.cat([alpha * torch.eye(8).double(), a])
        noise = torch.diag(torch.cat([torch.full((8,), sigma**2), torch.zeros(len(a))])).double()
        seen = torch.cat([x[row].flatten() - alpha * m, y[row].flatten() - m * a.sum(1)])
        exact = m + v * both.T @ torch.linalg.solve(v * both @ both.T + noise, seen)
        torch.testing.assert_close(answer[row].flatten(), exact, rtol=1e-7, atol=1e-9)


def test_going_over_it_again_restores_better() -> None:
    """A Gaussian seen as means of pairs: what is restored comes nearer to the conditional mean."""
    torch.manual_seed(6)
    factor = torch.randn(8, 8, dtype=torch.float64)
    cov, mean = factor @ factor.T / 8 + 0.05 * torch.eye(8), torch.randn(8, dtype=torch.float64)
    model = Mixture(Flow(), mean[None], cov[None], shape=(1, 8))
    operator, count = BlockMean(2), 300
    y = torch.tensor([[[1.5, -1.0, 0.0, 2.0]]], dtype=torch.float64)
    a = torch.kron(torch.eye(4).double(), torch.full((1, 2), 0.5).double())
    gain = torch.linalg.solve(a @ cov @ a.T, a @ cov).T
    exact = mean + gain @ (y.flatten() - a @ mean)
    spread = (cov - gain @ a @ cov).diagonal().sqrt()
    off = []
    for grid in (Karras(), Recurrence(Karras(), 8)):
        cond = Condition(**{"observed.y": y.expand(count, 1, 4)})
        x = Ancestral(16, grid=grid)(Projection(model, operator), cond, rng=Rng(range(count)))
        off.append(float(((x[:, 0].mean(0) - exact) / spread).abs().max()))
    print(f"\nmean off by {off[0]:.2f} spreads, after going over it again by {off[1]:.2f}", end="")
    assert off[0] > 0.5 and off[1] < 0.5 * off[0]


class Says(Denoiser):
    """Whatever it was made to say."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.process, self.shape, self.answer = EDM(), (4,), answer

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        return self.answer


def test_answers_of_every_kind() -> None:
    x, t = torch.zeros(1, 4), torch.ones(1, dtype=torch.float64)
    cond = Condition(**{"observed.y": torch.ones(1, 2).double()})
    aux = {"told": torch.ones(1)}
    for answer in (Dirac(torch.arange(4.0)[None], aux), Gaussian(torch.arange(4.0)[None], torch.ones(1, 4), aux)):
        law = Projection(Says(answer), BlockMean((2,)))(x, t, cond)
        assert isinstance(law, Dirac) and law.aux == aux
        assert law.mean.tolist() == [[0.5, 1.5, 0.5, 1.5]] and law.mean.dtype == torch.float32
    with pytest.raises(Refusal, match="use Known"):
        Projection(Says(Categorical(torch.zeros(1, 4, 3))), BlockMean((2,)))(x, t, cond)
    with pytest.raises(Refusal, match="observed.y"):
        Projection(Says(answer), Mask())(x, t, Condition(**{"observed.mask": torch.ones(1, 4).bool()}))
    with pytest.raises(Refusal, match="sees"):
        Projection(Says(answer), BlockMean((4,)))(x, t, cond)
    with pytest.raises(Refusal, match="family"):
        Projection(Says(answer), Mask(), "observed.y")


def test_it_is_a_guidance() -> None:
    check_guidance(lambda denoiser: Projection(denoiser, Mask()))
