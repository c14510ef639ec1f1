"""The recipe of context prediction on codes: what is known, what is measured, what is trained, and the verdict."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.autoencoders import VQ, Autoencoder
from mezzotint.core import NONE, Condition, Rng
from mezzotint.core.distribution import Dirac
from mezzotint.core.spec import build
from mezzotint.core.store import save_model
from mezzotint.evidence import Seen, Setting
from mezzotint.objectives import Loss
from mezzotint.recipes import context_codes
from mezzotint.recipes.completion import encoded
from mezzotint.recipes.context_codes import BASE, CONTROL, SET
from mezzotint.testing.truth import nudge

SMALL = Setting({**context_codes.SETTING, "vocab": 5, "width": 16, "depth": 1, "measured": 6, "batch": 4})


class Hot(Autoencoder):
    """Symbols decoded as themselves, one hot, so that drawn codes can be read off their pictures."""

    shape, latent, vocab = (5, 7, 7), (7, 7), 5

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        return Dirac(x.argmax(1) % 5)

    def decode(self, z: Tensor, cond: Condition = NONE) -> Tensor:
        return F.one_hot(z, 5).movedim(-1, 1).float()


def test_what_is_known_has_seen_nothing_of_the_right_half() -> None:
    """Norms of an encoder carry pixels into codes that lie far away, so the hidden ones must not be there."""
    torch.manual_seed(0)
    vq = VQ((1, 28, 28), vocab=32, width=8, code=4).eval()
    nudge(vq, 0.1)
    x = torch.rand(8, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    other = torch.cat([x[..., :14], 0.2 * x.flip(0)[..., 14:]], 3)
    with torch.no_grad():
        whole = [encoded(vq, each)[..., : context_codes.KNOWN] for each in (x, other)]
        known = [encoded(vq, context_codes.left(each)) for each in (x, other)]
    assert not torch.equal(*whole)  # what would be known of whole pictures is not
    assert torch.equal(*known)
    assert torch.equal(context_codes.left(x)[..., :14], x[..., :14])


def test_completions_keep_the_left_half_and_draw_the_other() -> None:
    torch.manual_seed(1)
    model = context_codes.network(SMALL).eval()
    z = (5 * Rng(range(6)).uniform("z", (7, 7))).long()
    cond, rng = Condition(original=Hot().decode(z)), Rng(range(6))
    with torch.no_grad():
        x = context_codes.Drawing(model, 4, Hot(), True)(cond, rng)
        free = context_codes.Drawing(model, 4, Hot(), False)(cond, rng).argmax(1)
    assert torch.equal(x[..., :3], cond["original"][..., :3])  # of 7 columns 3 lie left of the middle
    assert (x[..., 3:].argmax(1) != z[..., 3:]).double().mean() > 0.5  # a network that knows nothing guesses
    assert (free != z).double().mean() > 0.5


def test_nats_of_a_network_that_knows_nothing_are_those_of_a_fair_die() -> None:
    """A fresh network finds all symbols alike, whatever is masked."""
    found = context_codes.nats(SMALL, context_codes.network(SMALL).eval(), Pictures())
    assert found == pytest.approx(49 * math.log(5), rel=1e-6)


class Pictures(Hot):
    """Symbols of clothes: how bright each four pixels are."""

    shape = (1, 28, 28)

    def encode(self, x: Tensor, cond: Condition = NONE) -> Dirac:
        return Dirac((2.49 * (F.avg_pool2d(x, 4)[:, 0] + 1)).long())


def test_the_arms_share_everything_but_what_is_learnt_beside(tmp_path: Path) -> None:
    s = Setting({**SMALL, "vocab": 16, "weight": 0.3})
    save_model(tmp_path / "vq", VQ((1, 28, 28), vocab=16, width=8, code=4))
    z = (16 * Rng(range(12)).uniform("z", (7, 7))).long()

    def gradients(name: str, **changes: float) -> tuple[Loss, dict[str, Tensor]]:
        tree = context_codes.training(Setting({**s, **changes}), name).tree(10, {"vq": str(tmp_path / "vq")})
        torch.manual_seed(10)
        model, objective = build(tree["model"]), build(tree["training"]).objective
        objective.meet(model, z[:1], NONE, 10)
        loss = objective(model, z, NONE, Rng(range(12)))
        loss.value.mean().backward()
        return loss, {k: w.grad for k, w in model.named_parameters() if w.grad is not None}

    (base, plain), (_, nothing), (ours, grown), (control, elsewhere) = (
        gradients(BASE), gradients(SET, weight=0.0), gradients(SET), gradients(CONTROL),
    )  # fmt: skip
    assert all(torch.equal(plain[name], nothing[name]) for name in plain)  # same weights and masks
    for loss in (ours, control):
        assert torch.allclose(loss.value - 0.3 * loss.parts["context"], base.value)
    off = {k: [float((one[k] - plain[k]).abs().max()) for one in (grown, elsewhere)] for k in plain}
    # The last layer starts at zero, so all that the blocks below learn at first, they learn from the context.
    assert all(min(pair) > 1e-6 for name, pair in off.items() if "blocks" in name)
    assert any(not torch.equal(grown[name], elsewhere[name]) for name in grown)


def test_the_verdict_fails_by_each_criterion() -> None:
    def said(ours: float, base: float, control: float, seeds: int = 5, odd: float = 0.0) -> str:
        def table(k: int) -> dict[str, dict[str, float]]:
            mine = ours + k + (odd if k == 2 else 0.0)
            return {SET: {"frechet": mine}, BASE: {"frechet": base + k}, CONTROL: {"frechet": control + k}}

        return context_codes.verdict(Seen({k: table(k) for k in range(seeds)})).outcome

    assert said(4.0, 4.1, 4.2) == "holds"
    assert said(4.0, 3.9, 4.2) == "does not hold"
    assert said(4.0, 4.1, 3.9) == "does not hold"
    assert said(4.0, 4.0, 4.2) == "does not hold"  # as near is no nearer
    assert said(4.0, 4.1, 4.2, odd=0.15) == "does not hold"  # one seed of five is enough, against one arm
    assert said(4.0, 4.1, 4.2, seeds=3) == "undecided"
