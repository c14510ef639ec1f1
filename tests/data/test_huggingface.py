"""Sets of ``datasets``: what it saved and what it wrote as Parquet is the table of the same records."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from records_made import COLUMNS, FILES, hugging, records, table

from mezzotint.core import Refusal, build, spec
from mezzotint.data import HuggingFace, Table
from mezzotint.data.huggingface import columns_of
from mezzotint.testing import check_data

datasets = pytest.importorskip("datasets")
TOLD = {**COLUMNS, **{name: name for name in FILES}}
HERE = {**TOLD, "picture": "image_file"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.mark.parametrize("kind", ["saved", "parquet", "parquets"])
def test_it_is_the_table(tmp_path: Path, kind: str) -> None:
    made = records(11)
    theirs = hugging(made)
    if kind == "saved":
        theirs.save_to_disk(tmp_path / "set", num_shards=3)
    elif kind == "parquet":
        theirs.to_parquet(tmp_path / "set.parquet")
    else:
        (tmp_path / "set").mkdir()
        for k in range(2):
            theirs.shard(2, k, contiguous=True).to_parquet(tmp_path / f"set/{k}.parquet")
    path = tmp_path / ("set.parquet" if kind == "parquet" else "set")
    twin = Table(table(tmp_path / "files", made), split="all", **TOLD)
    for budget in (2**30, 0):
        ours = HuggingFace(path, split="all", budget=budget, **HERE)
        (x, told), (y, same) = ours[::-1], twin[::-1]
        assert torch.equal(x, y) and ours.classes == twin.classes and ours.words == twin.words
        assert set(told.values) == set(same.values)
        assert all(torch.equal(told[name], same[name]) for name in told.values)
    for row, record in enumerate(theirs):  # as datasets itself decodes it
        assert np.array_equal(((x[len(x) - 1 - row] + 1) * 127.5).round().permute(1, 2, 0), record["image_file"])
    held = HuggingFace(path, split="held_out", held_out_share=0.4, picture="image_file")
    same = Table(twin.path, split="held_out", held_out_share=0.4)
    assert torch.equal(held[:][0], same[:][0])


def test_the_contract(tmp_path: Path) -> None:
    hugging(records(30)).save_to_disk(tmp_path / "set")
    for budget in (2**30, 0):
        data = HuggingFace(tmp_path / "set", size=(8, 12), budget=budget, **HERE)
        check_data(data)
        assert build(spec(data)) == data and data.mark == build(spec(data)).mark
    there = pickle.loads(pickle.dumps(data))  # what a worker that is not forked is given
    assert torch.equal(there[:3][0], data[:3][0])


def test_a_dict_of_splits_says_what_is_held_out(tmp_path: Path) -> None:
    theirs = hugging(records(9))
    parts = {"train": theirs.select(range(6)), "validation": theirs.select([6, 7]), "test": theirs.select([8])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "set")
    plain = {"picture": "image_file", "attributes": ("count",)}
    assert HuggingFace(tmp_path / "set", **plain)[:][1]["attributes.count"].tolist() == list(range(6))
    assert HuggingFace(tmp_path / "set", split="held_out", **plain)[:][1]["attributes.count"].tolist() == [6, 7, 8]
    datasets.DatasetDict(train=parts["train"], odd=parts["test"]).save_to_disk(tmp_path / "odd")
    with pytest.raises(Refusal, match="the split 'odd'"):
        HuggingFace(tmp_path / "odd", **plain)


def test_what_is_refused(tmp_path: Path) -> None:
    made = records(4)
    hugging(made).save_to_disk(tmp_path / "set")
    with pytest.raises(Refusal, match=r"no column 'image_fil' \(did you mean 'image_file'"):
        HuggingFace(tmp_path / "set", picture="image_fil")
    with pytest.raises(Refusal, match="pictures are Image features"):
        HuggingFace(tmp_path / "set", picture="text")
    with pytest.raises(Refusal, match="neither a folder that datasets saved"):
        HuggingFace(tmp_path / "nowhere")
    assert columns_of(tmp_path / "set") | {"image_file": "Image", "kind": "ClassLabel"} == columns_of(tmp_path / "set")
    state = tmp_path / "set" / "state.json"
    tree = json.loads(state.read_text())
    hugging(made).save_to_disk(tmp_path / "private")
    for name in ("../private/data-00000-of-00001.arrow", str(tmp_path / "private/data-00000-of-00001.arrow")):
        state.write_text(json.dumps({**tree, "_data_files": [{"filename": name}]}))
        with pytest.raises(Refusal, match="outside its folder"):
            HuggingFace(tmp_path / "set", **HERE)
    state.write_text(json.dumps(tree))
    arrow = tmp_path / "set" / "data-00000-of-00001.arrow"
    whole = arrow.read_bytes()
    for content in (whole[:900], b"ARROW1" + whole, b""):
        arrow.write_bytes(content)
        with pytest.raises(Refusal, match="cannot be read as an Arrow file"):
            HuggingFace(tmp_path / "set", **HERE)


def test_broken_rows_are_named(tmp_path: Path) -> None:
    made = records(6)
    made[1].files["picture"] = b"broken"
    theirs = hugging(made)
    rows = theirs.cast_column("image_file", datasets.Image(decode=False)).to_list()
    rows[2]["image_file"] = None
    rows[3]["kind"] = -1
    rows[4]["image_file"] = {"bytes": None, "path": str(tmp_path / "elsewhere.png")}
    features = theirs.features | {"image_file": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).save_to_disk(tmp_path / "set")
    with pytest.raises(Refusal, match="'0003.png'.*no 'kind'.*-1"):
        HuggingFace(tmp_path / "set", split="all", picture="image_file", label="kind")
    data = HuggingFace(tmp_path / "set", split="all", picture="image_file", skip_broken=True)
    assert len(data) == 3 and set(data.skipped) == {"0001.png", "2", "elsewhere.png"}
    assert "does not hold its bytes" in data.skipped["elsewhere.png"]


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """As of a set with a folder a class, whose files are numbered in each: only the last part of a path is saved."""
    made = records(40)
    for k, one in enumerate(made):
        one.name = f"{k % 4}"
    made[1].files["picture"] = made[5].files["picture"] = b"broken"
    hugging(made).save_to_disk(tmp_path / "set")
    data = HuggingFace(tmp_path / "set", split="all", picture="image_file", skip_broken=True)
    assert len(data) == 38 and set(data.skipped) == {"1.png", "1.png#5"}
    parts = [HuggingFace(tmp_path / "set", split=split, picture="image_file", held_out_share=0.5, skip_broken=True)
             for split in ("train", "held_out")]  # fmt: skip
    names = [{data._records.names[row] for row in part._places} for part in parts]
    assert min(map(len, names)) > 8 and sum(map(len, names)) == 38 and not names[0] & names[1]
    hugging(made[:20]).save_to_disk(tmp_path / "half")
    half = HuggingFace(tmp_path / "half", split="all", picture="image_file", skip_broken=True)
    assert half._records.names == data._records.names[:20]  # rows that are added later move no others
