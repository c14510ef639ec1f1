"""Which colour every pixel of a picture shows, and which pixels hang together: the first step of reading a scene.

Textures and shading change how much light there is and never the colour, and backgrounds are nearly grey. So a pixel is
a sum, a times a colour of the palette plus g times the tint of the background, at the edges of objects both; a and g
are found by least squares for every colour, and the colour that leaves the least over is the pixel's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mezzotint.data.scenes.numbers import Array, Doubles, Floats
from mezzotint.data.scenes.words import COLOURS, PALETTE, TINTED

_SHARE = 0.33
"""A pixel is an object's where more than this share of its light comes from it."""
_LEAST = 5
"""Pixels of the smallest part that may be an object, at 32 pixels a side."""


@dataclass(frozen=True)
class Part:
    """Pixels of one colour that hang together.

    Arguments:
        colour: number of the word.
        mask: bool (H, W).
        area: how many pixels.
    """

    colour: int
    mask: Array
    area: int


def noise_of(picture: Doubles) -> float:
    """The standard deviation of the noise of a picture (H, W, ...), from the differences that smooth pictures lack.

    Source: Immerkaer, "Fast noise variance estimation", Computer Vision and Image Understanding 64, 1996; with the
    median in place of the mean, since edges are few.
    """
    d = picture[1:] - picture[:-1]
    d = d[1:] - d[:-1]
    d = d[:, 1:] - d[:, :-1]
    d = d[:, 1:] - d[:, :-1]
    return float(np.median(np.abs(d)) / 0.6745 / 6.0)


@lru_cache(maxsize=512)
def kernel(size: int, sigma: float, held: bool) -> Floats:
    """A Gaussian blur along a side as a matrix (size, size); ``held``: what is beyond is like what is near it."""
    away = np.arange(size)[:, None] - np.arange(size)[None, :]
    made = np.exp(-0.5 * (away / max(sigma, 0.05)) ** 2)
    reach = np.arange(-24, 25)
    total = made.sum(1, keepdims=True) if held else np.exp(-0.5 * (reach / max(sigma, 0.05)) ** 2).sum()
    found: Floats = (made / total).astype(np.float32)
    found.flags.writeable = False
    return found


def blurred(maps: Array, sigma: float, held: bool) -> Array:
    """Maps (..., H, W) blurred."""
    if sigma < 0.05:
        return maps
    height, width = maps.shape[-2:]
    found: Array = kernel(height, sigma, held) @ maps @ kernel(width, sigma, held).T
    return found


def unmixed(picture: Doubles, colour: int, tint: int) -> tuple[Doubles, Doubles]:
    """How much of a colour and of a tint each pixel of a picture (H, W, 3) is, (H, W) each, by least squares."""
    found = picture @ _inverses(tint)[colour].T
    return found[..., 0], found[..., 1]


@lru_cache(maxsize=len(TINTED))
def _inverses(tint: int) -> Doubles:
    """For every colour, (6, 2, 3): of a pixel, how much of the colour and how much of the tint."""
    return np.stack([np.linalg.pinv(np.stack([c, TINTED[tint]], 1).astype(np.float64)) for c in PALETTE])


def shares(picture: Doubles, tint: int) -> tuple[Array, Doubles]:
    """The best colour (H, W) of every pixel of a picture (H, W, 3), and the share of its light that has this colour."""
    t, palette = TINTED[tint].astype(np.float64), PALETTE.astype(np.float64)
    flat = picture.reshape(-1, 3)
    a, g = np.moveaxis(flat @ _inverses(tint).reshape(-1, 3).T.copy(), 1, 0).reshape(len(COLOURS), 2, -1).swapaxes(0, 1)
    alone = (flat @ (palette / (palette**2).sum(1, keepdims=True)).T).T
    a = np.where(g < 0, alone, a)
    g = np.where(a < 0, flat @ t / (t @ t), g)
    a, g = np.maximum(a, 0.0), np.maximum(g, 0.0)
    # |p - a c - g t|^2 without the pixels' own length, which is the same for every colour
    along = flat @ palette.T
    left = a * (a * (palette**2).sum(1)[:, None] - 2 * along.T) + g * (g * (t @ t) - 2 * (flat @ t))
    left += 2 * a * g * (palette @ t)[:, None]
    best = left.argmin(0)
    share = a / np.maximum(a + g, 0.05)
    shape = picture.shape[:2]
    return best.reshape(shape), np.take_along_axis(share, best[None], 0)[0].reshape(shape)


def parts(picture: Doubles, tint: int) -> tuple[list[Part], Doubles]:
    """The parts of a picture, largest first, and the share (H, W) of every pixel that is some object's."""
    from scipy.ndimage import label  # loaded when needed

    best, share = shares(picture, tint)
    least = _LEAST * (min(picture.shape[:2]) / 32) ** 2
    found = []
    for colour in range(len(COLOURS)):
        mine = (best == colour) & (share > _SHARE)
        if not mine.any():
            continue
        numbered, many = label(mine, np.ones((3, 3)))
        areas = np.bincount(numbered.reshape(-1), minlength=many + 1)
        found += [
            Part(colour, numbered == k, int(areas[k]))
            for k in range(1, many + 1)
            if areas[k] >= least and share[numbered == k].max() > 0.55
        ]
    return sorted(found, key=lambda part: -part.area), share
