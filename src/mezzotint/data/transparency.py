"""Transparency laid on a colour: what a picture shows where it is not opaque.

    shown = share * picture + (1 - share) * colour,

the share being the last channel. Of bytes it is exact: rgb a + c (255 - a) is a whole number, and a 255th of it never
lies half-way between two bytes, so there is one nearest. Laid before it is resized: what a transparent pixel would
show must not leak into its neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from mezzotint.core.errors import Refusal


def check_colour(under: str) -> None:
    """Refuse what names no colour."""
    try:
        ImageColor.getrgb(under)
    except (ValueError, AttributeError, TypeError):
        raise Refusal(f"there is no colour {under!r}; name one such as white, grey or #ff8800") from None


def shade(under: str, channels: int) -> tuple[int, ...]:
    """A colour as bytes, one a channel: three, or its Rec. 601 luma."""
    found = ImageColor.getcolor(under, "L" if channels == 1 else "RGB")
    return (found,) if isinstance(found, int) else tuple(found[:3])


def laid(pictures: NDArray[Any], under: str) -> NDArray[Any]:
    """Pictures whose last channel is their share, (..., 2 or 4), on a colour: (..., 1 or 3) of the same kind.

    Arguments:
        pictures: uint8, or float32 in [-1, 1], where -1 is a share of nothing.
        under: the colour by name or ``#rrggbb``; under grey pictures its Rec. 601 luma.
    """
    colour = np.array(ImageColor.getrgb(under)[:3])
    if pictures.shape[-1] == 2:
        colour = np.array([ImageColor.getcolor(under, "L")]).reshape(-1)[:1]
    if pictures.dtype == np.uint8:
        share = pictures[..., -1:].astype(np.int32)
        mixed = pictures[..., :-1] * share + colour.astype(np.int32) * (255 - share)
        return ((mixed + 127) // 255).astype(np.uint8)
    part = (pictures[..., -1:] + 1) / 2
    shown: NDArray[Any] = part * pictures[..., :-1] + (1 - part) * (colour / 127.5 - 1).astype(pictures.dtype)
    return shown
