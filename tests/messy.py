"""A folder as somebody may bring it: every kind of file that is somehow not a plain picture, each by its name."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]
LONG = "l" * 240 + ".png"
STRANGE = "new\nline \x1b[31mred\x1b[0m.png"
UNICODE = "grüße-猫-🐈.png"


def blobs(seed: int, side: int = 48) -> Bytes:
    """A smooth picture in colour that is like no other, (side, side, 3)."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
    return np.asarray(small.resize((side, side), Image.Resampling.BICUBIC))


def save(path: Path, seed: int, side: int = 48) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blobs(seed, side)).save(path)
    return path


def clean(root: Path, count: int = 20, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    """Plain pictures, ``count`` a class, no two of them alike."""
    for number, name in enumerate(classes):
        for k in range(count):
            save(root / name / f"{k:03}.png", 1000 * number + k)
    return root


def announce(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes whose header announces any number of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b""))


def deep_rgb(path: Path, picture: Bytes) -> None:
    """A colour PNG of 16 bits a channel, which Pillow reads and does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = picture.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in picture.astype(np.uint16) * 257)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def messy(root: Path, elsewhere: Path) -> dict[str, set[str]]:
    """Two classes of clean pictures and one file of every kind of trouble; the files that each kind should name."""
    clean(root)
    cat, dog = root / "cat", root / "dog"
    seeds = iter(range(5000, 6000))

    def next_one() -> Bytes:
        return blobs(next(seeds))

    found: dict[str, set[str]] = {}

    def put(kind: str, name: str) -> Path:
        found.setdefault(kind, set()).add(name)
        return root / name

    Image.fromarray(next_one()).convert("L").save(cat / "grey.png")
    clear = Image.fromarray(next_one()).convert("RGBA")
    clear.putalpha(Image.fromarray(next_one()).convert("L"))
    clear.save(put("transparent", "cat/rgba.png"))
    Image.fromarray(next_one()).convert("CMYK").save(put("CMYK", "cat/cmyk.jpg"), quality=95)
    Image.fromarray(next_one()[..., 0].astype(np.uint16) * 257).save(put("16-bit", "cat/deep.png"))
    deep_rgb(put("16-bit", "cat/deep-rgb.png"), next_one())
    Image.fromarray(next_one()).quantize(32).save(dog / "palette.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(next_one()[:32]).save(put("rotated", "cat/turned.jpg"), exif=exif, quality=95)
    found["sizes differ"] = {"cat/turned.jpg"}
    for ending in ("gif", "webp"):
        frames = [Image.fromarray(next_one()) for _ in range(3)]
        path = put("animated", f"dog/moving.{ending}")
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50)
    noise = np.random.default_rng(9).integers(0, 256, (64, 64, 3), np.uint8)
    for ending in ("png", "jpg", "webp", "bmp"):
        path = put("damaged", f"cat/cut.{ending}")
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    put("empty", "dog/nothing.jpg").touch()
    put("not a picture", "dog/text.png").write_text("I am a letter\n" * 50)
    Image.fromarray(noise).save(put("not a picture", "dog/tiff.png"), format="TIFF")
    announce(put("too large", "dog/bomb.png"), 100_000, 100_000)
    announce(put("too large", "dog/large.png"), 12_000, 12_000)
    announce(put("too large", "dog/thin.png"), 40_000, 1)
    Image.fromarray(next_one()).save(put("ending", "cat/really-a-jpeg.png"), format="JPEG", quality=95)
    for name, kind in ((UNICODE, "unicode name"), (STRANGE, "unprintable name")):
        Image.fromarray(next_one()).save(put(kind, f"cat/{name}"))
    Image.fromarray(next_one()).save(cat / LONG)
    bad = os.fsdecode(b"caf\xe9.png")
    Image.fromarray(next_one()).save(put("unprintable name", f"cat/{bad}"))
    secret = save(elsewhere / "secret.png", 7777)
    put("link outside", "dog/out.png").symlink_to(secret)
    (elsewhere / "theirs").mkdir()
    save(elsewhere / "theirs" / "a.png", 7778)
    put("link outside", "zoo").symlink_to(elsewhere / "theirs")
    put("folder not followed", "dog/theirs").symlink_to(elsewhere / "theirs")
    put("broken link", "dog/gone.png").symlink_to(dog / "was-here.png")
    put("link loop", "dog/round.png").symlink_to(dog / "round.png")
    put("link loop", "dog/up").symlink_to(root)
    put("link loop", "again").symlink_to(root)
    put("no file", "dog/folder.png").mkdir()
    os.mkfifo(put("no file", "dog/pipe.png"))
    put("kind not read", "dog/phone.heic").write_bytes(b"any")
    Image.fromarray(next_one()).save(put("no ending", "dog/download"), format="WEBP")
    put("other files", "dog/README").write_text("any")
    put("other files", "dog/notes.txt").write_text("any")
    put("same file", "dog/copy.png").write_bytes((dog / "003.png").read_bytes())
    Image.fromarray(blobs(1004)).save(put("same pixels", "dog/same.bmp"))
    put("same file", "dog/stray.png").write_bytes((cat / "005.png").read_bytes())
    found["two classes"] = {"dog/stray.png"}
    Image.fromarray(blobs(6)).save(put("alike", "cat/near.jpg"), quality=75)
    Image.fromarray(next_one()[:, :, :1].repeat(3, 2) * 0 + 90).save(put("flat", "cat/flat.png"))
    if os.geteuid():
        path = put("unreadable", "cat/locked.png")
        Image.fromarray(next_one()).save(path)
        path.chmod(0)
    return found
