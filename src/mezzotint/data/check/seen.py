"""One file that is called like a picture: what it is, or what is wrong with it.

Its header is read first, so nothing is unpacked that announces too much; then its bytes are hashed, and its pixels, as
training would see them, upright and on white.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mezzotint.core.errors import Refusal
from mezzotint.data.check.files import File
from mezzotint.data.check.twins import prints
from mezzotint.data.picture import MAX_SIDE, Header, Turns, decoded

ENDINGS = {
    "PNG": (".png",), "JPEG": (".jpg", ".jpeg"), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",),
}  # fmt: skip
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "P": "palette", "PA": "palette",
    "I": "16-bit grey", "I;16": "16-bit grey", "I;16B": "16-bit grey", "F": "grey", "RGBX": "RGB",
}  # fmt: skip
_DEEP = b"\x10"


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture that can be read.

    Arguments:
        file: where it is.
        header: what its header says.
        deep: whether it has 16 bits a channel.
        digest: of the file, 16 bytes.
        pixels: of what it shows and its size, 16 bytes.
        hash: the difference hash.
        thumbnail: uint8 (768,).
        grey: whether it shows no colour.
        flat: whether it shows one shade only.
    """

    file: File
    header: Header
    deep: bool
    digest: bytes
    pixels: bytes
    hash: int
    thumbnail: NDArray[np.uint8]
    grey: bool
    flat: bool

    @property
    def mode(self) -> str:
        """What a pixel is, in words."""
        return MODES.get(self.header.mode, self.header.mode)


@dataclass(frozen=True, slots=True)
class Broken:
    """A file that cannot be read: the kind of problem, and what its decoder said."""

    file: File
    kind: str
    why: str


def see(file: File, max_pixels: int, turns: Turns) -> Seen | Broken:
    """Read a file, in its turn among others; it answers whatever the file holds."""
    try:
        digest, deep = _bytes(file)
        if digest is None:
            return Broken(file, "empty", "")
        header = Header.of(file.path, max_pixels)
        with decoded(file.path, 3, max_pixels, turns=turns) as picture:
            pixels = hashlib.blake2b(repr(picture.shape).encode(), digest_size=16)
            pixels.update(picture.data)
            return Seen(
                file,
                header,
                deep or header.mode.startswith("I"),
                digest,
                pixels.digest(),
                *prints(picture),
                _grey(picture),
                all(int(np.ptp(picture[..., channel])) == 0 for channel in range(3)),
            )
    except OSError as error:
        return Broken(file, "unreadable", (error.strerror or type(error).__name__).lower())
    except Refusal as refusal:
        cause = refusal.__cause__
        if isinstance(cause, UnidentifiedImageError):
            return Broken(file, "not a picture", "")
        if cause is None or isinstance(cause, Image.DecompressionBombError | Image.DecompressionBombWarning):
            return Broken(file, "too large", _size(refusal, max_pixels))
        return Broken(file, "damaged", (str(cause).splitlines() or [type(cause).__name__])[0])


def _bytes(file: File) -> tuple[bytes | None, bool]:
    """The hash of a file, None of one without bytes, and whether it is a PNG of 16 bits: Pillow gives 8 of RGB."""
    with file.path.open("rb") as opened:
        head = opened.read(25)
        opened.seek(0)
        digest = hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).digest()
    return (digest if head else None), head.startswith(b"\x89PNG") and head[24:25] == _DEEP


def _grey(picture: NDArray[np.uint8]) -> bool:
    """Whether the channels of (H, W, 3) are equal everywhere; a band at a time, which ends at the first colour."""
    step = max(1, 2**20 // picture.shape[1])
    bands = (picture[top : top + step] for top in range(0, len(picture), step))
    return all((band[..., 0] == band[..., 1]).all() and (band[..., 1] == band[..., 2]).all() for band in bands)


def _size(refusal: Refusal, max_pixels: int) -> str:
    """How large it says that it is, and what the limit is; Pillow, which refuses the largest itself, tells the area."""
    said = f"{refusal} {refusal.__cause__ or ''}"
    sides = re.findall(r"(\d+) x (\d+) pixels", said)[-1:]
    if sides and max(map(int, sides[0])) > MAX_SIDE:
        return f"{sides[0][0]} x {sides[0][1]} pixels, and a side has {MAX_SIDE:,} at most"
    area = re.search(r"\((\d+) pixels\)", said)
    size = f"{sides[0][0]} x {sides[0][1]} pixels" if sides else f"{int(area[1]):,} pixels" if area else "far more"
    return f"{size}, and the limit is {max_pixels:,}"
