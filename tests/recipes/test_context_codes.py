"""The recipe of context prediction on codes: what is known, what is measured, what is trained, and the verdict."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mezzotint.autoencoders import VQ, Autoencoder
from mezzotint.core import NONE, Condition, Rng
from mezzotint.core.distribution import Dirac
from mezzotint.core.store import load_model
from mezzotint.evidence import Seen, Setting
from mezzotint.recipes import context_codes
from mezzotint.recipes.completion import encoded
from mezzotint.recipes.context_codes import BASE, CONTROL, SET
from mezzotint.testing.truth import nudge
from mezzotint.training import train

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


def test_the_arms_differ_in_what_is_learnt_beside_and_share_the_rest(tmp_path: Path) -> None:
    s = Setting({**SMALL, "images": 192, "codes": 64, "vocab": 16})
    train(context_codes.autoencoder(s).tree(0), tmp_path / "vq")

    def weights(name: str, **changes: Any) -> dict[str, Tensor]:
        folder = tmp_path / (name + str(changes.get("weight", "")))
        tree = context_codes.training(Setting({**s, **changes}), name).tree(10, {"vq": str(tmp_path / "vq")})
        train(tree, folder)
        found: dict[str, Tensor] = load_model(folder, "cpu").state_dict()
        return found

    base, nothing, ours, control = weights(BASE), weights(SET, weight=0.0), weights(SET), weights(CONTROL)
    assert base.keys() == ours.keys() == control.keys()
    assert all(torch.equal(base[name], nothing[name]) for name in base)  # same weights, codes and masks
    ours_off, control_off = (max(float((w - base[k]).abs().max()) for k, w in one.items()) for one in (ours, control))
    assert ours_off > 1e-5 and control_off > 1e-5
    assert any(not torch.equal(ours[name], control[name]) for name in ours)


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
