"""A table beside files: every column tells what it says, gaps are told, and nothing leads out of the folder."""

import json
import os
import tracemalloc
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from records_made import COLUMNS, FILES, png, records, table

from mezzotint.core import Refusal, build, spec
from mezzotint.core.text import spoken
from mezzotint.data import Table
from mezzotint.data.data import fraction
from mezzotint.testing import check_data

ALL = {**COLUMNS, **{name: name for name in FILES}}
KINDS = ("jsonl", "csv", *(("parquet",) if find_spec("pyarrow") else ()))


def pixels(content: bytes) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("budget", [2**30, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_every_column_tells_what_it_says(tmp_path: Path, kind: str, budget: int) -> None:
    made = records()
    data = Table(table(tmp_path, made, kind), split="all", budget=budget, **ALL)
    x, cond = data[:]
    assert data.classes == ("ant", "bee", "cat") and data.shape == (3, 20, 30)
    assert cond["label"].tolist() == [("ant", "bee", "cat").index(one.cells["kind"]) for one in made]
    assert spoken(cond["caption"]) == [one.cells["text"] for one in made] == data.texts()
    assert data.words == {"colour": ("blue", "red")}
    assert cond["attributes.colour"].tolist() == [1 - k % 2 for k in range(12)]
    assert cond["attributes.count"].tolist() == list(range(12)) and cond["attributes.count"].dtype == torch.int64
    assert cond["attributes.weight"].tolist() == [k / 4 for k in range(12)]
    for row, one in enumerate(made):
        bytes_ = {name: pixels(content) for name, content in one.files.items()}
        assert np.array_equal(((x[row] + 1) * 127.5).round().permute(1, 2, 0), bytes_["picture"])
        assert np.array_equal(((cond["image"][row] + 1) * 127.5).round().permute(1, 2, 0), bytes_["image"])
        assert np.array_equal(cond["layout"][row], bytes_["layout"])
        assert np.array_equal(cond["mask"][row, 0], bytes_["mask"] > 0)
        assert np.allclose(cond["keypoints"][row][0], one.cells["points"][0])
    assert (cond["keypoints"][0::2, 1] == 0).all() and (cond["keypoints"][1::2, 1, 2] == 1).all()
    assert cond["keypoints"].dtype == torch.float32 and cond["layout"].dtype == torch.uint8
    assert cond["mask"].dtype == torch.bool and cond["mask"].shape == (12, 1, 20, 30)
    assert not cond.keep


def test_the_contract(tmp_path: Path) -> None:
    for budget in (2**30, 0):
        data = Table(table(tmp_path, records(30)), size=(8, 12), budget=budget, **ALL)
        check_data(data)
        assert build(spec(data)) == data and data.mark == build(spec(data)).mark


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(40, 20), (16, 30), (10, 10)])
def test_the_dot_is_where_its_mask_map_and_point_say(tmp_path: Path, resize: str, size: tuple[int, int]) -> None:
    """The truth is found in the resized picture, whose dot is brighter than anything else."""
    made = records(16, 48, 60, seed=3)
    for one in made:  # a dot of 12 x 12 on black
        across, down = (one.cells["points"][0][axis] * side for axis, side in ((0, 60), (1, 48)))
        y, x = np.clip(int(down), 6, 42), np.clip(int(across), 6, 54)
        dot = np.zeros((48, 60), np.uint8)
        dot[y - 6 : y + 6, x - 6 : x + 6] = 255

        one.cells["points"] = [[float(x), float(y), 2]]
        one.files |= {"picture": png(dot), "mask": png(dot), "layout": png(dot // 85), "image": png(dot)}
    data = Table(
        table(tmp_path, made), split="all", size=size, resize=resize, under="black", points="pixels", layout="layout",
        mask="mask", image="image", keypoints="points",
    )  # fmt: skip
    x, cond = data[:]
    assert torch.equal(x, cond["image"])
    h, w = size
    seen = 0
    for row in range(len(data)):
        shade = (x[row, 0].double() + 1) / 2
        edge = torch.cat([shade[0], shade[-1], shade[:, 0], shade[:, -1]])
        if not shade.any():
            assert (cond["keypoints"][row, 0] == 0).all()
            continue
        if resize == "crop" and edge.any():
            continue  # cut, so its middle is not known from what is left
        seen += 1
        weights = shade / shade.sum()
        down = float((weights.sum(1) * (torch.arange(h) + 0.5)).sum())
        across = float((weights.sum(0) * (torch.arange(w) + 0.5)).sum())
        point = cond["keypoints"][row, 0]
        assert point[2] == 2 and abs(point[0] * w - across) < 0.2 and abs(point[1] * h - down) < 0.2
        for found in (cond["mask"][row, 0], cond["layout"][row] == 3):
            where = found.nonzero().double() + 0.5
            assert (where.mean(0) - torch.tensor([down, across])).abs().max() < 0.6
    assert seen >= 4
    assert ((cond["layout"] == 255).any()) == (resize == "pad" and size != (16, 20))


def test_gaps_are_told(tmp_path: Path) -> None:
    made = records(6)
    made[1].cells["text"] = None
    made[2].cells["weight"] = None
    made[3].files.pop("layout")
    made[4].cells["points"] = ""
    del made[5].files["mask"], made[5].cells["colour"]
    for kind in ("jsonl", "csv"):
        data = Table(table(tmp_path / kind, made, kind), split="all", **ALL)
        cond = data[:][1]
        kept = {name: rows.tolist() for name, rows in cond.keep.items()}
        assert kept == {
            "caption": [row != 1 for row in range(6)],
            "attributes": [row not in (2, 5) for row in range(6)],
            "layout": [row != 3 for row in range(6)],
            "keypoints": [row != 4 for row in range(6)],
            "mask": [row != 5 for row in range(6)],
        }
        assert data.texts([1]) == [""] and (cond["layout"][3] == 255).all() and not cond["mask"][5].any()
        assert set(data[[0]][1].keep) == set(kept)  # every batch is made alike
        train = Table(data.path, split_by="part", caption="text", mask="mask", attributes=("count",))[1:][1]
        assert train["attributes.count"].tolist() == [1, 2, 4, 5]
        assert train.kept("caption").tolist() == [False, True, True, True]
        assert train.kept("mask").tolist() == [True, True, True, False]


def test_records_without_picture_or_label_are_broken(tmp_path: Path) -> None:
    made = records(10)
    made[2].cells["kind"] = None
    made[3].files.pop("picture")
    made[4].cells["points"] = [[1, 2, 7]]
    made[5].files["picture"] = b"no picture"
    made[6].files["mask"] = made[6].files["mask"][:40]
    with (table(tmp_path, made) / "metadata.jsonl").open("a") as file:
        file.write("{no json\n[1, 2]\n")
    with pytest.raises(Refusal, match="broken: line 11 cannot be read.*skip_broken=True"):
        Table(tmp_path, split="all", **ALL)
    for budget in (2**30, 0):
        data = Table(tmp_path, split="all", skip_broken=True, budget=budget, **ALL)
        assert len(data) == len(data[:][0]) == 5 and data[:][1]["attributes.count"].tolist() == [0, 1, 7, 8, 9]
        assert set(data.skipped) == {
            "0002.png", "metadata.jsonl:4", "0004.png", "0005.png", "0006.png", "metadata.jsonl:11", "metadata.jsonl:12"
        }  # fmt: skip
        assert "'kind'" in data.skipped["0002.png"] and "0005.png" in data.skipped["0005.png"]


def test_splits_by_a_column_and_by_the_name(tmp_path: Path) -> None:
    made = records(40)
    table(tmp_path, made)
    train, held = (Table(tmp_path, attributes=("count",), split_by="part", split=s) for s in ("train", "held_out"))
    assert held[:][1]["attributes.count"].tolist() == [k for k in range(40) if k % 4 == 3]
    assert len(train) == 30 and held.mean == train.mean
    for split in ("train", "held_out"):
        data = Table(tmp_path, attributes=("count",), split=split, held_out_share=0.3)
        mine = [k for k in range(40) if (fraction(f"{k:04}.png") < 0.3) == (split == "held_out")]
        assert data[:][1]["attributes.count"].tolist() == mine
    made[7].cells["part"] = "some"
    with pytest.raises(Refusal, match="0007.png.*'part' is 'some'.*held_out, test"):
        Table(table(tmp_path, made), split_by="part")


def test_whole_numbers_are_labels(tmp_path: Path) -> None:
    made = records(9)
    for k, one in enumerate(made):
        one.cells["kind"] = (10, 2, 0)[k % 3]
    for kind in KINDS:
        data = Table(table(tmp_path / kind, made, kind), split="all", label="kind")
        assert data.classes == tuple(map(str, range(11))) and data.labels.tolist() == [10, 2, 0] * 3
    made[4].cells["kind"] = -1
    with pytest.raises(Refusal, match="0004.png.*'kind' is -1"):
        Table(table(tmp_path / "jsonl", made), label="kind")
    made[4].cells["kind"] = "four"
    with pytest.raises(Refusal, match="words throughout, or whole numbers throughout"):
        Table(table(tmp_path / "jsonl", made), label="kind")


def test_columns_that_are_not_there_are_refused_with_those_that_are(tmp_path: Path) -> None:
    table(tmp_path, records(4), files=())
    with pytest.raises(Refusal, match=r"no column 'colours' .*'colour'.*colour, count, file_name, kind"):
        Table(tmp_path, attributes=("colours",))
    with pytest.raises(Refusal, match="no column 'image'"):
        Table(tmp_path, picture="image")
    with pytest.raises(Refusal, match="no shares of a side; if they are pixels"):
        made = records(4)
        made[0].cells["points"] = [[12, 7, 2]]
        Table(table(tmp_path / "pixels", made), keypoints="points")
    with pytest.raises(Refusal, match="no table .*nowhere"):
        Table(tmp_path / "nowhere")
    (tmp_path / "metadata.csv").write_text("file_name\n")
    with pytest.raises(Refusal, match="several: metadata.jsonl, metadata.csv"):
        Table(tmp_path)
    assert len(Table(tmp_path / "metadata.jsonl", split="all")) == 4


@pytest.mark.parametrize("way", ["up", "absolute", "link", "folder", "through", "back"])
def test_nothing_leads_out_of_the_folder(tmp_path: Path, way: str) -> None:
    root = table(tmp_path / "set", records(4), files=())
    outside = tmp_path / "private" / "sub"
    outside.mkdir(parents=True)
    for place in (outside, outside.parent):
        Image.new("RGB", (30, 20)).save(place / "x.png")
    names = {
        "up": "../private/x.png",
        "absolute": str(outside / "x.png"),
        "link": "0000.png",
        "folder": "linked/x.png",
        "through": "linked/../x.png",
        "back": "../set/../private/x.png",
    }
    if way == "link":
        (root / "0000.png").unlink()
        (root / "0000.png").symlink_to(outside / "x.png")
    (root / "linked").symlink_to(outside)
    with (root / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"file_name": names[way]}) + "\n")
    refused = "which is not there" if way == "through" else "leads out of its folder"
    for budget in (2**30, 0):
        with pytest.raises(Refusal, match=refused):
            Table(root, split="all", budget=budget)
        data = Table(root, split="all", skip_broken=True, budget=budget)
        assert len(data) == (3 if way == "link" else 4)
        assert refused in data.skipped[names[way]]
    assert len(Table(root, split="all", links=True)) == 5


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    root = table(tmp_path / "set", records(4), files=())
    (root / "0000.png").rename(root / "real.png")
    (root / "0000.png").symlink_to("real.png")
    os.symlink(root, tmp_path / "also")
    assert len(Table(tmp_path / "also", split="all")) == 4


