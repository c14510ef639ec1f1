"""Pictures on a page: PNGs inside the page itself, laid out in columns."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from torch import Tensor

from mezzotint.cli.page import Html, tag
from mezzotint.metrics.pictures import shrink
from mezzotint.training.pictures import Pixels, pixels

SIDE = 96
SMALL = 48  # below this many pixels a side, a browser must show pixels as squares and not blur them
COLUMNS = 10


def uri(picture: Pixels) -> str:
    """Bytes (H, W, C), C 1 or 3, as the address of a PNG that carries itself."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def tiles(x: Tensor, alts: Sequence[str], titles: Sequence[str] | None = None) -> list[Html]:
    """One picture element for each of x (B, C, H, W) in [-1, 1]; larger ones than 96 pixels a side are shrunk.

    Arguments:
        alts: what each picture is, for a reader who cannot see it.
        titles: what hovering shows; by default the same.
    """
    small = shrink(x.detach().float().cpu().clamp(-1, 1), SIDE)
    look = "px" if max(small.shape[-2:]) < SMALL else None
    height, width = small.shape[-2:]
    return [
        tag("img", src=uri(tile), alt=alt, title=title, class_=look, width=width, height=height)
        for tile, alt, title in zip(pixels(small), alts, titles or alts, strict=True)
    ]


def sheet(rows: Sequence[Sequence[object]], columns: int, kind: str = "") -> Html:
    """Rows of cells in equal columns; a cell that is None stays empty."""
    cells = [tag("div", cell) for row in rows for cell in [*row, *[None] * (columns - len(row))]]
    return tag("div", *cells, class_=f"sheet {kind}".strip(), style=f"--columns:{columns}")
