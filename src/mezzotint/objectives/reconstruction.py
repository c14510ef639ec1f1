"""Reconstruction: there and back through an autoencoder, and what came back compared - in pixels, features and looks.

    L = l1 |x' - x| + l2 |x' - x|^2 + code C + kl KL / entries        means over entries, a number a sample
      + feature mean_l |D_l(x') - D_l(x)|^2                          D_l the features of the discriminator's layer l
      - adversarial w mean D(x')                                     w = |grad of what is above| / |grad of - D(x')|
      + 1/2 mean relu(1 - D(x)) + 1/2 mean relu(1 + D(sg[x']))       which trains D alone

D judges patches. Both players move in one step, from one backward pass: the autoencoder's terms see D with its weights
held, and D's own terms see samples without gradients. The gradients that make w are those at the decoder's last layer;
w is measured in a step, averaged, and used in the next, so that a sample's loss depends on no other sample.

Sources: van den Oord et al. 2017 (1711.00937, equation 3); Larsen et al. 2016, "Autoencoding beyond pixels using a
learned similarity metric" (1512.09300, equation 8) for the features; Esser et al. 2021, "Taming transformers for
high-resolution image synthesis" (2012.09841, equations 5 to 7) for w; Isola et al. 2017 (1611.07004) for patches; Lim
and Ye 2017 (1705.02894) for the hinge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mezzotint.autoencoders.passage import Passage, Reconstructing
from mezzotint.core import ranks
from mezzotint.core.condition import Condition
from mezzotint.core.config import count
from mezzotint.core.distribution import Dirac
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.networks.discriminator import PatchDiscriminator
from mezzotint.networks.inputs import in_precision
from mezzotint.objectives.base import Loss, Objective, Shot

_MOST = 1e4  # of w, as in VQGAN's program
_KEPT = 0.9  # of w by a step


@dataclass(frozen=True)
class Passed(Shot):
    """A clean batch, what came back of it as the answer, and all that is to be learnt from it without gradients.

    Arguments:
        passage: there and back.
        rng: the keys of the rows.
        balance: what w was in this batch, where it was measured.
    """

    passage: Passage | None = None
    rng: Rng | None = None
    balance: Tensor | None = None


class Reconstruction(Objective):
    """What an autoencoder (:class:`~mezzotint.autoencoders.VQ`, :class:`~mezzotint.autoencoders.KL`) is trained with.

    Arguments:
        l1, l2: weights of the absolute and of the squared error in pixels.
        code: of the codebook's loss, where there is one.
        kl: of the divergence of the codes from a standard normal, where it has one; in nats an entry of x.
        feature: of the squared distance in the discriminator's features.
        adversarial: of the discriminator's opinion.
        discriminator: ``networks.PatchDiscriminator(shape)``; trained here, and never exported.
        start: from how many images seen on there is a discriminator (``20_000``, ``"20k"``).
        balanced: whether ``adversarial`` is multiplied by w.

    Raises:
        Refusal: if a weight is negative or all are 0, or the discriminator is missing or has nothing to do.
    """

    denoises = False
    seen: Tensor
    balance: Tensor

    def __init__(
        self,
        l1: float = 0.0,
        l2: float = 1.0,
        code: float = 1.0,
        kl: float = 1e-6,
        feature: float = 0.0,
        adversarial: float = 0.0,
        discriminator: PatchDiscriminator | None = None,
        start: int | str = 0,
        balanced: bool = True,
    ) -> None:
        super().__init__()
        weights = {"l1": l1, "l2": l2, "code": code, "kl": kl, "feature": feature, "adversarial": adversarial}
        for name, weight in weights.items():
            if not 0 <= weight < float("inf"):
                raise Refusal(f"{name} is a weight of at least 0, not {weight}")
        if not l1 + l2 + feature > 0:
            raise Refusal("nothing is compared: give l1, l2 or feature a weight")
        if feature + adversarial > 0 and discriminator is None:
            raise Refusal("feature and adversarial need a discriminator: networks.PatchDiscriminator(shape)")
        if feature + adversarial == 0 and discriminator is not None:
            raise Refusal("there is a discriminator but feature and adversarial are 0; leave it out, or weigh it")
        if count(start) < 0:
            raise Refusal(f"start is a number of images, 0 or more, not {start}")
        self.l1, self.l2, self.code, self.kl = l1, l2, code, kl
        self.feature, self.adversarial, self.balanced = feature, adversarial, balanced
        self.start, self.discriminator = count(start), discriminator
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("balance", torch.zeros(()))

    def forward(self, model: nn.Module, x: Tensor, cond: Condition, rng: Rng, player: str = "model") -> Loss:
        if not isinstance(model, Reconstructing):
            raise Refusal(f"Reconstruction trains an autoencoder, VQ or KL, not a {type(model).__name__}")
        passage = model.through(x, rng, cond)
        made = passage.decoded
        off = (made - x.to(made)).flatten(1)
        parts = {"l1": off.abs().mean(1), "l2": off.square().mean(1), **passage.costs}
        looks = self.l1 * parts["l1"] + self.l2 * parts["l2"]
        value = torch.zeros_like(looks)
        if "code" in parts:
            value = value + self.code * parts["code"]
        if "kl" in parts:
            value = value + self.kl * parts["kl"] / off.shape[1]
        balance = None
        if self.discriminator is not None and int(self.seen) >= self.start:
            seen = (in_precision(self.discriminator, x.to(made)), in_precision(self.discriminator, made))
            with torch.autocast(x.device.type, model.inner_dtype, enabled=model.inner_dtype is not None):
                held, own = _held(self.discriminator, *seen), _own(self.discriminator, *seen)
            parts |= {**held, "discriminator": own}
            looks = looks + self.feature * held["feature"]
            if self.balanced and self.adversarial and torch.is_grad_enabled() and looks.requires_grad:
                balance = _ratio(looks, held["generator"], model.last)
            weight = self.balance if self.balanced else 1.0
            value = value + self.adversarial * weight * held["generator"] + own
        elif self.discriminator is not None:
            # Processes that sum gradients wait for one of every weight.
            value = value + 0.0 * sum(p.sum() for p in self.discriminator.parameters())
        value = value + looks
        parts = {name: part.detach() for name, part in {**parts, **passage.parts}.items()}
        t = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        return Loss(value, parts, Passed(x, x, t, cond, Dirac(made), None, None, passage, rng, balance))

    def update(self, model: Any, loss: Loss) -> None:
        shot = loss.shot
        if not isinstance(shot, Passed) or shot.passage is None or shot.rng is None:
            raise Refusal("Reconstruction learns from its own losses: a wrapper has to hand it their shots")
        model.learn(shot.passage, shot.rng)
        self.seen += ranks.total(torch.tensor(len(shot.x0), device=self.seen.device))
        if shot.balance is not None:
            found = ranks.total(shot.balance.to(self.balance)) / ranks.count()
            self.balance.copy_(torch.where(self.balance > 0, torch.lerp(found, self.balance, _KEPT), found))


def _held(discriminator: PatchDiscriminator, x: Tensor, made: Tensor) -> dict[str, Tensor]:
    """What the autoencoder hears of the discriminator, whose weights are held: ``generator`` and ``feature`` (B,)."""
    weights = {name: weight.detach() for name, weight in discriminator.named_parameters()}
    logits, felt = functional_call(discriminator, weights, (made,))
    with torch.no_grad():
        _, truth = discriminator(x)
    apart = [_mean((_full(a) - _full(b)).square()) for a, b in zip(felt, truth, strict=True)]
    return {"generator": -_mean(_full(logits)), "feature": torch.stack(apart).mean(0)}


def _own(discriminator: PatchDiscriminator, x: Tensor, made: Tensor) -> Tensor:
    """The discriminator's own loss (B,), of samples without gradients."""
    real, fake = (_full(discriminator(each.detach())[0]) for each in (x, made))
    return 0.5 * (_mean(F.relu(1 - real)) + _mean(F.relu(1 + fake)))


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _mean(values: Tensor) -> Tensor:
    return values.flatten(1).mean(1)


def _ratio(looks: Tensor, generator: Tensor, last: Tensor) -> Tensor:
    """The ratio of two losses' gradient norms at a weight, without gradients."""
    of_looks, of_generator = (
        torch.autograd.grad(each.mean(), last, retain_graph=True)[0].norm() for each in (looks, generator)
    )
    ratio: Tensor = of_looks / (of_generator + 1e-4)
    return ratio.clamp(0, _MOST).detach()
