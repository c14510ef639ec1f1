"""Averages of the weights: the profile they claim, and lengths found afterwards."""

import numpy as np
import pytest
import torch
from scipy import integrate

import mezzotint as mz
from mezzotint.training.ema import PowerAverage, combination, gamma_of, inner, sigma_rel_of


class Number(mz.denoiser.Denoiser):
    """A model that is one vector, so that its history can be written down."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(size, dtype=torch.float64))

    def forward(self, x, t, cond=mz.NONE, want=()):
        raise AssertionError("never asked")


@pytest.mark.parametrize("sigma_rel", [0.02, 0.05, 0.1, 0.2, 0.28])
def test_profile_has_the_width_it_claims(sigma_rel):
    gamma = gamma_of(sigma_rel)
    density = lambda s: (gamma + 1) * s**gamma  # noqa: E731  (on [0, 1], time as a share of training)
    mean = integrate.quad(lambda s: s * density(s), 0, 1)[0]
    spread = integrate.quad(lambda s: (s - mean) ** 2 * density(s), 0, 1)[0] ** 0.5
    assert spread == pytest.approx(sigma_rel, rel=1e-6)
    assert sigma_rel_of(gamma) == pytest.approx(sigma_rel, rel=1e-9)


def test_average_is_the_weighted_history():
    """After many steps the recursion equals the sum over steps of s^gamma theta_s, normalised."""
    torch.manual_seed(0)
    model, steps = Number(), 4000
    average = PowerAverage(model, 0.1)
    history = torch.cumsum(torch.randn(steps, 3, dtype=torch.float64), 0)
    for step, value in enumerate(history, start=1):
        model.value.data.copy_(value)
        average.update(model, step)
    weights = torch.arange(1, steps + 1, dtype=torch.float64) ** average.gamma
    expected = (weights[:, None] * history).sum(0) / weights.sum()
    assert torch.allclose(average.model.value, expected, rtol=0, atol=0.005 * history.abs().max())


@pytest.mark.parametrize(("a", "b"), [((500.0, 3.0), (900.0, 8.0)), ((900.0, 3.0), (500.0, 8.0)), ((700.0, 5.0),) * 2])
def test_inner_product_is_the_integral(a, b):
    (ta, ga), (tb, gb) = a, b
    both = lambda s: (ga + 1) * s**ga / ta ** (ga + 1) * (gb + 1) * s**gb / tb ** (gb + 1)  # noqa: E731
    truth = integrate.quad(both, 0, min(ta, tb))[0]
    got = inner(np.array(ta), np.array(ga), np.array(tb), np.array(gb))
    assert float(got) == pytest.approx(truth, rel=1e-8)


def test_length_found_afterwards_matches_the_one_really_tracked():
    """Snapshots of two lengths at intervals give a third length to 1 % of the weights' own movement."""
    torch.manual_seed(1)
    model, steps = Number(200), 2000
    tracked = {length: PowerAverage(model, length) for length in (0.05, 0.10)}
    truth = {length: PowerAverage(model, length) for length in (0.06, 0.075, 0.09)}
    at, gammas, snapshots = [], [], []
    drift = torch.randn(200, dtype=torch.float64)
    for step in range(1, steps + 1):  # a trend and a random walk, as weights have
        model.value.data += drift / step**0.5 + 0.3 * torch.randn(200, dtype=torch.float64)
        for average in (*tracked.values(), *truth.values()):
            average.update(model, step)
        if step % 100 == 0:
            for average in tracked.values():
                at.append(step)
                gammas.append(average.gamma)
                snapshots.append(average.model.value.detach().clone())
    for length, average in truth.items():
        weights = combination(at, gammas, steps, gamma_of(length))
        found = sum(w * s for w, s in zip(weights, snapshots, strict=True))
        error = float((found - average.model.value).norm() / average.model.value.norm())
        print(f"length {length}: relative error {error:.2e}")
        assert error < 0.01
        other = tracked[0.05].model.value
        assert float((other - average.model.value).norm() / average.model.value.norm()) > 3 * error


def test_lengths_outside_the_family_are_refused():
    for wrong in (0.0, -0.1, 0.5):
        with pytest.raises(mz.Refusal):
            gamma_of(wrong)
