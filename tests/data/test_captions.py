"""Captions, a split and transparency in an .npz, and the emoji, which have all three."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal, build, spec
from mezzotint.core.text import spoken
from mezzotint.data import Arrays, Emoji, find
from mezzotint.testing import check_data

TEXTS = [
    "a cat",
    "",
    "größe",
    "猫が三匹",
    "a cat",
    "two\nlines\tand \x1b[1m",
    "🙂" * 5,
    "'\"quoted\"'",
    " spaces ",
    "z",
]


def save(path: Path, texts: object = TEXTS, count: int = 10, **more: np.ndarray) -> str:
    pictures = np.arange(count, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(4, 2) * 20
    told = {} if texts is None else {"captions": np.asarray(texts)}
    np.savez(path, images=pictures, **{**told, **more})
    return str(path)


def test_captions_are_told_with_their_pictures(tmp_path: Path) -> None:
    data = Arrays(save(tmp_path / "a.npz"), label=None, caption="captions", split="all")
    x, cond = data[[6, 2, 1, 3]]
    assert spoken(cond["caption"]) == ["🙂" * 5, "größe", "", "猫が三匹"]
    assert cond.families == ("caption",) and cond["caption"].dtype == torch.uint8
    assert torch.equal(((x[:, 0, 0, 0] + 1) * 127.5).round().int(), torch.tensor([6, 2, 1, 3]).int() * 20)
    assert data.texts() == TEXTS and data.texts(5) == [TEXTS[5]]
    both = Arrays(save(tmp_path / "b.npz", labels=np.arange(10)), caption="captions", split="all")
    assert both[:][1].families == ("label", "caption") and both.texts() == TEXTS
    told = [np.char.encode(TEXTS, "utf-8"), np.array(TEXTS, dtype="U40"), np.array(TEXTS)]
    assert [Arrays(save(tmp_path / "c.npz", t), label=None, caption="captions", split="all").texts() for t in told] == [
        TEXTS
    ] * 3
    assert Arrays(save(tmp_path / "d.npz", None), label=None, split="all").texts() == []


def test_rows_of_all_splits_are_equally_wide(tmp_path: Path) -> None:
    """Also where the longest caption lies in the other split, or in the other file."""
    path = save(tmp_path / "a.npz")
    data = Arrays(path, label=None, caption="captions", held_out_share=0.4)
    splits = [data, data.held_out(), data.sibling("all")]
    assert {part[:1][1]["caption"].shape[1] for part in splits} == {len("🙂".encode()) * 5}
    longer = save(tmp_path / "b.npz", [*TEXTS[:9], "x" * 33])
    pair = Arrays(path, label=None, caption="captions", held_out_path=longer)
    splits = [pair, pair.held_out(), pair.sibling("all")]
    assert {part[:1][1]["caption"].shape[1] for part in splits} == {33}
    assert pair.sibling("all").texts() == TEXTS + [*TEXTS[:9], "x" * 33]
    check_data(data.sibling("all"))


def test_the_mark_of_the_data_depends_on_its_captions(tmp_path: Path) -> None:
    """One letter in the middle of a large file, where a glimpse of it does not reach."""
    texts = [f"caption {row} {'x' * 50}" for row in range(4_000)]
    other = [*texts[:2_500], texts[2_500].replace("x", "y", 1), *texts[2_501:]]
    marks = [
        Arrays(save(tmp_path / "a.npz", t, 4_000), label=None, caption="captions", held_out_share=0.0).mark
        for t in (texts, other, texts)
    ]
    assert marks[0] == marks[2] != marks[1]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (np.array(["a", None] * 5, dtype=object), "without pickles"),
        (np.arange(10), "captions are strings"),
        (np.array(["a"] * 9), "captions are strings, one for each of the 10 pictures"),
        (np.array([["a"]] * 10), "captions are strings"),
        (np.array([b"\xff\xfe"] * 10), "not UTF-8"),
        (np.array(["a\0b"] * 10), "the character NUL"),
        (np.array(["\ud800"] * 10), "half a character"),
        (np.array(["a" * 20_000] * 10), "20000 bytes"),
    ],
    ids=["objects", "numbers", "too few", "two axes", "latin", "nul", "surrogate", "too long"],
)
def test_what_is_no_caption_is_refused(tmp_path: Path, texts: np.ndarray, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        Arrays(save(tmp_path / "a.npz", texts), label=None, caption="captions")


def test_captions_have_a_budget_and_a_name(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", ["word " * 100] * 10)
    Arrays(path, label=None, budget=2_000)
    with pytest.raises(Refusal, match="more than budget = 2000 bytes"):
        Arrays(path, label=None, caption="captions", budget=2_000)
    with pytest.raises(Refusal, match="no array 'caption'.*did you mean 'captions'.*caption=None"):
        Arrays(path, label=None, caption="caption")


def test_a_file_may_hold_pictures_out_itself(tmp_path: Path) -> None:
    held = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 1], np.uint8)
    path = save(tmp_path / "a.npz", split=held, labels=np.arange(10))
    data = Arrays(path, caption="captions", split_by="split", held_out_share=0.9)
    assert data.held_out().labels.tolist() == [1, 4, 9] and data.labels.tolist() == [0, 2, 3, 5, 6, 7, 8]
    assert data.held_out().texts() == [TEXTS[1], TEXTS[4], TEXTS[9]] and len(data.sibling("all")) == 10
    check_data(data)
    assert build(spec(data)) == data
    plain = Arrays(path, caption="captions")
    assert plain.mark != Arrays(path, caption="captions", split_by="split").mark
    with pytest.raises(Refusal, match="name one"):
        Arrays(path, split_by="split", held_out_path=path)
    for wrong in (held + 1, held / 2, held[:9], held.astype(str)):
        with pytest.raises(Refusal, match="0 train and 1 held out"):
            Arrays(save(tmp_path / "b.npz", split=wrong), label=None, split_by="split")
    with pytest.raises(Refusal, match="'held_out'; look at 'split'"):
        Arrays(save(tmp_path / "c.npz", split=0 * held), label=None, split_by="split").held_out()


@pytest.mark.parametrize(("under", "colour"), [("white", (255, 255, 255)), ("#0a64c8", (10, 100, 200))])
def test_transparency_is_laid_on_a_colour(tmp_path: Path, under: str, colour: tuple[int, int, int]) -> None:
    """Every byte on every share, to the byte nearest to the exact fraction; floats to rounding."""
    value, share = np.meshgrid(np.arange(256), np.arange(256), indexing="ij")
    picture = np.stack([value, 255 - value, value // 2, share], -1).astype(np.uint8)[None]
    np.savez(tmp_path / "a.npz", images=picture)
    data = Arrays(str(tmp_path / "a.npz"), label=None, split="all", under=under)
    found = ((data[:][0][0].permute(1, 2, 0) + 1) * 127.5).round().int().numpy()
    assert data.shape == (3, 256, 256)
    for place in np.random.default_rng(0).integers(0, 256, (300, 2)):
        rgb, a = picture[0, place[0], place[1], :3].tolist(), int(place[1])
        exact = [Fraction(c * a + u * (255 - a), 255) for c, u in zip(rgb, colour, strict=True)]
        assert found[place[0], place[1]].tolist() == [round(e) for e in exact]
    for floats in (picture / 255, picture / 127.5 - 1):
        np.savez(tmp_path / "b.npz", images=floats)
        near = Arrays(str(tmp_path / "b.npz"), label=None, split="all", under=under)[:][0]
        assert (near - data[:][0]).abs().max() < 0.51 / 127.5
    grey = picture[..., [0, 3]]
    np.savez(tmp_path / "c.npz", images=grey)
    assert Arrays(str(tmp_path / "c.npz"), label=None, split="all", under="black").shape == (1, 256, 256)


def test_what_is_not_transparent_is_not_laid_on_a_colour(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="1 channels, so none says how transparent"):
        Arrays(save(tmp_path / "a.npz"), label=None, under="white")
    with pytest.raises(Refusal, match="there is no colour 'whit'"):
        Arrays(save(tmp_path / "a.npz"), label=None, under="whit")
    np.savez(tmp_path / "b.npz", images=np.zeros((20, 4, 4, 4), np.uint8))
    assert Arrays(str(tmp_path / "b.npz"), label=None).shape == (4, 4, 4)


def test_examples_are_captions_that_were_held_out(tmp_path: Path) -> None:
    held = np.arange(10) % 2
    data = Arrays(save(tmp_path / "a.npz", ["a", "b", "a", "b", "a", "c", "a", "b", "a", "d"], split=held), label=None)
    told = Arrays(data.path, label=None, caption="captions", split_by="split")
    assert spoken(told.examples["caption"]) == ["b", "c", "d"]
    assert told.held_out().examples["caption"].equal(told.examples["caption"])
    whole = Arrays(data.path, label=None, caption="captions", held_out_share=0.0)
    assert spoken(whole.examples["caption"]) == ["a", "b", "c", "d"] and not data.examples


@pytest.fixture
def emoji() -> Emoji:
    try:
        find("emoji/emoji_64.npz")
    except Refusal as absent:
        pytest.skip(str(absent))
    return Emoji()


def test_emoji_are_what_their_recipe_says(emoji: Emoji) -> None:
    """By the numbers and the formula that are printed beside the file, in float64."""
    with np.load(find("emoji/emoji_64.npz")) as z:
        a, texts, groups, split = z["images"].astype(float), z["captions"].tolist(), z["groups"], z["split"]
        names = z["group_names"].tolist()
    x = (a[..., :3] * (a[..., 3:] / 255) + 255 - a[..., 3:]).round().astype(np.uint8)
    whole = emoji.sibling("all")
    found = ((whole[:][0] + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert len(whole) == 886 and (len(emoji), len(emoji.held_out())) == (798, 88)
    assert np.array_equal(found, x)
    assert whole.texts() == texts and "four leaf clover" in texts
    assert list(emoji.classes) == names and whole.labels.tolist() == groups.tolist()
    assert emoji.held_out().texts() == [t for t, s in zip(texts, split, strict=True) if s]


def test_emoji_come_in_sizes_on_colours_with_and_without_groups(emoji: Emoji) -> None:
    small, black = Emoji(size=32, label=None), Emoji(under="black")
    assert small.shape == (3, 32, 32) and small[:2][1].families == ("caption",) and small.classes == ()
    mean = torch.nn.functional.avg_pool2d(emoji[:64][0], 2)
    assert (small[:64][0] - mean).abs().max() < 0.51 / 127.5
    assert bool((black[:][0] <= emoji[:][0]).all()) and float(black.mean) < float(emoji.mean)
    assert emoji.mark != Emoji(label=None).mark
    for wrong in ({"label": "group"}, {"under": "whit"}, {"split": "test"}, {"size": 0}):
        with pytest.raises(Refusal):
            Emoji(**wrong)
