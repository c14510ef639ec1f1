"""The recipe that is written from data, by what their samples are: symbols, or pictures and whatever else is real."""

from __future__ import annotations

from typing import Any

from mezzotint.data.data import Data
from mezzotint.evidence.recipe import Training
from mezzotint.recipes import classes, symbols


def usual(data: Data, **settings: Any) -> Training:
    """The usual training of ``data``; settings as :func:`.classes.usual` and :func:`.symbols.usual` have them.

    Arguments:
        data: what is learnt.
        settings: by name, such as ``images``, ``width``, ``steps``, ``peak`` and ``batch``; what is left out is usual.
    """
    return classes.usual(data, **settings) if data.vocab is None else symbols.usual(data, **settings)


def of_data(data: Data, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """The config of that training at a seed, as ``mezzotint train`` takes it."""
    return usual(data, **settings).tree(seed)
