"""Editing from the command line: what is kept is kept to the bit, and the rest follows the seed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import mezzotint as mz
from mezzotint.cli.original import Mask, Original
from mezzotint.training.pictures import pixels, read_settings, save_png

Command = Callable[..., Any]
Bytes = NDArray[np.uint8]


def look(path: Path) -> Bytes:
    with Image.open(path) as image:
        return np.asarray(image)


def save(path: Path, values: Bytes) -> Path:
    Image.fromarray(values).save(path)
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digit that the model never saw."""
    data = mz.data.Digits(split="held_out")
    row = int((data[:][1]["label"] == 3).nonzero()[0, 0])
    return save(tmp_path_factory.mktemp("digit") / "three.png", pixels(data[[row]][0])[0, ..., 0])


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White over the upper five rows but for a corner."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:5] = 255
    mask[0, 0] = 0
    return save(tmp_path_factory.mktemp("mask") / "top.png", mask)


def drawn(path: Path) -> Bytes:
    """The pictures of an .npz, (N, H, W)."""
    found: Bytes = np.load(path)["images"][..., 0]
    return found


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--resample", 1, "--label", "3,8", "--guidance", 2),
        ("--sampler", "ddpm", "--steps", 4, "--strength", 0.4),
        ("--sampler", "multistep", "--steps", 3, "--set", "sampler.order=3", "sampler.grid.part=samplers.LogSNR"),
    ],
)
def test_what_the_mask_keeps_is_kept_to_the_bit(
    command: Command, digits: Path, three: Path, top: Path, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    out = tmp_path / "a.npz"
    said = command("edit", digits, three, "--mask", top, "--seeds", "0-3", *words, "--npz", out)
    assert said.code == 0, said.err
    made, was, redo = drawn(out), look(three), look(top) == 255
    assert np.array_equal(made[:, ~redo], np.broadcast_to(was[~redo], made[:, ~redo].shape))
    assert (made[:, redo] != was[redo]).mean() > 0.3  # black meets black by chance
    assert len({one.tobytes() for one in made}) == len(made)


def test_the_new_part_looks_at_the_kept_one(command: Command, digits: Path, tmp_path: Path) -> None:
    """Under another kept half the same seeds draw another new half."""
    mask = save(tmp_path / "mask.png", np.repeat(np.uint8([[255], [0]]), 4, 0).repeat(8, 1))
    halves = []
    for shade in (0, 255):
        image = save(tmp_path / "image.png", np.full((8, 8), shade, np.uint8))
        words = ("--mask", mask, "--seeds", "0-3", "--steps", 4, "--resample", 3, "--npz", tmp_path / f"{shade}.npz")
        assert command("edit", digits, image, *words).code == 0
        halves.append(drawn(tmp_path / f"{shade}.npz")[:, :4].astype(int))
    assert np.abs(halves[0] - halves[1]).mean() > 5


def test_strength(command: Command, digits: Path, three: Path, tmp_path: Path) -> None:
    """From the picture itself at almost no noise to what sample draws at full noise."""
    words = ("--label", "3", "--seeds", "0-7")
    away, was = [], look(three).astype(int)
    for strength in (0.004, 0.3, 0.6, 1):
        out = tmp_path / f"{strength}.npz"
        assert command("edit", digits, three, *words, "--strength", strength, "--npz", out).code == 0
        away.append(np.abs(drawn(out) - was).mean())
    assert np.abs(drawn(tmp_path / "0.004.npz") - was).max() <= 3
    assert away == sorted(away) and away[2] > 4 * away[0]
    assert command("sample", digits, *words, "--npz", tmp_path / "sample.npz").code == 0
    assert np.array_equal(drawn(tmp_path / "sample.npz"), drawn(tmp_path / "1.npz"))


def test_strength_is_a_level(command: Command, digits: Path, three: Path, tmp_path: Path) -> None:
    """At level u the picture is noised with sigma / alpha = u / (1 - u), whatever the clock of the process."""
    out = tmp_path / "a.npz"
    words = ("--label", "3", "--seeds", "0-3", "--steps", 5, "--sampler", "euler", "--strength", 0.6)
    assert command("edit", digits, three, *words, "--npz", out).code == 0
    model = mz.load(digits)
    x0 = torch.from_numpy(look(three).astype(np.float32) / 127.5 - 1).expand(4, 1, 8, 8)
    cond, rng = mz.Condition(label=[3] * 4), mz.Rng(range(4))
    time = 0.6 / 0.4 / model.process.sigma_max
    start = mz.samplers.Reference(model.process, time)
    x = mz.samplers.Sampling(mz.samplers.Euler(5), model, start=start)(cond | mz.Condition(reference=x0), rng)
    assert np.abs(pixels(x)[..., 0].astype(int) - drawn(out)).max() <= 1


def test_an_edit_does_not_depend_on_its_batch(
    command: Command, digits: Path, three: Path, top: Path, tmp_path: Path
) -> None:
    words = ("edit", digits, three, "--mask", top, "--strength", 0.8, "--label", "3,8", "--resample", 2)
    for name, more in (("many", ()), ("few", ("--batch", 3))):
        assert command(*words, "--seeds", "0-4", *more, "--npz", tmp_path / f"{name}.npz").code == 0
    command(*words, "--label", "8", "--seeds", "2", "--npz", tmp_path / "alone.npz")
    many, few, alone = (np.load(tmp_path / f"{name}.npz") for name in ("many", "few", "alone"))
    assert np.abs(many["images"].astype(int) - few["images"]).max() <= 1
    row = np.flatnonzero((many["labels"] == 8) & (many["seeds"] == 2))
    assert np.abs(many["images"][row].astype(int) - alone["images"]).max() <= 1


@pytest.mark.parametrize(
    "words",
    [
        ("--mask", "TOP", "--label", "3,5", "--guidance", 1.5, "--resample", 2),
        ("--strength", 0.7, "--sampler", "ddpm", "--steps", 4, "--batch", 3),
        ("--mask", "TOP", "--strength", 0.7, "--resample", 3, "--sampler", "unipc", "--steps", 4, "--columns", 2),
    ],
)
def test_like_repeats_an_edit(
    command: Command, digits: Path, three: Path, top: Path, tmp_path: Path, words: tuple[Any, ...]
) -> None:
    first, again = tmp_path / "first.png", tmp_path / "again.png"
    said = command("edit", digits, three, *(top if w == "TOP" else w for w in words), "--seeds", "0-3", "--out", first)
    assert said.code == 0, said.err
    assert command("edit", "--like", first, "--out", again).code == 0
    assert np.array_equal(look(first), look(again)) and read_settings(first) == read_settings(again)


def test_what_an_edit_carries(command: Command, digits: Path, three: Path, top: Path, tmp_path: Path) -> None:
    made = command("edit", digits, three, "--mask", top, "--seeds", "0", "--out", tmp_path / "a.png", "--json").json
    settings = read_settings(tmp_path / "a.png")
    assert made["settings"] == settings and made["count"] == 1 and settings["labels"] is None
    assert settings["edit"]["image"]["path"] == str(three) and settings["edit"]["strength"] == 1
    grid = settings["sampler"]["grid"]
    assert grid["part"] == "samplers.RePaint" and (grid["jump"], grid["times"]) == (1, 8)
    command("edit", "--like", tmp_path / "a.png", "--resample", 1, "--steps", 3, "--out", tmp_path / "b.png")
    changed = read_settings(tmp_path / "b.png")
    assert changed["sampler"] == {**settings["sampler"], "steps": 3, "grid": grid["inner"]}
    assert {**changed, "sampler": 0} == {**settings, "sampler": 0}
    more = ("--set", "sampler.grid.part=samplers.Recurrence", "--out", tmp_path / "c.png")
    assert command("edit", digits, three, "--mask", top, "--seeds", "0", *more).code == 0
    assert read_settings(tmp_path / "c.png")["sampler"]["grid"]["part"] == "samplers.Recurrence"  # it rises already


def test_like_needs_the_same_files(command: Command, digits: Path, three: Path, top: Path, tmp_path: Path) -> None:
    image, mask = tmp_path / "image.png", tmp_path / "mask.png"
    shutil.copy(three, image)
    shutil.copy(top, mask)
    first, again = tmp_path / "first.png", ("--out", tmp_path / "again.png", "--overwrite")
    command("edit", digits, image, "--mask", mask, "--seeds", "0-1", "--resample", 1, "--out", first)
    image.rename(tmp_path / "moved.png")
    assert "there is no picture" in command("edit", "--like", first, *again).sentence
    assert command("edit", digits, tmp_path / "moved.png", "--like", first, *again).code == 0
    assert np.array_equal(look(first), look(tmp_path / "again.png"))
    save(image, 255 - look(three))
    assert "the file has changed" in command("edit", "--like", first, *again).sentence
    said = command("edit", digits, image, "--like", first, *again)  # another picture on purpose
    assert said.code == 0 and "another picture" in said.err
    assert not np.array_equal(look(first), look(tmp_path / "again.png"))
    (tmp_path / "moved.png").rename(image)
    save(mask, 255 - look(top))
    assert "the file has changed" in command("edit", "--like", first, *again).sentence


def test_verbs_repeat_their_own_pictures(command: Command, digits: Path, three: Path, tmp_path: Path) -> None:
    edit, sample = tmp_path / "edit.png", tmp_path / "sample.png"
    command("edit", digits, three, "--seeds", "0", "--out", edit)
    command("sample", digits, "--seeds", "0", "--out", sample)
    assert "repeat it with mezzotint edit" in command("sample", "--like", edit, "--out", tmp_path / "a.png").sentence
    assert "repeat it with mezzotint sample" in command("edit", "--like", sample, "--out", tmp_path / "a.png").sentence
    for wrong in (3, {"image": {"path": "a"}}, {**read_settings(edit)["edit"], "strength": "half"}):
        save_png(sample, look(edit), {**read_settings(edit), "edit": wrong})
        assert "do not say what was edited" in command("edit", "--like", sample, "--out", tmp_path / "a.png").sentence


def test_the_sheet_shows_what_came_in_and_what_came_out(
    command: Command, digits: Path, three: Path, top: Path, tmp_path: Path
) -> None:
    out, npz, redo = tmp_path / "a.png", tmp_path / "a.npz", look(top) == 255
    words = ("--mask", top, "--label", "3,8", "--seeds", "4-6", "--resample", 1, "--out", out, "--npz", npz)
    assert command("edit", digits, three, *words).code == 0
    sheet, (gap, scale) = look(out), (6, 12)
    assert sheet.ndim == 3 and read_settings(out)["layout"]["scale"] == scale

    def tiles(left: int) -> list[Bytes]:
        """The pictures of a column: found where a tile's height follows on rows of letters."""
        column = sheet[:, left : left + 8 * scale]
        heads = [16, 32, 16, 16]  # the labels stand over the first row of results only
        places = [gap + sum(heads[: i + 1]) + i * (8 * scale + gap) for i in range(4)]
        assert places[-1] + 8 * scale + gap == len(sheet)
        return [column[place : place + 8 * scale] for place in places]

    def large(picture: Bytes) -> Bytes:
        return np.repeat(np.repeat(picture, scale, 0), scale, 1)[..., None].repeat(3, 2)

    first, second = tiles(gap), tiles(2 * gap + 8 * scale)
    assert np.array_equal(first[0], large(look(three)))
    hidden = np.repeat(np.repeat(redo, scale, 0), scale, 1)
    assert np.array_equal(second[0][~hidden], large(look(three))[~hidden])
    assert (second[0][hidden].max(-1) > second[0][hidden].min(-1)).all()  # what is redone is shown in no grey
    for row in range(3):
        for column, found in enumerate((first, second)):
            assert np.array_equal(found[row + 1], large(drawn(npz)[2 * row + column]))


def test_single_pictures_of_an_edit(command: Command, digits: Path, three: Path, top: Path, tmp_path: Path) -> None:
    words = ("--mask", top, "--label", "3,8", "--seeds", "0-1", "--resample", 1, "--each", tmp_path / "each")
    assert command("edit", digits, three, *words).code == 0
    assert sorted(p.name for p in (tmp_path / "each").iterdir()) == [
        f"{label}-{seed:06d}.png" for label in (3, 8) for seed in (0, 1)
    ]
    one = tmp_path / "each" / "8-000001.png"
    assert command("edit", "--like", one, "--out", tmp_path / "again.png").code == 0
    assert np.abs(look(tmp_path / "again.png").astype(int) - look(one)).max() <= 1


def test_pictures_are_fitted_as_training_pictures_are(command: Command, digits: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    image = save(folder / "a.png", rng.integers(0, 256, (20, 33, 3), dtype=np.uint8))
    data = mz.data.Folder(folder, size=8, channels=1, held_out_share=0.0)
    white = np.zeros((20, 33), np.uint8)
    white[:, 17:] = 255  # the right half of what is kept of the picture, from column 16.5 on
    mask = save(tmp_path / "mask.png", white)
    said = command("edit", digits, image, "--mask", mask, "--seeds", "0-1", "--npz", tmp_path / "a.npz")
    assert said.code == 0 and "its middle is brought to 8 x 8 pixels" in said.err
    assert np.array_equal(drawn(tmp_path / "a.npz")[:, :, :4], np.repeat(pixels(data[[0]][0])[..., 0], 2, 0)[:, :, :4])
    small = np.zeros((8, 8), np.uint8)
    small[:, 4:] = 200
    said = command("edit", digits, image, "--mask", save(mask, small), "--seeds", "0-1", "--npz", tmp_path / "b.npz")
    assert "has greys" in said.err
    assert np.array_equal(drawn(tmp_path / "a.npz"), drawn(tmp_path / "b.npz"))  # the same mask, said in two sizes
    wrong = save(mask, np.eye(9, dtype=np.uint8) * 255)
    sentence = command("edit", digits, image, "--mask", wrong, "--npz", tmp_path / "c.npz").sentence
    assert "9 x 9" in sentence and "33 x 20" in sentence and "8 x 8" in sentence


def test_colour_and_shapes_that_are_not_square(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (6, 10), dtype=np.uint8)
    image = save(tmp_path / "grey.png", grey)
    original = Original.of(str(image), (3, 6, 10))
    assert torch.equal(original.x, original.x[:1].expand(3, 6, 10))
    assert np.array_equal(pixels(original.x[None])[0, ..., 0], grey)
    mask = Mask.of(str(save(tmp_path / "mask.png", np.where(grey > 99, 255, 0).astype(np.uint8))), original)
    assert mask.redo.shape == (1, 6, 10) and np.array_equal(mask.redo[0].numpy(), grey > 99)
    painted = np.stack([np.full_like(grey, 255), np.where(grey > 99, 255, 0)], -1).astype(np.uint8)
    Image.fromarray(painted, "LA").save(tmp_path / "layer.png")  # white where it is painted, nothing elsewhere
    assert np.array_equal(Mask.of(str(tmp_path / "layer.png"), original).redo[0].numpy(), grey > 99)
    with pytest.raises(mz.Refusal, match="grey or colour"):
        Original.of(str(image), (2, 6, 10))
    with pytest.raises(mz.Refusal, match="grey or colour"):
        Original.of(str(image), (16,))


def test_who_chooses_the_class(
    command: Command, digits: Path, nullless: Path, plain: Path, three: Path, tmp_path: Path
) -> None:
    out = ("--seeds", "0-1", "--out", tmp_path / "a.png")
    assert "being told a class" in command("edit", nullless, three, *out).sentence
    assert command("edit", nullless, three, "--label", "3", *out).code == 0
    assert "follow their label" in command("edit", digits, three, "--guidance", 2, *out).sentence
    assert "knows no classes" in command("edit", plain, three, "--label", "3", *out).sentence
    made = command("edit", plain, three, *out, "--overwrite", "--json").json
    assert made["settings"]["labels"] is None and made["count"] == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--mask", "black.png"), "black all over"),
        (("--mask", "white.png"), "white all over"),
        (("--mask", "large.png"), "9 x 9 pixels"),
        (("--mask", "none.png"), "there is no picture 'none.png'"),
        (("--mask", "words.png"), "cannot be read"),
        (("--strength", 0), "above 0 and up to 1"),
        (("--strength", 1.1), "above 0 and up to 1"),
        (("--strength", "nan"), "above 0 and up to 1"),
        (("--strength", 1e-6), "--strength"),
        (("--resample", 2), "needs a --mask"),
        (("--mask", "half.png", "--resample", 0), "counts from 1"),
        (("--label", 10), "label 10 is out of range"),
        (("--sampler", "huen"), "did you mean 'heun'"),
        (("--columns", 0), "at least one"),
    ],
)
def test_refusals(
    command: Command,
    digits: Path,
    three: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[Any, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, values in (("black", 0), ("white", 255)):
        save(tmp_path / f"{name}.png", np.full((8, 8), values, np.uint8))
    save(tmp_path / "half.png", np.repeat(np.uint8([[0], [255]]), 4, 0).repeat(8, 1))
    save(tmp_path / "large.png", np.eye(9, dtype=np.uint8) * 255)
    (tmp_path / "words.png").write_text("not a picture")
    said = command("edit", digits, three, *words).sentence
    assert sentence in said and "skip_broken" not in said
    assert not (tmp_path / "edits.png").exists()


def test_what_is_to_be_edited_is_named(command: Command, digits: Path, tmp_path: Path) -> None:
    assert "name a run folder" in command("edit").sentence
    assert "name the picture to edit" in command("edit", digits).sentence
    assert "there is no picture" in command("edit", digits, tmp_path / "none.png").sentence
    assert "there is no picture" in command("edit", digits, tmp_path).sentence
