"""An autoencoder of any picture set: symbols or real numbers that stand for pictures, for other models to learn.

``usual`` settles the whole training from the data; ``quality`` says in one line what became of it, on pictures that it
never saw: how near the pictures come back, and how many of the codes are in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch

from mezzotint.autoencoders.base import Autoencoder
from mezzotint.autoencoders.codebook import perplexity
from mezzotint.autoencoders.kl import KL
from mezzotint.autoencoders.vq import VQ
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.data.data import Data
from mezzotint.evidence.recipe import Training
from mezzotint.metrics.fidelity import psnr_each
from mezzotint.networks.discriminator import PatchDiscriminator
from mezzotint.objectives.reconstruction import Reconstruction
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

KINDS = ("vq", "kl")
BATCH = 64


def usual(
    data: Data,
    kind: str = "vq",
    images: int | str = "80k",
    width: int = 32,
    vocab: int = 128,
    down: int = 2,
    code: int | None = None,
    adversarial: float = 0.0,
    feature: float = 0.0,
    peak: float = 4e-3,
    batch: int = BATCH,
) -> Training:
    """The training of an autoencoder of ``data``.

    Arguments:
        data: the pictures; signals (C, L) and videos (C, T, H, W) too.
        kind: ``"vq"``, codes are symbols, or ``"kl"``, they are real numbers.
        images: how long to train.
        width: channels after the first halving; the one dial for capacity.
        vocab: how many symbols.
        down: halvings; a code has a place for every 2^down pixels of a side.
        code: features of a symbol's vector, or channels of real codes; None: 16, or 4.
        adversarial, feature: weights of a patch discriminator's opinion and of the distance in its features, from a
            quarter of the run on; with them pictures are sharper, and further from the truth in PSNR.
        peak: the highest learning rate.
        batch: images a step.

    Raises:
        Refusal: the data are symbols already, or there is no such kind.
    """
    if kind not in KINDS:
        raise Refusal(f"an autoencoder is of the kind {' or '.join(KINDS)}, not {kind!r}")
    if data.vocab is not None:
        raise Refusal(f"data.{type(data).__name__} holds symbols already, and this recipe makes codes of real numbers")
    if data.std < 1e-3:
        raise Refusal("these pictures hardly differ from one constant shade, so there is nothing to learn from them")
    model: Autoencoder
    if kind == "vq":
        model = VQ(data.shape, vocab=vocab, width=width, down=down, code=16 if code is None else code)
    else:
        model = KL(data.shape, width=width, down=down, code=4 if code is None else code)
    judged = adversarial + feature > 0
    smaller = min(data.shape[1:])
    objective = Reconstruction(
        feature=feature,
        adversarial=adversarial,
        discriminator=PatchDiscriminator(data.shape, width, depth=2 if smaller < 64 else 3) if judged else None,
        start=count(images) // 4 if judged else 0,
    )
    trainer = Trainer(
        objective,
        images=count(images),
        batch=batch,
        rate=Rate(peak=peak, warmup=min(5_000, count(images) // 20), cooldown=0.6),
        averages=(0.05, 0.10),
    )
    return Training(cast(Any, model), data, trainer)


def of_data(data: Data, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; settings as for :func:`usual`."""
    return usual(data, **settings).tree(seed)


@dataclass(frozen=True)
class Quality:
    """What an autoencoder keeps of pictures.

    Arguments:
        psnr: mean over pictures, in dB, high is good.
        pictures: how many.
        used: the share of the codes that occur; None where they are real numbers.
        perplexity: of the codes, at most their number; None alike.
    """

    psnr: float
    pictures: int
    used: float | None = None
    perplexity: float | None = None

    def __str__(self) -> str:
        codes = ""
        if self.used is not None:
            codes = f", {self.used:.0%} of the codes in use, perplexity {self.perplexity:.1f}"
        return f"PSNR {self.psnr:.2f} dB on {self.pictures:,} pictures{codes}"


@torch.no_grad()
def quality(model: Autoencoder, data: Data, most: int = 2_000, batch: int = 256) -> Quality:
    """How near pictures in [-1, 1] come back, and how many codes they take; of a law of codes, under fixed keys.

    Arguments:
        model: which autoencoder; asked in evaluation mode.
        data: pictures that it never saw (``data.held_out()``).
        most: how many of them at most, from the first.
        batch: pictures at once.
    """
    training = model.training
    model.eval()
    found, counts = [], torch.zeros(model.vocab or 0, dtype=torch.int64)
    rows = list(range(min(most, len(data))))
    for start in range(0, len(rows), batch):
        some = rows[start : start + batch]
        x, _ = data[some]
        z = model.encode(x.to(model.device)).sample(Rng(some))
        found.append(psnr_each(model.decode(z).cpu(), x))
        if model.vocab is not None:
            counts += z.flatten().bincount(minlength=model.vocab).cpu()
    model.train(training)
    decibels = float(torch.cat(found).mean())
    if model.vocab is None:
        return Quality(decibels, len(rows))
    return Quality(decibels, len(rows), float((counts > 0).double().mean()), perplexity(counts))
