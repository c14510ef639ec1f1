"""One picture file as bytes: any common kind of file comes out as grey or colour, upright, on white.

The header is read first, and a file that announces more pixels than allowed, or a side longer than ``MAX_SIDE``, is
refused before anything is unpacked: a few kilobytes can announce a picture that fills the memory. Nobody's global
settings are touched: Pillow's own limit stays where it was, and what it refuses or warns of is refused here.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mezzotint.core.errors import Refusal

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
MAX_PIXELS = 50_000_000
MAX_SIDE = 2**15
"""The longest side of a picture that is unpacked; what brings it to size has a weight for every pixel of a side."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # decided by content, not by ending: other decoders stay shut
_BAND = 2**20  # pixels unpacked at once, and bytes of a file read at once
_TOLD = ("exif", "xmp")  # where the header of a JPEG may say that it is turned; asking costs as much as a small one
_GREY = ("1", "L", "LA", "La", "I", "F")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)


@dataclass(frozen=True)
class Packed:
    """A picture file inside another file: its bytes, and the name that a refusal calls it by."""

    name: str
    content: bytes | memoryview

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Stretch:
    """A picture file that lies in one piece inside another file, and is read from there.

    Arguments:
        name: what a refusal calls it.
        file: in which it lies.
        offset: where it begins.
        size: bytes.
    """

    name: str
    file: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return self.name

    def read(self, size: int | None = None, start: int = 0) -> bytes:
        """Its bytes, or some of them.

        Raises:
            Refusal: the file has become shorter.
        """
        size = self.size - start if size is None else min(size, self.size - start)
        with self.file.open("rb", buffering=0) as opened:
            content = os.pread(opened.fileno(), size, self.offset + start)
        if len(content) < size:
            raise Refusal(f"{str(self.file)!r} has become shorter since it was read; start again")
        return content


