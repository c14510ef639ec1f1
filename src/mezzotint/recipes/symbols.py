"""A model of any set of symbols: texts, shades, draws of a chain; unconditional, or conditional on their labels.

What is trained is masked diffusion without a time (RADD): a bidirectional transformer that is told which entries are
known and says what may stand in the others. Its loss is a bound on the likelihood, so what a run reports is in nats.
Sampling takes equal intervals of the time in which a share t is masked, and draws what is unmasked in each.

Labels become a vector that modulates every block, and are dropped a tenth of the time, so that they may be left out,
and guided, afterwards. Anything else that is told is refused by name.

Source: Ou et al. 2024, "Your absorbing discrete diffusion secretly models the conditional distributions of clean data"
(2406.03736): the loss of equation 3.6. Its rates are for 400,000 steps of 512 texts; ours for runs of a day or less.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data
from mezzotint.denoiser.tokens import Tokens
from mezzotint.evidence.recipe import Training
from mezzotint.networks.token_transformer import TokenTransformer
from mezzotint.objectives.tokens import LevelBound
from mezzotint.processes.absorbing import Absorbing
from mezzotint.samplers.ancestral import Ancestral
from mezzotint.samplers.grids import Uniform
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

BATCH = 64
HEAD = 32
"""Features of a head, where the width is a multiple of it."""


def usual(
    data: Data,
    images: int | str = "200k",
    width: int = 128,
    steps: int = 64,
    peak: float = 1e-3,
    batch: int = BATCH,
    depth: int = 4,
) -> Training:
    """The training of a masked model of ``data``, conditional on their labels where they have some.

    Arguments:
        data: a set of symbols (with a ``vocab``).
        images: how long to train, in samples seen.
        width: features of a token; with ``depth`` the dials for capacity.
        steps: intervals of the model's usual sampler; beyond the symbols of a sample they change little.
        peak: the highest learning rate.
        batch: samples a step.
        depth: blocks.

    Raises:
        Refusal: the data are no symbols, or tell what this recipe has no part for.
    """
    if data.vocab is None:
        raise Refusal(f"data.{type(data).__name__} holds no symbols; the recipe for pictures is recipes.classes")
    if data.vocab < 2:
        raise Refusal("these data are one symbol over and over, so there is nothing to learn from them")
    for family in data.condition(np.zeros(1, dtype=np.int64)).families:
        if family != "label":
            raise Refusal(
                f"these data tell {family!r}, and the recipe that is written from symbols learns labels alone; let the "
                "data tell no more, or write the model into the recipe"
            )
    labelled = data.labels is not None and len(data.classes) > 0
    process = Absorbing(data.vocab)
    heads = next(number for number in range(max(1, width // HEAD), 0, -1) if width % number == 0)
    network = TokenTransformer(
        process.symbols, data.vocab, data.shape, width, depth, heads, vector=width if labelled else None
    )
    encoder = Encoder(label=Classes(len(data.classes), width)) if labelled else None
    trainer = Trainer(
        LevelBound(dropout=0.1 if labelled else 0.0),
        images=count(images),
        batch=batch,
        rate=Rate(peak=peak, warmup=min(10_000, count(images) // 10), cooldown=0.6),
        averages=(0.05, 0.10),
        sampler=Ancestral(steps, grid=Uniform()),
    )
    return Training(Tokens(network, process, encoder), data, trainer)


def of_data(data: Data, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; settings as for :func:`usual`."""
    return usual(data, **settings).tree(seed)
