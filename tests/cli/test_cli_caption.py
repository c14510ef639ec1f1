"""Captions on the command line: what is said is drawn, carried, repeated, and refused where nobody would hear it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mezzotint.cli.titled import LINE, wrapped
from mezzotint.core import Condition, Refusal, Rng, config
from mezzotint.core.store import load_model
from mezzotint.data import Arrays, Emoji, find
from mezzotint.guidance import Negative
from mezzotint.recipes.classes import text as usual_text
from mezzotint.samplers import Heun
from mezzotint.training.pictures import pixels, read_settings, save_png

Command = Callable[..., Any]
DARK, LIGHT = "a dark square", "a light square"


def look(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def shade(path: Path) -> dict[str, NDArray[np.float64]]:
    """The mean of every picture of an .npz by its caption."""
    with np.load(path) as z:
        means = z["images"].mean((1, 2, 3))
        return {text: means[z["captions"] == text] for text in dict.fromkeys(z["captions"].tolist())}


def test_pictures_show_what_their_caption_says(command: Command, captioned: Path, tmp_path: Path) -> None:
    """The shades of the data, 40 and 210 on average, each at every seed."""
    out = tmp_path / "a.npz"
    assert command("sample", captioned, "--caption", DARK, LIGHT, "--seeds", "0-15", "--npz", out).code == 0
    found = shade(out)
    assert list(found) == [DARK, LIGHT] and len(found[DARK]) == len(found[LIGHT]) == 16
    assert (found[LIGHT] > found[DARK] + 60).mean() > 0.9
    assert abs(found[DARK].mean() - 40) < 40 and abs(found[LIGHT].mean() - 210) < 40
    said = command("sample", captioned, "--seeds", "0-1", "--npz", tmp_path / "b.npz")
    assert said.code == 0 and set(shade(tmp_path / "b.npz")) == {DARK, LIGHT}  # those that the model brings
    assert set(config.load(captioned / "model" / "config.yaml")["captions"]) == {DARK, LIGHT}


def test_the_recipe_of_a_file_with_captions(captioned: Path) -> None:
    tree = config.load(captioned / "config.yaml")
    assert set(tree["model"]["encoder"]) == {"part", "caption"} and tree["model"]["network"]["cross"] == [-1]
    assert tree["model"]["encoder"]["caption"]["tokenizer"]["vocabulary"] == ["a", "dark", "light", "square"]
    assert tree["training"]["objective"]["dropout"] == 0.1
    with Image.open(sorted((captioned / "samples").iterdir())[-1]) as grid:
        assert grid.width < grid.height  # a column a caption, of four pictures
        dark, light = sorted(np.asarray(grid)[:, side].mean() for side in (slice(2, 40), slice(60, 90)))
    assert light > dark + 60


def test_a_column_a_caption_under_the_caption(command: Command, captioned: Path, tmp_path: Path) -> None:
    out, npz = tmp_path / "a.png", tmp_path / "a.npz"
    command("sample", captioned, "--caption", DARK, LIGHT, "--seeds", "5-7", "--out", out, "--npz", npz)
    layout, shown = read_settings(out)["layout"], look(out)
    scale, gap, columns = layout["scale"], layout["gap"], layout["columns"]
    head = max(len(wrapped(text, 8 * scale)) for text in (DARK, LIGHT)) * LINE
    assert columns == 2 and shown.shape[0] == 3 * (8 * scale + gap) + gap + head
    assert (shown[gap : gap + head] > 100).any()  # ink
    with np.load(npz) as z:
        for row, picture in enumerate(z["images"]):
            top, left = gap + head + row // 2 * (8 * scale + gap), gap + row % 2 * (8 * scale + gap)
            tile = shown[top : top + 8 * scale : scale, left : left + 8 * scale : scale]
            assert np.array_equal(tile, picture.repeat(3, 2))
    command("sample", captioned, "--caption", LIGHT, "--seeds", "0-3", "--out", tmp_path / "one.png")
    one = look(tmp_path / "one.png")
    assert one.shape[:2] == (2 * (8 * scale + gap) + gap + LINE, 2 * (8 * scale + gap) + gap)


def test_long_captions_are_wrapped_and_cut() -> None:
    lines = wrapped("a very long caption " * 20, 100)
    assert len(lines) == 6 and lines[-1].endswith("…") and all(" " not in (line[0], line[-1]) for line in lines)
    assert " ".join(wrapped("a red circle above a blue square", 100)) == "a red circle above a blue square"
    assert "".join(wrapped("x" * 60, 100)) == "x" * 60 and wrapped(" ", 100) == ("(empty)",)
    assert wrapped("two\nlines \x1b[1m", 500) == ("two lines \\x1b[1m",)


def test_captions_may_stand_in_a_file(command: Command, captioned: Path, tmp_path: Path) -> None:
    wishes = tmp_path / "wishes.txt"
    wishes.write_bytes("\ufeffa dark square\r\n\r\nein größerer Hund\n  \n".encode())
    words = ("--caption", LIGHT, "--caption-file", wishes, "--seeds", "0", "--out", tmp_path / "a.png", "--json")
    found = command("sample", captioned, *words).json["settings"]["captions"]
    assert found == {"texts": [LIGHT, DARK, "ein größerer Hund"], "rows": [0, 1, 2]}
    wishes.write_text("\n \n")
    assert "no line with text" in command("sample", captioned, "--caption-file", wishes).sentence
    wishes.write_bytes(b"\xff\xfe")
    assert "not text in UTF-8" in command("sample", captioned, "--caption-file", wishes).sentence
    wishes.write_bytes(b"a\0b")
    assert "the character NUL" in command("sample", captioned, "--caption-file", wishes).sentence
    assert "there is no file" in command("sample", captioned, "--caption-file", tmp_path / "none").sentence


def test_captions_said_apart_are_said_together(command: Command, captioned: Path, tmp_path: Path) -> None:
    words = ("--caption", DARK, "--seeds", "0", f"--caption={LIGHT}", "--out", tmp_path / "a.png", "--caption", DARK)
    assert command("sample", captioned, *words, "--json").json["settings"]["captions"]["texts"] == [DARK, LIGHT]


def test_a_negative_is_what_pictures_move_away_from(command: Command, captioned: Path, tmp_path: Path) -> None:
    """Darker than dark, away from light; and the pixels of the library's guidance."""
    words = ("--seeds", "0-7", "--caption", DARK)
    command("sample", captioned, *words, "--npz", tmp_path / "plain.npz")
    out = ("--out", tmp_path / "a.png", "--npz", tmp_path / "away.npz")
    assert command("sample", captioned, *words, "--negative", LIGHT, "--guidance", 2, *out).code == 0
    plain, away = shade(tmp_path / "plain.npz")[DARK], shade(tmp_path / "away.npz")[DARK]
    assert (away < plain - 5).all()
    settings = read_settings(tmp_path / "a.png")
    assert settings["negative"] == LIGHT and settings["guidance"] == {"part": "guidance.Negative", "scale": 2.0}
    told = Condition(caption=[DARK] * 8, **{"negative.caption": [LIGHT] * 8})
    x = Heun(4)(Negative(load_model(captioned), 2.0), told, rng=Rng(range(8)))
    with np.load(tmp_path / "away.npz") as z:
        assert np.abs(z["images"].astype(int) - pixels(x)).max() <= 1


