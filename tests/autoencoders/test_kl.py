"""KL: the divergence is that of normal laws, and codes that are handed out have unit variance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mezzotint as mz
from mezzotint import testing
from mezzotint.autoencoders import KL, standardised
from mezzotint.core import Refusal, Rng


@pytest.mark.parametrize(
    ("shape", "down", "latent"),
    [((1, 28, 28), 2, (3, 7, 7)), ((2, 24), 3, (3, 3)), ((1, 4, 8, 4), 2, (3, 1, 2, 1)), ((5, 3, 7), 0, (3, 3, 7))],
    ids=str,
)
def test_every_number_of_axes(shape: Any, down: int, latent: Any) -> None:
    kl = KL(shape, width=8, down=down, code=3)
    assert kl.latent == latent
    testing.check_autoencoder(kl)


def test_the_divergence_is_that_of_torch() -> None:
    torch.manual_seed(0)
    kl, x = KL.example().double(), torch.randn(4, 2, 8, 12).double()
    law = kl.raw(x)
    normal = torch.distributions.Normal(law.mean, law.variance.sqrt())
    truth = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(kl.through(x, Rng(range(4))).costs["kl"], truth, atol=1e-9)
    mean, log_variance = kl.encoder(x).chunk(2, 1)
    assert torch.allclose(law.mean, mean) and torch.allclose(law.variance.log(), log_variance)


def test_variances_stay_between_the_least_and_the_most() -> None:
    kl = KL((1, 8, 8), width=8, code=2)
    kl.encoder.last.bias.data = torch.tensor([0.0, 0.0, 500.0, -500.0])
    found = kl.raw(torch.zeros(1, 1, 8, 8)).variance.log().flatten(1)
    assert torch.allclose(found, torch.tensor([[20.0] * 4 + [-30.0] * 4]))
    passage = kl.through(torch.zeros(1, 1, 8, 8), Rng([0]))
    assert bool(passage.costs["kl"].isfinite().all()) and bool(passage.decoded.isfinite().all())


def test_standardised_codes_have_mean_zero_and_variance_one_and_lead_back_to_the_same() -> None:
    torch.manual_seed(0)
    data, kl = mz.data.Digits(), KL((1, 8, 8), width=8, down=1, code=3).eval()
    with torch.no_grad():
        kl.encoder.last.bias[3:] = torch.tensor([-6.0, 0.0, 1.0])  # spreads of the laws themselves, which count too
        kl.encoder.last.weight[1] *= 10
    made = standardised(kl, data, batch=100)
    x = data[: len(data)][0]
    law, raw = made.encode(x), kl.raw(x)
    z = law.sample(Rng(range(len(x)))).double().transpose(0, 1).flatten(1)
    count = z.shape[1]
    assert z.mean(1).abs().max() < 5 / count**0.5 and (z.var(1) - 1).abs().max() < 5 * (2 / count) ** 0.5
    exact = (law.mean.double().square() + law.variance.double()).transpose(0, 1).flatten(1).mean(1)
    assert torch.allclose(exact, torch.ones(3).double(), atol=1e-5)  # of means and variances, without a draw
    assert torch.allclose(made.decode(law.mean[:9]), kl.decode(raw.mean[:9]), atol=1e-5)
    assert torch.equal(kl.spread, torch.ones(3)) and not torch.equal(made.spread, kl.spread)
    again = standardised(made, data)  # measures what was learnt, not what was measured before
    assert torch.allclose(again.spread, made.spread)
    one = made.through(x[:4], Rng(range(4)))
    two = kl.through(x[:4], Rng(range(4)))
    assert torch.equal(one.decoded, two.decoded) and torch.equal(one.costs["kl"], two.costs["kl"])


def test_what_is_wrong_is_said() -> None:
    kl = KL.example()
    with pytest.raises(Refusal, match="real numbers, not torch.int64"):
        kl.decode(torch.zeros(1, 3, 2, 3, dtype=torch.int64))
    with pytest.raises(Refusal, match="decodes codes \\(B, 3, 2, 3\\), not \\(1, 2, 3\\)"):
        kl.decode(torch.zeros(1, 2, 3))
    with pytest.raises(Refusal, match="takes samples"):
        kl.encode(torch.zeros(1, 2, 8, 8))
    with pytest.raises(Refusal, match="at least one feature"):
        KL((1, 8, 8), code=0)
    flat = KL((1, 8, 8), width=8)
    torch.nn.init.zeros_(flat.encoder.last.weight)
    flat.encoder.last.bias.data = torch.tensor([0.0] * 4 + [-80.0] * 4)
    with pytest.raises(Refusal, match="does not vary"):
        standardised(flat.double(), mz.data.Digits(), most=1)
