"""One picture file as bytes: any common kind of file comes out as grey or colour, upright, on white.

The header is read first, and a file that announces more pixels than allowed, or a side longer than ``MAX_SIDE``, is
refused before anything is unpacked: a few kilobytes can announce a picture that fills the memory. Nobody's global
settings are touched: Pillow's own limit stays where it was, and what it refuses or warns of is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mezzotint.core.errors import Refusal

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 50_000_000
MAX_SIDE = 2**15
"""The longest side of a picture that is unpacked; what brings it to size has a weight for every pixel of a side."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # decided by content, not by ending: other decoders stay shut
_GREY = ("1", "L", "LA", "La", "I", "F")


def channels_of(path: Path, max_pixels: int) -> int:
    """1 where the file's header announces a grey picture, else 3; palettes count as colour."""
    with _opened(path, max_pixels) as image:
        return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3


def said(path: str | Path, key: str) -> object:
    """What the header of a PNG carries under ``key``, None where that is nothing; its pixels are not unpacked."""
    if not Path(path).is_file():
        raise Refusal(f"there is no picture {str(path)!r}")
    with _opened(path, MAX_PIXELS, ("PNG",)) as image:
        found: object = image.info.get(key)
        return found


def decode(path: Path, channels: int, max_pixels: int, under: str = "white") -> NDArray[np.uint8]:
    """The picture of a file, uint8 (H, W, channels).

    PNG, JPEG, WebP, BMP and the first frame of an animation are read; EXIF orientation is applied, transparency is laid
    on a colour, 16-bit grey is scaled by 255 / 65535, colour becomes grey by Rec. 601 luma.

    Arguments:
        channels: 1 or 3.
        max_pixels: the largest width times height that is unpacked.
        under: the colour under transparency.

    Raises:
        Refusal: the file is broken, of another kind, or too large; the sentence names it.
    """
    with _opened(path, max_pixels) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "I" or upright.mode.startswith("I;16"):
            deep = np.asarray(upright).astype(np.int64).clip(0, 65535)
            upright = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
        elif upright.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in upright.info:
            upright = upright.convert("RGBA")
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, under), upright)
        values = np.asarray(upright.convert("L" if channels == 1 else "RGB"), dtype=np.uint8)
        return values.reshape(*values.shape[:2], channels)


@contextmanager
def _opened(path: str | Path, max_pixels: int, formats: tuple[str, ...] = _FORMATS) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=formats) as image:
            width, height = image.size
            if max(width, height) > MAX_SIDE:
                raise Refusal(
                    f"the image {str(path)!r} is {width} x {height} pixels, and a side has {MAX_SIDE} at most"
                )
            if width * height > max_pixels:
                raise Refusal(
                    f"the image {str(path)!r} is {width} x {height} pixels, more than max_pixels = {max_pixels}; "
                    "raise max_pixels or make it smaller"
                )
            yield image
    except Refusal:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refusal(f"the image {str(path)!r} is far too large: {error}") from None
    except Exception as error:  # Pillow's decoders answer a damaged file with a dozen kinds of exception
        raise Refusal(f"the image {str(path)!r} cannot be read ({_reason(error)}); replace it") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a kind that is read here: PNG, JPEG, WebP, BMP, GIF"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