@pytest.mark.parametrize(
    "words",
    [
        ("--caption", DARK, "größer 🙂 'as' \"it\"\nis\x1b[1m", "", "--seeds", "3,1"),
        ("--caption", LIGHT, "--negative", "猫", "--guidance", 1.5, "--interval", "0.1-0.9", "--seeds", "0-4"),
        ("--seeds", "0", "--columns", 1),
    ],
    ids=["odd letters", "negative", "usual"],
)
def test_like_repeats_captions_to_the_bit(
    command: Command, captioned: Path, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    assert command("sample", captioned, *words, "--out", first).code == 0
    assert command("sample", "--like", first, "--out", again).code == 0
    assert np.array_equal(look(first), look(again)) and read_settings(first) == read_settings(again)


def test_a_picture_does_not_feel_the_captions_beside_it(command: Command, captioned: Path, tmp_path: Path) -> None:
    """However long they are, and whatever is cut off them."""
    command("sample", captioned, "--caption", DARK, "--seeds", "2", "--npz", tmp_path / "a.npz")
    many = (LIGHT, "", "a light " * 40, "猫" * 30, DARK)
    command("sample", captioned, "--caption", *many, "--seeds", "0-3", "--npz", tmp_path / "b.npz")
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        row = np.flatnonzero((b["captions"] == DARK) & (b["seeds"] == 2))
        assert np.array_equal(a["images"], b["images"][row])


def test_flags_beside_like_change_what_they_name(command: Command, captioned: Path, tmp_path: Path) -> None:
    first, more = tmp_path / "first.png", tmp_path / "more.png"
    words = ("--caption", DARK, "--seeds", "0-1", "--negative", LIGHT, "--guidance", 2)
    command("sample", captioned, *words, "--out", first)

    def changed(*flags: object) -> dict[str, Any]:
        assert command("sample", "--like", first, *flags, "--out", more, "--overwrite").code == 0
        return read_settings(more)

    other = changed("--caption", LIGHT, "red")
    assert other["captions"] == {"texts": [LIGHT, "red"], "rows": [0, 1, 0, 1]}
    assert other["negative"] == LIGHT and other["seeds"] == [0, 0, 1, 1]
    assert changed("--negative", "red", "--seeds", "7")["negative"] == "red"
    plain = changed("--guidance", 1)
    assert plain["guidance"] is None and plain["negative"] is None and plain["captions"]["texts"] == [DARK]
    free = changed("--set", "guidance.part=cfg", "guidance.scale=3")
    assert free["guidance"]["part"] == "guidance.CFG" and free["negative"] is None


def test_what_a_model_does_not_hear_is_said(command: Command, captioned: Path, tmp_path: Path) -> None:
    words = ("--seeds", "0", "--out", tmp_path / "a.png", "--overwrite")
    said = command("sample", captioned, "--caption", "a purple square", "a " * 30, "", "\x1b[31mred\x07 " * 9, *words)
    notes = [line for line in said.err.splitlines() if line.startswith("note: ")]
    assert said.code == 0 and sum("'purple'" in line for line in notes) == 1 and not any("'square'" in n for n in notes)
    assert any("30 words" in line for line in notes) and any("nothing" in line for line in notes)
    assert "\x1b" not in said.err and "\x07" not in said.err
    known = command("sample", captioned, "--caption", DARK, *words)
    assert known.code == 0 and "note: " not in known.err
    away = ("--caption", DARK, "--negative", "azure", "--guidance", 2)
    (remark,) = command("sample", captioned, *away, *words, "--json").json["remarks"]
    assert "'azure'" in remark


def test_single_pictures_and_arrays_carry_their_captions(command: Command, captioned: Path, tmp_path: Path) -> None:
    """Under names that no file system minds."""
    texts = ["../a/dark\nsquare", "größe 🙂", DARK]
    words = ("--caption", *texts, "--seeds", "7-8", "--each", tmp_path / "each", "--npz", tmp_path / "all.npz")
    assert command("sample", captioned, *words).code == 0
    files = sorted(path.name for path in (tmp_path / "each").iterdir())
    assert files == [f"{number}-{seed:06d}.png" for number in range(3) for seed in (7, 8)]
    one = tmp_path / "each" / "1-000008.png"
    assert read_settings(one)["captions"] == {"texts": ["größe 🙂"], "rows": [0]} and look(one).shape == (8, 8)
    assert command("sample", "--like", one, "--out", tmp_path / "again.png").code == 0
    assert np.array_equal(look(tmp_path / "again.png")[..., 0] if look(one).ndim == 3 else look(one), look(one))
    data = Arrays(str(tmp_path / "all.npz"), label=None, caption="captions", split="all")
    assert data.texts() == texts * 2
    assert command("train", tmp_path / "all.npz", "--dry-run").code == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", 1), "knows no classes, so it takes no --label"),
        (("--negative", LIGHT), "--guidance 2"),
        (("--negative", LIGHT, "--guidance", 1), "--guidance 2"),
        (("--negative", LIGHT, "--guidance", 2, "--set", "guidance.part=perturbed"), "does something else"),
        (("--caption",), "was given nothing"),
        (("--caption", "\udcff"), "half a character"),
        (("--caption", "x" * 20_000), "20000 bytes"),
    ],
)
def test_refusals(command: Command, captioned: Path, tmp_path: Path, words: tuple[Any, ...], sentence: str) -> None:
    out = tmp_path / "a.png"
    assert sentence in command("sample", captioned, "--seeds", "0", "--out", out, *words).sentence
    assert not out.exists()


