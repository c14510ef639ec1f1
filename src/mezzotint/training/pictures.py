"""Samples as pictures: grids, and PNG files that carry the settings that made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.core.bounded import parse_json
from mezzotint.core.errors import Refusal
from mezzotint.data.picture import said

KEY = "mezzotint"
Pixels = NDArray[np.uint8]
SHEET = 2**31
"""The largest sheet that is laid out, in bytes."""


def pixels(x: Tensor) -> Pixels:
    """Samples (B, C, H, W) in [-1, 1] as bytes (B, H, W, C'), C' 1 or 3: what the data room reads, written back."""
    if x.ndim != 4:
        raise Refusal(f"pictures are (B, C, H, W), not {tuple(x.shape)}")
    x = x.detach().float().cpu()
    if x.shape[1] not in (1, 3):  # two channels, or a latent: the first three stand for the picture
        x = x[:, :3] if x.shape[1] > 3 else x[:, :1]
    scaled = (x.nan_to_num(0.0).clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def grid(x: Tensor, columns: int, scale: int = 1, gap: int = 1) -> Pixels:
    """Samples side by side, row by row, (H', W', C'), with a dark gap and every pixel enlarged ``scale`` times."""
    tiles = pixels(x)
    count, height, width, channels = tiles.shape
    lines = -(-count // columns)
    if lines * (height * scale + gap) * columns * (width * scale + gap) * channels > SHEET:
        raise Refusal(
            f"a sheet of {count} pictures in {columns} columns, enlarged {scale} times, is larger than {SHEET:,} "
            "bytes; ask for fewer, or for one file a picture (--each)"
        )
    sheet = np.full(
        (lines * (height * scale + gap) + gap, columns * (width * scale + gap) + gap, channels), 32, np.uint8
    )
    for i, tile in enumerate(tiles):
        top = gap + (i // columns) * (height * scale + gap)
        left = gap + (i % columns) * (width * scale + gap)
        sheet[top : top + height * scale, left : left + width * scale] = tile.repeat(scale, 0).repeat(scale, 1)
    return sheet


def enlargement(height: int, width: int, side: int = 48) -> int:
    """How often to enlarge small pictures so that a person can see them: to about ``side`` pixels a side."""
    return max(1, round(side / max(height, width)))


def save_png(
    path: str | Path, picture: Pixels, settings: dict[str, Any] | None = None, profile: bytes | None = None
) -> None:
    """Write (H, W, C) bytes as PNG, with ``settings`` as JSON inside, and an ICC ``profile`` where there is one."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    if settings is not None:
        info.add_itxt(KEY, json.dumps(settings, ensure_ascii=False))
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    temporary = Path(path).with_name(f".{Path(path).name}.tmp")
    try:
        image.save(temporary, format="PNG", pnginfo=info, icc_profile=profile)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings inside a PNG of ours; refuses other pictures."""
    text = said(path, KEY)
    if not isinstance(text, str):
        raise Refusal(
            f"{str(path)!r} carries no settings: it was not written by mezzotint, or another program saved it"
        )
    settings = parse_json(text, f"what {str(path)!r} carries")
    if not isinstance(settings, dict):
        raise Refusal(f"the settings inside {str(path)!r} cannot be read")
    return settings
