"""Sample k is its own: the same bits alone, in any crowd and in any order, whatever the others' times are."""

from __future__ import annotations

import itertools

import pytest
import torch

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Rng, cat
from mezzotint.denoiser import Counted, Denoiser, Empirical, Mixture, Preconditioned
from mezzotint.guidance import CFG, between
from mezzotint.networks import UNet
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Euler, Heun, Multistep, Sampler, State, UniPC

PROCESSES = [EDM(), VP(), Cosine(), Flow()]
SAMPLERS: list[Sampler] = [
    Euler(6),
    Heun(6),
    Ancestral(6),
    Ancestral(6, eta=0.3),
    Multistep(6),
    Multistep(6, order=3, lower_order_final=False),
    Multistep(6, eta=1.0),
    UniPC(6),
    UniPC(6, order=3, variant="bh1", lower_order_final=False),
]
EVERY = [pytest.param(s, p, id=f"{s}-{type(p).__name__}") for s, p in itertools.product(SAMPLERS, PROCESSES)]
LABELS = torch.tensor([0, 1, 1, 0, 2, 2, 0, 1])


def mixture(process: Continuous) -> Mixture:
    torch.manual_seed(3)
    factors = torch.randn(5, 4, 4, dtype=torch.float64)
    covariances = factors @ factors.transpose(1, 2) / 4 + 0.05 * torch.eye(4)
    return Mixture(process, torch.randn(5, 4), covariances, labels=[0, 1, 2, 0, 1])


def empirical(process: Continuous) -> Empirical:
    torch.manual_seed(4)
    return Empirical(process, torch.randn(23, 1, 3, 5), labels=[i % 3 for i in range(23)])


@pytest.mark.parametrize("make", [mixture, empirical])
@pytest.mark.parametrize(("sampler", "process"), EVERY)
def test_alone_is_in_a_crowd_to_the_last_bit(sampler: Sampler, process: Continuous, make: object) -> None:
    model: Denoiser = make(process)  # type: ignore[operator]
    rng, cond = Rng(range(8)), Condition(label=LABELS)
    crowd = sampler(model, cond, rng=rng)
    assert bool(torch.isfinite(crowd).all()) and len(torch.unique(crowd.flatten(1), dim=0)) > 4
    for rows in ([0], [5], [7], [1, 2, 3], [6, 0, 4], [7, 6, 5, 4, 3, 2, 1, 0]):
        assert torch.equal(sampler(model, cond[rows], rng=rng[rows]), crowd[rows])


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_guided_rows_do_not_disturb_each_other(process: Continuous) -> None:
    model = CFG(mixture(process), "scale")
    cond = Condition(label=LABELS, scale=torch.tensor([1.0, 0.0, 2.5, 2.5, 1.0, 0.0, 3.0, 1.0]))
    crowd = Heun(5)(model, cond, rng=Rng(range(8)))
    for rows in ([2], [1], [0, 3], [7, 5, 6, 2]):
        assert torch.equal(Heun(5)(model, cond[rows], rng=Rng(rows)), crowd[rows])


@pytest.mark.parametrize(("sampler", "process"), EVERY)
def test_rows_that_wait_pass_untouched_and_unasked(sampler: Sampler, process: Continuous) -> None:
    """Each row walks its own times; rows wait, fall and rise in the same step and end where they end alone."""
    model = Counted(mixture(process))
    path = torch.tensor(
        [
            [0.9, 0.9, 0.4, 0.7],
            [0.6, 0.9, 0.4, 0.8],  # falls, waits, waits, rises
            [0.6, 0.2, 0.0, 0.5],
            [0.3, 0.2, 0.0, 0.5],
        ],
        dtype=torch.float64,
    )
    cond = Condition(label=[1, 2, 0, 2])
    x = Rng(range(4)).normal("x", (4,)).double()
    together = list(sampler.trajectory(model, cond, rng=Rng(range(4)), times=path, start=x))
    assert torch.equal(together[1].x[1:3], x[1:3])
    assert torch.equal(together[1].rng.keys[1:3], together[0].rng.keys[1:3])
    first = State(x, path[0], Rng(range(4)).at("steps"))
    model.reset()
    sampler.step(model, first, path[1], cond)
    assert model.rows == (2 if isinstance(sampler, Heun) else 1)  # only row 0 falls; row 3 rises without being asked
    for row in range(4):
        alone = list(
            sampler.trajectory(model, cond[row], rng=Rng([row]), times=path[:, row : row + 1], start=x[row : row + 1])
        )
        for one, all_of_them in zip(alone, together, strict=True):
            assert torch.equal(one.x[0], all_of_them.x[row])
            assert torch.equal(one.rng.keys[0], all_of_them.rng.keys[row])


@pytest.mark.parametrize(("sampler", "process"), EVERY)
def test_a_run_cut_in_two_is_the_run(sampler: Sampler, process: Continuous) -> None:
    model = mixture(process)
    states = list(sampler.trajectory(model, rng=Rng(range(3))))
    state = cat([states[3][2], states[3][0]])
    for later in states[4:]:
        state = sampler.step(model, state, later.t[0])
    assert torch.equal(state.x, states[-1].x[[2, 0]])


class Split(Denoiser):
    """One time an entry: two independent standard normals, so x_0 = alpha x / (alpha^2 + sigma^2)."""

    def __init__(self, process: Continuous) -> None:
        super().__init__()
        self.process, self.shape = process, (2,)

    def forward(self, x, t, cond=NONE, want=()):  # type: ignore[no-untyped-def]
        from mezzotint.core import Dirac

        alpha, sigma = self.process.scales(t, x)
        return Dirac(alpha * x / (alpha**2 + sigma**2))


