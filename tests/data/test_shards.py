"""Tar shards: read at random, as webdataset reads them in order; the index holds as long as the tar stays."""

import gc
import io
import os
import shutil
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records_made import COLUMNS, png, put, records, shards, table

from mezzotint.core import Refusal, build, spec
from mezzotint.data import Data, Folder, Shards, Table
from mezzotint.data.shards import Members, columns_of, tars
from mezzotint.data.tar import Index, first_of_each
from mezzotint.testing import check_data

TOLD = {**COLUMNS, "layout": "layout.png", "image": "image.png", "mask": "mask.png"}


@pytest.mark.parametrize("budget", [2**30, 0])
def test_shards_are_the_table(tmp_path: Path, budget: int) -> None:
    made = records(13)
    ours = Shards(shards(tmp_path / "tars", made), split="all", budget=budget, **TOLD)
    theirs = Table(
        table(tmp_path / "files", made), split="all", **{**TOLD, "layout": "layout", "image": "image", "mask": "mask"}
    )
    (x, told), (y, same) = ours[::-1], theirs[::-1]
    assert torch.equal(x, y) and ours.classes == theirs.classes and ours.words == theirs.words
    assert set(told.values) == set(same.values)
    assert all(torch.equal(told[name], same[name]) for name in told.values)
    for split in ("train", "held_out"):  # by the name of the picture, which is one in both
        ours, theirs = (kind(data.path, split=split, held_out_share=0.4, label="kind")
                        for kind, data in ((Shards, ours), (Table, theirs)))  # fmt: skip
        assert torch.equal(ours[:][0], theirs[:][0])
        assert np.array_equal(ours.labels, theirs.labels)


def test_the_contract(tmp_path: Path) -> None:
    for budget in (2**30, 0):
        data = Shards(shards(tmp_path, records(30)), size=(8, 12), budget=budget, **TOLD)
        check_data(data)
        assert build(spec(data)) == data and data.mark == build(spec(data)).mark