def test_a_model_of_labels_takes_no_captions(command: Command, digits: Path, captioned: Path, tmp_path: Path) -> None:
    assert "takes no --caption" in command("sample", digits, "--caption", "three").sentence
    assert "takes no --negative" in command("sample", digits, "--negative", "three", "--guidance", 2).sentence
    assert "it comes before --caption" in command("sample", "--caption", "three", digits).sentence


@pytest.mark.parametrize(
    "forged",
    [
        {"captions": ["a"]},
        {"captions": {"texts": ["a"], "rows": [1]}},
        {"captions": {"texts": ["a"], "rows": []}},
        {"captions": {"texts": [], "rows": [0]}},
        {"captions": {"texts": [1], "rows": [0]}},
        {"captions": {"texts": ["a"], "rows": 0}},
        {"negative": 3},
        {"captions": None, "negative": "a"},
    ],
    ids=str,
)
def test_forged_settings_are_refused(command: Command, captioned: Path, tmp_path: Path, forged: dict[str, Any]) -> None:
    first = tmp_path / "first.png"
    if not (captioned.parent / "whole.png").exists():
        command("sample", captioned, "--caption", DARK, "--seeds", "0", "--out", captioned.parent / "whole.png")
    whole = captioned.parent / "whole.png"
    save_png(first, look(whole), {**read_settings(whole), **forged})
    assert "cannot be repeated" in command("sample", "--like", first, "--out", tmp_path / "b.png").sentence