@pytest.mark.parametrize(("sampler", "process"), EVERY)
def test_entries_of_a_row_may_stand_at_their_own_times(sampler: Sampler, process: Continuous) -> None:
    """The first entry is given (t == s == 0 all along); the second is sampled as if it were alone."""
    model, x = Split(process), torch.tensor([[0.7, 0.9], [-1.2, 0.4]], dtype=torch.float64)
    u = torch.tensor([0.8, 0.5, 0.2, 0.0], dtype=torch.float64)
    times = torch.stack([torch.zeros(4, dtype=torch.float64), u], 1)[:, None, :]
    end = sampler(model, rng=Rng(range(2)), times=times, start=x)
    assert torch.equal(end[:, 0], x[:, 0])
    assert bool(torch.isfinite(end).all())
    if getattr(sampler, "eta", 0.0) == 0:
        both = sampler(model, rng=Rng(range(2)), times=u, start=x)
        torch.testing.assert_close(end[:, 1], both[:, 1], rtol=1e-13, atol=0)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_a_row_that_rises_is_renoised(process: Continuous) -> None:
    """From the law of x_s up to the law of x_t, both exact; the model is not asked."""
    model, n, size = Counted(Split(process)), 4000, 2
    s, t = process.time(torch.tensor([0.2, 0.6], dtype=torch.float64))
    alpha, sigma = process.alpha(s), process.sigma(s)
    x0 = 2 + 0.5 * Rng(range(n)).normal("x0", (size,)).double()
    x = alpha * x0 + sigma * Rng(range(n)).normal("x", (size,)).double()
    risen = Euler(1).step(model, State(x, s.expand(n), Rng(range(n))), t)
    alpha, sigma = process.alpha(t), process.sigma(t)
    spread = float((alpha**2 * 0.25 + sigma**2).sqrt())
    assert model.rows == 0 and bool((risen.t == t).all())
    assert abs(float(risen.x.mean() - 2 * alpha)) < 5 * spread / (n * size) ** 0.5
    assert abs(float(risen.x.std()) / spread - 1) < 5 / (2 * n * size) ** 0.5
    shared = torch.corrcoef(torch.stack([risen.x.flatten(), x.flatten()]))[0, 1]
    assert float(shared) > 0.1  # it is the same sample, noised further, and not a new one


@pytest.mark.parametrize("sampler", SAMPLERS, ids=str)
def test_a_network_agrees_within_1e_5(sampler: Sampler) -> None:
    shape = (1, 8, 8)
    network = UNet(shape, width=16, vector=16)
    for p in network.parameters():  # a fresh one answers 0
        torch.nn.init.normal_(p, std=0.05)
    model = Preconditioned(network, VP(), Encoder(label=Classes(3, width=16)), sigma_data=0.5).eval()
    cond = Condition(label=LABELS)
    crowd = sampler(model, cond, rng=Rng(range(8)))
    for rows in ([4], [6, 1, 3]):
        torch.testing.assert_close(sampler(model, cond[rows], rng=Rng(rows)), crowd[rows], rtol=0, atol=1e-5)


def test_evaluations() -> None:
    """N for Euler and Ancestral, 2 N - 1 for Heun, twice as many only where guidance is on."""
    for sampler, expected in ((Euler(7), 7), (Ancestral(7), 7), (Heun(7), 13)):
        model = Counted(mixture(Flow()))
        sampler(model, rng=Rng(range(3)))
        assert model.rows == 3 * expected
    counted = Counted(mixture(Flow()))
    grid = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0], dtype=torch.float64)
    Euler(4)(CFG(counted, between(2.0, 0.5, 0.75)), Condition(label=LABELS), rng=Rng(range(8)), times=grid)
    assert counted.rows == 8 * (1 + 2 + 1 + 1)  # evaluated at 1, 0.75 (inside), 0.5 (not: low < u), 0.25


@pytest.mark.parametrize("sampler", [Multistep(12), UniPC(12)], ids=str)
def test_a_run_may_go_on_with_a_time_an_entry(sampler: Sampler) -> None:
    """What was remembered with one time a row serves rows that wait, fall and rise with one an entry."""
    model, x = Split(Flow()), torch.tensor([[0.7, 0.9], [-1.2, 0.4], [0.1, 0.2]], dtype=torch.float64)
    state = State(x, torch.full((3,), 0.9, dtype=torch.float64), Rng(range(3)))
    state = sampler.step(model, state, 0.8)
    to = torch.tensor([[0.7], [0.8], [0.85]], dtype=torch.float64)
    together = sampler.step(model, sampler.step(model, state, to), to - 0.2)
    for row in range(3):
        alone = sampler.step(model, sampler.step(model, state[row], to[[row]]), to[[row]] - 0.2)
        assert torch.equal(alone.x[0], together.x[row])


def test_a_run_goes_on_in_its_own_precision() -> None:
    """Scales are float64; a move that forgets to cast what it makes of them must not stop a network."""

    class Careless(Euler):
        def move(self, denoiser, state, s, cond):  # type: ignore[no-untyped-def]
            x, memory = super().move(denoiser, state, s, cond)
            return x.double(), memory

    network = UNet((1, 8, 8), width=16)
    model = Preconditioned(network, Flow(), sigma_data=0.5).eval()
    end = Careless(3)(model, rng=Rng(range(2)))
    assert end.dtype == torch.float32 and torch.equal(end, Euler(3)(model, rng=Rng(range(2))))
