"""Waves of the noise level: the frequencies they claim, the kernel they make, and what a line through them can say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mezzotint.core import Refusal
from mezzotint.networks import Fourier, Sinusoid, UNet
from mezzotint.networks.embed import Level


@pytest.mark.parametrize("order", ["cos", "sin"])
def test_frequencies_run_from_scale_to_scale_over_span(order: str) -> None:
    noise = torch.tensor([0.0, 0.3, 1.7])
    features = Sinusoid(10, scale=5.0, span=81.0, order=order, shift=1.0)(noise)
    cosines, sines = features.split(5, dim=1) if order == "cos" else features.split(5, dim=1)[::-1]
    for column, frequency in enumerate([5.0, 5 / 3, 5 / 9, 5 / 27, 5 / 81]):
        torch.testing.assert_close(cosines[:, column], (noise * frequency).cos())
        torch.testing.assert_close(sines[:, column], (noise * frequency).sin())


def test_random_frequencies_make_a_gaussian_kernel() -> None:
    """The mean of cos(2 pi f d) over f ~ N(0, s^2) is exp(-2 (pi s d)^2) (Bochner)."""
    scale, noise = 0.8, torch.linspace(-1.0, 1.0, 21)
    features = Fourier(200_000, scale)(noise)
    kernel = features @ features.T / 100_000
    distance = noise[:, None] - noise
    torch.testing.assert_close(kernel, torch.exp(-2 * (math.pi * scale * distance) ** 2), rtol=0.0, atol=0.015)


def test_default_waves_fit_the_range_of_log_sigma_over_four() -> None:
    """A linear layer reads EDM's c_skip off the default waves, and cannot off waves made for a thousand steps."""
    noise = torch.linspace(-1.6, 1.1, 400, dtype=torch.float64)
    wanted = 0.25 / (0.25 + torch.exp(8 * noise))

    def miss(waves: Sinusoid) -> float:
        features = torch.cat((waves(noise).double(), torch.ones(400, 1, dtype=torch.float64)), dim=1)
        # Small weights only: what needs huge ones is not learnt.
        gram = features.T @ features + 1e-3 * torch.eye(features.shape[1], dtype=torch.float64)
        fit = features @ torch.linalg.solve(gram, features.T @ wanted)
        return float((fit - wanted).abs().max())

    assert miss(Sinusoid(64)) < 0.01
    assert miss(Sinusoid(64, 1.0, 1e4)) > 0.05


@pytest.mark.parametrize("early", [False, True])
def test_level_is_pytorchs_mlp_of_the_waves(early: bool) -> None:
    level = Level(Sinusoid(10), 6, 4, early)
    theirs = nn.Sequential(nn.Linear(10, 6), nn.SiLU(), nn.Linear(6, 6))
    for ours, layer in ((level.first, theirs[0]), (level.second, theirs[2])):
        layer.load_state_dict(ours.state_dict())
    noise, vector = torch.linspace(-1.6, 1.1, 6).reshape(2, 3), torch.randn(2, 4)  # three levels a sample
    waves, added = level.waves(noise), (vector @ level.vector.weight.T)[:, None]  # type: ignore[union-attr]
    expected = theirs(waves + added) if early else theirs(waves) + added
    torch.testing.assert_close(level(noise, vector), expected)
    torch.testing.assert_close(level(noise[:, 1], vector), expected[:, 1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(width=7), "even"),
        (dict(width=0), "even"),
        (dict(width=8, order="tan"), "'cos' or 'sin'"),
        (dict(width=2, shift=1), "leaves no step"),
    ],
    ids=str,
)
def test_waves_that_cannot_be(options: dict[str, object], words: str) -> None:
    with pytest.raises(Refusal, match=words):
        Sinusoid(**options)  # type: ignore[arg-type]


def test_levels_of_frames_are_not_taken_for_those_of_samples() -> None:
    """Three frames in a batch of three: as many numbers, but of something else."""
    network = UNet((2, 3, 4, 4), width=8)
    x = torch.randn(3, 2, 3, 4, 4)
    with pytest.raises(Refusal, match="per sample"):
        network(x, torch.rand(1, 1, 3, 1, 1))
    assert network(x, torch.rand(3, 1, 1, 1, 1)).shape == x.shape
