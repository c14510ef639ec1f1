"""Maps in files at ``mezzotint sample``: what they say reaches the model, and what is not theirs to say is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mapped_world import ROWS, STEPS, Command, drawn, layout, look, other, save, told, truth
from PIL import Image

import mezzotint as mz
from mezzotint.core import Condition, Rng
from mezzotint.denoiser import Chunked
from mezzotint.samplers import Euler
from mezzotint.training.pictures import pixels, read_settings, save_png


def test_every_map_is_drawn_with_every_seed(command: Command, models: Path, files: Path) -> None:
    run = models / "named"
    two = ("--layout", files / "is.png", files / "after.png", "--seeds", "5,2")
    made = drawn(command, "sample", run, *two)
    expected = truth(run, told(layout(), other(), times=2), [5, 5, 2, 2])
    assert np.array_equal(made, expected)
    assert (made[0] != made[1]).any()
    with np.load(files / "drawn.npz") as found:
        assert np.array_equal(found["layouts"], np.stack([layout(), other()] * 2))
        assert found["seeds"].tolist() == [5, 5, 2, 2]


def test_numbers_the_usual_colours_and_a_palette_say_the_same(command: Command, models: Path, files: Path) -> None:
    """Entries are matched by name: the palette has another order than the model, and fewer names."""
    run = models / "named"
    indexed = Image.fromarray(layout(), "P")
    indexed.putpalette([7, 7, 7, 1, 2, 3, 0, 0, 0, 9, 9, 9])
    indexed.save(files / "indexed.png")
    expected = truth(run, told(layout()), [1])
    for words in (
        (files / "is.png",),
        (files / "indexed.png",),
        (files / "usual.png",),
        (files / "colours.png", "--palette", files / "palette.json"),
    ):
        assert np.array_equal(drawn(command, "sample", run, "--layout", *words, "--seeds", 1), expected), words


def test_without_names_the_order_of_the_palette_gives_the_numbers(command: Command, models: Path, files: Path) -> None:
    run, ways = models / "numbered", files / "order.json"
    ways.write_text(json.dumps({"sky": "#202020", "tree": [220, 20, 60], "sea": [9, 9, 9], "road": [10, 200, 30]}))
    words = ("--layout", files / "colours.png", "--palette", ways, "--seeds", 4)
    assert np.array_equal(drawn(command, "sample", run, *words), truth(run, told(layout()), [4]))
    remarks = command("sample", run, *words, "--out", files / "yes.png", "--json").json["remarks"]
    assert any("knows no names" in said and "sky is 0, tree is 1, sea is 2, road is 3" in said for said in remarks)
    ways.write_text(json.dumps({f"{k}": [k, k, 0] for k in range(5)}))
    said = command("sample", run, *words, "--out", files / "no.png").sentence
    assert "has 5 entries" in said and "the things 0 to 3 and no names" in said


def test_the_map_stands_above_its_column_and_one_map_beside(command: Command, models: Path, files: Path) -> None:
    run, out, red = models / "named", files / "sheet.png", np.array([220, 20, 60])
    mapped = ("--palette", files / "palette.json", "--layout", files / "colours.png")
    assert command("sample", run, *mapped, "--seeds", "0-4", "--out", out).code == 0
    made, settings = look(out), read_settings(out)
    scale, gap, line = settings["layout"]["scale"], 6, 16
    side = 16 * scale
    shown = made[gap + line : gap + line + side, gap : gap + side][scale // 2 :: scale, scale // 2 :: scale]
    assert np.array_equal((shown == red).all(-1), layout() == 1)
    first = made[gap + line :, 2 * gap + side :][scale // 2 : side : scale, scale // 2 : side : scale]
    assert np.array_equal(first, truth(run, told(layout()), [0])[0])  # beside it the first picture
    assert settings["layout"]["columns"] == 3
    words = ("--layout", files / "colours.png", files / "colours.png", "--palette", files / "palette.json")
    assert command("sample", run, *words, "--seeds", "0-1", "--out", out, "--overwrite").code == 0
    wide = look(out)
    assert wide.shape[1] == 2 * (side + gap) + gap
    assert [int((wide == red).all(-1)[gap + line :, at : at + side].sum()) > 0 for at in (gap, 2 * gap + side)] == [
        1,
        1,
    ]


def test_the_same_again_and_no_more_where_a_file_has_changed(command: Command, models: Path, files: Path) -> None:
    run, out, again = models / "edges", files / "a.png", files / "b.png"
    mapped = ("--layout", files / "colours.png", "--palette", files / "palette.json", "--instances", files / "ids.png")
    assert command("sample", run, *mapped, "--seeds", "0-3", "--out", out, "--each", files / "each").code == 0
    assert command("sample", "--like", out, "--out", again).code == 0
    assert out.read_bytes() == again.read_bytes()
    each = files / "each" / "0-000002.png"
    assert command("sample", "--like", each, "--out", again, "--overwrite").code == 0
    assert each.read_bytes() == again.read_bytes()
    assert command("sample", "--like", out, "--seeds", 2, "--each", files / "one", "--overwrite").code == 0
    assert np.array_equal(look(files / "one" / "0-000002.png"), look(each))
    for name in ("colours.png", "palette.json", "ids.png"):
        whole = (files / name).read_bytes()
        if name.endswith("json"):
            (files / name).write_bytes(whole + b"\n")
        else:
            values = look(files / name).copy()
            values[0, 0] = values[8, 8]
            save(files / name, values)
        said = command("sample", "--like", out, "--out", again, "--overwrite").sentence
        assert name in said and "has changed" in said and "--" in said
        (files / name).write_bytes(whole)
    new = command("sample", "--like", out, "--layout", files / "colours.png", "--out", again, "--overwrite")
    assert new.code == 0 and read_settings(again)["layouts"]["instances"] is None


def test_instances_say_where_things_end(command: Command, models: Path, files: Path) -> None:
    """Grey, deep grey and colours tell the same places apart, whatever the numbers."""
    run, ids = models / "edges", np.zeros((16, 16), np.int64)
    ids[3:9, 2:5], ids[3:9, 5:8] = 1, 2
    save(files / "grey.png", (7 * ids).astype(np.uint8))
    save(files / "deep.png", (300 * ids).astype(np.uint16))
    save(files / "three.png", np.stack([0 * ids, ids, 5 * ids], -1).astype(np.uint8))
    expected = truth(run, told(layout(), instances=torch.from_numpy(ids)), [3])
    plain = drawn(command, "sample", run, "--layout", files / "is.png", "--seeds", 3)
    assert np.array_equal(plain, truth(run, told(layout()), [3])) and not np.array_equal(plain, expected)
    for name in ("grey", "deep", "three"):
        more = ("--layout", files / "is.png", "--instances", files / f"{name}.png", "--seeds", 3)
        assert np.array_equal(drawn(command, "sample", run, *more), expected), name
    call: tuple[Any, ...] = ("sample", run, "--layout", files / "is.png", "--seeds", 3)
    call += ("--rows", ROWS, "--out", files / "no.png", "--overwrite")
    assert "draws without" in command(*call).err
    assert "draws without" not in command(*call, "--instances", files / "grey.png").err
    assert "no --instances" in command("sample", models / "named", *call[2:], "--instances", files / "is.png").sentence
    save(files / "small.png", np.zeros((8, 8), np.uint8))
    assert "the same places" in command(*call, "--instances", files / "small.png").sentence
    two = command(*call, "--instances", files / "grey.png", files / "deep.png").sentence
    assert "1 maps and 2 files" in two


def test_guidance_follows_the_map(command: Command, models: Path, files: Path) -> None:
    run, words = models / "named", ("--layout", files / "is.png", "--seeds", "0-1")
    plain = drawn(command, "sample", run, *words)
    assert np.array_equal(drawn(command, "sample", run, *words, "--guidance", 1), plain)
    guided = drawn(command, "sample", run, *words, "--guidance", 2.5)
    assert np.array_equal(guided, truth(run, told(layout(), times=2), [0, 1], 2.5)) and (guided != plain).any()


def test_sizes(command: Command, models: Path, files: Path) -> None:
    run, out = models / "named", files / "no.png"
    save(files / "large.png", layout().repeat(3, 0).repeat(3, 1))
    expected = truth(run, told(layout()), [0])
    assert np.array_equal(drawn(command, "sample", run, "--layout", files / "large.png", "--seeds", 0), expected)
    large = command("sample", run, "--layout", files / "large.png", "--seeds", 0, "--out", out)
    assert "48 x 48 pixels: it is brought to 16 x 16" in large.err
    speck = np.zeros((48, 48), np.uint8)
    speck[0, 0] = 2
    save(files / "speck.png", speck)
    lost = command("sample", run, "--layout", files / "speck.png", "--seeds", 0, "--out", out, "--overwrite")
    assert "nothing is left of yellow" in lost.err
    wide = np.concatenate([layout(), layout()[:, :8]], 1)
    save(files / "wide.png", wide)
    said = command("sample", run, "--layout", files / "wide.png", "--out", out, "--overwrite").sentence
    assert "24 x 16 pixels" in said and "--size 16x24" in said
    made = drawn(command, "sample", run, "--layout", files / "wide.png", "--size", "16x24", "--seeds", 1)
    assert made.shape == (1, 16, 24, 3)
    sampling = mz.samplers.Sampling(Euler(STEPS), Chunked(mz.load(run), ROWS), shape=(3, 16, 24))
    x = sampling(told(wide), Rng([1]))
    assert np.array_equal(made, pixels(x))
    sized = command(
        "sample", run, "--layout", files / "wide.png", "--size", "16x24", "--seeds", 1, "--out", out, "--overwrite"
    )
    again = files / "again.png"
    assert sized.code == 0 and command("sample", "--like", out, "--out", again).code == 0
    assert out.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(
    ("run", "words", "parts"),
    [
        ("named", ("colours.png",), ("is in colours", "--palette")),
        ("named", ("high.png",), ("says 9 at row 4, column 2", "at 3 places", "0 to 3 (background, red", "255 where")),
        ("named", ("none.png",), ("there is no map",)),
        (
            "named",
            ("odd.png", "--palette", "palette.json"),
            ("odd.png", "(1, 2, 3) at row 0, column 5", "nearest is 'background'"),
        ),
        ("named", ("colours.png", "--palette", "grey.json"), ("'bakground'", "did you mean 'background'")),
        ("named", ("colours.png", "--palette", "none.json"), ("there is no palette",)),
        ("named", ("is.png", "--items", "0"), ("--items", "--layout", "leave one")),
        ("plain", ("is.png",), ("knows no layouts", "told a label")),
    ],
)
def test_what_is_refused(
    command: Command, models: Path, files: Path, run: str, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    high, odd = layout(), look(files / "colours.png").copy()
    high[4, 2:5] = 9
    odd[0, 5] = 1, 2, 3
    save(files / "high.png", high)
    save(files / "odd.png", odd)
    (files / "grey.json").write_text(json.dumps({"bakground": [32, 32, 32], "red": "#dc143c", "green": [10, 200, 30]}))
    names = [files / word if "." in word else word for word in words]
    said = command("sample", models / run, "--layout", *names, "--out", files / "out.png").sentence
    assert all(part in said for part in parts), said
    assert not (files / "out.png").exists()


def test_flags_that_need_a_map(command: Command, models: Path, files: Path) -> None:
    run, out = models / "named", ("--out", files / "out.png")
    assert "--palette goes with maps" in command("sample", run, "--palette", files / "palette.json", *out).sentence
    assert "--instances goes with maps" in command("sample", run, "--instances", files / "is.png", *out).sentence
    assert "comes before --layout" in command("sample", "--layout", files / "is.png", *out).sentence
    said = command("upscale", run, files / "is.png", "--layout", files / "is.png", *out).sentence
    assert "--layout" in said and "leave it out" in said


def test_places_that_say_nothing(command: Command, models: Path, files: Path) -> None:
    values = layout()
    values[:4] = 255
    save(files / "part.png", values)
    colours = look(files / "colours.png").copy()
    colours[:4] = 255
    save(files / "white.png", colours)
    run = models / "named"
    expected = truth(run, told(values), [0])
    assert np.array_equal(drawn(command, "sample", run, "--layout", files / "part.png", "--seeds", 0), expected)
    words = ("sample", run, "--layout", files / "white.png", "--palette", files / "palette.json", "--seeds", 0)
    assert np.array_equal(drawn(command, *words), expected)
    said = command(*words, "--out", files / "a.png", "--json")
    assert said.json["remarks"] == [
        f"{files / 'white.png'} says nothing at 25 % of its places: what is drawn there is the model's choice"
    ]


def test_labels_are_drawn_with_every_map(command: Command, models: Path, files: Path) -> None:
    run = models / "classes"
    words = ("--layout", files / "is.png", files / "after.png", "--label", "0,1", "--seeds", "7")
    cond = told(layout(), layout(), other(), other()) | Condition(label=[0, 1, 0, 1])
    assert np.array_equal(drawn(command, "sample", run, *words), truth(run, cond, [7] * 4))
    said = command("sample", run, *words, "--out", files / "a.png", "--json").json
    assert [one["pairs"] for one in said["changes"]] == [2]


def test_what_changed_under_the_same_seeds(command: Command, models: Path, files: Path) -> None:
    words = ("--layout", files / "is.png", files / "after.png", "--seeds", "0-2")
    said = command(
        "sample", models / "named", *words, "--out", files / "a.png", "--npz", files / "a.npz", "--json"
    ).json
    with np.load(files / "a.npz") as found:
        pairs = found["images"].reshape(3, 2, 16, 16, 3).astype(float)
    there = layout() != other()
    apart = pairs[:, 1] - pairs[:, 0]
    (change,) = said["changes"]
    assert (change["map"], change["against"], change["pairs"]) == ("after", "is", 3)
    assert change["differ"] == pytest.approx(20 / 256)
    assert change["rms_inside"] == pytest.approx(np.sqrt(np.square(apart[:, there]).mean()))
    assert change["rms_outside"] == pytest.approx(np.sqrt(np.square(apart[:, ~there]).mean()))
    assert change["changed_outside"] == pytest.approx((np.abs(apart).max(-1)[:, ~there] > 8).mean())
    assert 0 < change["rms_outside"] < change["rms_inside"]
    plain = command("sample", models / "named", *words, "--out", files / "b.png")
    assert f"changed by {change['rms_inside']:.1f} of 255 (RMS), elsewhere by {change['rms_outside']:.1f}" in plain.out
    assert "mezzotint edit RUN PICTURE --layout AFTER --before BEFORE\n" in plain.out
    palette = files / "palette.json"
    coloured = ("--layout", files / "colours.png", files / "coloured.png", "--palette", palette, "--seeds", 0)
    moved = look(files / "colours.png").copy()
    moved[1:5, 10:15] = 220, 20, 60
    save(files / "coloured.png", moved)
    plain = command("sample", models / "named", *coloured, "--out", files / "e.png")
    assert f"--before BEFORE --palette {palette}\n" in plain.out
    deaf = command("sample", models / "silent", *words, "--out", files / "c.png", "--json").json["changes"][0]
    assert (deaf["rms_inside"], deaf["rms_outside"], deaf["changed_outside"]) == (0, 0, 0)
    one = command("sample", models / "named", "--layout", files / "is.png", "--out", files / "d.png", "--json").json
    assert "changes" not in one


def test_settings_that_are_not_whole(command: Command, models: Path, files: Path) -> None:
    out, bad = files / "a.png", files / "bad.png"
    assert command("sample", models / "named", "--layout", files / "is.png", "--seeds", 0, "--out", out).code == 0
    settings = read_settings(out)
    one = settings["layouts"]
    for broken in (
        None,
        3,
        {**one, "rows": [1]},
        {**one, "rows": [0, 0]},
        {**one, "maps": [{"path": 3}]},
        {"rows": [0]},
    ):
        save_png(bad, look(out), {**settings, "layouts": broken})
        assert "cannot be repeated" in command("sample", "--like", bad, "--out", files / "b.png").sentence
