"""Tar shards: read at random, as webdataset reads them in order; the index holds as long as the tar stays."""

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records_made import COLUMNS, png, put, records, shards, table

from mezzotint.core import Refusal, build, spec
from mezzotint.data import Shards, Table
from mezzotint.data.shards import columns_of, index
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


def test_the_index_is_kept_and_made_anew_where_the_tar_changed(tmp_path: Path) -> None:
    root = shards(tmp_path, records(5))
    shard = root / "part-000.tar"
    found = index(shard)
    beside = root / "part-000.tar.index"
    with tarfile.open(shard) as tar:
        assert found == [(entry.name, entry.offset_data, entry.size) for entry in tar]
    tree = json.loads(beside.read_text())
    tree["members"] = tree["members"][:6]
    beside.write_text(json.dumps(tree))
    assert index(shard) == found[:6]  # it is what is read
    for lie in ([["x", 0, 10**9]], [["x", -5, 3]], [["x", 0, 1.5]], [["x"]], "x", None):
        beside.write_text(json.dumps({**tree, "members": lie}))
        assert index(shard) == found
    beside.write_text("{")
    assert index(shard) == found
    beside.write_text(json.dumps(tree))
    os.utime(shard, ns=(0, 0))
    assert index(shard) == found  # the time is another
    beside.unlink()
    (root / "part-000.tar.index").mkdir()
    assert index(shard) == found  # nothing can be written there


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
    with tarfile.open(tmp_path / "c.tar", "w:gz") as tar:
        put(tar, "1.png", picture)
    with pytest.raises(Refusal, match="c.tar.*unpack a .tar.gz first"):
        Shards(tmp_path / "c.tar")
    with pytest.raises(Refusal, match="no .tar file"):
        Shards(tmp_path / "nowhere")


def test_headers_that_lead_to_headers_without_end_are_refused(tmp_path: Path) -> None:
    chained = tarfile.TarInfo("././@LongLink")
    chained.type, chained.size = tarfile.GNUTYPE_LONGNAME, 4
    (tmp_path / "a.tar").write_bytes((chained.tobuf(tarfile.GNU_FORMAT) + b"abc".ljust(512, b"\0")) * 3000)
    with pytest.raises(Refusal, match="cannot be read as a tar file"):
        Shards(tmp_path / "a.tar")
