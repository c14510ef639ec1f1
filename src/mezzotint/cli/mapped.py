"""A sheet of what was drawn from maps: each map above its column, or beside what was drawn of it, and a legend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mezzotint.cli.changes import Differing
from mezzotint.cli.layouts import Layouts
from mezzotint.cli.map_reader import nearby
from mezzotint.cli.original import Mask
from mezzotint.cli.titled import INK, LINE, PAPER, Tile, enlarged, font_of, hatched, sheet, wrapped
from mezzotint.conditions.layout import edges_of
from mezzotint.core.errors import Refusal
from mezzotint.data.palette import UNSAID
from mezzotint.training.pictures import SHEET, Pixels, grid, pixels

if TYPE_CHECKING:
    from mezzotint.cli.plan import Plan

_SWATCH, _EDGE = 11, (96, 96, 96)  # pixels of a side, and what is around them: a thing may be as dark as paper
_MOST = 40  # things of a legend
_DIM = 0.55  # how bright the places are where instances end


def drawn(plan: Plan, x: Tensor) -> Pixels:
    """Pictures (N, C, H, W) under the maps that they were drawn from; settings without titles have a plain grid.

    Several maps head a column each, a row a seed. One map stands beside what was drawn of it.
    """
    layout, source, rows = dict(plan.layout), plan.told.mapped, plan.told.items or []
    titles, columns, scale, gap = (layout.pop(name, 0) for name in ("titles", "columns", "scale", "gap"))
    if not titles or source is None:
        return grid(x, columns, scale, gap)
    high, wide = x.shape[-2] * scale, x.shape[-1] * scale
    if 3 * (len(x) + columns) * (high + gap + 8 * LINE) * (wide + gap) > SHEET:
        raise Refusal(
            f"a sheet of {len(x)} pictures under their maps, enlarged {scale} times, is larger than {SHEET:,} bytes; "
            "ask for fewer, or for one file a picture (--each)"
        )
    size = (x.shape[-2], x.shape[-1])
    tiles = [enlarged(tile, scale) for tile in pixels(x)]
    seeds = [f"seed {seed}" for seed in plan.seeds]
    used = list(dict.fromkeys(rows))
    if columns == plan.told.kinds > 1:
        head = [Tile(painted(source, row, size, scale), asked(plan, k, wide)) for k, row in enumerate(rows[:columns])]
        body = [Tile(tile, (seed,)) for tile, seed in zip(tiles, seeds, strict=True)]
        lines = [head, *_rows(body, columns)]
    elif len(used) == 1:
        map_, names = painted(source, used[0], size, scale), (source.names[used[0]],)
        several = plan.told.kinds > 1
        body = [Tile(tile, (*(asked(plan, k, wide)[1:] if several else ()), seeds[k])) for k, tile in enumerate(tiles)]
        empty = Tile(np.full((high, wide, 3), PAPER, np.uint8))
        lines = [[empty, *line] for line in _rows(body, columns)]
        lines[0][0] = Tile(map_, names)
    else:
        body = [Tile(tile, (*asked(plan, k, wide), seeds[k])) for k, tile in enumerate(tiles)]
        head = [Tile(painted(source, row, size, scale), (source.names[row],)) for row in used]
        lines = [*_rows(head, columns), *_rows(body, columns)]
    return _above(sheet(lines, gap), _legend(source, used, gap, len(max(lines, key=len)) * (wide + gap) + gap))


def heads(plan: Plan, mask: Mask | None, size: tuple[int, ...], scale: int) -> list[Tile]:
    """The maps of an edit as tiles beside its original: what it is told, after what was, where that is known."""
    source, rows = plan.told.mapped, plan.told.items
    if source is None or rows is None:
        return []
    high, wide = size
    found = []
    if isinstance(mask, Differing):
        values = torch.from_numpy(source.reader.read(mask.path)[0])[None]
        old = replace(source, values=values, ids=None)
        found.append(Tile(painted(old, 0, (high, wide), scale), ("before",)))
    used = list(dict.fromkeys(rows))
    names = ["layout"] if len(used) == 1 else [source.names[row] for row in used]
    return found + [
        Tile(painted(source, row, (high, wide), scale), (name,)) for row, name in zip(used, names, strict=True)
    ]


def painted(source: Layouts, row: int, size: tuple[int, int], scale: int) -> Pixels:
    """One map as large as a picture of ``size`` is shown; darker where instances end, striped where unsaid."""
    values = source.values[row].numpy()
    colours = source.reader.colours[values]
    if source.ids is not None:
        ends = edges_of(source.ids[row][None])[0].numpy()
        colours = np.where(ends[..., None], (_DIM * colours).astype(np.uint8), colours)
    planes = [nearby(colours[..., channel], size) for channel in range(3)]
    unsaid = nearby(values, size) == UNSAID
    return hatched(enlarged(np.stack(planes, -1), scale), unsaid.repeat(scale, 0).repeat(scale, 1))


def asked(plan: Plan, row: int, width: int) -> tuple[str, ...]:
    """What one picture was asked to show: the map, the class and the caption."""
    told, source = plan.told, plan.told.mapped
    assert source is not None and told.items is not None
    name = () if told.labels is None else (plan.model.classes[told.labels[row]],)
    return (
        source.names[told.items[row]],
        *name,
        *(() if told.captions is None else wrapped(told.captions[row], width)),
    )


def _rows(tiles: Sequence[Tile], columns: int) -> list[list[Tile]]:
    return [list(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]


def _legend(source: Layouts, rows: Sequence[int], gap: int, width: int) -> Pixels:
    """The colour of every thing that these maps show, with its name; lines as wide as a sheet."""
    there = np.unique(source.values[list(rows)].numpy())[: _MOST + 1].tolist()
    names = ["nothing said" if n == UNSAID else source.reader.things.called(n) for n in there]
    places: list[tuple[int, int]] = []
    left, line = gap, 0
    for name in names:
        long = _SWATCH + 5 + int(font_of(name).getlength(name)) + 14
        if left > gap and left + long > width:
            left, line = gap, line + 1
        places.append((left, line))
        left += long
    image = Image.new("RGB", (width, (line + 1) * (LINE + 2) + gap), PAPER)
    draw = ImageDraw.Draw(image)
    for number, name, (left, line) in zip(there, names, places, strict=True):
        top = line * (LINE + 2) + 2
        colour = np.broadcast_to(source.reader.colours[number], (_SWATCH, _SWATCH, 3)).astype(np.uint8)
        colour = hatched(colour, np.full((_SWATCH, _SWATCH), number == UNSAID), every=3)
        image.paste(Image.fromarray(colour), (left, top + 1))
        draw.rectangle((left - 1, top, left + _SWATCH, top + _SWATCH + 1), outline=_EDGE)
        draw.text((left + _SWATCH + 5, top - 1), name, INK, font_of(name))
    return np.asarray(image)


def _above(first: Pixels, then: Pixels) -> Pixels:
    return np.concatenate([first, then])
