"""The same scenes in other hands: a style changes how every picture looks and nothing of what it shows.

Each is a map of a finished picture and of what is known of it, made of the same exact arithmetic as scenes are.
"""

from __future__ import annotations

import numpy as np

from mezzotint.data.scenes.numbers import Array, Floats

STYLES = ("photo", "night", "faded", "sketch", "poster")
_ONE = np.float32(1.0)


def styled(image: Floats, instances: Array, style: str) -> Floats:
    """Pictures (B, 3, H, W) in [0, 1] in a style.

    Arguments:
        image: as painted.
        instances: (B, H, W), which object each pixel shows.
        style: ``photo`` (as painted), ``night`` (little light, and blue), ``faded`` (half of the colour, warm),
            ``sketch`` (dark outlines and pale shades, without colour) or ``poster`` (four shades of each channel).
    """
    if style == "photo":
        return image
    grey = (image[:, 0] * np.float32(0.299) + image[:, 1] * np.float32(0.587) + image[:, 2] * np.float32(0.114))[
        :, None
    ]
    if style == "night":
        dim: Floats = image * np.array([0.38, 0.45, 0.70], dtype=np.float32)[:, None, None]
        return dim
    if style == "faded":
        mixed: Floats = (image + grey) * np.float32(0.5) * np.float32(0.75) + np.float32(0.22)
        warm: Floats = mixed * np.array([1.0, 0.94, 0.80], dtype=np.float32)[:, None, None]
        return warm
    if style == "poster":
        found: Array = np.floor(np.minimum(image, np.float32(0.999)) * np.float32(4)) / np.float32(3)
        return found
    pale = np.float32(0.62) + np.float32(0.38) * grey
    drawn = np.where(edges(instances)[:, None], np.float32(0.12), pale)
    return np.repeat(np.minimum(drawn, _ONE), 3, axis=1)


def edges(instances: Array) -> Array:
    """Whether a pixel shows another object than one of its four neighbours, bool (B, H, W)."""
    found = np.zeros(instances.shape, dtype=bool)
    down = instances[:, 1:] != instances[:, :-1]
    across = instances[:, :, 1:] != instances[:, :, :-1]
    found[:, 1:] |= down
    found[:, :-1] |= down
    found[:, :, 1:] |= across
    found[:, :, :-1] |= across
    return found
