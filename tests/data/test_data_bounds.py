"""What pictures and arrays may cost: labels, memory, threads at once, and where links lead."""

import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.core import Refusal
from mezzotint.data import Arrays, Folder
from mezzotint.data.archive import LABELS
from mezzotint.data.picture import MAX_PIXELS, Turns, decode
from mezzotint.data.resize import fit


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def peak() -> int:
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0, 10**18]),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([0, 2**63], np.uint64),
        np.array([LABELS, 0]),
    ],
    ids=["many", "wraps to -1", "wraps to the least", "one too many"],
)
def test_a_label_that_cannot_be_a_class_is_refused(tmp_path: Path, traced: None, labels: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=labels)
    for classes in ((), ("a", "b")):
        with pytest.raises(Refusal, match=f"holds the label {labels.max()}, but"):
            Arrays(str(tmp_path / "a.npz"), classes=classes)
    assert peak() < 2**22


def test_the_largest_label_has_a_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.array([0, LABELS - 1]))
    data = Arrays(str(tmp_path / "a.npz"), split="all")
    assert len(data.classes) == LABELS and data.labels is not None and data.labels.tolist() == [0, LABELS - 1]


@pytest.mark.parametrize(
    ("dtype", "times"), [(np.uint8, 2), (np.float32, 2), (np.float16, 3)], ids=["uint8", "float32", "float16"]
)
@pytest.mark.parametrize("size", [None, 32])
def test_arrays_take_the_memory_that_they_say(
    tmp_path: Path, dtype: type[np.generic], times: int, size: int | None
) -> None:
    """Twice what the file unpacks to, three times for float16, plus what is worked on at once."""
    images = (np.arange(64 * 64) % 2).astype(dtype).reshape(1, 64, 64).repeat(2**26 // (4096 * dtype().itemsize), 0)
    path, unpacked = str(tmp_path / "a.npz"), images.nbytes
    np.savez(path, images=images)
    del images
    tracemalloc.start()
    try:
        data = Arrays(path, label=None, held_out_share=0.1, size=size)
        assert peak() < times * unpacked + 2**25
    finally:
        tracemalloc.stop()
    assert len(data) > 1000 and data.shape == (1, size or 64, size or 64)


def test_what_is_kept_is_within_the_budget_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), np.float16))
    path, half = str(tmp_path / "a.npz"), 9 * 64 * 2 + 128  # with the header of the array
    assert Arrays(path, label=None, split="all", budget=2 * half).shape == (1, 8, 8)
    with pytest.raises(Refusal, match="budget"):
        Arrays(path, label=None, split="all", budget=half)  # the file fits, its float32 does not
    with pytest.raises(Refusal, match="budget"):
        Arrays(path, label=None, split="all", size=10**5)


def test_pictures_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mezzotint.data.archive.PICTURES", 9)
    for count in (9, 10):
        np.savez(tmp_path / f"{count}.npz", images=np.zeros((count, 1, 1), np.uint8))
    assert len(Arrays(str(tmp_path / "9.npz"), label=None, split="all")) == 9
    with pytest.raises(Refusal, match="10 pictures, and at most 9"):
        Arrays(str(tmp_path / "10.npz"), label=None)


