"""One map file read as a layout: by its numbers, or by its colours where a palette says what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mezzotint.core.errors import Refusal
from mezzotint.data import picture as files
from mezzotint.data.palette import UNSAID, Palette
from mezzotint.data.resize import check_aspect, nearest, sides

Bytes = NDArray[np.uint8]
_WHITE = (255, 255, 255)


def layout_file(
    path: str | files.Source,
    palette: Palette | None = None,
    size: int | tuple[int, int] | None = None,
    where: str | None = None,
    max_pixels: int = files.MAX_PIXELS,
) -> Bytes:
    """One map file as a layout, uint8 (H, W), 255 where nothing is said.

    Without a palette the file is grey or has a palette of its own, and its numbers count. With one the colours of a
    file in colour, or with a palette of its own, count; pixels that cannot be seen (alpha 0) say nothing. What a grey
    file holds then, the palette decides for all of a set and no file for itself: colours where every colour of the
    palette is a shade of grey, those that say nothing too, and else numbers. A number or a shade that the palette does
    not know is refused, and so is 255 among numbers where the palette calls white a thing.

    Arguments:
        path: the file: PNG, or another kind that keeps what it is given.
        palette: what its colours mean, and the names of its numbers.
        size: (height, width) to bring it to by the nearest pixel, or None to leave it; the aspect stays.
        where: what a refusal calls it.
        max_pixels: the largest width times height that is unpacked.

    Raises:
        Refusal: the file is broken, a JPEG, of another aspect, or says what the palette does not know.
    """
    source = Path(path) if isinstance(path, str) else path
    if isinstance(source, Path) and not source.is_file():
        raise Refusal(f"there is no map {str(source)!r}")
    name, size = str(source) if where is None else where, sides(size)
    found = files.numbers(source, max_pixels) if palette is None else _meant(source, palette, name, max_pixels)
    if size is None or found.shape == size:
        return found
    check_aspect(f"the map {name!r}", found.shape, size, "what is asked for")
    return nearest(found[..., None], size)[..., 0]


def _meant(source: files.Source, palette: Palette, where: str, max_pixels: int) -> Bytes:
    """What a file says by a palette."""
    mode = files.Header.of(source, max_pixels).mode
    deep = mode == "I" or mode.startswith("I;16")
    shades = all(len(set(colour)) == 1 for colour in (*palette.colours, *palette.unsaid))
    if deep and shades:
        raise Refusal(
            f"the map {where!r} is grey of 16 bits, and every colour of the palette is a shade of grey, so grey maps "
            "hold shades of 8 bits; save it with 8 bits"
        )
    if deep or (mode == "1" and not shades):
        return _numbered(files.numbers(source, max_pixels), palette, where)
    pixels = files.colours(source, max_pixels)
    seen = pixels[..., 3]
    if ((seen > 0) & (seen < 255)).any():
        raise Refusal(f"the map {where!r} has pixels that are half seen; paint every pixel wholly, or not at all")
    if mode in ("L", "LA", "La") and not shades:
        return np.where(seen == 0, np.uint8(UNSAID), _numbered(pixels[..., 0], palette, where, seen > 0))
    if seen.all():
        return palette.numbers(pixels[..., :3], where)
    there = pixels[..., :3].copy()
    there[seen == 0] = palette.colours[0]
    return np.where(seen == 0, np.uint8(UNSAID), palette.numbers(there, where))


def _numbered(found: Bytes, palette: Palette, where: str, seen: NDArray[np.bool_] | None = None) -> Bytes:
    """The numbers of a grey file, of which the palette knows every one that is seen."""
    mine = found if seen is None else found[seen]
    try:
        palette.check(mine, f"the map {where!r}")
    except Refusal as refusal:
        raise Refusal(
            f"{refusal}; a grey map holds numbers, since not all colours of the palette are grey: save it in colour "
            "(RGB) if its shades are colours"
        ) from None
    if _WHITE in palette.colours and (mine == UNSAID).any():
        raise Refusal(
            f"the map {where!r} is grey and holds {UNSAID}, which says nothing as a number and is white as a shade; "
            f"white is {palette.names[palette.colours.index(_WHITE)]!r} in the palette; save it in colour (RGB) if its "
            "shades are colours, and else give that thing another colour"
        )
    return found
