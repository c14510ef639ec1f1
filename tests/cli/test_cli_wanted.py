"""Labels, seeds and the arrays of a file in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mezzotint import Refusal
from mezzotint.cli import source, wanted
from mezzotint.cli.main import main

DIGITS = tuple("0123456789")
NAMES = ("cat", "dog", "T-shirt/top", "7-9", "a, b")


@pytest.mark.parametrize(
    ("text", "classes", "labels"),
    [
        ("3", DIGITS, [3]),
        ("0-9", DIGITS, list(range(10))),
        ("5,3", DIGITS, [5, 3]),
        ("0-2, 7", DIGITS, [0, 1, 2, 7]),
        ("dog", NAMES, [1]),
        ("dog,cat", NAMES, [1, 0]),
        ("cat-T-shirt/top", NAMES, [0, 1, 2]),
        ("7-9", NAMES, [3]),
        ("a, b", NAMES, [4]),
        ("4", NAMES, [4]),
        # A class called by a number is meant by its name: 1 is the first of these classes.
        ("1", ("1", "2", "3"), [0]),
        ("1-3", ("1", "2", "3"), [0, 1, 2]),
    ],
)
def test_labels(text: str, classes: tuple[str, ...], labels: list[int]) -> None:
    assert wanted.labels(text, classes) == labels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10", "out of range"),
        ("3-12", "out of range"),
        ("-1", "out of range"),
        ("5-3", "backwards"),
        ("catt", "'catt'"),
        ("", "''"),
    ],
)
def test_labels_refused(text: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        wanted.labels(text, DIGITS)


def test_a_misspelt_class_names_the_nearest() -> None:
    with pytest.raises(Refusal, match="did you mean 'dog'"):
        wanted.labels("dgo", NAMES)


def test_seeds() -> None:
    assert wanted.seeds("0-3,10") == [0, 1, 2, 3, 10]
    assert wanted.seeds("18446744073709551615") == [2**64 - 1]


@pytest.mark.parametrize("text", ["", "a", "3-", "5-3", "-1", "1.5", "0-99999999999", "18446744073709551616"])
def test_seeds_refused(text: str) -> None:
    with pytest.raises(Refusal, match="--seeds"):
        wanted.seeds(text)


def test_interval() -> None:
    assert wanted.interval("0.2-0.8") == (0.2, 0.8)
    for text in ("0.8-0.2", "x", "0-2", "nan-1"):
        with pytest.raises(Refusal, match="--interval"):
            wanted.interval(text)


def test_an_npz_whose_arrays_have_other_names_says_which_are_known(tmp_path: Path) -> None:
    file = tmp_path / "named.npz"
    np.savez(file, images=np.zeros((4, 8, 8), np.uint8), texts=np.array(["a", "b", "c", "d"]))
    with pytest.raises(Refusal, match="holds images and texts.*labels.*captions.*rename it"):
        source.pictures(str(file))
    np.savez(file, images=np.zeros((4, 8, 8), np.uint8), captions=np.array(["a", "b"], dtype=object))
    with pytest.raises(Refusal, match="np.array.texts, str"):
        source.pictures(str(file))


def test_what_a_training_will_not_hear_is_said_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = np.array(["a dark square", "", "a light " + "very " * 120 + "long square"] * 20)
    images = np.zeros((60, 8, 8), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None] * 4
    np.savez(tmp_path / "mixed.npz", images=images, captions=texts, labels=np.arange(60) % 3)
    assert main(["train", str(tmp_path / "mixed.npz"), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "labels left out" in said and "are lost" in said and "texts say nothing" in said


def test_a_recipe_of_data_alone_is_edited_before_it_is_completed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alone.yaml").write_text("data: {part: data.Scenes, size: 32, tells: [label]}\n")
    assert main(["train", str(tmp_path / "alone.yaml"), "--set", "data.size=16", "--dry-run"]) == 0
    assert "shape: [3, 16, 16]" in capsys.readouterr().out
