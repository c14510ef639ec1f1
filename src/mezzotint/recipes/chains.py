"""A chain of autoregressive models of any set of symbols: ImageBART, and with one stage the plain model.

Stages get finer at equal steps of the share that is redrawn, each has a network of its own, and one training learns
them all, a stage drawn at random for every sample; as the bound is a sum over stages, that is what training each by
itself would find. The first stage has nothing to read and is a decoder; the others read the coarser map with an encoder
and say the finer one with a decoder, and what the coarser symbols say by themselves is added by Bayes' rule.

Labels become a vector that modulates every block, captions tokens that the encoder reads; both are dropped a tenth of
the time, so that they may be left out, and guided, afterwards. Anything else that is told is refused by name.

Source: Esser et al. 2021, ImageBART (2108.08827): two to five stages, the soft loss, betas 0.9 and 0.95. Its rates are
for millions of steps of 16 to 34 samples; ours for runs of a day or less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data
from mezzotint.denoiser.chain import Chain
from mezzotint.evidence.recipe import Training
from mezzotint.networks.causal import Causal
from mezzotint.networks.encoder_decoder import EncoderDecoder
from mezzotint.objectives.chain import ChainBound
from mezzotint.processes.alive import Alive, Linear
from mezzotint.processes.multinomial import Multinomial
from mezzotint.recipes import classes
from mezzotint.samplers.chain import Chain as Walk
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

BATCH = 64
HEAD = 32
"""Features of a head, where the width is a multiple of it."""
HEARD = ("label", "caption")


def usual(
    data: Data,
    images: int | str = "200k",
    width: int = 128,
    stages: int = 3,
    peak: float = 1e-3,
    batch: int = BATCH,
    depth: tuple[int, int, int] = (4, 3, 2),
    schedule: Alive | None = None,
    residual: bool = True,
) -> Training:
    """The training of a chain of ``data``, conditional on their labels or captions where they have some.

    Arguments:
        data: a set of symbols (with a ``vocab``).
        images: how long to train, in samples seen; each trains one of the stages.
        width: features of a token; with ``depth`` the dials for capacity.
        stages: how many; 1 is the plain autoregressive model.
        peak: the highest learning rate.
        batch: samples a step.
        depth: blocks of the first stage's decoder, and of the encoder and the decoder of the others.
        schedule: of the process; None: equal shares (the paper's geometric schedule).
        residual: add log q(x_t | x_s) to what a network says.

    Raises:
        Refusal: the data are no symbols, or tell what this recipe has no part for.
    """
    if data.vocab is None:
        raise Refusal(f"data.{type(data).__name__} holds no symbols; a chain is trained on codes, or on data.Shaded")
    if data.vocab < 2:
        raise Refusal("these data are one symbol over and over, so there is nothing to learn from them")
    if stages < 1:
        raise Refusal(f"a chain has at least one stage, not {stages}")
    families = data.condition(np.zeros(1, dtype=np.int64)).families
    for family in families:
        if family not in HEARD:
            raise Refusal(
                f"these data tell {family!r}, and a chain that is written from data learns labels and captions alone; "
                "let the data tell no more, or write the model into the recipe"
            )
    encoder, vector, tokens = _heard(data, families, width)
    heads = next(number for number in range(max(1, width // HEAD), 0, -1) if width % number == 0)
    first, coarse, fine = depth
    networks: list[nn.Module] = [
        Causal(data.vocab, data.shape, width, first, heads, vector=vector, tokens=tokens),
        *(
            EncoderDecoder(
                data.vocab, data.shape, width, (coarse, fine), heads, residual=residual, vector=vector, tokens=tokens
            )
            for _ in range(stages - 1)
        ),
    ]
    trainer = Trainer(
        ChainBound(dropout=0.1 if encoder is not None else 0.0),
        images=count(images),
        batch=batch,
        rate=Rate(peak=peak, warmup=min(10_000, count(images) // 10), cooldown=0.6),
        betas=(0.9, 0.95),
        averages=(0.05, 0.10),
        sampler=Walk(),
    )
    process = Multinomial(data.vocab, Linear() if schedule is None else schedule)
    return Training(Chain(networks, process, encoder), data, trainer)


def of_data(data: Data, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; settings as for :func:`usual`."""
    return usual(data, **settings).tree(seed)


def _heard(data: Data, families: tuple[str, ...], width: int) -> tuple[Encoder | None, int | None, int | None]:
    """The encoder of what is told, and the features of its vector and of its tokens."""
    if "caption" in families:
        text = classes.text(data.texts(np.linspace(0, len(data) - 1, min(len(data), 20_000)).astype(np.int64)))
        parts: dict[str, Any] = {"caption": text}
        if "label" in families:
            parts["label"] = Classes(len(data.classes), classes.TEXT)
        return Encoder(**parts), classes.TEXT, classes.TEXT
    if "label" in families and len(data.classes):
        return Encoder(label=Classes(len(data.classes), width)), width, None
    return None, None, None
