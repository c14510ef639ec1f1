"""Sets of records as WHAT: what their columns are called decides, and what is not clear is refused with a list."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mezzotint.cli import source
from mezzotint.cli.columns import recorded
from mezzotint.cli.train import Train, read
from mezzotint.core import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.data import Folder, HuggingFace, Pairs, Palette, Shards, Table

Command = Callable[..., Any]


def fill(root: Path, **columns: object) -> Path:
    root.mkdir(exist_ok=True)
    rows = []
    for k in range(20):
        Image.fromarray(np.full((8, 8), 40 + 150 * (k % 2) + k, np.uint8)).save(root / f"{k}.png")
        values = {name: value[k % 2] for name, value in columns.items()}
        rows.append({"file_name": f"{k}.png", **values})
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_a_table_a_tar_and_a_saved_set(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", label=("dark", "light"), other=(1, 2))
    for what in (root, root / "metadata.jsonl"):
        data = source.pictures(str(what), size=4)
        assert isinstance(data, Table) and data.classes == ("dark", "light") and data.shape == (1, 4, 4)
        assert source.name_of(str(what)) == "set"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for k in range(20):
            tar.add(root / f"{k}.png", f"{k}.png")
            (tmp_path / "cls").write_text(str(k % 2))
            tar.add(tmp_path / "cls", f"{k}.cls")
    (tmp_path / "tars").mkdir()
    (tmp_path / "a.tar").rename(tmp_path / "tars" / "a.tar")
    for what in (tmp_path / "tars" / "a.tar", tmp_path / "tars", tmp_path / "tars"):  # the index lies there by now
        found = source.pictures(str(what))
        assert isinstance(found, Shards) and found.label == "cls" and found.classes == ("0", "1")
    (root / "metadata.jsonl").unlink()
    assert isinstance(source.pictures(str(root)), Folder)
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["dark", "light"]))
    files = [{"bytes": (root / f"{k}.png").read_bytes(), "path": None} for k in range(20)]
    rows = {"image": files, "label": [k % 2 for k in range(20)]}
    theirs = datasets.Dataset.from_dict(rows, features=features)
    theirs.save_to_disk(tmp_path / "saved")
    theirs.to_parquet(tmp_path / "some.parquet")
    for what in ("saved", "some.parquet"):
        held = source.pictures(str(tmp_path / what))
        assert isinstance(held, HuggingFace) and held.classes == ("dark", "light")


def test_what_is_not_clear_is_refused_with_the_columns(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", label=("a", "b"), **{"class": (0, 1)})
    with pytest.raises(Refusal, match="which of label and class is the label: its columns are class, file_name, label"):
        source.pictures(str(root))
    (root / "metadata.jsonl").write_text(json.dumps({"path": "0.png", "kind": "a"}))
    with pytest.raises(Refusal, match="which column names its pictures: its columns are kind, path.*data.Table"):
        source.pictures(str(root))
    with pytest.raises(Refusal, match="--held-out says nothing"):
        source.pictures(str(fill(root, label=("a", "b"))), held_out="x.npz")


def test_the_recipe_of_a_table(command: Command, tmp_path: Path) -> None:
    root = fill(tmp_path / "set", label=("dark", "light"), caption=("a dark square", "a light square"))
    said = command("train", root, "--dry-run")
    assert said.code == 0 and "part: data.Table" in said.out and "label: null" in said.out
    assert "caption: caption" in said.out


def test_edits_of_the_data_decide_what_is_read(command: Command, tmp_path: Path) -> None:
    """A refusal that asks for an edit is not the answer to that very edit, and edits of no setting are refused."""
    inside, outside = fill(tmp_path / "in"), fill(tmp_path / "out")
    (inside / "metadata.jsonl").unlink()
    (inside / "far.png").symlink_to(outside / "3.png")
    words = ("train", inside, "--dry-run")
    assert "--set data.links=true" in command(*words).sentence
    tree = command(*words, "--set", "data.links=true", "data.held_out_share=0.0", "--json").json
    assert tree["data"]["links"] is True and len(build(tree["data"])) == 21
    assert command(*words, "--set", "data.size=4").code == 2
    tree = command(*words, "--set", "data.size=4", "data.links=true", "--json").json
    assert tree["model"]["network"]["shape"] == [1, 4, 4]
    (inside / "far.png").unlink()
    (inside / "torn.png").write_bytes(b"torn")
    assert "--skip-broken" in command(*words).sentence
    assert command(*words, "--set", "data.skip_broken=true", "--json").json["data"]["skip_broken"] is True
    assert "did you mean 'links'" in command(*words, "--set", "data.linkz=true").sentence
    assert command("train", "scenes", "--dry-run", "--json", "--set", "data.size=16").json["data"]["size"] == 16


def pairs(root: Path) -> Path:
    """Pictures and maps in colours, in folders of their own."""
    palette = Palette(("dark", "light"), ((10, 20, 30), (200, 100, 0)), ((0, 0, 0),))
    for k in range(20):
        layout = np.full((8, 12), k % 2, dtype=np.uint8)
        layout[: k % 5] = 255
        for what, values in (
            ("images", layout[..., None] * np.full(3, 9, np.uint8)),
            ("masks", palette.painted(layout)),
        ):
            (root / what).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / what / f"{k}.png")
    palette.write(root / "palette.json")
    return root


def test_a_folder_of_pictures_and_maps(command: Command, tmp_path: Path) -> None:
    root = pairs(tmp_path / "set")
    words = ("train", root, "--dry-run", "--json", "--set", "data.size=[4,6]")
    # Masks are no layouts unless that is said: without a word they are two classes of pictures.
    assert command(*words).json["data"]["part"] == "data.Folder"
    tree = command(*words, "data.resize=stretch", "--layout", "masks").json
    assert tree["data"]["part"] == "data.Pairs" and tree["data"]["size"] == [4, 6]
    assert tree["model"]["encoder"]["layout"]["count"] == 2 and tree["model"]["network"]["shape"] == [3, 4, 6]
    (root / "masks").rename(root / "labels")
    assert command(*words).json["model"] == tree["model"]
    data = source.pictures(str(root))
    assert isinstance(data, Pairs) and data.things == ("dark", "light")
    (root / "palette.json").rename(tmp_path / "colours.json")
    assert "name the palette" in command(*words).err
    assert command(*words, "--palette", tmp_path / "colours.json").json["model"] == tree["model"]
    assert "--palette says something of what is told" in command("train", root / "labels", "--palette", "x").sentence
    assert "--palette says nothing about digits" in command("train", "digits", "--palette", "x").sentence
    (root / "labels" / "3.png").unlink()
    assert "3.png' has no file of its name in 'labels'" in command(*words).err


def test_a_folder_of_maps_that_is_not_there(tmp_path: Path) -> None:
    for name in ("pictures", "layouts", ".hidden"):
        (tmp_path / name).mkdir()
    for declared, flag in (({"layout": "nothere"}, "--layout"), ({"instances": "nothere"}, "--instances")):
        with pytest.raises(Refusal, match=f"^{flag} names the folder 'nothere'.*there are layouts, pictures$"):
            recorded(str(tmp_path), declared=declared)


def test_a_run_on_pairs_goes_on_as_it_was(tmp_path: Path) -> None:
    root = pairs(tmp_path / "set")
    (root / "palette.json").rename(tmp_path / "colours.json")
    data = Pairs(str(root), layout="masks", palette=str(tmp_path / "colours.json"), size=(4, 6))
    assert read(Train(str(root), resume=True), {"model": {}, "data": spec(data)}) == data


def classes(root: Path, *names: str, alike: int = 0) -> Path:
    """A class in each folder; the first ``alike`` pictures have one name in all of them."""
    rng = np.random.default_rng(len(names))
    for name in names:
        (root / name).mkdir(parents=True)
        for k in range(20):
            stem = f"{k}" if k < alike else f"{name}{k}"
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{stem}.png")
    return root


def test_classes_that_are_called_as_pairs_are_stay_classes(command: Command, tmp_path: Path) -> None:
    for root in (
        classes(tmp_path / "two", "maps", "photos"),
        classes(tmp_path / "three", "drawings", "maps", "photos", alike=5),
        classes(tmp_path / "split" / "of", "images", "labels").parent,  # no folder of either name at the top
    ):
        data = source.pictures(str(root))
        assert isinstance(data, Folder) and data.classes == tuple(sorted(one.name for one in root.iterdir()))
    coco = classes(tmp_path / "coco", "images")
    (coco / "annotations").mkdir()
    (coco / "annotations" / "instances.json").write_text("{}")
    report = command("data", "check", coco, "--json")
    assert report.json["pictures"] == 20 and not report.json["things"]


def test_names_or_a_palette_say_that_there_are_maps(command: Command, tmp_path: Path) -> None:
    root = classes(tmp_path / "set", "maps", "photos", alike=1)
    said = command("train", root, "--dry-run").sentence
    assert "if its folders are classes, train a recipe with data: {part: data.Folder, path:" in said
    (tmp_path / "classes.yaml").write_text(f"data: {{part: data.Folder, path: {root}}}\n")
    assert command("train", tmp_path / "classes.yaml", "--dry-run", "--json").json["data"]["part"] == "data.Folder"
    assert "data.Folder" not in command("train", root, "--layout", "maps", "--dry-run").sentence
    three = classes(tmp_path / "three", "images", "labels", "maps", alike=2)
    assert "if its folders are classes" in command("data", "check", three).sentence
    other = classes(tmp_path / "other", "drawings", "maps", "photos")
    (other / "palette.json").write_text('{"sky": [1, 2, 3]}')
    assert "no picture of" in command("train", other, "--dry-run").sentence