def test_a_table_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    root = table(tmp_path / "set", records(4), files=())
    (root / "metadata.jsonl").rename(tmp_path / "metadata.jsonl")
    (root / "metadata.jsonl").symlink_to(tmp_path / "metadata.jsonl")
    with pytest.raises(Refusal, match="a link that leads out"):
        Table(root)
    assert len(Table(root, split="all", links=True)) == 4


def test_maps_are_numbers_and_masks_black_and_white(tmp_path: Path) -> None:
    made = records(3)
    numbers = (np.arange(600) % 5).reshape(20, 30).astype(np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0, 0, 0, 200, 50, 50, 50])
    root = table(tmp_path, made)
    palette.save(root / "layout" / "0000.png")
    deep = np.full((20, 30), 200, np.uint16)
    Image.fromarray(deep).save(root / "layout" / "0001.png")
    assert palette.mode == "P"
    data = Table(root, split="all", layout="layout")
    told = data[:][1]["layout"]
    assert np.array_equal(told[0], numbers) and (told[1] == 200).all()
    deep[0, 0] = 256
    Image.fromarray(deep).save(root / "layout" / "0001.png")
    with pytest.raises(Refusal, match="holds the number 256"):
        Table(root, split="all", layout="layout")
    Image.new("RGB", (30, 20)).save(root / "layout" / "0001.png")
    with pytest.raises(Refusal, match="kind RGB, but a map is a grey picture"):
        Table(root, split="all", layout="layout")
    Image.new("L", (30, 20)).save(root / "layout" / "0001.png", format="JPEG")
    with pytest.raises(Refusal, match="is a JPEG"):
        Table(root, split="all", layout="layout")
    Image.new("L", (30, 20), 1).save(root / "mask" / "0001.png")
    with pytest.raises(Refusal, match="no shade above 1 of 255"):
        Table(root, split="all", mask="mask")
    Image.new("L", (20, 30)).save(root / "mask" / "0001.png")
    with pytest.raises(Refusal, match="does not lie on it"):
        Table(root, split="all", mask="mask")


