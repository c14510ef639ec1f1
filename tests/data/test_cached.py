"""A cache gives what its source gives, goes on where it was killed, and is never believed where it is damaged."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import tarfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.data import cached, origins, shelf
from mezzotint.data.data import unpacked
from mezzotint.data.shelf import ABOUT, PICTURES, ROWS


@dataclass(frozen=True)
class Counting(mz.data.Digits):
    """Digits that write down which of them were read, in a file that all processes share."""

    said: str = ""

    def read(self, rows):
        with open(self.said, "a") as file:
            file.writelines(f"{row}\n" for row in rows)
        return super().read(rows)


@dataclass(frozen=True)
class Noise(mz.data.Digits):
    """Values that are no bytes, from some item on."""

    first: int = 0

    def read(self, rows):
        x = super().read(rows)
        return torch.where(torch.from_numpy(rows >= self.first)[:, None, None, None], torch.sin(70 * x + 1), x)


@dataclass(frozen=True)
class Zeros(mz.data.Digits):
    """Halves and zeros, some of them below zero: a byte means one value, and so not both zeros."""

    def read(self, rows):
        x = (super().read(rows) > 0).float() / 2
        return torch.where(torch.from_numpy(rows % 2 == 0)[:, None, None, None], x, x * torch.sign(x - 0.25))


@dataclass(frozen=True)
class Points(mz.data.Digits):
    """The corners of digits, no pictures."""

    shape = (3,)

    def read(self, rows):
        return super().read(rows)[:, 0, 4, 2:5] ** 3 * 7


def read_of(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def small(monkeypatch):
    """Pieces of 64 digits, so that a build has many."""
    monkeypatch.setattr(cached, "AT_ONCE", 4 * 64 * 64)


@pytest.fixture
def folder(tmp_path):
    """Forty pictures of two classes, as JPEG files."""
    rng = np.random.default_rng(0)
    for number in range(40):
        place = tmp_path / "pictures" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(place / f"{number}.jpg")
    return mz.data.Folder(str(tmp_path / "pictures"), size=(12, 16), budget=0)


def same(a, b):
    rows = np.arange(len(b))[::-1].copy()
    (x, told), (y, expected) = a[rows], b[rows]
    assert torch.equal(x.view(torch.int32), y.contiguous().view(torch.int32))  # a zero below zero is another
    assert told.families == expected.families
    assert all(torch.equal(told[name], expected[name]) for name in expected.values)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (lambda: mz.data.Digits(), "uint8"),
        (lambda: mz.data.Scenes(size=16, pictures=30, held_out_pictures=5, tells=("layout", "caption")), "uint8"),
        (lambda: Points(), "float32"),
        (lambda: Noise(), "float32"),
        (lambda: Noise(first=300), "float32"),
        (lambda: Zeros(), "float32"),
    ],
    ids=["digits", "scenes", "points", "noise", "noise later", "signed zeros"],
)
def test_it_gives_the_same_bits(source, kind, tmp_path, small):
    source = source()
    data = mz.data.Cached(source, str(tmp_path))
    same(data, source)
    assert data.done == len(source) and data.shape == source.shape and data.mark == source.mark
    assert (data.mean, data.std) == (source.mean, source.std)
    assert np.load(data.path / PICTURES).dtype == kind
    same(mz.data.Cached(source, str(tmp_path)).held_out(), source.held_out())


def test_a_folder_is_decoded_once(folder, tmp_path, monkeypatch):
    data = mz.build(mz.spec(mz.data.Cached(folder, str(tmp_path / "cache"))))
    same(data, folder)
    assert (data.std, data.classes) == (folder.std, folder.classes)
    mz.testing.check_data(data)
    monkeypatch.setattr(mz.data.Folder, "read", None)
    again = mz.data.Cached(folder, str(tmp_path / "cache"))
    assert torch.equal(again[:5][0], data[:5][0])


def test_a_cache_is_for_its_source_alone_wherever_that_lies(folder, tmp_path):
    data = mz.data.Cached(folder, str(tmp_path / "cache"))
    data.build()
    os.rename(folder.path, tmp_path / "moved")
    moved = mz.data.Folder(str(tmp_path / "moved"), size=(12, 16), budget=0)
    assert mz.data.Cached(moved, str(tmp_path / "cache")).key == data.key
    smaller = mz.data.Folder(str(tmp_path / "moved"), size=(12, 12), budget=0)
    assert mz.data.Cached(moved, str(tmp_path / "cache")).done == len(folder)
    keys = [mz.data.Cached(one, "x").key for one in (moved, smaller, moved.held_out())]
    assert len(set(keys)) == 3
    Image.new("RGB", (24, 20)).save(moved._files[0])
    changed = mz.data.Folder(str(tmp_path / "moved"), size=(12, 16), budget=0)
    assert mz.data.Cached(changed, "x").key != data.key


def killed(source, folder, after):
    def stop(done, total):
        if done >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    mz.data.Cached(source, folder).build(stop)


def test_a_killed_build_is_gone_on_with(tmp_path, small):
    source = Counting(said=str(tmp_path / "said"))
    folder = str(tmp_path / "cache")
    child = multiprocessing.get_context("fork").Process(target=killed, args=(source, folder, 400))
    child.start()
    child.join()
    data = mz.data.Cached(source, folder)
    assert child.exitcode == -signal.SIGKILL and data.done == 448  # whole pieces of 64
    seen = []
    data.build(lambda done, total: seen.append((done, total)))
    assert seen[0] == (448, len(source)) and seen[-1] == (len(source), len(source))
    assert sorted(read_of(tmp_path / "said")) == list(range(len(source)))  # nothing was decoded twice
    same(data, mz.data.Digits())


def test_half_a_piece_counts_for_nothing(tmp_path, small, monkeypatch):
    """The hashes come after the pictures are on the disk, so what is between is done again."""
    data = mz.data.Cached(mz.data.Digits(), str(tmp_path))
    calls, fsync = [], os.fsync

    def stop(handle):
        name = os.readlink(f"/proc/self/fd/{handle}")
        if name.endswith(PICTURES):
            calls.append(name)
            if len(calls) == 4:
                raise KeyboardInterrupt
        fsync(handle)

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        data.build()
    assert data.done == 3 * 64
    monkeypatch.setattr(os, "fsync", fsync)
    same(data, mz.data.Digits())


def build(source, folder, gate):
    gate.wait()
    mz.data.Cached(source, folder).build()


def test_two_builders_at_once(tmp_path, small):
    source, context = Counting(said=str(tmp_path / "said")), multiprocessing.get_context("fork")
    gate = context.Barrier(3)
    both = [context.Process(target=build, args=(source, str(tmp_path / "cache"), gate)) for _ in range(2)]
    for one in both:
        one.start()
    gate.wait()
    for one in both:
        one.join()
        assert one.exitcode == 0
    assert sorted(read_of(tmp_path / "said")) == list(range(len(source)))
    same(mz.data.Cached(source, str(tmp_path / "cache")), mz.data.Digits())


def test_a_damaged_item_is_taken_from_the_source(tmp_path):
    source = Counting(said=str(tmp_path / "said"))
    data = mz.data.Cached(source, str(tmp_path / "cache")).build()
    (tmp_path / "said").unlink()
    kept = bytearray((data.path / PICTURES).read_bytes())
    kept[-5] ^= 1  # of the last item
    kept[-64 - 5], kept[-128 - 5] = kept[-128 - 5], kept[-64 - 5] ^ 2
    (data.path / PICTURES).write_bytes(kept)
    data = mz.data.Cached(source, str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="3 items .* are damaged"):
        same(data, mz.data.Digits())
    assert sorted(read_of(tmp_path / "said")) == [len(data) - 3, len(data) - 2, len(data) - 1]
    data = mz.data.Cached(source, str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="3 items .* are damaged"):
        assert torch.equal(unpacked(data.packed(np.arange(len(data)))[0]), mz.data.Digits()[:][0])
    data.build(check=True)
    (tmp_path / "said").unlink()
    same(mz.data.Cached(source, str(tmp_path / "cache")), mz.data.Digits())
    assert read_of(tmp_path / "said") == []


@pytest.mark.filterwarnings("ignore:.*are damaged")
@pytest.mark.parametrize("name", [PICTURES, ROWS, ABOUT])
@pytest.mark.parametrize("how", ["cut", "empty", "gone", "other", "rubbish"])
def test_files_that_are_not_the_cache_are_never_believed(name, how, tmp_path):
    data = mz.data.Cached(mz.data.Digits(), str(tmp_path / "cache")).build()
    other = mz.data.Cached(mz.data.Digits("held_out"), str(tmp_path / "cache")).build()
    file, whole = data.path / name, (data.path / name).read_bytes()
    rubbish = np.random.default_rng(0).integers(0, 256, len(whole), dtype=np.uint8).tobytes()
    changed = {"cut": whole[:-7], "empty": b"", "rubbish": rubbish}
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(changed[how] if how in changed else (other.path / name).read_bytes())
    same(mz.data.Cached(mz.data.Digits(), str(tmp_path / "cache")), mz.data.Digits())


def test_a_cache_under_another_name_is_foreign(tmp_path):
    """It is whole and fits, and it is of other pictures: the digits in another order."""
    data = mz.data.Cached(mz.data.Digits(), str(tmp_path / "cache"))
    other = mz.data.Cached(Backwards(), str(tmp_path / "cache")).build()
    os.rename(other.path, data.path)
    same(data, mz.data.Digits())


@dataclass(frozen=True)
class Backwards(mz.data.Digits):
    def read(self, rows):
        return super().read(len(self) - 1 - rows)


def test_shades_of_a_changed_header_are_not_believed(tmp_path):
    data = mz.data.Cached(mz.data.Digits(), str(tmp_path)).build()
    about = json.loads((data.path / ABOUT).read_text())
    about["shades"] = about["shades"][::-1]
    (data.path / ABOUT).write_text(json.dumps(about))
    same(mz.data.Cached(mz.data.Digits(), str(tmp_path)), mz.data.Digits())


def test_it_is_read_by_other_processes(tmp_path):
    data = mz.data.Cached(mz.data.Digits(), str(tmp_path))
    x = data[:7][0]
    assert len(pickle.dumps(data)) < len(pickle.dumps(data.source)) + 500
    same(pickle.loads(pickle.dumps(data)), mz.data.Digits())
    loader = torch.utils.data.DataLoader(data, batch_size=None, sampler=[np.arange(7)], num_workers=1)
    assert torch.equal(next(iter(loader))[0], x)


def test_memory_stays_flat_while_it_is_built(tmp_path):
    """64 MiB of pictures through pieces of 16 MiB of float32."""
    seen = []

    def anonymous(done, total):
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        seen.append(int(status["RssAnon"].split()[0]) / 1024)

    data = mz.data.Cached(Large(), str(tmp_path)).build(anonymous)
    assert len(seen) == 17 and max(seen[2:]) - seen[2] < 4
    assert (data.path / PICTURES).stat().st_size > 2**26


@dataclass(frozen=True)
class Large(mz.data.Data):
    split: str = "train"
    shape = (4, 128, 128)
    classes = ()
    labels = None

    def __len__(self):
        return 1024

    def read(self, rows):
        return torch.from_numpy(rows % 256).float().div_(127.5).sub_(1)[:, None, None, None].expand(-1, *self.shape)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(mz.Refusal, match="cached already"):
        mz.data.Cached(mz.data.Cached(mz.data.Digits(), "a"), "b")
    with pytest.raises(mz.Refusal, match="source .* is a data set"):
        mz.data.Cached("digits", "a")
    (tmp_path / "file").write_text("")
    with pytest.raises((mz.Refusal, OSError)):
        mz.data.Cached(mz.data.Digits(), str(tmp_path / "file")).build()


@pytest.fixture
def bitmaps(tmp_path):
    """Thirty BMP files of two classes, in a folder that reads them when it is asked."""
    rng = np.random.default_rng(0)
    for number in range(30):
        place = tmp_path / "pictures" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(place / f"{number}.bmp")
    return tmp_path / "pictures"


def opened(path, budget=0):
    return mz.data.Folder(str(path), size=16, budget=budget, held_out_share=0.0)


def repaint(file):
    """Paint the top rows of a BMP white: its size and its middle stay."""
    content = bytearray(file.read_bytes())
    content[-8 * 32 * 3 :] = b"\xff" * (8 * 32 * 3)  # of 32 pixels or more a row
    file.write_bytes(content)


def hashed(monkeypatch):
    """Which files are read to the end to be hashed, from now on."""
    seen, stamp = [], origins._stamp

    def counting(file):
        seen.append(file.name)
        return stamp(file)

    monkeypatch.setattr(origins, "_stamp", counting)
    return seen


@pytest.mark.parametrize("budget", [0, 2**30])
def test_a_picture_painted_over_in_place_is_decoded_anew_and_no_other(bitmaps, tmp_path, monkeypatch, budget):
    before = opened(bitmaps, budget)
    old = mz.data.Cached(before, str(tmp_path / "cache"))[:][0]
    repaint(before._files[3])
    after = opened(bitmaps, budget)
    assert after.mark == before.mark and (after[:][0] != old).flatten(1).any(1).nonzero().flatten().tolist() == [3]
    data = mz.data.Cached(after, str(tmp_path / "cache"))
    assert data.done == len(after) - 1
    read = []
    plain = mz.data.Folder.read
    monkeypatch.setattr(mz.data.Folder, "read", lambda self, rows: read.extend(rows.tolist()) or plain(self, rows))
    x = data[:][0]
    assert torch.equal(x, plain(after, np.arange(len(after)))) and read == [3] and data.done == len(after)


@pytest.mark.parametrize("how", ["moved", "copied", "touched"])
def test_what_was_moved_copied_or_touched_is_the_same(bitmaps, tmp_path, monkeypatch, how):
    mz.data.Cached(opened(bitmaps), str(tmp_path / "cache")).build()
    place = tmp_path / "elsewhere"
    if how == "moved":
        bitmaps.rename(place)
    elif how == "copied":
        shutil.copytree(bitmaps, place, copy_function=shutil.copyfile)
    else:
        place = bitmaps
        for file in bitmaps.rglob("*.bmp"):
            os.utime(file, ns=(5, 5))
    seen = hashed(monkeypatch)
    decoded = mz.data.Folder.read
    monkeypatch.setattr(mz.data.Folder, "read", None)
    data = mz.data.Cached(opened(place), str(tmp_path / "cache"))
    x = data[:][0]
    assert len(seen) == (0 if how == "moved" else 30)
    mz.data.Cached(opened(place), str(tmp_path / "cache"))[:]
    assert len(seen) == (0 if how == "moved" else 30)  # once is enough
    monkeypatch.setattr(mz.data.Folder, "read", decoded)
    assert torch.equal(x, opened(place)[:][0])


def test_a_cache_that_may_not_be_written_is_read_where_the_files_are_the_same(bitmaps, tmp_path, monkeypatch):
    mz.data.Cached(opened(bitmaps), str(tmp_path / "cache")).build()
    os.utime(opened(bitmaps)._files[0], ns=(5, 5))
    monkeypatch.setattr(mz.data.Folder, "read", None)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(shelf, "_put", refused)
    assert len(mz.data.Cached(opened(bitmaps), str(tmp_path / "cache"))[:][0]) == 30


def test_a_check_believes_no_time(bitmaps, tmp_path):
    """The time of the file was put back after it was painted over."""
    data = mz.data.Cached(opened(bitmaps), str(tmp_path / "cache")).build()
    file = data.source._files[7]
    stat = file.stat()
    repaint(file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = opened(bitmaps)
    old = mz.data.Cached(after, str(tmp_path / "cache"))
    assert not torch.equal(old[7][0], after[7][0])  # what a time that lies costs
    assert torch.equal(old.build(check=True)[:][0], after[:][0])


def test_what_a_source_has_kept_is_not_written_for_what_lies_there_now(bitmaps, tmp_path):
    kept = opened(bitmaps, 2**30)
    repaint(kept._files[7])
    with pytest.raises(mz.Refusal, match="has changed since its data set was opened; open it anew"):
        mz.data.Cached(kept, str(tmp_path / "cache")).build()
    after = opened(bitmaps, 2**30)
    assert torch.equal(mz.data.Cached(after, str(tmp_path / "cache"))[:][0], after[:][0])


def test_a_build_that_is_killed_over_a_change_leaves_nothing_old(bitmaps, tmp_path, monkeypatch):
    mz.data.Cached(opened(bitmaps), str(tmp_path / "cache")).build()
    repaint(opened(bitmaps)._files[5])
    real = shelf.Shelf.stamp

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shelf.Shelf, "stamp", stop)
    with pytest.raises(KeyboardInterrupt):
        mz.data.Cached(opened(bitmaps), str(tmp_path / "cache")).build()
    monkeypatch.setattr(shelf.Shelf, "stamp", real)
    data = mz.data.Cached(opened(bitmaps), str(tmp_path / "cache"))
    assert data.done == 29 and torch.equal(data[:][0], opened(bitmaps)[:][0])


@pytest.mark.parametrize("kind", ["table", "shards", "arrays", "mirrored", "buckets", "bucket"])
def test_other_sources_know_their_files(bitmaps, tmp_path, kind):
    """Whatever the pictures lie in, one that is painted over in place is seen."""
    files = sorted(bitmaps.rglob("*.bmp"))
    names = [file.relative_to(bitmaps).as_posix() for file in files]
    if kind == "bucket":  # the painted one is wide, and so are others behind square ones
        for file in files[3::3]:
            Image.open(file).resize((48, 32)).save(file)
    (bitmaps / "metadata.csv").write_text("\n".join(["file_name", *names]) + "\n")

    def source():
        if kind == "table":
            return mz.data.Table(str(bitmaps), size=16, split="all", budget=0)
        if kind == "shards":
            with tarfile.open(tmp_path / "a.tar", "w") as tar:
                for row, file in enumerate(files):
                    tar.add(file, f"{row}.bmp")
            return mz.data.Shards(str(tmp_path / "a.tar"), size=16, split="all", budget=0)
        if kind == "arrays":
            pictures = np.stack([np.asarray(Image.open(file)) for file in files])
            np.savez(tmp_path / "a.npz", images=pictures, labels=np.zeros(30, np.int64))
            return mz.data.Arrays(str(tmp_path / "a.npz"), size=16, split="all")
        folder = opened(bitmaps)
        if kind == "mirrored":
            return mz.data.Flipped(folder, harmless=("label",))
        several = mz.data.Buckets(folder, chosen=((16, 16), (16, 24)))
        return several if kind == "buckets" else mz.data.Bucket(several, (16, 24))

    before = source()
    old = mz.data.Cached(before, str(tmp_path / "cache"))[:][0]
    repaint(files[6])
    after = source()
    x = after[:][0]
    assert (before.mark == after.mark or kind == "arrays") and not torch.equal(x, old)
    assert torch.equal(mz.data.Cached(after, str(tmp_path / "cache"))[:][0], x)
