"""Nats in the place of samples: the right item, the objective's own draws, and a mean that is a cross-entropy."""

from __future__ import annotations

import torch

from mezzotint.core.condition import NONE
from mezzotint.core.rng import Rng
from mezzotint.data.chain import Chain
from mezzotint.denoiser.markov import Markov
from mezzotint.evidence.nats import Nats
from mezzotint.objectives.tokens import OrderBound
from mezzotint.processes.absorbing import Absorbing

DATA = Chain(vocab=4, length=6, size=10, held_out_size=500, seed=3, split="held_out")
TRUTH = Markov(Absorbing(4), DATA.start, DATA.step, DATA.shape)


def test_the_mean_of_an_exact_chain_is_its_negative_log_likelihood() -> None:
    nats = Nats(TRUTH, OrderBound(), DATA)(rng=Rng(range(8000)))[:, 0].double()
    due = -TRUTH.log_prob(DATA[:][0]).mean()
    assert abs(nats.mean() - due) < 4 * nats.std() / 8000**0.5
    assert abs(DATA.entropy * 6 - due) < 0.5  # what was held out is of the same law


def test_every_key_picks_an_item_and_is_alone() -> None:
    """Items that are each one symbol throughout tell which of them was asked about."""
    other = Markov(Absorbing(4), [0.4, 0.3, 0.2, 0.1], torch.eye(4), (1,))
    singles = Chain(vocab=4, length=1, size=10, held_out_size=500, seed=3, split="held_out")
    nats = Nats(other, OrderBound(), singles)(rng=Rng(range(4000)))[:, 0]
    found = torch.stack([((nats + torch.tensor(p).log()).abs() < 1e-6).float().mean() for p in (0.4, 0.3, 0.2, 0.1)])
    share = torch.bincount(singles[:][0][:, 0], minlength=4) / 500
    assert torch.allclose(found, share, atol=0.04)  # one symbol leaves one mask, so nats tell the symbol


def test_a_batch_is_its_rows_and_arms_share_their_draws() -> None:
    one = Nats(TRUTH, OrderBound(), DATA)
    together = one(NONE, Rng(range(5)))
    assert torch.equal(together, torch.cat([one(NONE, Rng([k])) for k in range(5)]))
    worse = Nats(Markov(Absorbing(4), [0.25] * 4, [[0.25] * 4] * 4, (6,)), OrderBound(), DATA)
    uniform = worse(NONE, Rng(range(200)))[:, 0]
    assert torch.allclose(uniform, torch.full_like(uniform, 6 * torch.log(torch.tensor(4.0)).item()))
