"""The recipe that is written from data, by what their samples are: symbols, or pictures and whatever else is real."""

from __future__ import annotations

from typing import Any

from mezzotint.data.data import Data
from mezzotint.evidence.recipe import Training
from mezzotint.recipes import classes, symbols


def usual(
    data: Data, images: int | str = "200k", width: int | None = None, steps: int | None = None, **settings: Any
) -> Training:
    """The usual training of ``data``, by :func:`.classes.usual`, or :func:`.symbols.usual` where they are symbols.

    Arguments:
        data: what is learnt.
        images: how long, in samples seen.
        width: the one dial for capacity; None: what is usual for these data.
        steps: of the model's usual sampler; None: what is usual.
        settings: further ones of that recipe by name, such as ``peak`` and ``batch``.
    """
    given = {name: value for name, value in (("width", width), ("steps", steps)) if value is not None}
    made: Training = (classes if data.vocab is None else symbols).usual(data, images, **given, **settings)
    return made


def of_data(
    data: Data,
    images: int | str = "200k",
    width: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it; arguments as for :func:`usual`."""
    return usual(data, images, width, steps, **settings).tree(seed)
