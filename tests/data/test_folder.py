"""A folder of pictures: every kind of file, stable splits, and one clear sentence for what is wrong."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.core import NONE, Refusal, build, spec
from mezzotint.data import Folder
from mezzotint.data.data import fraction


def grey(value: int, size: tuple[int, int] = (4, 4)) -> Image.Image:
    return Image.new("L", size, value)


def fill(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 20) -> Path:
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            grey(100 * c + i).save(root / name / f"{i:03}.png")
    return root


def value(x: torch.Tensor) -> list[int]:
    """The byte a flat picture was made of."""
    return ((x[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_classes_order_and_values(tmp_path: Path) -> None:
    data = Folder(fill(tmp_path), split="all")
    assert data.classes == ("cat", "dog") and data.shape == (1, 4, 4)
    x, cond = data[:]
    assert value(x) == [*range(20), *range(100, 120)]
    assert cond["label"].tolist() == [0] * 20 + [1] * 20


def test_split_follows_the_hash_of_the_path_and_never_moves(tmp_path: Path) -> None:
    fill(tmp_path)
    splits = ("train", "held_out")
    before = {split: set(value(Folder(tmp_path, split=split, held_out_share=0.3)[:][0])) for split in splits}
    assert before["held_out"] == {
        100 * c + i for c, n in enumerate(("cat", "dog")) for i in range(20) if fraction(f"{n}/{i:03}.png") < 0.3
    }
    assert not before["train"] & before["held_out"] and len(before["train"] | before["held_out"]) == 40
    for i in range(60, 80):
        grey(i).save(tmp_path / "cat" / f"a{i}.png")
    fill(tmp_path, ("ant",), 3)
    for split, was in before.items():
        assert was - set(value(Folder(tmp_path, split=split, held_out_share=0.3)[:][0])) == set()
    # A larger share only takes from train.
    assert before["held_out"] <= set(value(Folder(tmp_path, split="held_out", held_out_share=0.5)[:][0]))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    for i in range(3):
        grey(i).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("passed over")
    data = Folder(tmp_path, split="all")
    assert data.classes == () and data.labels is None and data[:][1] is NONE and value(data[:][0]) == [0, 1, 2]


def test_every_kind_of_file_comes_out_right(tmp_path: Path) -> None:
    deep = np.full((4, 4), 200 * 257, np.uint16)
    deep[0] = 65535
    clear = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    clear.putpixel((1, 0), (10, 20, 30, 255))
    clear.putpixel((2, 0), (0, 0, 0, 51))
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 250, 128, 3])
    bit = Image.new("1", (4, 4), 1)
    bit.putpixel((0, 0), 0)
    moving = [Image.new("L", (4, 4), 7), Image.new("L", (4, 4), 99)]
    Image.fromarray(deep).save(tmp_path / "a16.png")
    clear.save(tmp_path / "brgba.png")
    palette.save(tmp_path / "cpalette.png")
    bit.save(tmp_path / "dbit.png")
    moving[0].save(tmp_path / "emoving.gif", save_all=True, append_images=moving[1:])
    Image.new("RGB", (4, 4), (250, 128, 3)).save(tmp_path / "f.bmp")
    Image.new("RGB", (4, 4), (250, 128, 3)).save(tmp_path / "g.webp", lossless=True)
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "h.jpg", quality=100)
    Image.new("LA", (4, 4), (0, 0)).save(tmp_path / "i.png")
    transparent = Image.new("P", (4, 4), 0)
    transparent.putpalette([9, 9, 9])
    transparent.save(tmp_path / "j.gif", transparency=0)
    data = Folder(tmp_path, split="all")
    assert data.shape == (3, 4, 4)
    x = ((data[:][0] + 1) * 127.5).round().int()
    assert (x[0, :, 0] == 255).all() and (x[0, :, 1:] == 200).all()
    assert x[1, :, 0, 0].tolist() == [255] * 3 and x[1, :, 0, 1].tolist() == [10, 20, 30]
    assert x[1, :, 0, 2].tolist() == [204] * 3  # black at a fifth, on white
    for row in (2, 5, 6):
        assert (x[row] == torch.tensor([250, 128, 3]).view(3, 1, 1)).all()
    assert x[3, 0, 0].tolist() == [0, 255, 255, 255]
    assert (x[4] == 7).all()
    for row in (7, 8, 9):
        assert (x[row] == 255).all()
    assert Folder(tmp_path, split="all", channels=1).shape == (1, 4, 4)


def test_exif_orientation_is_respected(tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), "black")
    image.paste("white", (0, 0, 6, 1))  # a bright top row; orientation 6 says: turn a quarter clockwise to look at it
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    x = Folder(tmp_path, split="all")[0][0]
    assert x.shape == (1, 3, 6, 4)
    assert (x[0, 0, :, 3] == 1).all() and (x[0, 0, :, :3] == -1).all()


def test_memory_and_demand_give_the_same_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (9 + i, 11, 3), np.uint8)).save(tmp_path / f"{i}.png")
    kept, lazy = Folder(tmp_path, size=(4, 5), split="all"), Folder(tmp_path, size=(4, 5), split="all", budget=0)
    assert torch.equal(kept[:][0], lazy[:][0]) and lazy[[]][0].shape == (0, 3, 4, 5)
    assert kept.std == lazy.std
    (tmp_path / "3.png").unlink()
    kept[3]
    with pytest.raises(Refusal, match="3.png"):
        lazy[3]


def announce(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes whose header announces any number of pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(100)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b""))


@pytest.mark.parametrize("budget", [2**30, 0])
@pytest.mark.parametrize("kind", ["text", "truncated", "bomb", "huge", "empty", "disguised"])
def test_bad_pictures_are_named_or_skipped(tmp_path: Path, kind: str, budget: int) -> None:
    fill(tmp_path)
    bad = tmp_path / "cat" / "bad.png"
    if kind == "text":
        bad.write_text("hello")
    elif kind == "empty":
        bad.touch()
    elif kind == "truncated":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        Image.fromarray(noise).save(bad)
        bad.write_bytes(bad.read_bytes()[:1500])
    elif kind == "disguised":
        grey(0).save(bad, format="TIFF")
    else:
        announce(bad, *((9000, 9000) if kind == "bomb" else (60000, 60000)))
    with pytest.raises(Refusal, match="bad.png"):
        Folder(tmp_path, size=4, split="all", budget=budget)[:]
    data = Folder(tmp_path, size=4, split="all", skip_broken=True, budget=budget)
    assert list(data.skipped) == ["cat/bad.png"] and "bad.png" in data.skipped["cat/bad.png"]
    assert len(data) == 40 and len(data[:][0]) == 40


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no folder"):
        Folder(tmp_path / "nowhere")
    with pytest.raises(Refusal, match="no images"):
        Folder(tmp_path)
    fill(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "readme.txt").write_text("no pictures here")
    with pytest.raises(Refusal, match="class 'dog' is empty"):
        Folder(tmp_path)
    (tmp_path / "dog" / "x.png").write_text("broken")
    with pytest.raises(Refusal, match="no picture in class 'dog'"):
        Folder(tmp_path, split="all", skip_broken=True)
    grey(1).save(tmp_path / "loose.png")
    with pytest.raises(Refusal, match="both pictures .'loose.png'."):
        Folder(tmp_path)


def test_sizes_must_agree_or_be_asked_for(tmp_path: Path) -> None:
    fill(tmp_path)
    grey(0, (6, 4)).save(tmp_path / "cat" / "wide.png")
    with pytest.raises(Refusal, match="wide.png.*6 x 4"):
        Folder(tmp_path, split="all")
    assert Folder(tmp_path, split="all", size=4).shape == (1, 4, 4)
    with pytest.raises(Refusal, match="channels"):
        Folder(tmp_path, channels=4)
    with pytest.raises(Refusal, match="falls into the split"):
        Folder(tmp_path, size=4, split="held_out", held_out_share=0.0)
    with pytest.raises(Refusal, match="share"):
        Folder(tmp_path, size=4, held_out_share=1.5)


def test_is_a_part(tmp_path: Path) -> None:
    data = Folder(fill(tmp_path), size=(2, 4), held_out_share=0.3)
    assert build(spec(data)) == data and build(spec(data)).size == (2, 4)
    assert data.held_out().split == "held_out" and data.held_out().std == data.std
