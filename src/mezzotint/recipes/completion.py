"""Pictures of clothes as 7 x 7 codes, drawn whole or completed, by three models of equal cost.

The autoencoder is trained once for all seeds and arms. What is completed is a held-out picture of which the lower half
is known. Its upper half is blank before it is encoded: norms over the whole picture carry something of every pixel into
every code, from which only models that look ahead could profit. Of its codes those are kept that lie wholly in the
lower half, but for the row at the border, which the blank changes most. The rest is drawn and everything decoded.

Training costs are counted in multiply-accumulates of the networks, three times those of an evaluation an image; other
models than the chain see as many images as make that equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.encoded import Encoded
from mezzotint.core.condition import NONE, Condition
from mezzotint.core.rng import Rng
from mezzotint.data.fashion import FashionMNIST
from mezzotint.data.untold import Untold
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.chain import Chain
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.recipe import Arm, Models, Setting, Training
from mezzotint.evidence.verdict import Seen, Verdict, at, ratio
from mezzotint.guidance.known import Known
from mezzotint.metrics.extractor import Extractor
from mezzotint.metrics.fidelity import psnr_each
from mezzotint.metrics.frechet import frechet
from mezzotint.networks.causal import Causal
from mezzotint.networks.encoder_decoder import EncoderDecoder
from mezzotint.networks.token_transformer import TokenTransformer
from mezzotint.objectives.bound import Bound
from mezzotint.objectives.chain import ChainBound
from mezzotint.processes.multinomial import Multinomial
from mezzotint.recipes import codes
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.chain import Chain as Walk
from mezzotint.samplers.grids import Uniform
from mezzotint.samplers.sampling import Sampling
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

SETTING: dict[str, int | float] = {
    "images": 60_000, "codes": 60_000, "vocab": 128, "width": 96, "stages": 3, "first": 4, "encoder": 3, "decoder": 2,
    "depth": 5, "samples": 1_000, "batch": 250,
}  # fmt: skip
LARGE = SETTING | {
    "images": 4_000_000, "codes": 2_000_000, "width": 384, "first": 12, "encoder": 12, "decoder": 4, "depth": 16,
    "samples": 10_000, "batch": 1_000,
}  # fmt: skip
_REAL: dict[str, Any] = {}
"""Features of all held-out pictures, by judge: a worker measures many arms."""
KNOWN = 2
"""Rows of codes that are known: of the three that lie wholly in the lower half, not the one at the border."""
BLANK = -1.0
"""What stands in the place of pixels that are not known: the black around clothes."""
ALONE, COMPLETING = "{}", "{}, completing"
DEPARTURES = """Fashion-MNIST as 7 x 7 codes of 128, without labels, where the paper has 16 x 16 of up to 16,384; three
equal stages, 1.8 M parameters in all, 60,000 images seen, one random stage an image. Every model has as many
multiply-accumulates in training and about as many an image; so the autoregressive one has a third of the chain's
parameters. Distances in the features of a classifier of the same clothes."""
LESS = """Fashion-MNIST as 7 x 7 codes of 128, without labels; equal multiply-accumulates in training; distances in the
features of a classifier of the same clothes."""


@cache
def pictures(split: str = "train") -> FashionMNIST:
    """Clothes at 28 pixels."""
    return FashionMNIST(split=split)


def sets(s: Setting) -> tuple[FashionMNIST, ...]:
    """What is read beside what is trained on."""
    return pictures(), pictures("held_out")


def autoencoder(s: Setting) -> Training:
    """The codes that all arms and seeds share."""
    return replace(codes.usual(pictures(), "vq", s.codes, vocab=s.vocab), once=True)


def latent(s: Setting) -> tuple[int, ...]:
    """The shape of a code."""
    model: Any = autoencoder(s).model
    return tuple(model.latent)


def networks(s: Setting, kind: str) -> Denoiser:
    """The chain, its autoregressive and its factorised rival."""
    shape, process, heads = latent(s), Multinomial(s.vocab), max(1, s.width // 24)
    if kind == "factorised":
        return Tokens(TokenTransformer(s.vocab, s.vocab, shape, s.width, s.depth, heads, level=True), process)
    if kind == "autoregressive":
        return Chain((Causal(s.vocab, shape, s.width, s.depth, heads),), process)
    first = Causal(s.vocab, shape, s.width, s.first, heads)
    later = [EncoderDecoder(s.vocab, shape, s.width, (s.encoder, s.decoder), heads) for _ in range(s.stages - 1)]
    return Chain((first, *later), process)


KINDS = ("chain", "autoregressive", "factorised")


def sampler(s: Setting, kind: str) -> Sampler:
    """As many steps as the chain has stages."""
    return Ancestral(s.stages, grid=Uniform()) if kind == "factorised" else Walk()


def macs(s: Setting, kind: str) -> int:
    """Multiply-accumulates of an evaluation of one picture."""
    found = networks(s, kind).cost(latent(s))
    assert found is not None
    return found


def images(s: Setting, kind: str) -> int:
    """How many a model sees, so that all cost alike."""
    return round(int(s.images) * macs(s, "chain") / macs(s, kind))


def training(s: Setting, kind: str) -> Training:
    """A model of the codes of the training pictures, without labels."""
    vq, many = autoencoder(s), images(s, kind)
    symbols = Encoded(Untold(pictures()), "@vq", latent(s), s.vocab)
    trainer = Trainer(
        Bound(s.stages) if kind == "factorised" else ChainBound(), images=many, batch=64,
        rate=Rate(peak=2e-3, warmup=many // 20, cooldown=0.6), betas=(0.9, 0.95), averages=(0.05,),
        sampler=sampler(s, kind),
    )  # fmt: skip
    return Training(networks(s, kind), symbols, trainer, needs={"vq": vq})


@dataclass(frozen=True)
class Drawing:
    """Pictures of a model of codes, whole or completed from the condition's ``original``.

    Arguments:
        denoiser: of codes.
        sampler: how they are drawn.
        vq: whose codes they are.
        completing: keep the lower rows of the codes of the original's lower half.
    """

    denoiser: Denoiser
    sampler: Sampler
    vq: Autoencoder
    completing: bool

    def __call__(self, cond: Condition, rng: Rng) -> Tensor:
        known, denoiser = NONE, self.denoiser
        if self.completing:
            z = encoded(self.vq, lower(cond["original"]))
            mask = (torch.arange(z.shape[1]) >= z.shape[1] - KNOWN)[:, None].expand(z.shape)
            known, denoiser = Condition(**{"known.x": z, "known.mask": mask.to(z.device)}), Known(denoiser)
        return self.vq.decode(Sampling(self.sampler, denoiser)(known, rng))


def lower(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W) whose upper half is blank."""
    above = torch.arange(x.shape[-2], device=x.device)[:, None] < x.shape[-2] // 2
    return x.masked_fill(above, BLANK)


