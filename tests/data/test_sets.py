"""The sets of the data root: the facts that are printed beside them, and one item of each decoded here once more."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.core import Refusal, build, spec
from mezzotint.data import (
    CIFAR10,
    MNIST,
    CamVid,
    Facades,
    FashionMNIST,
    Flipped,
    Flowers,
    Folder,
    Olivetti,
    find,
)
from mezzotint.data.containers import Jpegs, from_delta, plain
from mezzotint.data.root import VARIABLE
from mezzotint.testing import check_data

SETS = (MNIST, FashionMNIST, CIFAR10, CamVid, Facades, Olivetti, Flowers)


def held(name: str) -> np.lib.npyio.NpzFile:
    """A file of the data root, as numpy opens it."""
    try:
        return np.load(find(name))
    except Refusal as absent:
        pytest.skip(str(absent))


def byte(x: torch.Tensor) -> np.ndarray:
    """Pictures (B, C, H, W) back as bytes (B, H, W, C)."""
    return ((x + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def green_first(planes: np.ndarray, row: int) -> np.ndarray:
    """Picture ``row`` of planes (3, N, H, W), one running sum after the other in whole numbers."""
    green, red, blue = planes[:, row].astype(np.int64).cumsum(1).cumsum(2) % 256
    return (np.stack([red + green, green, blue + green], -1) % 256).astype(np.uint8)


@pytest.fixture(scope="module")
def flowers() -> Flowers:
    held("flowers/flowers_128.npz")
    return Flowers(split="held_out")


@pytest.mark.parametrize("kind", SETS)
def test_what_is_absent_is_said_in_a_sentence(kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(Refusal, match=f"set {VARIABLE} to the folder that holds it"):
        build(spec(kind()))[0]


@pytest.mark.parametrize(("kind", "sizes"), [(CamVid, (367, 101)), (Facades, (400, 100)), (Olivetti, (320, 80))])
def test_the_splits_are_as_large_as_is_said(kind: type, sizes: tuple[int, int]) -> None:
    data = kind()
    held(data._files()[0])
    assert (len(data), len(data.held_out())) == sizes
    check_data(data.held_out())


@pytest.mark.parametrize(
    ("kind", "mean", "std", "first", "held_out"),
    [
        (MNIST, 0.1307, 0.3081, [5, 0, 4, 1, 9, 2, 1, 3], [7, 2, 1, 0, 4, 1, 4, 9]),
        (FashionMNIST, 0.2860, 0.3530, [9, 0, 0, 3, 0, 2, 7, 2], [9, 2, 1, 1, 6, 1, 4, 6]),
    ],
)
def test_digits_and_clothes_are_the_well_known_ones(
    kind: type, mean: float, std: float, first: list[int], held_out: list[int]
) -> None:
    """Mean and standard deviation are of the whole training file, of which the last 5,000 are for choices."""
    held(f"{kind.folder}/train.npz")
    data, other = kind(), kind(split="validation")
    pixels = torch.cat([data[:][0], other[:][0]]).add_(1).div_(2)
    assert len(pixels) == 60_000 and len(other) == 5_000
    assert len(data.held_out()) == (10_000 if kind is MNIST else 5_000)
    assert abs(float(pixels.mean()) - mean) < 5e-5 and abs(float(pixels.std()) - std) < 5e-5
    assert data.labels[:8].tolist() == first and data.held_out().labels[:8].tolist() == held_out
    assert not np.array_equal(other.labels, data.labels[-5_000:])


def test_clothes_keep_their_marks() -> None:
    """By which the runs that were trained on them know them."""
    held("fashion_mnist/test.npz")
    assert FashionMNIST(14, "held_out").mark.startswith("e4f5b6c737ace4bc")
    assert FashionMNIST(14, "validation").mark.startswith("869e9b51456cc13d")


def test_cifar_has_its_colours_and_holds_the_third_file_out() -> None:
    """Means and standard deviations of the channels are those printed for 50,000 pictures, of which this is a fifth.

    A set of 10,000 pictures says the mean of a channel to about 0.15 / sqrt(10,000) = 0.0015.
    """
    z = dict(held("cifar10/train_c.npz"))
    data, small = CIFAR10(), CIFAR10(train="a", split="all")
    kept = data.held_out()
    assert data.classes == tuple(z["classes"].tolist()) and np.array_equal(kept.labels, z["labels"])
    assert np.bincount(data.labels).tolist() == [2_000] * 10 and np.bincount(kept.labels).tolist() == [1_000] * 10
    assert data.labels[:8].tolist() == [6, 0, 2, 0, 7, 0, 1, 3]
    assert data.labels[10_000:10_008].tolist() == [5, 8, 1, 0, 4, 9, 8, 3]
    assert np.array_equal(byte(kept[[7, 9_999]][0]), [green_first(z["delta"], 7), green_first(z["delta"], 9_999)])
    assert (len(data), len(kept)) == (20_000, 10_000)
    shares = (kept[:][0] + 1) / 2
    assert torch.allclose(shares.mean((0, 2, 3)), torch.tensor([0.4914, 0.4822, 0.4465]), atol=4e-3)
    assert torch.allclose(shares.std((0, 2, 3)), torch.tensor([0.2470, 0.2435, 0.2616]), atol=4e-3)
    assert small._files() == ["cifar10/train_a.npz", "cifar10/train_c.npz"] and len(data.sibling("all")._files()) == 3
    with pytest.raises(Refusal, match="c is held out"):
        CIFAR10(train="abc")


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize(("kind", "unsaid"), [(CamVid, True), (Facades, False)])
def test_maps_are_those_of_their_photographs(kind: type, unsaid: bool, size: int) -> None:
    z = dict(held(f"{kind.stem}_{size}.npz"))
    data = kind(size)
    rows = np.flatnonzero(z["split"] == 0)
    many = len(data.things)
    assert data.things == tuple(z["classes"].tolist()[:many]) and many == 12 - unsaid
    assert data.labels is None and data.classes == () and data.shape == (3, size, size)
    x, told = data[[0, 200, len(data) - 1]]
    for at, row in enumerate((rows[0], rows[200], rows[-1])):
        raw = z["layouts"][row]
        assert np.array_equal(byte(x)[at], green_first(z["delta"], row))
        assert np.array_equal(told["layout"][at], np.where(raw == 11, 255, raw) if unsaid else raw)
    every = data.condition(np.arange(len(data)))["layout"]
    assert set(every.unique().tolist()) == {*range(many), *([255] if unsaid else [])}
    last = z["layouts"][z["split"] == 1][-1]
    assert np.array_equal(data.held_out()[-1][1]["layout"][0], np.where(last == 11, 255, last) if unsaid else last)


def test_maps_are_brought_to_size_without_mixing_their_numbers() -> None:
    z = dict(held("camvid/camvid_64.npz"))
    small, wide = CamVid(32, "all"), CamVid((32, 64), "all")
    raw = np.where(z["layouts"] == 11, 255, z["layouts"])
    assert np.array_equal(small[:][1]["layout"], raw[:, 1::2, 1::2])
    assert np.array_equal(wide[:][1]["layout"], raw[:, 16:48])
    assert np.array_equal(byte(wide[5][0])[0], green_first(z["delta"], 5)[16:48])
    halved = torch.nn.functional.avg_pool2d(CamVid(64, "all")[:32][0], 2)
    assert (small[:32][0] - halved).abs().max() < 0.51 / 127.5
    assert len({CamVid().mark, CamVid(128).mark, CamVid(32).mark, CamVid().held_out().mark}) == 4


@pytest.mark.parametrize("size", [64, (40, 64)])
@pytest.mark.parametrize("kind", [CamVid, Facades])
def test_a_photograph_is_flipped_with_its_map(kind: type, size: int | tuple[int, int]) -> None:
    held(f"{kind.stem}_64.npz")
    data = kind(size, split="held_out").sibling("train")
    both = Flipped(data)
    x, told = both[[3, 3 + len(data)]]
    assert torch.equal(x[1], x[0].flip(-1)) and torch.equal(told["layout"][1], told["layout"][0].flip(-1))


def test_of_every_face_the_last_two_are_held_out() -> None:
    z = held("olivetti/faces_64.npz")
    data = Olivetti()
    assert np.bincount(data.labels).tolist() == [8] * 40 and np.bincount(data.held_out().labels).tolist() == [2] * 40
    assert np.array_equal(byte(data[[0, 8]][0])[..., 0], z["images"][[0, 10]])
    assert np.array_equal(byte(data.held_out()[[0, 79]][0])[..., 0], z["images"][[8, 399]])


def test_flowers_are_what_is_said_of_them(flowers: Flowers) -> None:
    z = dict(held("flowers/flowers_128.npz"))
    whole, train = flowers.sibling("all"), flowers.sibling("train")
    assert len(whole) == 2_699 and np.bincount(whole.labels).tolist() == [540, 540, 540, 539, 540]
    assert whole.classes == tuple(z["classes"].tolist()) and whole.labels[:8].tolist() == [2, 1, 4, 4, 3, 4, 2, 3]
    assert whole.names == tuple(z["names"].tolist()) and len(set(whole.names)) == 2_699
    assert not set(train.names) & set(flowers.names) and set(train.names) | set(flowers.names) == set(whole.names)
    assert 200 < len(flowers) < 340 and np.bincount(flowers.labels).min() > 30
    for row in (0, 100, len(flowers) - 1):
        at = whole.names.index(flowers.names[row])
        large = np.asarray(Image.open(BytesIO(z["jpeg"][z["offsets"][at] : z["offsets"][at + 1]].tobytes())))
        small = large.reshape(64, 2, 64, 2, 3).mean((1, 3)).round().astype(np.uint8)
        assert np.array_equal(byte(flowers[row][0])[0], small) and flowers.labels[row] == z["labels"][at]


def test_flowers_become_a_folder_of_jpeg_files(flowers: Flowers, tmp_path: Path) -> None:
    """What a folder of them reads is what the set reads, class by class."""
    assert flowers.write(tmp_path / "flowers", 60) == 60
    folder = Folder(str(tmp_path / "flowers"), size=64, split="all")
    assert folder.classes == flowers.classes and len(folder) == 60
    order = sorted(range(60), key=lambda row: (int(flowers.labels[row]), flowers.names[row]))
    assert folder.labels.tolist() == [int(flowers.labels[row]) for row in order]
    assert torch.equal(folder[:][0], flowers[order][0])
    with pytest.raises(Refusal, match="no empty folder"):
        flowers.write(tmp_path / "flowers")


def test_more_than_is_kept_is_refused_before_it_is_made(flowers: Flowers) -> None:
    with pytest.raises(Refusal, match="choose a smaller size"):
        Flowers(size=1024, split="all")[0]


@pytest.mark.parametrize(
    ("kind", "wrong", "words"),
    [
        (MNIST, {"split": "test"}, "choose one of train, validation"),
        (CIFAR10, {"split": "validation"}, "choose one of train, held_out, all"),
        (CamVid, {"size": 0}, "size"),
        (Flowers, {"size": None}, "has a size"),
    ],
)
def test_what_there_is_not_is_refused(kind: type, wrong: dict, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        kind(**wrong)


def test_differences_of_planes_are_taken_back() -> None:
    """Written by the definition: green, red less green, blue less green, each less its neighbours above and before."""
    pictures = np.random.default_rng(0).integers(0, 256, (4, 5, 7, 3), np.uint8)
    red, green, blue = np.moveaxis(pictures.astype(np.int64), -1, 0)
    planes = np.stack([green, red - green, blue - green])
    for axis in (2, 3):
        planes = np.diff(planes, axis=axis, prepend=0)
    assert np.array_equal(from_delta((planes % 256).astype(np.uint8)), pictures)
    for wrong in (planes, np.zeros((2, 4, 5, 7), np.uint8), np.zeros((3, 5, 7), np.uint8)):
        with pytest.raises(Refusal, match="3, N, H, W"):
            from_delta(wrong)
    with pytest.raises(Refusal, match="N, H, W"):
        plain(np.zeros((3, 4), np.uint8))


def test_jpeg_files_are_cut_where_their_offsets_say() -> None:
    files = []
    for shade in (20, 200, 90):
        with BytesIO() as file:
            Image.new("RGB", (16, 8), (shade, shade, shade)).save(file, "JPEG", quality=95)
            files.append(file.getvalue())
    blob, offsets = np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)])
    jpegs = Jpegs(blob, offsets, ["a", "b", "c"])
    assert [jpegs.file(row) for row in range(3)] == files
    shades = jpegs.pictures(np.array([2, 0])).astype(int)
    assert shades.shape == (2, 8, 16, 3) and abs(shades - np.array([90, 20])[:, None, None, None]).max() <= 2
    for odd in (offsets[:-1], offsets + 1, np.array([0, 5, 5, len(blob)])):
        with pytest.raises(Refusal, match="do not cut"):
            Jpegs(blob, odd, ["a", "b", "c"])
    broken = np.where(np.arange(len(blob)) < offsets[1], blob, 0).astype(np.uint8)
    with pytest.raises(Refusal, match="'b' cannot be read"):
        Jpegs(broken, offsets, ["a", "b", "c"]).pictures(np.arange(3))
