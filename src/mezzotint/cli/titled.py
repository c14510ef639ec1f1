"""Pictures on a sheet, each under a few words: what came in above, what came out below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mezzotint.training.pictures import Pixels

LIGHT, DARK = np.array([214, 158, 66]), np.array([120, 84, 28])
PAPER, INK = (32, 32, 32), (225, 225, 225)
SIZE = 13  # of the letters, in pixels
LINE = 16


@dataclass(frozen=True)
class Tile:
    """One picture and the lines above it.

    Arguments:
        picture: bytes (H, W, C), as large as it is shown.
        title: lines of text; one that is wider than the picture is cut.
    """

    picture: Pixels
    title: tuple[str, ...] = ()


def enlarged(picture: Pixels, scale: int) -> Pixels:
    """Bytes (H, W, C) with every pixel shown ``scale`` times, in colour."""
    return np.broadcast_to(picture, (*picture.shape[:2], 3)).repeat(scale, 0).repeat(scale, 1)


def hatched(picture: Pixels, where: np.ndarray, every: int = 6) -> Pixels:
    """The picture with diagonal stripes over part of it, so that white, black and grey are told from "to be redone".

    Arguments:
        picture: bytes (H, W, 3).
        where: bool (H, W).
    """
    stripes = (np.indices(where.shape).sum(0) // every % 2).astype(bool)
    paint = np.where(stripes[..., None], LIGHT, DARK)
    return np.where(where[..., None], paint, picture).astype(np.uint8)


def sheet(rows: Sequence[Sequence[Tile]], gap: int) -> Pixels:
    """Rows of tiles of one size, (H', W', 3), on dark paper."""
    height, width = rows[0][0].picture.shape[:2]
    heads = [LINE * max(len(tile.title) for tile in row) for row in rows]
    across = max(len(row) for row in rows) * (width + gap) + gap
    paper = np.full((gap + sum(head + height + gap for head in heads), across, 3), PAPER, np.uint8)
    image = Image.fromarray(paper)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(SIZE)
    top = gap
    for row, head in zip(rows, heads, strict=True):
        for i, tile in enumerate(row):
            left = gap + i * (width + gap)
            for line, text in enumerate(tile.title):
                draw.text((left, top + line * LINE), _cut(text, width, draw, font), INK, font)
            image.paste(Image.fromarray(tile.picture), (left, top + head))
        top += head + height + gap
    return np.asarray(image)


def _cut(text: str, width: int, draw: ImageDraw.ImageDraw, font: object) -> str:
    """As much of a text as fits into so many pixels."""
    if draw.textlength(text, font) <= width:  # type: ignore[arg-type]
        return text
    while text and draw.textlength(text + "…", font) > width:  # type: ignore[arg-type]
        text = text[:-1]
    return text + "…"