def test_what_webdataset_wrote(tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    made = records(11)
    with wds.ShardWriter(f"{tmp_path}/%04d.tar", maxcount=4, verbose=0) as writer:
        for k, one in enumerate(made):
            writer.write(
                {
                    "__key__": f"set/{k:05}",
                    "png": np.asarray(Image.open(io.BytesIO(one.files["picture"]))),
                    "mask.png": one.files["mask"],
                    "cls": k % 4,
                    "txt": one.cells["text"],
                    "json": one.cells,
                }
            )
    data = Shards(tmp_path, split="all", label="cls", caption="txt", mask="mask.png", attributes=("count", "colour"))
    read = list(wds.WebDataset(sorted(map(str, tmp_path.glob("*.tar"))), shardshuffle=False).decode("rgb8"))
    assert len(read) == len(data) == 11
    for row, theirs in enumerate(read):
        x, cond = data[row]
        assert np.array_equal(((x[0] + 1) * 127.5).round().permute(1, 2, 0), theirs["png"])
        assert np.array_equal(cond["mask"][0, 0], theirs["mask.png"][..., 0] > 127)
        assert cond["label"].tolist() == [theirs["cls"]] and data.texts([row]) == [theirs["txt"]]
        assert cond["attributes.count"].tolist() == [theirs["json"]["count"]]
    assert data.classes == ("0", "1", "2", "3")
    assert set(columns_of(tmp_path)) >= {"png", "mask.png", "cls", "txt", "json", "count", "colour"}


def lying(beside: Path, members: list[tuple[str, int, int]], shard: Path) -> None:
    """Write an index that says so of a tar, by hand."""
    names, stat = [name.encode() for name, _, _ in members], shard.stat()
    ends = np.cumsum([len(name) for name in names])
    head = [stat.st_size, stat.st_mtime_ns, len(members), sum(map(len, names))]
    tables = [head, [at for _, at, _ in members], [size for _, _, size in members], ends]
    beside.write_bytes(b"mzindex2" + b"".join(np.array(one, "<i8").tobytes() for one in tables) + b"".join(names))


def test_the_index_is_kept_and_made_anew_where_the_tar_changed(tmp_path: Path) -> None:
    root = shards(tmp_path, records(5))
    shard = root / "part-000.tar"
    found = list(Index.of(shard))
    beside = root / "part-000.tar.index"
    with tarfile.open(shard) as tar:
        assert found == [(entry.name, entry.offset_data, entry.size) for entry in tar]
    written = beside.read_bytes()
    lying(beside, found, shard)
    assert beside.read_bytes() == written
    lying(beside, found[:6], shard)
    assert list(Index.of(shard)) == found[:6]  # it is what is read
    short = beside.read_bytes()
    for lie in ([("x", 0, 10**9)], [("x", -5, 3)], [("x", 3, -5)], [("x", 2**62, 2**62)], found[:1] * 40_000):
        lying(beside, lie, shard)
        assert list(Index.of(shard)) == found
    for damaged in (b"", short[:20], short[:-1], short + b"x", b"{" + short[1:], short[:32] + short[24:]):
        beside.write_bytes(damaged)
        assert list(Index.of(shard)) == found
    ends = 8 + 32 + 16 * 6
    for swapped in (short[: ends + 8] + short[ends : ends + 8] + short[ends + 16 :],
                    short[:ends] + (2**40).to_bytes(8, "little") + short[ends + 8 :]):  # fmt: skip
        beside.write_bytes(swapped)
        assert len(Index.of(shard)) == (6 if swapped[ends : ends + 8] == short[ends : ends + 8] else len(found))
    beside.write_bytes(short)
    (tmp_path / "elsewhere").write_bytes(short)
    beside.unlink()
    beside.symlink_to(tmp_path / "elsewhere")
    assert list(Index.of(shard)) == found  # a link may lead anywhere
    assert not beside.is_symlink() and (tmp_path / "elsewhere").read_bytes() == short
    beside.write_bytes(short)
    os.utime(shard, ns=(0, 0))
    assert list(Index.of(shard)) == found  # the time is another
    beside.unlink()
    (root / "part-000.tar.index").mkdir()
    assert list(Index.of(shard)) == found  # nothing can be written there


def read_so_far() -> int:
    """Bytes that this process has asked the system for."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="the system does not count what is read")
@pytest.mark.parametrize("kind", ["png", "jpg", "folder"])
def test_to_open_them_only_headers_are_read(tmp_path: Path, kind: str) -> None:
    """Twenty pictures of half a megabyte each."""
    rng, total = np.random.default_rng(0), 0
    (tmp_path / "pictures").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k in range(20):
            out = io.BytesIO()
            image = Image.fromarray(rng.integers(0, 256, (400, 420, 3), dtype=np.uint8))
            image.save(out, "JPEG" if kind == "jpg" else "PNG", quality=100)
            put(tar, f"{k}.{kind}", out.getvalue())
            (tmp_path / "pictures" / f"{k}.png").write_bytes(out.getvalue())
            total += len(out.getvalue())
    assert total > 20 * 250_000

    def opened() -> Data:
        if kind == "folder":
            return Folder(str(tmp_path / "pictures"), size=32, split="all", budget=0)
        return Shards(tmp_path / "a.tar", size=32, split="all", budget=0)

    for _ in range(2):  # without an index, and with it
        before = read_so_far()
        data = opened()
        assert read_so_far() - before < total / 10
    before = read_so_far()
    assert len(data[[3]][0]) == 1 and read_so_far() - before < total / 8


def test_what_is_known_of_many_records_is_small(tmp_path: Path) -> None:
    """Bytes a record at most, with the tar scanned and with its index read: two files of eight letters each."""
    many = 5_000
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k in range(many):
            for kind in ("jpg", "cls"):
                put(tar, f"{k:08}.{kind}", b"1")
    for _ in range(2):
        gc.collect()
        tracemalloc.start()
        found = Members(tars(tmp_path / "a.tar"), ("jpg", "cls"))
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(found) == many and found.names[many - 1] == f"{many - 1:08}.jpg"
        assert kept < 100 * many and peak < 200 * many


def test_files_of_a_record_need_not_follow_each_other(tmp_path: Path) -> None:
    made = records(6, 8, 8)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k, one in enumerate(made):
            put(tar, f"s/{k}.png", one.files["picture"])
        for k in reversed(range(6)):
            put(tar, f"s/{k}.cls", str(k % 3).encode())
    shutil.copy(tmp_path / "a.tar", tmp_path / "b.tar")  # the keys of another shard are other records
    data = Shards(tmp_path, label="cls", split="all")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2] * 2
    truth = Shards(shards(tmp_path / "plain", made, each=6), split="all")
    assert torch.equal(data[:6][0], truth[:][0]) and torch.equal(data[6:][0], truth[:][0])


def test_keys_of_one_hash_are_told_apart() -> None:
    keys = ["a", "b", "a", "c", "b", "a", "d"]
    assert first_of_each(keys, [7, 7, 7, 7, 7, 7, 3]).tolist() == [0, 1, 0, 3, 1, 0, 6]
    assert first_of_each(keys, [ord(key) for key in keys]).tolist() == [0, 1, 0, 3, 1, 0, 6]
    assert first_of_each([], []).tolist() == []


def test_sparse_files_are_no_records(tmp_path: Path) -> None:
    """Where they lie in the tar there are holes left out: the bytes there are not the picture."""
    picture = png(np.zeros((4, 4, 3), np.uint8))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        put(tar, "1.png", picture)
        sparse = tarfile.TarInfo("2.png")
        sparse.size, sparse.type = len(picture), tarfile.GNUTYPE_SPARSE
        block = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
        block[386:398], block[398:410] = b"%011o\0" % 0, b"%011o\0" % len(picture)
        block[483:495] = b"%011o\0" % len(picture)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        tar.fileobj.write(bytes(block) + picture.ljust(-(-len(picture) // 512) * 512, b"\0"))
        tar.offset += 512 - -(-len(picture) // 512) * -512
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [entry.issparse() for entry in tar] == [False, True]
    assert [name for name, _, _ in Index.of(tmp_path / "a.tar")] == ["1.png"]


def test_a_header_that_announces_gigabytes_is_refused(tmp_path: Path) -> None:
    """A file with holes: three gigabytes that take no room on disk, and would take them in memory."""
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        header = tarfile.TarInfo("././@PaxHeader")
        header.type, header.size = kind, 3 * 2**30
        with (tmp_path / "a.tar").open("wb") as file:
            file.write(header.tobuf(tarfile.GNU_FORMAT))
            file.truncate(3 * 2**30 + 2048)
        tracemalloc.start()
        with pytest.raises(Refusal, match="announces a header of 3,221,225,472 bytes"):
            Shards(tmp_path / "a.tar")
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        put(tar, "n" * 5000 + ".png", b"")
    with pytest.raises(Refusal, match="a name of 5,004 characters"):
        Shards(tmp_path / "b.tar")
    long = "n" * 3000 + ".png"
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        put(tar, long, b"x")
    assert [name for name, _, _ in Index.of(tmp_path / "c.tar")] == [long]


def test_what_does_not_belong_is_passed_over_or_refused(tmp_path: Path) -> None:
    picture = png(np.zeros((4, 4, 3), np.uint8))
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        put(tar, "1.png", picture)
        put(tar, "1.pyd", b"\x80\x04.")
        put(tar, ".hidden.png", picture)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"{int(kind)}.png")
            link.type, link.linkname = kind, str(secret)
            tar.addfile(link)
        put(tar, "2.txt", b"a record without a picture")
        put(tar, "3.jpg", b"broken")
    with pytest.raises(Refusal, match="3.jpg' cannot be read.*skip_broken"):
        Shards(tmp_path / "a.tar", split="all")
    data = Shards(tmp_path / "a.tar", split="all", skip_broken=True)
    assert len(data) == 1 and set(data.skipped) == {"2", "3.jpg"} and "has no picture" in data.skipped["2"]
    with pytest.raises(Refusal, match="a pickle, which can hold code"):
        Shards(tmp_path / "a.tar", split="all", label="pyd")
    with pytest.raises(Refusal, match="no column 'cls' .*its columns are jpg, png, pyd, txt"):
        Shards(tmp_path / "a.tar", split="all", label="cls")
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    with pytest.raises(Refusal, match="b.tar.*(ends within|cannot be read)"):
        Shards(tmp_path / "b.tar")
    for how, called in (("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")):
        with tarfile.open(tmp_path / "c.tar", f"w:{how}") as tar:
            put(tar, "1.png", picture)
        with pytest.raises(Refusal, match=f"c.tar.*packed with {called}, .*unpack it first"):
            Shards(tmp_path / "c.tar")
    (tmp_path / "d.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(Refusal, match="d.tar.*cannot be read as a tar file: [^;]*$"):
        Shards(tmp_path / "d.tar")
    with pytest.raises(Refusal, match="no .tar file"):
        Shards(tmp_path / "nowhere")


def test_headers_that_lead_to_headers_without_end_are_refused(tmp_path: Path) -> None:
    chained = tarfile.TarInfo("././@LongLink")
    chained.type, chained.size = tarfile.GNUTYPE_LONGNAME, 4
    (tmp_path / "a.tar").write_bytes((chained.tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")) * 3000)
    with pytest.raises(Refusal, match="cannot be read as a tar file"):
        Shards(tmp_path / "a.tar")


def test_labels_that_are_written_otherwise_are_no_numbers(tmp_path: Path) -> None:
    picture = png(np.zeros((4, 4, 3), np.uint8))
    for name, cells in (("a", ("007", "abc", "7x")), ("b", ("7", "0", "-1"))):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for k, cell in enumerate(cells):
                put(tar, f"{k}.png", picture)
                put(tar, f"{k}.cls", f"{cell}\n".encode())
    assert Members(tars(tmp_path / "a.tar"), ("png", "cls")).cells("cls") == ["007", "abc", "7x"]
    assert Members(tars(tmp_path / "b.tar"), ("png", "cls")).cells("cls") == [7, 0, -1]
