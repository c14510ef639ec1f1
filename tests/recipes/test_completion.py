"""The recipe of chains: what is known when a picture is completed, what models cost, and what the verdict reads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.autoencoders import VQ, Autoencoder
from mezzotint.core import NONE, Condition, Rng
from mezzotint.core.distribution import Dirac
from mezzotint.evidence import Seen, Setting
from mezzotint.recipes import completion
from mezzotint.testing.truth import nudge

SMALL = Setting({**completion.SETTING, "vocab": 5, "width": 16, "first": 1, "encoder": 1, "decoder": 1, "depth": 1})


class Hot(Autoencoder):
    """Symbols decoded as themselves, one hot, so that drawn codes can be read off their pictures."""

    shape, latent, vocab = (5, 7, 7), (7, 7), 5

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        return Dirac(x.argmax(1))

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        return F.one_hot(z, 5).movedim(-1, 1).float()


def test_what_is_known_has_seen_nothing_of_the_upper_half() -> None:
    """Norms of an encoder carry pixels into codes that lie far away, so the hidden ones must not be there."""
    torch.manual_seed(0)
    vq = VQ((1, 28, 28), vocab=32, width=8, code=4).eval()
    nudge(vq, 0.1)
    x = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = torch.cat([0.2 * x.flip(0)[:, :, :14], x[:, :, 14:]], 2)
    with torch.no_grad():
        whole = [completion.encoded(vq, each)[:, -completion.KNOWN :] for each in (x, other)]
        known = [completion.encoded(vq, completion.lower(each)) for each in (x, other)]
    assert not torch.equal(*whole)  # what would be known of whole pictures is not
    assert torch.equal(*known)
    assert torch.equal(completion.lower(x)[:, :, 14:], x[:, :, 14:])


@pytest.mark.parametrize("kind", completion.KINDS)
def test_completions_keep_the_lower_codes_and_draw_the_others(kind: str) -> None:
    torch.manual_seed(1)
    model = completion.networks(SMALL, kind).eval()
    z = (5 * Rng(range(6)).uniform("z", (7, 7))).long()
    cond, rng = Condition(original=Hot().decode(z)), Rng(range(6))
    with torch.no_grad():
        x = completion.Drawing(model, completion.sampler(SMALL, kind), Hot(), True)(cond, rng).argmax(1)
        free = completion.Drawing(model, completion.sampler(SMALL, kind), Hot(), False)(cond, rng).argmax(1)
    rows = 7 - completion.KNOWN
    assert torch.equal(x[:, rows:], z[:, rows:])
    assert (x[:, :rows] != z[:, :rows]).double().mean() > 0.5  # a network that knows nothing is right one time in five
    assert (free != z).double().mean() > 0.5


def test_training_costs_are_those_of_the_products_by_hand() -> None:
    """A block is 12 N d^2 and 2 N^2 d for its attention; reading the encoder is 4 N d^2 and 2 N^2 d more."""
    s = Setting(completion.SETTING)
    n, d, vocab = 49, s.width, s.vocab
    block, reading, head = n * 12 * d**2 + 2 * n**2 * d, n * 4 * d**2 + 2 * n**2 * d, n * d * vocab
    later = s.encoder * block + n * d**2 + s.decoder * (block + reading) + head
    assert completion.macs(s, "factorised") == pytest.approx(s.depth * block + head, rel=0.02)  # it is told the level
    assert completion.macs(s, "autoregressive") == s.depth * block + head
    assert completion.macs(s, "chain") == (s.first * block + head + (s.stages - 1) * later) // s.stages
    due = s.images * completion.macs(s, "chain")
    for kind in ("autoregressive", "factorised"):
        assert completion.images(s, kind) * completion.macs(s, kind) == pytest.approx(due, rel=1e-4)


def test_the_verdict_on_numbers_whose_answer_is_plain() -> None:
    def said(ours: float, raster: float, chain: float, plain: float, factorised: float, usage: float) -> str:
        def table(off: float) -> dict[str, dict[str, float]]:
            return {
                "codes": {"usage": usage},
                "chain": {"frechet": chain + off},
                "autoregressive": {"frechet": plain + off},
                "factorised": {"frechet": factorised + off},
                "chain, completing": {"accuracy": ours + off},
                "autoregressive, completing": {"accuracy": raster + off},
            }

        return completion.verdict(Seen({k: table(1e-3 * k) for k in range(3)})).outcome

    assert said(0.60, 0.50, 5.0, 5.0, 8.0, 0.9) == "holds"
    assert said(0.54, 0.50, 5.0, 5.0, 8.0, 0.9) == "does not hold"
    assert said(0.50, 0.60, 5.0, 5.0, 8.0, 0.9) == "does not hold"
    assert said(0.60, 0.50, 5.6, 5.0, 8.0, 0.9) == "does not hold"
    assert said(0.60, 0.50, 5.0, 5.0, 6.4, 0.9) == "does not hold"
    assert said(0.60, 0.50, 5.0, 5.0, 8.0, 0.4) == "does not hold"