def test_a_set_larger_than_its_budget_takes_no_more_memory(tmp_path: Path) -> None:
    """Of 400 pictures of 192 x 192 no more is in memory than a batch and the picture that is decoded."""
    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    root.mkdir()
    for k in range(8):
        Image.fromarray(rng.integers(0, 256, (192, 192, 3), dtype=np.uint8)).save(root / f"{k}.bmp")
    rows = [json.dumps({"file_name": f"{k % 8}.bmp", "text": f"number {k}"}) for k in range(400)]
    (root / "metadata.jsonl").write_text("\n".join(rows))
    whole = 400 * 192 * 192 * 3
    cap = 2**22
    assert whole > 10 * cap
    tracemalloc.start()
    data = Table(root, caption="text", split="all", budget=cap)
    for start in range(0, 400, 4):
        x, _ = data[start : start + 4]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.shape == (4, 3, 192, 192) and peak < cap + 2**22


def test_a_file_falls_into_one_split_however_it_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    rows = []
    for k in range(30):
        (tmp_path / "a" / f"{k}.png").write_bytes(png(np.full((4, 4, 3), k, np.uint8)))
        rows += [f"a/{k}.png", f"./a/{k}.png", f"a/../a//{k}.png"]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in rows))
    train, held_out = (Table(tmp_path, split=split, held_out_share=0.4) for split in ("train", "held_out"))
    shades = [set(data[:][0][:, 0, 0, 0].tolist()) for data in (train, held_out)]
    assert len(train) + len(held_out) == 90 and min(map(len, shades)) > 3 and not shades[0] & shades[1]


