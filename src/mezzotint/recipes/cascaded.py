"""A cascade of any picture set: a base model of small pictures, and models that make the pictures before larger.

``usual`` settles the trainings of all stages from the data. Every stage learns the pictures at its own size, brought
there by the mean over cells (``operators.BlockMean``), the one filter that is used for what a stage draws and for what
it is given; so they fit by construction, without 8-bit rounding between them. What the data tell (classes, captions)
is told to every stage and dropped a tenth of the time; the low resolution is never dropped, so it needs no null.

The low resolution is corrupted in training, so that a stage does not believe the one before to the last pixel: by noise
whose level the network is told, or by a blur for some of the pictures. Noise is along the cosine process whatever the
stage's own process is: its scales are bounded, so that a low resolution at any level has the spread of pictures.

Source: Ho et al. 2022, Cascaded Diffusion Models (2106.15282), sections 3 and 4; the filter is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from mezzotint.conditions.augment import Augment, Blurred, Noised
from mezzotint.conditions.image import Image
from mezzotint.conditions.part import ConditionPart
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal, nearest
from mezzotint.data.data import Data
from mezzotint.data.derived import Derived, Measured
from mezzotint.evidence.recipe import Training
from mezzotint.objectives.denoising import Denoising
from mezzotint.operators.resize import BlockMean
from mezzotint.processes.base import Continuous
from mezzotint.processes.cosine import Cosine
from mezzotint.recipes import classes

LOW = "low"
"""The family of the picture before."""
VECTOR = 128
"""Features of the vector that says how noisy the picture before is."""
AUGMENTS = ("noise", "blur", "none")
DROPOUT = 0.1

Each = int | str | Sequence[int | str]


def usual(
    data: Data,
    sizes: Sequence[int],
    images: Each = "200k",
    width: int | Sequence[int] = 32,
    steps: int = 18,
    peak: float = 2e-3,
    process: Continuous | None = None,
    batch: int = classes.BATCH,
    augment: str = "noise",
) -> dict[str, Training]:
    """The trainings of a cascade of ``data`` by the name of the stage, which is its size; the base comes first.

    Arguments:
        data: the pictures; signals (C, L) and videos too.
        sizes: of the shortest side, ascending, each a divisor of the next; the last is the data's own.
        images: how long each stage is trained; one number for all of them, or one a stage.
        width: channels of the U-Net at full size, alike.
        steps, peak, process, batch: of every stage, as for :func:`.classes.usual`.
        augment: what happens to the picture before in training: ``"noise"`` of any level, ``"blur"`` of half of them,
            or ``"none"``.

    Raises:
        Refusal: the sizes are no such sizes, or the data are symbols, have several sizes, or tell maps.
    """
    augmented = augmentation(augment)
    check(data, sizes)
    lengths = each(images, len(sizes), "images")
    widths = [int(one) for one in each(width, len(sizes), "width")]
    data, _ = classes.settled(data)
    trainings: dict[str, Training] = {}
    before: int | None = None
    for size, length, wide in zip(sizes, lengths, widths, strict=True):
        own = _brought(data, sizes[-1] // size)
        up = None if before is None else size // before
        low: dict[str, ConditionPart] = {}
        if up is not None:
            low[LOW] = Image(data.shape[0], up=up, level=VECTOR if augment == "noise" else None)
        made = classes.usual(own, length, wide, steps, peak, process, batch, low)
        trainings[str(size)] = made if up is None else _conditioned(made, own, up, augmented)
        before = size
    return trainings


def _brought(data: Data, factor: int) -> Data:
    """The data with every side divided by a factor."""
    return data if factor == 1 else Measured(data, BlockMean(factor))


def _conditioned(made: Training, own: Data, up: int, augmented: Augment | None) -> Training:
    """A training of pictures that are told their low resolution as well."""
    objective: Any = made.training.objective
    families = own.condition(np.zeros(1, dtype=np.int64)).families
    learnt = Denoising(
        objective.levels,
        objective.weight,
        dropout=dict.fromkeys(families, DROPOUT) if families else 0.0,
        augment=augmented,
    )
    return replace(made, data=Derived(own, BlockMean(up), LOW), training=replace(made.training, objective=learnt))


def augmentation(name: str) -> Augment | None:
    """What becomes of the picture before in training, by its name; None: nothing."""
    if name not in AUGMENTS:
        raise Refusal(f"there is no augmentation {name!r}: {nearest(name, AUGMENTS)}")
    return {"noise": Noised(Cosine(), LOW), "blur": Blurred(LOW), "none": None}[name]


def each(given: Any, stages: int, what: str) -> list[Any]:
    """One value a stage, where one for all of them or one for each is given."""
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * stages
    if len(values) != stages:
        raise Refusal(
            f"{what} names {len(values)} values for {stages} stages: name one for all of them, or one for each"
        )
    return [count(value) for value in values]


def check(data: Data, sizes: Sequence[int]) -> None:
    """Refuse sizes that no cascade of these data has, and data that none can be made of."""
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    if not whole or len(sizes) < 2:
        raise Refusal(f"a cascade has at least two sizes, whole numbers such as 7,14,28, not {list(sizes)}")
    if data.vocab is not None or len(data.shape) < 2:
        raise Refusal(f"a cascade is of pictures, and samples of data.{type(data).__name__} are not: train them alone")
    if data.buckets is not None:
        raise Refusal("a cascade has one size a stage, and these data have several: bring the pictures to one by size")
    shortest = min(data.shape[1:])
    if sizes[-1] != shortest:
        raise Refusal(
            f"the last stage of a cascade draws the pictures as they are, {' x '.join(map(str, data.shape[1:]))}, so "
            f"the last size is {shortest} and not {sizes[-1]}; name it last, or bring the pictures to {sizes[-1]}"
        )
    for small, large in pairwise(sizes):
        if large <= small:
            raise Refusal(f"the sizes of a cascade ascend, and {large} comes after {small}")
        if large % small:
            possible = ", ".join(str(side) for side in range(1, large) if large % side == 0)
            raise Refusal(
                f"{large} is not a whole multiple of {small}: a low resolution is the mean over whole cells, so each "
                f"size divides the next; below {large} stand {possible}"
            )
    factor = shortest // sizes[0]
    for side in data.shape[1:]:
        if side % factor:
            raise Refusal(
                f"a base of {sizes[0]} makes every side {factor} times smaller, and {side} cannot be: crop the "
                "pictures, or take other sizes"
            )
    _, cond = data.items(np.zeros(1, dtype=np.int64))
    for name, value in cond.values.items():
        maps = value.shape[2:] == data.shape[1:] or value.shape[1:] == data.shape[1:]
        if maps and name != "caption":
            raise Refusal(
                f"these data tell {name!r}, a map at the size of the pictures, and the stages of a cascade have other "
                "sizes; let the data tell no more than classes, captions and attributes"
            )