class _Window(RawIOBase):
    """A stretch of a file as a file."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch, self._at = stretch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._stretch.size)[whence])
        return self._at

    def readinto(self, room: Any) -> int:
        found = self._stretch.read(len(room), self._at) if self._at < self._stretch.size else b""
        room[: len(found)] = found
        self._at += len(found)
        return len(found)


Source = Path | Packed | Stretch
"""Where a picture file is."""


def channels_of(path: Source, max_pixels: int) -> int:
    """1 where the file's header announces a grey picture, else 3; palettes count as colour."""
    with _opened(path, max_pixels, brief=True) as image:
        return 1 if image.mode in _GREY or image.mode.startswith("I;16") else 3


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its picture before anything is unpacked.

    Arguments:
        format: ``PNG``, ``JPEG``, ``WEBP``, ``BMP`` or ``GIF``, by content.
        mode: what a pixel is, in Pillow's words: ``L``, ``RGB``, ``P``, ``CMYK``, ``I;16``, ...
        size: (width, height), upright.
        turned: whether its EXIF orientation turns or mirrors it.
        transparent: whether it has transparency.
        animated: whether it has further frames.
    """

    format: str
    mode: str
    size: tuple[int, int]
    turned: bool
    transparent: bool
    animated: bool

    @classmethod
    def of(cls, path: Source, max_pixels: int = MAX_PIXELS) -> Header:
        """Read it; refuses what is no picture, and what announces too many pixels."""
        with _opened(path, max_pixels) as image:
            turn = image.getexif().get(_ORIENTATION, 1)
            width, height = image.size
            return cls(
                str(image.format),
                image.mode,
                (height, width) if turn in _TURNED else (width, height),
                turn in range(2, 9),
                image.has_transparency_data,
                bool(getattr(image, "is_animated", False)),
            )


def upright(path: Source, max_pixels: int) -> tuple[int, int]:
    """(height, width) of a picture as it is shown, its EXIF orientation applied."""
    with _opened(path, max_pixels, brief=True) as image:
        width, height = image.size
        return (width, height) if image.getexif().get(_ORIENTATION) in _TURNED else (height, width)


def said(path: str | Path, key: str) -> object:
    """What the header of a PNG carries under ``key``, None where that is nothing; its pixels are not unpacked."""
    if not Path(path).is_file():
        raise Refusal(f"there is no picture {str(path)!r}")
    with _opened(path, MAX_PIXELS, ("PNG",)) as image:
        found: object = image.info.get(key)
        return found


class Turns:
    """Lets threads decode at once as long as their pictures have no more than ``pixels`` together; one always may."""

    def __init__(self, pixels: int) -> None:
        self._most, self._held = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for a picture, and keep it meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + pixels <= self._most)
            self._held += pixels
        try:
            yield
        finally:
            with self._changed:
                self._held -= pixels
                self._changed.notify_all()


def decode(path: Source, channels: int, max_pixels: int, under: str = "white") -> NDArray[np.uint8]:
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
    with decoded(path, channels, max_pixels, under) as picture:
        return picture


@contextmanager
def decoded(
    path: Source, channels: int, max_pixels: int, under: str = "white", turns: Turns | None = None
) -> Iterator[NDArray[np.uint8]]:
    """:func:`decode`, in its turn among others until the block is left."""
    with ExitStack() as stack:
        with _opened(path, max_pixels) as image:
            if turns is not None:
                stack.enter_context(turns.take(math.prod(image.size)))
            if image.format != "JPEG" or not image.info.keys().isdisjoint(_TOLD):
                ImageOps.exif_transpose(image, in_place=True)
            many = max(1, _BAND // image.width)
            if many >= image.height:
                picture = _plain(image, channels, under)
            else:  # a band at a time: what is converted in between takes up to eight bytes a pixel
                picture = np.empty((image.height, image.width, channels), dtype=np.uint8)
                for top in range(0, image.height, many):
                    band = image.crop((0, top, image.width, min(top + many, image.height)))
                    picture[top : top + many] = _plain(band, channels, under)
        yield picture


def layers(path: Source, max_pixels: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, bytes | None]:
    """A picture as its file has it, upright: nothing is laid on anything.

    Returns:
        colours uint8 (H, W, 1) of a grey file or (H, W, 3), those that are not seen too; the share that is seen, uint8
        (H, W), None where all of it is; and the ICC profile that says what the colours mean, None where there is none.
        16-bit grey is scaled as :func:`decode` does, and has no transparency.

    Raises:
        Refusal: the file is broken, of another kind, or too large; the sentence names it.
    """
    with _opened(path, max_pixels) as image:
        profile = image.info.get("icc_profile")
        ImageOps.exif_transpose(image, in_place=True)
        deep = image.mode == "I" or image.mode.startswith("I;16")
        channels = 1 if deep or image.mode in _GREY else 3
        if deep or not image.has_transparency_data:
            return _plain(image, channels, "white"), None, profile or None
        whole = np.asarray(image.convert("RGBA"))
        return whole[..., :channels].copy(), whole[..., 3].copy(), profile or None


def numbers(path: Source, max_pixels: int) -> NDArray[np.uint8]:
    """The numbers that a map is made of, uint8 (H, W): the values of a grey picture, the places in a palette.

    Raises:
        Refusal: the file is broken or too large, a JPEG, or its pixels are colours or numbers beyond 255.
    """
    with _map(path, max_pixels) as image:
        if image.mode not in ("1", "L", "P", "I") and not image.mode.startswith("I;16"):
            raise Refusal(
                f"the map {str(path)!r} has pixels of the kind {image.mode}, but a map is a grey picture or one with a "
                "palette, whose numbers are what it tells; where its colours are, name the palette that says what they "
                "mean"
            )
        values = np.asarray(image)
        if values.dtype.kind in "iu" and values.size and not 0 <= values.min() <= values.max() <= 255:
            odd = values.min() if values.min() < 0 else values.max()
            raise Refusal(f"the map {str(path)!r} holds the number {odd}, and the numbers of a map end at 255")
        return values.astype(np.uint8)


def colours(path: Source, max_pixels: int) -> NDArray[np.uint8]:
    """The colours that a map is painted in, uint8 (H, W, 4): red, green, blue, and how much of them is seen.

    Raises:
        Refusal: the file is broken or too large, or a JPEG.
    """
    with _map(path, max_pixels) as image:
        return np.asarray(image.convert("RGBA"))


@contextmanager
def _map(path: Source, max_pixels: int) -> Iterator[Image.Image]:
    """A map, upright; refused where its kind of file changes what it keeps."""
    with _opened(path, max_pixels) as image:
        if image.format == "JPEG":
            raise Refusal(
                f"the map {str(path)!r} is a JPEG, which changes the numbers and the colours it keeps; save maps as PNG"
            )
        ImageOps.exif_transpose(image, in_place=True)
        yield image


def identities(path: Source, max_pixels: int) -> NDArray[np.int64]:
    """Which instance is at each place, int64 (H, W): equal where the pixels of a file are, and different elsewhere.

    Grey of 8 and 16 bits and places in a palette are taken as they are, a colour as red + 256 green + 65536 blue, which
    is how COCO keeps its instances.

    Raises:
        Refusal: the file is broken or too large, or a JPEG, which smears what it keeps.
    """
    with _opened(path, max_pixels) as image:
        if image.format == "JPEG":
            raise Refusal(f"the map {str(path)!r} is a JPEG, which changes the numbers it keeps; save maps as PNG")
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.int64)
        colours: NDArray[np.int64] = np.asarray(image.convert("RGB")).astype(np.int64)
        red, green, blue = np.moveaxis(colours, -1, 0)
        mixed: NDArray[np.int64] = red + 256 * green + 65536 * blue
        return mixed


def _plain(image: Image.Image, channels: int, under: str) -> NDArray[np.uint8]:
    """The pixels of a picture as grey or colour, uint8 (H, W, channels)."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, under), image)
    mode = "L" if channels == 1 else "RGB"
    values = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return values.reshape(*values.shape[:2], channels)


@contextmanager
def _opened(
    path: str | Source, max_pixels: int, formats: tuple[str, ...] = _FORMATS, brief: bool = False
) -> Iterator[Image.Image]:
    """A picture whose header is read; ``brief``: no more than that is going to be."""
    try:
        with Image.open(_content(path, brief), formats=formats) as image:
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
        raise Refusal(
            f"the image {str(path)!r} has far more pixels than max_pixels = {max_pixels}; make it smaller"
        ) from error
    except Exception as error:  # Pillow's decoders answer a damaged file with a dozen kinds of exception
        raise Refusal(f"the image {str(path)!r} cannot be read ({_reason(error)}); replace it") from error


def _content(path: str | Source, brief: bool) -> BytesIO | BufferedReader | str | Path:
    """What Pillow reads: the bytes of a small file, which it asks for in many small pieces, else the file."""
    if isinstance(path, Packed):
        return BytesIO(path.content)
    if isinstance(path, Stretch):
        return BufferedReader(_Window(path)) if brief or path.size > _BAND else BytesIO(path.read())
    if brief:
        return path
    with open(path, "rb", buffering=0) as file:
        return BytesIO(file.read()) if os.fstat(file.fileno()).st_size <= _BAND else path


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture of a kind that is read here: PNG, JPEG, WebP, BMP, GIF"
    return str(error).splitlines()[0] if str(error) else type(error).__name__
