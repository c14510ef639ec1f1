"""A denoiser of one process under another: against the exact denoiser made for the other, and along whole runs."""

from __future__ import annotations

import itertools

import pytest
import torch

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.denoiser import Mixture, Recast
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Process, Table
from mezzotint.samplers import Euler, Heun, Multistep, Sampler, UniPC

PROCESSES: dict[str, Continuous] = {
    "EDM": EDM(),
    "VP": VP(),
    "VP zero terminal": VP(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
    "DDPM": DDPM(),
    "Table": Table((0.9, 0.7, 0.4, 0.0), (0.1, 0.8, 1.5, 3.0)),
}
PAIRS = list(itertools.permutations(PROCESSES, 2))
pairs = pytest.mark.parametrize(("own", "other"), PAIRS)


def mixture(process: Continuous) -> Mixture:
    means, axis = [[1.0, -0.5], [-1.0, 2.0], [0.3, 0.4]], torch.tensor([[1.0, 0.4], [0.4, 0.3]])
    return Mixture(process, means, torch.stack([axis, 0.2 * axis, 0.1 * torch.eye(2)]), labels=[0, 1, 1])


@pairs
def test_it_is_the_denoiser_of_the_other_process(own: str, other: str) -> None:
    law = PROCESSES[other]
    top = float(PROCESSES[own].level(torch.ones(1).double()))
    levels = torch.tensor([0.0, 1e-6, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.98, 1.0], dtype=torch.float64)
    levels = levels[levels <= top]
    t = law.time(levels)
    noise = Rng(range(len(t))).normal("noise", (2,)).double()
    x = law.alpha(t)[:, None] * (0.5 + noise.flip(0)) + law.sigma(t)[:, None] * noise
    model, cond = Recast(mixture(PROCESSES[own]), law), Condition(label=torch.arange(len(t)) % 2)
    assert model.process == law
    torch.testing.assert_close(model(x, t, cond).mean, mixture(law)(x, t, cond).mean, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("own", "other"), list(itertools.combinations(PROCESSES, 2)))
def test_whole_runs_agree_up_to_scale(own: str, other: str) -> None:
    """Deterministic methods on one grid of levels: x / alpha, and what comes out, is the same on every process."""
    first, second = PROCESSES[own], PROCESSES[other]
    levels = torch.tensor([0.97, 0.9, 0.7, 0.4, 0.2, 0.05, 0.0], dtype=torch.float64)
    x = Rng(range(5)).normal("x", (2,)).double()
    for make in (Euler, Heun, Multistep, UniPC):
        sampler: Sampler = make(6)
        ends = []
        for law, model in ((first, mixture(first)), (second, Recast(mixture(first), second))):
            times = law.time(levels)
            start = (law.alpha(times[0]) + law.sigma(times[0])) * x
            ends.append(sampler(model, rng=Rng(range(5)), times=times, start=start))
        torch.testing.assert_close(ends[1], ends[0], rtol=1e-10, atol=1e-10)


def test_there_and_back_is_where_it_began() -> None:
    exact = mixture(VP())
    back = Recast(Recast(exact, Flow()), VP())
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    x = Rng(range(9)).normal("x", (2,)).double()
    torch.testing.assert_close(back(x, t).mean, exact(x, t).mean, rtol=1e-10, atol=1e-10)


def test_more_noise_than_the_denoiser_knows_is_its_last_time() -> None:
    """EDM ends with one part of data in 81; asked from pure noise it sees noise of the right size there."""
    x = Rng(range(50)).normal("x", (2,)).double()
    t = torch.full((50,), 1.0, dtype=torch.float64)
    found, due = Recast(mixture(EDM()), Flow())(x, t).mean, mixture(Flow())(x, t).mean
    torch.testing.assert_close(found, mixture(EDM())(80 * x, t).mean, rtol=1e-12, atol=1e-12)
    assert 1e-4 < float((found - due).abs().max()) < 0.1
    nearer = Recast(mixture(EDM(8000.0)), Flow())(x, t).mean
    assert float((nearer - due).abs().max()) < 0.02 * float((found - due).abs().max())


def test_times_are_told_in_the_other_clock() -> None:
    student = mixture(EDM())
    student.times = torch.tensor([1.0, 0.25], dtype=torch.float64)
    times = Recast(student, VP()).times
    assert times is not None
    torch.testing.assert_close(VP().level(times), EDM().level(student.times), rtol=1e-10, atol=1e-10)


def test_refusals() -> None:
    chain = mixture(EDM())
    chain.clean = False
    with pytest.raises(Refusal, match="next time"):
        Recast(chain, Flow())

    class Tokens(Process):
        kind = "token"
        corrupt = renoise = prior = bridge = level = time = None  # type: ignore[assignment]

    with pytest.raises(Refusal, match="Tokens"):
        Recast(mixture(EDM()), Tokens())  # type: ignore[abstract,arg-type]