def test_accents_written_apart_or_in_one_change_no_split(tmp_path: Path) -> None:
    found = []
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        root.mkdir()
        names = [unicodedata.normalize(form, f"\u00e9{k}.png") for k in range(30)]
        for k, name in enumerate(names):
            (root / name).write_bytes(png(np.full((4, 4, 3), k, np.uint8)))
        (root / "metadata.jsonl").write_text("".join(json.dumps({"file_name": name}) + "\n" for name in names))
        found.append(Table(root, split="held_out", held_out_share=0.5)[:][0])
    assert 3 < len(found[0]) < 27 and torch.equal(*found)


@pytest.mark.parametrize(
    "there, named, said",
    [
        ("a/1.png", "a\\1.png", "write / where it has"),
        (unicodedata.normalize("NFD", "\u00e9.png"), "\u00e9.png", r"\(NFD\)"),
        ("\u00e9.png", unicodedata.normalize("NFD", "\u00e9.png"), r"\(NFC\)"),
        ("1.png", "C:\\1.png", "is not there(, or|$)"),
    ],
)
def test_what_may_have_been_meant_is_said(there: str, named: str, said: str, tmp_path: Path) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_bytes(png(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": named}) + "\n")
    with pytest.raises(Refusal, match=said):
        Table(tmp_path, split="all")


def written(root: Path, lines: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for k in range(len(lines) - 1):
        (root / str(k)).write_bytes(png(np.full((4, 4, 3), k, np.uint8)))
    (root / "metadata.csv").write_text(
        "\n".join([lines[0], *(f"{k},{line}" for k, line in enumerate(lines[1:]))]) + "\n"
    )
    return root


def test_text_that_looks_like_a_number_is_text(tmp_path: Path) -> None:
    """Captions that are years, and pictures whose names are numbers."""
    root = written(tmp_path, ["file_name,text,kind,zip", "1984,3,01", "2001,0,1", ",1,10"])
    data = Table(root, caption="text", label="kind", attributes=("zip",), split="all")
    assert data.texts() == ["1984", "2001", ""] and data.classes == ("0", "1", "2", "3")
    assert data.labels.tolist() == [3, 0, 1] and data.words == {"zip": ("01", "1", "10")}
    assert data[:][1]["attributes.zip"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "cells, classes",
    [
        (("007", "7", "7"), ("007", "7")),
        (("00", "0", "1"), ("0", "00", "1")),
        (("1", "0", "2.0"), ("0", "1", "2")),
        (("\u0661", "1", "1"), ("1", "\u0661")),
    ],
)
def test_labels_that_are_written_otherwise_are_other_classes(
    tmp_path: Path, cells: tuple[str, ...], classes: tuple[str, ...]
) -> None:
    assert Table(written(tmp_path, ["file_name,kind", *cells]), label="kind", split="all").classes == classes


def test_a_table_of_broken_lines_says_what_is_broken(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text("{no json\n")
    with pytest.raises(Refusal, match="the record 'metadata.jsonl:1' .* is broken: line 1 cannot be read"):
        Table(tmp_path)
    with pytest.raises(Refusal, match="no record of .* can be read; the first, 'metadata.jsonl:1', is broken: line 1"):
        Table(tmp_path, skip_broken=True)
