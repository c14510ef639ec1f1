"""Pictures on a sheet, each under a few words: what came in above, what came out below."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mezzotint.cli.console import printable
from mezzotint.core.errors import Refusal
from mezzotint.training.pictures import SHEET, Pixels, pixels

LIGHT, DARK = np.array([214, 158, 66]), np.array([120, 84, 28])
PAPER, INK = (32, 32, 32), (225, 225, 225)
SIZE = 13  # of the letters, in pixels
LINE = 16
LINES = 6
"""The most lines that a caption takes; the settings inside the picture have it whole."""
_LONGEST, _LINE = 1_000, 250  # letters that are looked at, altogether and of a line


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


def captioned(x: Tensor, captions: Sequence[str], columns: int, scale: int, gap: int) -> Pixels:
    """Pictures (N, C, H, W) row by row, each under its caption; one that is the same all down a column stands on top.

    A caption takes as many lines as it needs, ``LINES`` at most. A single one stands over the whole sheet.
    """
    height, width = x.shape[-2:]
    if 3 * len(x) * (height * scale + gap + LINES * LINE) * (width * scale + gap) > SHEET:
        raise Refusal(
            f"a sheet of {len(x)} pictures under captions, enlarged {scale} times, is larger than {SHEET:,} bytes; ask "
            "for fewer, or for one file a picture (--each)"
        )
    tiles = [enlarged(tile, scale) for tile in pixels(x)]
    width, different = tiles[0].shape[1], set(captions)
    if len(different) == 1:
        rows = [[Tile(tile) for tile in tiles[at : at + columns]] for at in range(0, len(tiles), columns)]
        across = len(rows[0]) * (width + gap) - gap
        return sheet(rows, gap, wrapped(captions[0], across))
    once = all(text == captions[row % columns] for row, text in enumerate(captions))
    lines = {text: wrapped(text, width) for text in different}
    told = [() if once and row >= columns else lines[text] for row, text in enumerate(captions)]
    under = [Tile(tile, title) for tile, title in zip(tiles, told, strict=True)]
    return sheet([under[at : at + columns] for at in range(0, len(under), columns)], gap)


def wrapped(text: str, width: int) -> tuple[str, ...]:
    """A text in lines of at most so many pixels, broken between words where it can be; what is left is cut off."""
    font = font_of(text)
    left, lines = printable(" ".join(text.split()))[:_LONGEST] or "(empty)", list[str]()
    while left and len(lines) < LINES:
        ends = [math.ceil(font.getlength(left[:n])) for n in range(1, 1 + min(len(left), _LINE))]
        fit = max(1, bisect_right(ends, width))
        space = left.rfind(" ", 0, fit + 1) if fit < len(left) else -1
        end = space if space > 0 else fit
        lines.append(left[:end])
        left = left[end:].lstrip()
    return (*lines[:-1], lines[-1] + "…") if left else tuple(lines)


def sheet(rows: Sequence[Sequence[Tile]], gap: int, above: Sequence[str] = ()) -> Pixels:
    """Rows of tiles of one size, (H', W', 3), on dark paper, under lines of text."""
    height, width = rows[0][0].picture.shape[:2]
    heads = [LINE * max(len(tile.title) for tile in row) for row in rows]
    across = max(len(row) for row in rows) * (width + gap) + gap
    room = LINE * len(above)
    paper = np.full((gap + room + sum(head + height + gap for head in heads), across, 3), PAPER, np.uint8)
    image = Image.fromarray(paper)
    draw = ImageDraw.Draw(image)
    for line, text in enumerate(above):
        draw.text((gap, gap + line * LINE), text, INK, font_of(text))
    top = gap + room
    for row, head in zip(rows, heads, strict=True):
        for i, tile in enumerate(row):
            left = gap + i * (width + gap)
            for line, text in enumerate(tile.title):
                font = font_of(text)
                draw.text((left, top + line * LINE), _cut(text, width, font), INK, font)
            image.paste(Image.fromarray(tile.picture), (left, top + head))
        top += head + height + gap
    return np.asarray(image)


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """As much of a text as fits into so many pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def font_of(text: str) -> ImageFont.FreeTypeFont:
    """The letters that Pillow brings, or for more than English those of matplotlib: Latin, Greek, Cyrillic and Arabic.

    Where even that has none, a box stands.
    """
    if text.isascii():
        found: Any = ImageFont.load_default(SIZE)
        return cast(ImageFont.FreeTypeFont, found)
    from matplotlib import get_data_path

    return ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), SIZE - 1)
