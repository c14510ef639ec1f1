"""A model of any picture set: unconditional, or conditional on its classes.

``usual`` measures a data set (shape, spread, classes) and settles the whole training from it, so that a person
who has only pictures need not know one name of the house, and can still edit every value afterwards.
"""

from __future__ import annotations

import math
from typing import Any

from mezzotint.conditions.classes import Classes
from mezzotint.conditions.encoder import Encoder
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.data.data import Data
from mezzotint.denoiser.preconditioned import Preconditioned
from mezzotint.evidence.recipe import Training
from mezzotint.networks.unet import UNet
from mezzotint.objectives.denoising import Denoising
from mezzotint.objectives.levels import LogNormal
from mezzotint.processes.base import Continuous
from mezzotint.processes.edm import EDM
from mezzotint.samplers.heun import Heun
from mezzotint.training.rate import Rate
from mezzotint.training.trainer import Trainer

DEMO: dict[str, Any] = {"images": 64_000, "width": 32, "steps": 9, "peak": 3e-3}
"""What ``mezzotint demo`` trains: about 80 seconds on two cores."""


def usual(
    data: Data,
    images: int | str = "200k",
    width: int = 32,
    steps: int = 18,
    peak: float = 2e-3,
    process: Continuous | None = None,
) -> Training:
    """The training of a class-conditional EDM model of ``data``.

    Arguments:
        data: the pictures; its classes, if any, become the condition ``label``.
        images: how long to train.
        width: channels of the U-Net at full size; the one dial for its capacity.
        steps: of the model's usual sampler (Heun).
        peak: the highest learning rate; a short run of a small network bears twice the usual one.
        process: what corrupts the data; None: EDM's.

    Larger pictures get more levels: two at 8 pixels, three up to 32, four beyond, attention at the coarsest.
    """
    if data.std < 1e-3:
        raise Refusal("these pictures hardly differ from one constant shade, so there is nothing to learn from them")
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
    )
    encoder = Encoder(label=Classes(len(data.classes))) if data.classes else None
    # EDM's levels were chosen for data of standard deviation 0.5; they scale with it.
    middle = -1.2 + math.log(data.std / 0.5)
    trainer = Trainer(
        Denoising(LogNormal(round(middle, 3), 1.2), dropout=0.1 if data.classes else 0.0),
        images=count(images),
        batch=128,
        rate=Rate(peak=peak, warmup=min(5_000, count(images) // 10), cooldown=0.6),
        averages=(0.05, 0.10),
        sampler=Heun(steps=steps),
    )
    model = Preconditioned(network, EDM() if process is None else process, encoder, sigma_data=round(data.std, 4))
    return Training(model, data, trainer)


def of_data(
    data: Data, images: int | str = "200k", width: int = 32, steps: int = 18, seed: int = 0, peak: float = 2e-3
) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; arguments as for :func:`usual`."""
    return usual(data, images, width, steps, peak).tree(seed)