def encoded(vq: Autoencoder, x: Tensor) -> Tensor:
    """The codes of pictures."""
    law: Any = vq.encode(x.to(vq.device))
    found: Tensor = law.value
    return found


def arms(s: Setting) -> dict[str, Arm]:
    """What the codes alone lose, and every model, drawing whole pictures and completing."""
    vq = autoencoder(s)

    def reconstructing(models: Models) -> Any:
        return lambda cond, rng: models["vq"].decode(encoded(models["vq"], cond["original"]))

    def used(models: Models) -> Mapping[str, float]:
        found = codes.quality(models["vq"], pictures("held_out"))
        return {"usage": found.used or 0.0, "perplexity": found.perplexity or 0.0}

    def arm(kind: str, completing: bool) -> Arm:
        def facts(models: Models) -> Mapping[str, float]:
            count = sum(weight.numel() for weight in models["model"].parameters())
            return {"M parameters": count / 1e6, "T MACs": 3e-12 * macs(s, kind) * images(s, kind)}

        def pipeline(models: Models) -> Drawing:
            return Drawing(models["model"], sampler(s, kind), models["vq"], completing)

        return Arm({"model": training(s, kind), "vq": vq}, pipeline, facts)

    made = {"codes": Arm({"vq": vq}, reconstructing, used)}
    for name, completing in ((ALONE, False), (COMPLETING, True)):
        made |= {name.format(kind): arm(kind, completing) for kind in KINDS}
    return made


def originals(s: Setting) -> Condition:
    """Held-out pictures, one a sample, with what they show."""
    x, cond = pictures("held_out")[torch.arange(s.samples) % len(pictures("held_out"))]
    return Condition(original=x, label=cond["label"])


def judge(s: Setting) -> Extractor:
    """A classifier of the training pictures."""
    x, cond = pictures()[:]
    held_out, truth = pictures("held_out")[:]
    return Extractor.train(x, cond["label"], (held_out, truth["label"]))


def measure(s: Setting, x: Tensor, cond: Condition, judge: Extractor) -> Mapping[str, float]:
    """``frechet``: from all held-out pictures; the rest is of pairs with the originals, chance where none was told."""
    x = x.clamp(-1, 1)
    mine, theirs = judge.features(x), judge.features(cond["original"])
    if judge.sha256 not in _REAL:
        _REAL[judge.sha256] = judge.features(pictures("held_out")[:][0])
    return {
        "frechet": frechet(mine, _REAL[judge.sha256], draws=0).value,
        "accuracy": judge.accuracy(x, cond["label"]).value,
        "distance": float((((mine - theirs) ** 2).sum(1) ** 0.5).mean()),
        "psnr": float(psnr_each(x, cond["original"]).mean()),
    }


def verdict(seen: Seen) -> Verdict:
    """What the page of the method asks of trained chains."""
    chain, raster, single = (COMPLETING.format("chain"), COMPLETING.format("autoregressive"), "autoregressive")
    apart = ratio(at("chain", "frechet"), at(single, "frechet"))
    return seen.all(
        seen.at_least(
            "completing: accuracy above raster order's", lambda n: n[chain]["accuracy"] - n[raster]["accuracy"], 0.05
        ),
        seen.at_most("distance over the autoregressive model's", apart, 1.1),
        seen.at_least(
            "the factorised chain's distance over ours", ratio(at("factorised", "frechet"), at("chain", "frechet")), 1.3
        ),
        seen.at_least("codes in use, a share", at("codes", "usage"), 0.5),
    )