def test_floats_are_checked_in_every_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).random((50, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=images)
    whole = Arrays(str(tmp_path / "a.npz"), label=None)[:][0]
    monkeypatch.setattr("mezzotint.data.arrays._CHUNK", 3 * 4 * 16)
    assert torch.equal(Arrays(str(tmp_path / "a.npz"), label=None)[:][0], whole)
    for row, wrong in ((31, 1.5), (49, np.nan)):
        images[row, 2, 2] = wrong
        np.savez(tmp_path / "b.npz", images=images)
        with pytest.raises(Refusal, match="floats lie in"):
            Arrays(str(tmp_path / "b.npz"), label=None, split="all")
        images[row, 2, 2] = 0.5


def test_a_deep_picture_takes_little_more_than_itself(tmp_path: Path) -> None:
    """16-bit grey, 9 million pixels: in int64 at once, as it was, over twenty bytes a pixel."""
    Image.fromarray(np.zeros((3000, 3000), np.uint16)).save(tmp_path / "a.png")
    tracemalloc.start()
    try:
        picture = decode(tmp_path / "a.png", 1, MAX_PIXELS)
        assert peak() < 6 * picture.size
        fit(picture, (8, 8))
        assert peak() < 16 * picture.size
    finally:
        tracemalloc.stop()


def test_bands_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of pixel, and a picture that is turned by its EXIF, comes out alike whole and in bands."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (23, 11, 4), dtype=np.uint8), "RGBA")
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        colour.convert("RGB" if mode == "P" else mode).convert(mode).save(tmp_path / f"{mode}.png", exif=turned)
    colour.convert("P").save(tmp_path / "clear.png", transparency=3)
    colour.convert("RGB").save(tmp_path / "lossy.jpg", exif=turned)
    Image.fromarray(rng.integers(0, 65536, (23, 11)).astype(np.uint16)).save(tmp_path / "deep.png")
    files = sorted(tmp_path.iterdir())
    whole = [decode(file, channels, MAX_PIXELS) for file in files for channels in (1, 3)]
    for band in (1, 30):
        monkeypatch.setattr("mezzotint.data.picture._BAND", band)
        parts = [decode(file, channels, MAX_PIXELS) for file in files for channels in (1, 3)]
        assert all(np.array_equal(a, b) for a, b in zip(whole, parts, strict=True))
    shapes = {file.name: decode(file, 1, MAX_PIXELS).shape for file in files}
    assert shapes["L.png"] == shapes["lossy.jpg"] == (11, 23, 1) and shapes["deep.png"] == (23, 11, 1)


def test_a_vast_picture_is_brought_to_size_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    whole = fit(picture, (8, 8))
    monkeypatch.setattr("mezzotint.data.resize._AT_ONCE", 400)
    assert np.abs(fit(picture, (8, 8)).astype(int) - whole).max() <= 1  # sums of another order round otherwise


def test_threads_share_the_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of the largest size are prepared one after the other, small ones together."""
    for i in range(12):
        Image.new("L", (20, 20), i).save(tmp_path / f"{i}.png")
    lock, now, most = threading.Lock(), 0, 0

    def slow(picture: np.ndarray, size: tuple[int, int], *rest: object) -> np.ndarray:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return fit(picture, size)

    monkeypatch.setattr("mezzotint.data.folder.fit", slow)
    monkeypatch.setattr("mezzotint.data.folder.os.cpu_count", lambda: 4)
    for limit, together in ((400, 1), (900, 2), (10**6, 4)):
        most = 0
        assert len(Folder(str(tmp_path), size=4, split="all", max_pixels=limit)) == 12
        assert most <= together and (together == 1 or most > 1)
    turns = Turns(10)
    with pytest.raises(ZeroDivisionError), turns.take(99):  # one always may, and all is given back
        raise ZeroDivisionError
    with turns.take(10):
        pass


def test_links_stay_inside_unless_they_are_ones_own(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    for folder in (root / "cat", root / "dog", away):
        folder.mkdir(parents=True)
        Image.new("L", (4, 4), 9).save(folder / "a.png")
    (root / "cat" / "again.png").symlink_to(root / "dog" / "a.png")
    (root / "eel").symlink_to(root / "cat")
    (tmp_path / "entry").symlink_to(root)
    (root / "round").symlink_to(root)  # no class of its own
    for path in (root, tmp_path / "entry"):
        assert len(Folder(str(path), split="all")) == 5  # a class that is a link to another has its pictures
    for name, target in (("cat/out.png", away / "a.png"), ("fox", away), ("dog/up.png", "../../away/a.png")):
        (root / name).symlink_to(target)
        with pytest.raises(Refusal, match=r"leads out of .*cp -rL.*links=True") as refused:
            Folder(str(root), split="all")
        assert name in str(refused.value)
        rest = Folder(str(root), split="all", skip_broken=True)
        assert len(rest) == 5 and "fox" not in rest.classes and name in rest.skipped
        assert len(Folder(str(root), split="all", links=True)) > 5
        (root / name).unlink()