def test_the_other_verbs_know_models_of_captions(command: Command, captioned: Path, tmp_path: Path) -> None:
    report = command("evaluate", captioned, "--count", 64, "--json").json
    copies = {"neighbour_ratio", "close_share", "copying"}
    assert set(report["measures"]) == {"frechet_pixels", "diversity", "patches_8", *copies}
    assert report["measures"]["frechet_pixels"]["value"] < 40  # of two heaps 11 apart, asked for in their shares
    assert "such as" in command("show", captioned).out and LIGHT in command("show", captioned).out
    assert set(command("show", captioned, "--json").json["captions"]) == {DARK, LIGHT}
    assert command("doctor", captioned).code in (0, 4)
    picture = tmp_path / "grey.png"
    Image.fromarray(np.full((8, 8), 128, np.uint8)).save(picture)
    words = ("--strength", 0.9, "--seeds", "0-3", "--caption", DARK, LIGHT, "--npz", tmp_path / "e.npz")
    assert command("edit", captioned, picture, *words).code == 0
    found = shade(tmp_path / "e.npz")
    assert (found[LIGHT] > found[DARK] + 30).all()
    out = tmp_path / "e.png"
    assert command("edit", captioned, picture, "--strength", 0.9, "--caption", DARK, "--out", out).code == 0
    assert command("edit", "--like", out, "--out", tmp_path / "again.png").code == 0
    assert np.array_equal(look(out), look(tmp_path / "again.png"))
    assert "--caption" in command("edit", captioned, picture, "--guidance", 2, "--out", out, "--overwrite").sentence


def test_recipes_are_written_for_data_alone(command: Command, captioned: Path, tmp_path: Path) -> None:
    """A YAML with the data only, and a set with both labels and captions: captions are learnt, labels are not told."""
    with np.load(captioned.parent / "shades.npz") as z:
        arrays = dict(z.items())
    both, recipe = tmp_path / "both.npz", tmp_path / "recipe.yaml"
    np.savez(both, **arrays, labels=np.arange(256) % 2)
    tree = config.loads(command("train", both, "--dry-run").out)
    assert tree["data"]["label"] is None and tree["data"]["classes"] == [] and tree["data"]["caption"] == "captions"
    assert set(tree["model"]["encoder"]) == {"part", "caption"}
    data = {"part": "data.Arrays", "path": str(both), "caption": "captions", "held_out_share": 0.25}
    recipe.write_text(config.dumps({"data": data}))
    found = config.loads(command("train", recipe, "--dry-run", "--width", 8, "--images", 256).out)
    assert found["model"]["network"]["width"] == 8 and found["data"]["held_out_share"] == 0.25
    assert found["model"]["encoder"] == tree["model"]["encoder"] and found["training"]["images"] == 256
    assert (
        "leave" not in command("train", recipe, "--out", tmp_path / "run", "--images", 128, "--width", 8, "--json").err
    )
    assert (tmp_path / "run" / "model" / "config.yaml").is_file()
    assert command("train", recipe, "--out", tmp_path / "run", "--images", 256, "--resume", "--json").code == 0
    assert "--size is for pictures" in command("train", recipe, "--dry-run", "--size", 8).sentence


@pytest.mark.parametrize(
    ("texts", "tokens"),
    [
        (["a red one", "a blue one", "a red two"], "Words"),
        (["one", "two", "three"], "Bytes"),
        (["赤い丸がある", "青い四角がある", "緑の星が見える"], "Bytes"),
        ([f"{row} {row} {row}" for row in range(20_000)], "Bytes"),
    ],
    ids=["words", "names", "no spaces", "too many"],
)
def test_captions_are_cut_into_words_that_come_back_or_into_bytes(texts: list[str], tokens: str) -> None:
    made = usual_text(texts)
    assert type(made.tokenizer).__name__ == tokens
    assert not made.remarks(texts)


def test_emoji_are_a_recipe(command: Command, tmp_path: Path) -> None:
    try:
        find("emoji/emoji_64.npz")
    except Refusal as absent:
        pytest.skip(str(absent))
    recipe = tmp_path / "emoji.yaml"
    recipe.write_text("data: {part: data.Emoji, size: 8}")
    run = tmp_path / "run"
    words = ("--images", 128, "--width", 8, "--set", "training.sampler.steps=2", "training.batch=64", "--json")
    assert command("train", recipe, "--out", run, *words).code == 0
    assert command("train", recipe, "--out", run, "--images", 192, "--resume", "--json").code == 0
    settings = command("sample", run, "--seeds", "0", "--out", tmp_path / "a.png", "--json").json["settings"]
    assert len(settings["captions"]["texts"]) == 10
    assert set(settings["captions"]["texts"]) <= set(Emoji().held_out().texts())
