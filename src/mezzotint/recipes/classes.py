"""A model of any picture set: unconditional, or conditional on whatever is told of it.

``usual`` measures a data set (shape, spread, classes, captions, layouts and the rest) and settles the whole training
from it, so that a person who has only pictures need not know one name of the house, and can still edit every value
afterwards. What becomes of what is told is in :mod:`.told`; every family is dropped a tenth of the time by itself, so
that each may be left out, and guided, afterwards.

Of a set with both, captions are learnt and classes are not: a caption says more, and usually says the class too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from mezzotint.conditions.encoder import Encoder
from mezzotint.conditions.part import ConditionPart
from mezzotint.conditions.text import Text
from mezzotint.conditions.tokenizers import Bytes, Tokenizer, Words
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.data.arrays import Arrays
from mezzotint.data.data import Data
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Training
from mezzotint.networks.unet import UNet
from mezzotint.objectives.denoising import Denoising
from mezzotint.objectives.levels import LogNormal
from mezzotint.processes.base import Continuous
from mezzotint.processes.edm import EDM
from mezzotint.recipes import told
from mezzotint.samplers.heun import Heun
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

DEMO: dict[str, Any] = {"images": 64_000, "width": 32, "steps": 9, "peak": 3e-3}
"""What ``mezzotint demo`` trains: about 80 seconds on two cores."""

BATCH = 128
TEXT = 128
"""Features of a token, and of the vector that stands for a whole caption."""
SHORTEST, LONGEST = 8, {"words": 77, "bytes": 256}
"""Tokens of a caption that are read: as many as the longest of the set has, within these bounds."""
_READ = 20_000  # captions from which a vocabulary is made, spread evenly over the set


def usual(
    data: Data,
    images: int | str = "200k",
    width: int = 32,
    steps: int = 18,
    peak: float = 2e-3,
    process: Continuous | None = None,
    batch: int = BATCH,
    beside: Mapping[str, ConditionPart] | None = None,
) -> Training:
    """The training of an EDM model of ``data``, conditional on what they tell.

    Arguments:
        data: the pictures; captions, or else classes, and attributes, layouts, condition pictures and masks.
        images: how long to train.
        width: channels of the U-Net at full size; the one dial for its capacity.
        steps: of the model's usual sampler (Heun).
        peak: the highest learning rate; a short run of a small network bears twice the usual one.
        process: what corrupts the data; None: EDM's.
        batch: images a step.
        beside: condition parts of further families, which another recipe makes these data tell.

    Larger pictures get more levels: two at 8 pixels, three up to 32, four beyond, attention at the coarsest.
    """
    if data.std < 1e-3:
        raise Refusal("these pictures hardly differ from one constant shade, so there is nothing to learn from them")
    data, texts = settled(data)
    heard = told.parts(data) | ({"caption": text(texts)} if texts else {}) | dict(beside or {})
    smaller = min(data.shape[-2:])
    multipliers = (1, 2) if smaller < 16 else (1, 2, 2) if smaller <= 32 else (1, 1, 2, 2)
    network = UNet(
        data.shape,
        width=width,
        multipliers=multipliers,
        attention=() if smaller < 16 else (-1,),
        # At 4 x 4 the blocks on the way already see everything: without a middle a step costs a quarter less, and at
        # equal time the held-out loss on digits was lower.
        middle="none" if smaller < 16 else "attention",
        resample="mean",
        tokens=TEXT if texts else None,
        cross=(-1,) if texts and smaller < 16 else None,
        maps=sum(told.channels(part) for part in heard.values()),
    )
    encoder = Encoder(**heard) if heard else None
    # EDM's levels were chosen for data of standard deviation 0.5; they scale with it.
    middle = -1.2 + math.log(data.std / 0.5)
    trainer = Trainer(
        Denoising(LogNormal(round(middle, 3), 1.2), dropout=0.0 if encoder is None else 0.1),
        images=count(images),
        batch=batch,
        rate=Rate(peak=peak, warmup=min(5_000, count(images) // 10), cooldown=0.6),
        averages=(0.05, 0.10),
        sampler=Heun(steps=steps),
    )
    model = Preconditioned(network, EDM() if process is None else process, encoder, sigma_data=round(data.std, 4))
    return Training(model, data, trainer)


def settled(data: Data) -> tuple[Data, list[str]]:
    """The data as they tell no more than the model is to learn, and their captions; [] for a set without."""
    families = data.condition(np.zeros(1, dtype=np.int64)).families
    if "caption" not in families:
        return data, []
    if "label" in families:
        if "label" not in {field.name for field in dataclasses.fields(cast(Any, data))}:
            raise Refusal(
                "these data tell labels beside captions, and the recipe that is written from data learns captions "
                "alone; let the data tell one of them"
            )
        data = dataclasses.replace(cast(Any, data), label=None, **({"classes": ()} if isinstance(data, Arrays) else {}))
    return data, data.texts(np.linspace(0, len(data) - 1, min(len(data), _READ)).astype(np.int64))


def text(texts: list[str]) -> Text:
    """An encoder for captions such as these.

    Its tokens are words where these come back, half as often again as there are different ones; else the captions are
    too different, or in a script without spaces, and its tokens are bytes.
    """
    if not any(entry.strip() for entry in texts):
        raise Refusal("no caption of these data says anything: leave the captions out, or look at where they come from")
    tokenizer: Tokenizer
    try:
        tokenizer = Words.of(texts)
        if 2 * sum(len(tokenizer.encode(text)) for text in texts) < 3 * tokenizer.size:
            tokenizer = Bytes()
    except Refusal:  # more words than a config holds
        tokenizer = Bytes()
    longest = max(len(tokenizer.encode(text)) for text in texts)
    return Text(tokenizer, width=TEXT, length=max(SHORTEST, min(longest, LONGEST[tokenizer.unit])), pooled=TEXT)


def of_data(
    data: Data,
    images: int | str = "200k",
    width: int = 32,
    steps: int = 18,
    seed: int = 0,
    peak: float = 2e-3,
    batch: int = BATCH,
) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; arguments as for :func:`usual`."""
    return usual(data, images, width, steps, peak, batch=batch).tree(seed)
