"""Predictors without training, against exact denoisers and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mezzotint as mz
from mezzotint.denoiser.exact import Mixture
from mezzotint.doctor.predictors import Linear, Mean, errors

PROCESSES = [mz.processes.EDM(), mz.processes.Flow(), mz.processes.Cosine()]
LEVELS = torch.tensor([0.1, 0.4, 0.7, 0.95])


def correlated(count: int, size: int) -> torch.Tensor:
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.normal(size=(count, size)) @ rng.normal(size=(size, size)) * 0.4 + 0.7)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_linear_is_the_exact_denoiser_of_a_gaussian(process):
    """The exact denoiser of N(mean, covariance of the data) is linear in x_t: they are the same function."""
    data = correlated(400, 6)
    covariance = torch.cov(data.T, correction=0)
    exact = Mixture(process, data.mean(0)[None], covariance[None])
    x, t = correlated(50, 6) * 2, torch.linspace(0.02, 1.0, 50, dtype=torch.float64)
    assert torch.allclose(Linear(process, data)(x, t, mz.NONE), exact(x, t).mean, atol=1e-9)


def test_with_few_pictures_it_is_probabilistic_pca():
    """12 pictures of 30 entries: three principal axes, and the mean of the remaining variance on all others."""
    process, data = mz.processes.EDM(), correlated(12, 30)
    values, axes = np.linalg.eigh(np.cov(data.numpy().T, bias=True))
    values[:-3] = values[:-3].mean()
    exact = Mixture(process, data.mean(0)[None], torch.from_numpy(axes * values @ axes.T)[None])
    x, t = correlated(20, 30), torch.linspace(0.001, 1.0, 20, dtype=torch.float64)
    assert torch.allclose(Linear(process, data)(x, t, mz.NONE), exact(x, t).mean, atol=1e-8)


def test_errors_are_those_of_the_closed_forms():
    """On its own data a linear guess has the error sum s sigma^2 / (alpha^2 s + sigma^2), the mean the variance."""
    process, data = mz.processes.EDM(), correlated(4_000, 5)
    found = errors(
        {"mean": Mean(data), "linear": Linear(process, data[:2_000]), "self": lambda x, t, cond: x},
        process, data, mz.NONE, LEVELS, mz.Rng(range(len(data))),
    )  # fmt: skip
    spread = np.linalg.eigvalsh(np.cov(data.numpy().T, bias=True))
    for i, u in enumerate(LEVELS.tolist()):
        noise = (u / (1 - u)) ** 2
        assert found["mean"][i] == pytest.approx(spread.mean(), rel=1e-9)
        assert found["linear"][i] == pytest.approx((spread * noise / (spread + noise)).mean(), rel=0.04)
        assert found["self"][i] == pytest.approx(noise, rel=0.03)


def test_answers_are_compared_on_the_same_noise():
    data = correlated(300, 4)
    twice = {"a": lambda x, t, cond: x / 2, "b": lambda x, t, cond: x / 2}
    one = errors(twice, PROCESSES[0], data, mz.NONE, LEVELS, mz.Rng(range(300)))
    other = errors({"b": twice["b"]}, PROCESSES[0], data, mz.NONE, LEVELS, mz.Rng(range(300)))
    assert one["a"] == one["b"] == other["b"]
