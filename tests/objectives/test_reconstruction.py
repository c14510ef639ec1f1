"""Reconstruction: each term against its formula, and two players in one backward pass, each with its own gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import mezzotint as mz
from mezzotint import testing
from mezzotint.autoencoders import KL, VQ, CodebookLoss, MovingAverages
from mezzotint.core import NONE, Refusal, Rng
from mezzotint.networks import PatchDiscriminator
from mezzotint.objectives import Denoising, Reconstruction
from mezzotint.objectives.base import Loss
from mezzotint.recipes import codes
from mezzotint.training import Rate, Trainer

SHAPE, COUNT = (1, 8, 12), 6
X = 0.5 * Rng(range(COUNT)).normal("x", SHAPE)
KEYS = Rng(range(COUNT))


def judged(**changes: float | bool) -> Reconstruction:
    torch.manual_seed(1)
    settings = {"feature": 0.5, "adversarial": 0.3, "balanced": False} | changes
    return Reconstruction(discriminator=PatchDiscriminator(SHAPE, 8, 1), **settings)  # type: ignore[arg-type]


def asked(objective: Reconstruction, model: VQ | KL) -> Loss:
    return objective(model, X, NONE, KEYS)


def small(kind: type[VQ] | type[KL] = VQ) -> VQ | KL:
    torch.manual_seed(0)
    model = kind(SHAPE, width=8, code=3)
    torch.nn.init.normal_(model.decoder.last.weight, 0.0, 0.3)
    return model


def test_errors_in_pixels_and_the_codebooks_loss() -> None:
    vq = small()
    loss, passage = asked(Reconstruction(l1=2.0, l2=3.0, code=0.5), vq), vq.through(X, KEYS)
    l1 = torch.nn.functional.l1_loss(passage.decoded, X, reduction="none").mean((1, 2, 3))
    l2 = torch.nn.functional.mse_loss(passage.decoded, X, reduction="none").mean((1, 2, 3))
    assert torch.allclose(loss.value, 2 * l1 + 3 * l2 + 0.5 * passage.costs["code"])
    assert {"l1", "l2", "code", "perplexity", "used"} == set(loss.parts)


def test_the_divergence_counts_in_nats_an_entry() -> None:
    kl = small(KL)
    with_it, without = (asked(Reconstruction(kl=weight), kl).value for weight in (2.0, 0.0))
    law = kl.raw(X)  # type: ignore[union-attr]
    normal = torch.distributions.Normal(law.mean, law.variance.sqrt())
    nats = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1)
    assert torch.allclose(with_it - without, 2 * nats / X[0].numel(), atol=1e-6)


def test_both_players_have_their_own_gradients_from_one_backward_pass() -> None:
    """The autoencoder's are those of its terms through a discriminator at rest; the discriminator's those of the hinge
    on samples at rest."""
    vq, objective = small(), judged()
    discriminator = objective.discriminator
    assert discriminator is not None
    asked(objective, vq).value.mean().backward()
    both = [p.grad.clone() for p in (*vq.encoder.parameters(), *vq.decoder.parameters())]
    theirs = [p.grad.clone() for p in discriminator.parameters()]

    def mean(logits: Tensor) -> Tensor:
        return logits.flatten(1).mean(1)

    passage = vq.through(X, KEYS)
    fake, felt = discriminator(passage.decoded)
    _, truth = discriminator(X)
    feature = sum(mean((a - b.detach()) ** 2) for a, b in zip(felt, truth, strict=True)) / len(felt)
    l2 = (passage.decoded - X).square().flatten(1).mean(1)
    value = (l2 + passage.costs["code"] + 0.5 * feature - 0.3 * mean(fake)).mean()
    expected = torch.autograd.grad(value, [*vq.encoder.parameters(), *vq.decoder.parameters()])
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(both, expected, strict=True))
    real, fake = discriminator(X)[0], discriminator(passage.decoded.detach())[0]
    hinge = 0.5 * mean((1 - real).clamp_min(0)) + 0.5 * mean((1 + fake).clamp_min(0))
    expected = torch.autograd.grad(hinge.mean(), list(discriminator.parameters()))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(theirs, expected, strict=True))


def test_the_balance_is_the_ratio_of_gradient_norms_and_is_used_in_the_next_step() -> None:
    vq, objective = small(), judged(balanced=True, feature=0.0)
    before = asked(objective, vq)
    objective.update(vq, before)
    passage = vq.through(X, KEYS)  # its codebook has moved, so what was measured is measured again
    again = asked(objective, vq)
    l2 = (passage.decoded - X).square().mean()
    generator = -objective.discriminator(passage.decoded)[0].mean()  # type: ignore[misc]
    norms = [torch.autograd.grad(v, vq.last, retain_graph=True)[0].norm() for v in (l2, generator)]
    assert again.shot.balance == pytest.approx(float(norms[0] / (norms[1] + 1e-4)), rel=1e-4)  # type: ignore[union-attr]
    weight = float(objective.balance)
    assert weight == pytest.approx(float(before.shot.balance))  # type: ignore[union-attr]
    parts = again.parts
    value = parts["l2"] + parts["code"] + parts["discriminator"] + 0.3 * weight * parts["generator"]
    assert torch.allclose(again.value, value, atol=1e-6)
    objective.update(vq, again)
    assert float(objective.balance) == pytest.approx(0.9 * weight + 0.1 * float(again.shot.balance), rel=1e-4)  # type: ignore[union-attr]


def test_the_balance_hears_of_pixels_and_of_features() -> None:
    vq, objective = small(), judged(balanced=True, feature=0.5, l1=2.0)
    found = asked(objective, vq).shot.balance  # type: ignore[union-attr]
    made = vq.through(X, KEYS).decoded
    (logits, felt), (_, truth) = (objective.discriminator(each) for each in (made, X))  # type: ignore[misc]
    feature = sum((a - b.detach()).square().mean() for a, b in zip(felt, truth, strict=True)) / len(felt)
    looks = 2 * (made - X).abs().mean() + (made - X).square().mean() + 0.5 * feature
    norms = [torch.autograd.grad(v, vq.last, retain_graph=True)[0].norm() for v in (looks, -logits.mean())]
    assert found == pytest.approx(float(norms[0] / (norms[1] + 1e-4)), rel=1e-4)


def test_there_is_no_discriminator_before_its_start() -> None:
    vq, objective = small(), judged(start=2 * COUNT)
    for step in range(4):
        loss = asked(objective, vq)
        assert ("discriminator" in loss.parts) == (step >= 2) and int(objective.seen) == step * COUNT
        objective.update(vq, loss)


def test_contracts() -> None:
    testing.check_objective(judged(start=0), small(KL), X, NONE)
    testing.check_objective(judged(balanced=True), small(KL), X, NONE)
    testing.check_part(PatchDiscriminator(SHAPE, 8, 1))


@pytest.mark.parametrize(
    ("sentence", "settings"),
    [
        ("l1 is a weight of at least 0", {"l1": -1.0}),
        ("nothing is compared", {"l2": 0.0}),
        ("need a discriminator", {"adversarial": 0.1}),
        ("leave it out, or weigh it", {"discriminator": PatchDiscriminator(SHAPE, 8, 1)}),
    ],
)
def test_what_is_wrong_is_said(sentence: str, settings: dict[str, object]) -> None:
    with pytest.raises(Refusal, match=sentence):
        Reconstruction(**settings)  # type: ignore[arg-type]


def test_what_is_no_autoencoder_is_refused() -> None:
    with pytest.raises(Refusal, match="trains an autoencoder, VQ or KL, not a Linear"):
        Reconstruction()(torch.nn.Linear(1, 1), X, NONE, KEYS)
    with pytest.raises(Refusal):
        Denoising()(small(), X, NONE, KEYS)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3, 9), (2, 16, 10), (1, 4, 8, 6)], ids=str)
def test_patches_are_judged_one_by_one(shape: tuple[int, ...]) -> None:
    """A logit for each patch, and samples that do not see each other."""
    judge, x = PatchDiscriminator(shape, 8, 2), torch.randn(2, *shape)
    logits, felt = judge(x)
    assert logits.shape == (2, 1, *(size // 2 // 2 for size in shape[1:]))
    assert len(felt) == 3
    assert torch.allclose(judge(x[:1])[0], logits[:1], atol=1e-5)
    with pytest.raises(Refusal, match="cannot be halved 5 times"):
        PatchDiscriminator(shape, 8, 5)


@pytest.mark.parametrize("rule", [CodebookLoss(), MovingAverages()], ids=lambda rule: type(rule).__name__)
def test_training_brings_digits_back_and_what_is_exported_is_as_good(tmp_path: Path, rule: object) -> None:
    """The bar lies above what the mean picture reaches; the average of the weights is no worse than the weights."""
    data = mz.data.Digits()
    held = data.held_out()
    x = held[: len(held)][0]
    mean = data[: len(data)][0].mean(0, keepdim=True).expand_as(x)
    bar = float(mz.metrics.psnr(mean, x).value) + 1.5
    torch.manual_seed(0)
    vq = VQ((1, 8, 8), vocab=32, width=16, down=1, code=8, codebook=rule)  # type: ignore[arg-type]
    assert codes.quality(vq, held).psnr < bar - 3
    shown = {"log": 2_560, "save": 7_680, "picture": 7_680}
    Trainer(Reconstruction(), images=7_680, batch=64, rate=Rate(4e-3, warmup=640), **shown).fit(
        vq, data, tmp_path / "run"
    )
    live = codes.quality(vq, held)
    exported = codes.quality(mz.core.store.load_model(tmp_path / "run" / "model"), held)
    assert live.psnr > bar and exported.psnr > live.psnr - 0.1
    assert live.used is not None and live.used > 0.9
    assert exported.used is not None and exported.used > 0.9
