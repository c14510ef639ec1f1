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


def layout_file(
    path: str | files.Source,
    palette: Palette | None = None,
    size: int | tuple[int, int] | None = None,
    where: str | None = None,
    max_pixels: int = files.MAX_PIXELS,
) -> Bytes:
    """One map file as a layout, uint8 (H, W), 255 where nothing is said.

    Without a palette the file is grey or has a palette of its own, and its numbers count. With one its colours count,
    and pixels that cannot be seen (alpha 0) say nothing. A grey file holds numbers then too, unless every colour of the
    palette is grey; where greys of the palette would say something else of all of it, it is refused.

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
    grey = [len(set(colour)) == 1 for colour in (*palette.colours, *palette.unsaid)]
    if (mode in ("1", "L", "I") or mode.startswith("I;16")) and not all(grey):
        found: Bytes = files.numbers(source, max_pixels)
        palette.check(found, f"the map {where!r}")
        if any(grey) and mode in ("1", "L"):
            _not_both(source, palette, found, where, max_pixels)
        return found
    pixels = files.colours(source, max_pixels)
    seen = pixels[..., 3]
    if ((seen > 0) & (seen < 255)).any():
        raise Refusal(f"the map {where!r} has pixels that are half seen; paint every pixel wholly, or not at all")
    if seen.all():
        return palette.numbers(pixels[..., :3], where)
    there = pixels[..., :3].copy()
    there[seen == 0] = palette.colours[0]
    return np.where(seen == 0, np.uint8(UNSAID), palette.numbers(there, where))


def _not_both(source: files.Source, palette: Palette, found: Bytes, where: str, max_pixels: int) -> None:
    """Refuse a grey file whose shades are all colours of the palette too, and say something else as such."""
    shades = np.unique(files.colours(source, max_pixels)[..., 0])
    try:
        said = palette.numbers(np.repeat(shades[None, :, None], 3, -1), where)[0]
    except Refusal:
        return
    if not np.array_equal(said, np.unique(found)):
        raise Refusal(
            f"the map {where!r} is grey, and its shades may be numbers or colours of the palette, which say different "
            "things; save it in colour (RGB) if they are colours, or else take the greys out of the palette"
        )
