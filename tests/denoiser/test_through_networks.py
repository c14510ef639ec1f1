"""The exact answer entering as a network: every prediction on every process gives back the exact denoiser.

The network (``exact_network.py``) undoes what it is given - the scaled input, the number for the noise - by itself and
says noise, x_0, v, velocity or EDM's output in the papers' own terms; nothing of the package's tables is used by it.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from exact_network import PREDICTIONS, ExactNetwork, sayable
from mezzotint.core import Refusal, Rng
from mezzotint.denoiser import Mixture, Preconditioned
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Table
from mezzotint.samplers import Ancestral, Euler

PROCESSES: dict[str, Continuous] = {
    "EDM": EDM(),
    "EDM 500": EDM(500.0),
    "VP": VP(),
    "VP zero terminal": VP(zero_terminal=True),
    "Cosine": Cosine(),
    "Flow": Flow(),
    "DDPM": DDPM(),
    "DDPM 40": DDPM(40, 0.01, 0.3),
    "DDPM cosine": DDPM(schedule="cosine"),
    "DDPM zero terminal": DDPM(zero_terminal=True),
    "Table": Table((0.9, 0.7, 0.4, 0.0), (0.1, 0.8, 1.5, 3.0)),
}
EVERY = [(name, prediction) for name in PROCESSES for prediction in PREDICTIONS if sayable(PROCESSES[name], prediction)]
every = pytest.mark.parametrize(("name", "prediction"), EVERY)
LEVELS = (0.0, 1e-9, 1e-6, 1e-3, 0.02, 0.1, 0.3, 0.5, 0.8, 0.95, 0.999, 1 - 1e-6, 1.0)
D = 0.6


@cache
def mixture(process: Continuous) -> Mixture:
    """Off centre, with three full covariances, of pictures (2, 2)."""
    torch.manual_seed(1)
    factors = torch.randn(3, 4, 4, dtype=torch.float64)
    covariances = factors @ factors.transpose(1, 2) / 6 + 0.05 * torch.eye(4)
    return Mixture(process, torch.randn(3, 4) + 0.7, covariances, weights=[3.0, 1.0, 2.0], shape=(1, 2, 2))


def entering(process: Continuous, prediction: str, noise: str = "time", scaled: bool = True) -> Preconditioned:
    network = ExactNetwork(mixture(process), prediction, noise, scaled, D)
    return Preconditioned(network, process, None, D, prediction, noise, scaled)


def questions(process: Continuous) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t of the right size at levels from clean to pure noise."""
    t = process.time(torch.tensor(LEVELS, dtype=torch.float64))
    x0, noise = (Rng(range(len(t))).normal(name, (1, 2, 2)).double() for name in ("x0", "noise"))
    a, s = (scale[:, None, None, None] for scale in (process.alpha(t), process.sigma(t)))
    return a * (x0 + 0.7) + s * noise, t


@every
def test_it_is_the_exact_denoiser(name: str, prediction: str) -> None:
    process = PROCESSES[name]
    x, t = questions(process)
    expected = mixture(process)(x, t).mean
    for noise, scaled in (("time", True), ("time", False), ("step", True)):
        # t comes back as 1000 t / 1000, to the last digit or two; nothing else is lost.
        found = entering(process, prediction, noise, scaled)(x, t).mean
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@every
def test_it_is_when_told_the_log_of_the_noise(name: str, prediction: str) -> None:
    """Between the bounds of what a network can tell: sigma / alpha from 4.6e-5 to 2.2e4."""
    process = PROCESSES[name]
    x, t = questions(process)
    told = process.log_snr(t).abs() < 19.9
    assert int(told.sum()) >= 6
    x, t = x[told], t[told]
    expected = mixture(process)(x, t).mean
    torch.testing.assert_close(entering(process, prediction, "log")(x, t).mean, expected, rtol=1e-10, atol=1e-10)


@every
def test_one_deterministic_step_to_clean_data_is_the_posterior_mean(name: str, prediction: str) -> None:
    process = PROCESSES[name]
    x, t = questions(process)
    model, expected = entering(process, prediction), mixture(process)(x, t).mean
    times = torch.stack([t, torch.zeros_like(t)])  # every row from its own time
    for sampler in (Euler(1), Ancestral(1, eta=0.0)):
        end = sampler(model, rng=Rng(range(len(t))), times=times, start=x)
        torch.testing.assert_close(end, expected, rtol=1e-10, atol=1e-10)


@every
def test_in_float32_to_its_digits(name: str, prediction: str) -> None:
    process = PROCESSES[name]
    x, t = questions(process)
    answer = entering(process, prediction)(x.float(), t).mean
    assert answer.dtype == torch.float32
    # 1000 t in float32 is another time by one part in 10^7, which near the steep end of a process moves the answer.
    torch.testing.assert_close(answer.double(), mixture(process)(x, t).mean, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", [n for n in PROCESSES if not sayable(PROCESSES[n], "noise")])
def test_the_noise_is_refused_where_nothing_of_the_data_is_left(name: str) -> None:
    with pytest.raises(Refusal, match="alpha is 0"):
        entering(PROCESSES[name], "noise")


def test_four_processes_reach_that_point_and_the_others_do_not() -> None:
    """So that the refusals above are about the right ones."""
    reach = {name for name in PROCESSES if not sayable(PROCESSES[name], "noise")}
    assert reach == {"VP zero terminal", "Cosine", "Flow", "DDPM zero terminal", "Table"}
