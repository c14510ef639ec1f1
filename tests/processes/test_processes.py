"""The laws of a process agree with each other: corrupt, renoise and bridge are one joint distribution."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mezzotint.core import Categorical, Dirac, Gaussian, Refusal, Rng
from mezzotint.processes import DDPM, EDM, VP, Continuous, Cosine, Flow, Table

PROCESSES = [
    EDM(),
    VP(),
    Cosine(),
    Flow(),
    EDM(3.0),
    VP(0.1, 0.1),
    VP(zero_terminal=True),
    VP(0.1, 40.0, zero_terminal=True),
    DDPM(),
    DDPM(zero_terminal=True),
    DDPM(schedule="scaled_linear", beta_start=8.5e-4, beta_end=0.012),
    DDPM(schedule="cosine"),
    DDPM(schedule="cosine", zero_terminal=True),
    DDPM(7, beta_start=0.02, beta_end=0.7),
    Table((0.9, 0.5, 0.0), (0.3, 0.8, 1.1)),  # neither of unit variance nor on a line, and it ends without data
    Table((2.0, 2.0, 3.0, 0.5), (0.1, 4.0, 10.0, 80.0)),
    Table((0.0,), (5.0,)),
]
named = pytest.mark.parametrize("process", PROCESSES, ids=str)
S = torch.tensor([0.0, 1e-6, 0.1, 0.3, 0.6, 0.99, 0.5], dtype=torch.float64)
T = torch.tensor([0.2, 0.5, 0.3, 0.9, 1.0, 1.0, 0.5000001], dtype=torch.float64)
ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def column(value: float) -> Tensor:
    return torch.full((len(S), 1), value, dtype=torch.float64)


@named
@pytest.mark.parametrize("eta", [1.0, 0.6, 0.0])
def test_corrupt_then_bridge_is_corrupt(process: Continuous, eta: float) -> None:
    """Mean and variance of x_s through x_t are those of x_s directly, read off the laws as affine maps."""
    x0 = column(1.7)
    upper, direct = process.corrupt(x0, T), process.corrupt(x0, S)

    def mean(x: Tensor) -> Tensor:
        return process.bridge(x, x0, T, S, eta).mean

    at_mean, slope = mean(upper.mean), mean(column(1.0)) - mean(column(0.0))
    law = process.bridge(upper.mean, x0, T, S, eta)
    spread = law.variance if isinstance(law, Gaussian) else torch.zeros_like(x0)
    torch.testing.assert_close(at_mean, direct.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(slope**2 * upper.variance + spread, direct.variance, rtol=1e-7, atol=1e-12)
    assert isinstance(law, Dirac if eta == 0 else Gaussian)


@named
def test_bridge_is_bayes_rule(process: Continuous) -> None:
    """q(x_s | x_t, x_0) ~ q(x_s | x_0) q(x_t | x_s), by completing the square."""
    s, t = S[1:-1], T[1:-1]
    x0, x_t = torch.full((5, 1), -0.8).double(), torch.linspace(-2, 3, 5)[:, None].double()
    prior = process.corrupt(x0, s)
    up = process.renoise(torch.ones(5, 1).double(), s, t)
    precision = 1 / prior.variance + up.mean**2 / up.variance
    expected = (prior.mean / prior.variance + up.mean * x_t / up.variance) / precision
    law = process.bridge(x_t, x0, t, s)
    torch.testing.assert_close(law.mean, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(law.variance, 1 / precision, rtol=1e-8, atol=1e-12)


@named
def test_renoise_composes(process: Continuous) -> None:
    """Up in two steps is up in one; up from clean data is corrupt."""
    x, r = column(0.9), (S + T) / 2
    half, whole = process.renoise(x, S, r), process.renoise(x, S, T)
    rest = process.renoise(half.mean, r, T)
    slope = process.renoise(column(1.0), r, T).mean
    torch.testing.assert_close(rest.mean, whole.mean, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(slope**2 * half.variance + rest.variance, whole.variance, rtol=1e-7, atol=1e-12)
    clean, corrupt = process.renoise(x, torch.zeros_like(T), T), process.corrupt(x, T)
    torch.testing.assert_close(clean.mean, corrupt.mean)
    torch.testing.assert_close(clean.variance, corrupt.variance)


@named
def test_held_entries_come_through_bit_for_bit(process: Continuous) -> None:
    x = torch.tensor([[0.1, 0.7], [1 / 3, -2.0], [5.0, 1e-9]], dtype=torch.float64)
    t = torch.tensor([[0.0, 0.6], [0.4, 0.4], [1.0, 0.9]], dtype=torch.float64)
    s = torch.tensor([[0.0, 0.2], [0.4, 0.1], [1.0, 0.9]], dtype=torch.float64)
    held = t == s
    for answer in (
        torch.randn(3, 2).double(),
        torch.full((3, 2), torch.inf).double().where(held, torch.zeros(()).double()),
    ):
        for eta in (0.0, 1.0):
            drawn = process.bridge(x, answer, t, s, eta).sample(Rng(range(3)))
            assert torch.equal(drawn[held], x[held]) and bool(torch.isfinite(drawn).all())
    assert torch.equal(process.renoise(x, t, t).sample(Rng(range(3))), x)
    learnt = process.bridge(x, Gaussian(torch.zeros(3, 2).double(), torch.ones(3, 2).double()), t, s)
    assert torch.equal(learnt.sample(Rng(range(3)))[held], x[held])


@named
def test_a_learnt_variance_is_the_mean_over_the_answer(process: Continuous) -> None:
    """E over x_0 of the bridge, by drawing x_0 many times."""
    rows, size = 200, 200
    n = rows * size
    x = torch.full((rows, size), 0.8, dtype=torch.float64)
    t, s = torch.tensor([0.7]).double(), torch.tensor([0.3]).double()
    answer = Gaussian(torch.full_like(x, -0.5), torch.full_like(x, 0.49))
    drawn = process.bridge(x, answer.sample(Rng(range(rows))), t, s).sample(Rng(range(rows)).at("bridge"))
    law = process.bridge(x, answer, t, s)
    spread = float(law.variance[0, 0].sqrt())
    assert abs(float(drawn.mean() - law.mean[0, 0])) < 5 * spread / n**0.5
    assert abs(float(drawn.std()) / spread - 1) < 5 / (2 * n) ** 0.5
    with pytest.raises(TypeError, match="Categorical"):
        process.bridge(x, Categorical(x[..., None]), t, s)


@named
def test_level_and_time_are_inverse_and_rise(process: Continuous) -> None:
    low, high = torch.logspace(-12, -1, 200).double(), 1 - torch.logspace(-9, -1, 100).double().flip(0)
    t = torch.cat([low, torch.linspace(0.1, 0.9, 500).double(), high])
    u = process.level(t)
    assert bool((u.diff()[t.diff() > 0] > 0).all()) and bool((u >= 0).all()) and bool((u <= 1).all())
    torch.testing.assert_close(process.time(u), t, rtol=1e-12, atol=0)
    assert process.level(ENDS)[0] == 0
    back = process.time(process.level(ENDS))
    assert back.tolist() == [0, 1]
    beyond = process.time(torch.tensor([0.0, 1e-300, 1 - 1e-16, 1.0], dtype=torch.float64))
    assert bool(torch.isfinite(beyond).all()) and bool((beyond >= 0).all()) and bool((beyond <= 1).all())


@named
def test_the_ratio_of_signal_to_noise_falls_and_is_infinite_only_at_its_ends(process: Continuous) -> None:
    t = torch.cat([torch.logspace(-12, -2, 50).double(), torch.linspace(0.01, 1, 2000).double()[1:-1]])
    assert bool(torch.isfinite(process.log_snr(t)).all()) and bool((process.log_snr(t).diff() < 0).all())
    clean, prior = process.log_snr(ENDS)
    assert clean == torch.inf and (prior == -torch.inf) == (process.alpha(ENDS)[1] == 0)


@named
def test_times_of_any_shape_give_the_same_numbers(process: Continuous) -> None:
    """A number, one a sample, one an entry: the same scales, and the same levels back."""
    t = torch.rand(2, 1, 3, dtype=torch.float64)
    for law in (process.alpha, process.sigma, process.level, process.log_snr, lambda t: process.time(process.level(t))):
        whole = law(t)
        assert whole.shape == t.shape and whole.dtype == torch.float64
        alone = torch.stack([law(one) for one in t.flatten()]).reshape(t.shape)
        torch.testing.assert_close(whole, alone, rtol=1e-15, atol=0)
    x = torch.randn(2, 4, 3)
    per_entry = process.corrupt(x, t)
    for entry in range(3):
        column = process.corrupt(x[..., entry : entry + 1], t[..., entry].flatten())
        torch.testing.assert_close(per_entry.mean[..., entry : entry + 1], column.mean, rtol=1e-6, atol=0)


def test_ends() -> None:
    """What the papers say of t = 0 and t = 1."""
    for process in PROCESSES:
        assert process.alpha(ENDS)[0] == 1 and process.sigma(ENDS)[0] == 0
    for process in (Cosine(), Flow(), VP(zero_terminal=True), DDPM(zero_terminal=True)):
        assert process.alpha(ENDS)[1] == 0 and abs(float(process.sigma(ENDS)[1]) - 1) < 1e-15
    assert EDM().sigma(ENDS)[1] == 80
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for process in (VP(), Cosine(), VP(zero_terminal=True)):
        torch.testing.assert_close(process.alpha(t) ** 2 + process.sigma(t) ** 2, torch.ones_like(t))
    # DDPM's product of 1 - beta over a thousand linear steps, 1e-4 .. 0.02, ends at 4.04e-5 (2006.11239, section 4)
    assert abs(float(VP().alpha(ENDS)[1] ** 2) / 4.04e-5 - 1) < 0.1
    torch.testing.assert_close(Cosine().alpha(t)[:-1], torch.cos(torch.pi / 2 * t)[:-1])
    assert float(VP().sigma(torch.tensor(1e-12, dtype=torch.float64))) == pytest.approx((1e-13) ** 0.5, rel=1e-6)


@named
def test_prior_and_noise(process: Continuous) -> None:
    prior = process.prior((2, 3)).repeat(4)
    assert prior.mean.shape == (4, 2, 3)
    torch.testing.assert_close(float(prior.variance[0].max()) ** 0.5, float(process.sigma(ENDS)[1]), rtol=1e-6, atol=0)
    x0, noise = torch.randn(7, 2).double(), torch.randn(7, 2).double()
    x = process.alpha(T)[:, None] * x0 + process.sigma(T)[:, None] * noise
    torch.testing.assert_close(process.noise(x, x0, T), noise, rtol=1e-7, atol=1e-7)
    assert torch.equal(process.noise(x, x0, torch.zeros(7)), torch.zeros(7, 2).double())


def test_refusals() -> None:
    for make in (lambda: EDM(0.0), lambda: VP(0.0), lambda: VP(2.0, 1.0)):
        with pytest.raises(Refusal):
            make()
