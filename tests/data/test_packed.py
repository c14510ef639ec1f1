"""What is packed on its way to training is, unpacked, the same to the bit; and bytes where the source has bytes."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint import data
from mezzotint.data.data import unpacked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(0)
    for row in range(12):
        place = home / "pictures" / str(row % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 14, 3), dtype=np.uint8)).save(place / f"{row}.png")
    lines = ["file_name,text", *(f"pictures/{row % 2}/{row}.png,number {row}" for row in range(12))]
    (home / "pictures.csv").write_text("\n".join(lines) + "\n")
    images = rng.integers(0, 256, (12, 9, 14, 3), dtype=np.uint8)
    np.savez(home / "bytes.npz", images=images, labels=np.arange(12) % 3)
    np.savez(home / "floats.npz", images=images / np.float32(255), labels=np.arange(12) % 3)
    return home


@dataclass(frozen=True)
class Halves(data.Digits):
    """Grey from 0 to 1 in place of -1 to 1, in 256 shades: a byte means another value than elsewhere."""

    def read(self, rows):
        return super().read(rows) / 2 + 0.5


SOURCES = {
    "folder": lambda home: data.Folder(str(home / "pictures"), split="all"),
    "folder on demand": lambda home: data.Folder(str(home / "pictures"), size=(6, 7), split="all", budget=0),
    "table": lambda home: data.Table(str(home / "pictures.csv"), caption="text", split="all"),
    "table on demand": lambda home: data.Table(str(home / "pictures.csv"), size=8, split="all", budget=0),
    "bytes": lambda home: data.Arrays(str(home / "bytes.npz"), split="all"),
    "mirrored": lambda home: data.Flipped(data.Folder(str(home / "pictures"), held_out_share=0.0), ("label",)),
    "buckets": lambda home: data.Buckets(data.Folder(str(home / "pictures"), split="all"), side=16),
    "floats": lambda home: data.Arrays(str(home / "floats.npz"), split="all"),
    "scenes": lambda home: data.Scenes(pictures=20, held_out_pictures=5),
    "cached": lambda home: data.Cached(data.Folder(str(home / "pictures"), split="all", budget=0), str(home / "cache")),
    "cached buckets": lambda home: data.Cached(SOURCES["buckets"](home), str(home / "cache")),
    "cached bytes": lambda home: data.Cached(SOURCES["bytes"](home), str(home / "cache")),
    "cached halves": lambda home: data.Cached(Halves(), str(home / "cache")),
}


@pytest.mark.parametrize("name", SOURCES)
def test_what_is_unpacked_is_what_is_read(folder, name):
    source = SOURCES[name](folder)
    rows = np.array([7, 0, 3, 3, 11])
    x, told = source.packed(rows)
    assert x.dtype == (torch.float32 if name in ("floats", "scenes", "cached halves") else torch.uint8)
    truth, cond = source[rows]
    assert torch.equal(unpacked(x), truth) and unpacked(x).is_contiguous() and unpacked(x).dtype == torch.float32
    assert told.families == cond.families
    assert all(torch.equal(told[key], cond[key]) for key in cond.values)


def test_every_byte_by_hand():
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(unpacked(every).flatten(), torch.arange(256).float() / 127.5 - 1)


class Dark(data.Arrays):
    """What somebody derives from a source whose pictures travel as bytes."""

    def read(self, rows):
        return super().read(rows) - 1


def test_who_reads_otherwise_is_trained_on_what_it_reads(tmp_path):
    np.savez(tmp_path / "few.npz", images=np.full((12, 4, 4), 255, np.uint8))
    dark = Dark(str(tmp_path / "few.npz"), label=None, held_out_share=0.1)
    x, _ = dark.packed(np.arange(5))
    assert torch.equal(unpacked(x), dark[:5][0]) and float(x.max()) == 0
    plain = data.Arrays(dark.path, label=None, held_out_share=0.1)
    assert plain.packed(np.arange(2))[0].dtype == torch.uint8
