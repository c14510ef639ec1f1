"""The curve of decoded pictures against the share of symbols that is left, where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.autoencoders import VQ, Autoencoder, corruption
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.distribution import Dirac
from mezzotint.processes.alive import perceptual

SYMBOLS = 4


class Hot(Autoencoder):
    """Symbols decoded as themselves, one hot: every one that changes costs 2 of the squared length of 1."""

    shape, latent, vocab = (SYMBOLS, 6, 5), (6, 5), SYMBOLS

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        return Dirac(x.argmax(1))

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        return F.one_hot(z, SYMBOLS).movedim(-1, 1).float()


def test_the_curve_of_symbols_that_cost_alike_is_straight_and_its_schedule_equal() -> None:
    rng = Rng(range(400))
    z = (SYMBOLS * rng.uniform("z", (6, 5))).long()
    curve = corruption(Hot(), z, lambda x: x, rng, 11)
    due = torch.arange(11) / 10 * 2 * (1 - 1 / SYMBOLS)  # a redrawn symbol comes back as itself one time in four
    torch.testing.assert_close(torch.tensor(curve), due, rtol=0, atol=0.03)
    assert curve[0] == 0 and list(curve) == sorted(curve)
    shares = perceptual(curve, 4).shares
    torch.testing.assert_close(torch.tensor(shares), torch.tensor([1, 0.75, 0.5, 0.25, 0]), rtol=0, atol=0.02)


def test_it_runs_on_an_autoencoder_and_refuses_what_has_no_symbols() -> None:
    machine = VQ.example().eval()
    z = (machine.vocab * Rng(range(3)).uniform("z", machine.latent)).long()
    curve = corruption(machine, z, lambda x: x, Rng(range(3)), 5)
    assert len(curve) == 5 and curve[0] == 0 < curve[-1]
    with pytest.raises(Refusal, match="two points"):
        corruption(machine, z, lambda x: x, Rng(range(3)), 1)
