"""Pictures and maps of a folder, paired by name: what was painted is told, and what has no other is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mezzotint.core import Refusal, build, spec
from mezzotint.data import Flipped, Pairs, Palette, Shards, Table
from mezzotint.testing import check_data

PALETTE = Palette(("sky", "road", "car"), ((70, 130, 180), (128, 64, 128), (0, 0, 142)), ((0, 0, 0),))
SHADES = np.array([40, 110, 220], dtype=np.uint8)


def scene(seed: int, height: int = 12, width: int = 18) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture whose shades say what its layout says, that layout, and instances of up to 16 bits."""
    rng = np.random.default_rng(seed)
    layout = np.repeat(np.repeat(rng.integers(0, 3, (height // 6, width // 6)), 6, 0), 6, 1).astype(np.uint8)
    instances = (np.arange(height * width).reshape(height, width) // 7 * 300 + seed).astype(np.uint16)
    return np.repeat(SHADES[layout][..., None], 3, -1), layout, instances


def folder(root: Path, count: int = 8, colours: bool = True, names: tuple[str, str] = ("pictures", "layouts")) -> Path:
    for k in range(count):
        picture, layout, instances = scene(k)
        for what, values in (
            (names[0], picture),
            (names[1], PALETTE.painted(layout) if colours else layout),
            ("instances", instances),
        ):
            (root / what).mkdir(parents=True, exist_ok=True)
            ending = "bmp" if what == names[0] and k % 2 else "png"
            Image.fromarray(values).save(root / what / f"{k:03}.{ending}")
    if colours:
        PALETTE.write(root / "palette.json")
    return root


def said(x: torch.Tensor) -> torch.Tensor:
    """The layout that shades (B, 3, H, W) say."""
    shades = ((x[:, 0] + 1) * 127.5).round()
    return (shades[..., None] == torch.from_numpy(SHADES).float()).float().argmax(-1)


@pytest.mark.parametrize("budget", [2**30, 0])
@pytest.mark.parametrize("colours", [True, False])
def test_what_was_painted_is_told(tmp_path: Path, colours: bool, budget: int) -> None:
    data = Pairs(str(folder(tmp_path, colours=colours)), split="all", budget=budget)
    x, told = data[:]
    assert data.shape == (3, 12, 18) and data.things == (PALETTE.names if colours else ())
    assert data.classes == () and told.families == ("layout",) and not told.keep
    for k in range(8):
        picture, layout, instances = scene(k)
        assert np.array_equal(((x[k] + 1) * 127.5).round().permute(1, 2, 0), picture)
        assert np.array_equal(told["layout"][k], layout)
        assert np.array_equal(told["layout.instances"][k], instances)
    assert told["layout"].dtype == torch.uint8 and told["layout.instances"].dtype == torch.int32


def test_the_contract(tmp_path: Path) -> None:
    data = Pairs(str(folder(tmp_path, 30)), size=(8, 12))
    check_data(data)
    again = build(spec(data))
    assert again == data and again.mark == data.mark and again.things == data.things
    (tmp_path / "palette.json").write_text('{"sky": "#4682b4", "car": [0, 0, 142], "road": [128, 64, 128]}')
    assert Pairs(str(tmp_path), size=(8, 12)).mark != data.mark


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(6, 9), (6, 6), (4, 12), 4])
def test_pictures_and_maps_move_together(tmp_path: Path, size: Any, resize: str) -> None:
    """Pictures are painted in blocks; wherever one is of one shade, its map says so, and so does a mirrored one."""
    data = Pairs(str(folder(tmp_path)), size=size, resize=resize, split="all", under="black")
    x, told = data[:]
    shades = ((x[:, 0] + 1) * 127.5).round()
    plain = (shades[..., None] == torch.from_numpy(SHADES).float()).any(-1)
    assert plain.float().mean() > 0.1
    assert torch.equal(said(x)[plain], told["layout"][plain].long())
    there = told["layout"] != 255
    assert there.all() == (resize != "pad" or size == (6, 9)) and (told["layout.instances"][~there] == 0).all()
    flipped = Flipped(data)
    y, mirrored = flipped[:]
    train = len(data.sibling("train"))
    assert torch.equal(y[train : 2 * train], y[:train].flip(-1))
    for name in ("layout", "layout.instances"):
        assert torch.equal(mirrored[name][train : 2 * train], mirrored[name][:train].flip(-1))
    assert flipped.things == PALETTE.names


def test_maps_of_another_scale_but_one_aspect(tmp_path: Path) -> None:
    picture, layout, _ = scene(3)
    for what, values in (("pictures", picture), ("layouts", layout.repeat(3, 0).repeat(3, 1))):
        (tmp_path / what).mkdir()
        Image.fromarray(values).save(tmp_path / what / "one.png")
    data = Pairs(str(tmp_path), held_out_share=0)
    assert np.array_equal(data[0][1]["layout"][0], layout)
    Image.fromarray(layout[:6]).save(tmp_path / "layouts" / "one.png")
    with pytest.raises(Refusal, match=r"one.png' is 18 x 6 pixels and its picture 18 x 12, so it does not lie on it"):
        Pairs(str(tmp_path), held_out_share=0)


def test_what_has_no_other_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "layouts" / "002.png").unlink()
    (root / "layouts" / "005.png").unlink()
    (root / "pictures" / "003.bmp").unlink()
    (root / "instances" / "004.png").unlink()
    with pytest.raises(Refusal, match=r"'002'.*002.png' has no file of its name in 'layouts' \(nor have 1 more\)"):
        Pairs(str(root))
    data = Pairs(str(root), split="all", skip_broken=True)
    assert len(data) == 5 and set(data.skipped) == {"002", "003", "005"}
    assert "the map" in data.skipped["003"] and "'pictures'" in data.skipped["003"]
    cond = data.condition(np.arange(5))
    assert not cond.keep  # a layout counts without its instances, which are 0 then
    assert [bool(one.any()) for one in cond["layout.instances"]] == [True, True, False, True, True]
    for file in (root / "layouts").iterdir():
        file.rename(file.with_stem(f"{file.stem}_map"))
    with pytest.raises(Refusal, match=r"no picture of .* has a map: the 7 in 'pictures' are called such as '000.png'"):
        Pairs(str(root))


def test_a_broken_map_is_left_out_by_name(tmp_path: Path) -> None:
    root = folder(tmp_path)
    pixels = PALETTE.painted(scene(4)[1])
    pixels[5, 6] = (255, 0, 255)
    Image.fromarray(pixels).save(root / "layouts" / "004.png")
    with pytest.raises(Refusal, match=r"004.png' has the colour #ff00ff .* at row 5, column 6, in 1 pixel"):
        Pairs(str(root), split="all")
    data = Pairs(str(root), split="all", skip_broken=True)
    assert len(data) == 7 and set(data.skipped) == {"004"}


def test_instances_are_grey_or_in_colours(tmp_path: Path) -> None:
    """What is told them apart is the same however they are kept, and colours are told as one number (COCO's)."""
    root = folder(tmp_path)
    deep = scene(3)[2]
    few = (deep // 300 % 200).astype(np.uint8)
    colours = np.stack([few, 255 - few, np.full_like(few, 200)], -1)
    for name, values in (("003", deep), ("004", few), ("005", colours)):
        Image.fromarray(values).save(root / "instances" / f"{name}.png")
    for budget in (2**30, 0):
        told = Pairs(str(root), split="all", budget=budget)[3:6][1]["layout.instances"]
        assert told.dtype == torch.int32
        wide = few.astype(np.int64)
        for found, want in zip(told, (deep, few, wide + 256 * (255 - wide) + 65536 * 200), strict=True):
            assert np.array_equal(found, want.astype(np.int64))


@pytest.mark.parametrize("above", [True, False])
def test_folders_called_as_splits_are_say_the_split(tmp_path: Path, above: bool) -> None:
    for split, count in (("train", 5), ("val", 3)):
        folder(tmp_path / split, count)
    if not above:
        for what in ("pictures", "layouts", "instances"):
            for split in ("train", "val"):
                (tmp_path / what).mkdir(exist_ok=True)
                (tmp_path / split / what).rename(tmp_path / what / split)
    data = Pairs(str(tmp_path), palette=str(tmp_path / "train" / "palette.json"))
    assert len(data) == 5 and len(data.held_out()) == 3
    assert np.array_equal(data[4][1]["layout"][0], scene(4)[1])


def test_the_usual_names_are_known_and_others_declared(tmp_path: Path) -> None:
    root = folder(tmp_path / "usual", names=("images", "labels"))
    assert Pairs(str(root)).layout == "labels" and Pairs(str(root)).picture == "images"
    (root / "maps").mkdir()
    with pytest.raises(Refusal, match="does not say which is its folder of maps: there are labels and maps"):
        Pairs(str(root))
    assert len(Pairs(str(root), layout="labels", split="all")) == 8
    other = folder(tmp_path / "other", names=("images", "ground"))
    with pytest.raises(Refusal, match="has no folder of maps: it is called layouts or labels"):
        Pairs(str(other))
    assert len(Pairs(str(other), layout="ground", split="all")) == 8
    with pytest.raises(Refusal, match="there is no folder"):
        Pairs(str(tmp_path / "absent"))
    with pytest.raises(Refusal, match="folder of files"):
        Pairs(str(root), layout="labels", label="labels")


def test_links_lead_nowhere_unless_asked(tmp_path: Path) -> None:
    root, away = folder(tmp_path / "here"), folder(tmp_path / "away")
    (root / "layouts" / "001.png").unlink()
    (root / "layouts" / "001.png").symlink_to(away / "layouts" / "001.png")
    with pytest.raises(Refusal, match="is a link that leads out"):
        Pairs(str(root))
    assert len(Pairs(str(root), split="all", links=True)) == 8
    assert set(Pairs(str(root), split="all", skip_broken=True).skipped) == {"001"}


def test_tables_and_shards_have_palettes_and_instances_too(tmp_path: Path) -> None:
    import json
    import tarfile

    root = folder(tmp_path / "set")
    names = {k: f"{k:03}" for k in range(8)}
    rows = [
        {
            "file_name": f"pictures/{n}.{'bmp' if k % 2 else 'png'}",
            "map": f"layouts/{n}.png",
            "which": f"instances/{n}.png",
        }
        for k, n in names.items()
    ]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for k, n in names.items():
            tar.add(root / rows[k]["file_name"], f"{n}.{rows[k]['file_name'][-3:]}")
            tar.add(root / "layouts" / f"{n}.png", f"{n}.map.png")
            tar.add(root / "instances" / f"{n}.png", f"{n}.which.png")
    by = str(root / "palette.json")
    x, told = Pairs(str(root), split="all", size=(6, 6))[:]
    for data in (
        Table(str(root), layout="map", palette=by, instances="which", split="all", size=(6, 6)),
        Shards(
            str(tmp_path / "set.tar"), layout="map.png", palette=by, instances="which.png", split="all", size=(6, 6)
        ),
    ):
        y, same = data[:]
        assert torch.equal(x, y) and data.things == PALETTE.names
        assert all(torch.equal(told[name], same[name]) for name in ("layout", "layout.instances"))
    with pytest.raises(Refusal, match="palette says something of layouts"):
        Table(str(root), palette=by)
    with pytest.raises(Refusal, match="pixels of the kind RGB"):
        Table(str(root), layout="map")
