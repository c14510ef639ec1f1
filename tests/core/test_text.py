"""Strings go in and the same strings come out, whatever their language; what cannot is refused."""

from __future__ import annotations

import pytest
import torch

from mezzotint.core import Condition, Refusal, cat
from mezzotint.core.text import LENGTH, spoken, written

TEXTS = ["", "a red circle", "ein grüner Kreis", "一个红色的圆", "🍀 four leaf clover", "tab\tand\nline"]


def test_strings_survive_alone_and_in_a_batch() -> None:
    assert spoken(written(TEXTS)) == TEXTS
    for text in TEXTS:
        assert spoken(written([text])) == [text]
        assert spoken(written([text], 64)) == [text]
    assert written(["é"]).tolist() == [[0xC3, 0xA9]] and written([""]).shape == (1, 1)


def test_what_is_no_text_is_refused() -> None:
    for wrong, why in (
        ("a red circle", "for a single one write"),
        ([3], "not int"),
        (["a\0b"], "NUL"),
        (["\ud800"], "half a character"),
        (["a" * (LENGTH + 1)], "more than the"),
    ):
        with pytest.raises(Refusal, match=why):
            written(wrong)
    with pytest.raises(Refusal, match="more than the 4 that fit"):
        written(["abcde"], 4)
    with pytest.raises(Refusal, match="uint8|bytes"):
        spoken(torch.zeros(2, 3))


def test_bytes_that_are_no_text_are_read_all_the_same() -> None:
    assert spoken(torch.tensor([[0xFF, 0x41, 0]], dtype=torch.uint8)) == ["�A"]


def test_a_condition_takes_strings_and_joins_texts_of_any_length() -> None:
    cond = Condition(caption=TEXTS, label=range(len(TEXTS)))
    assert cond["caption"].dtype == torch.uint8 and spoken(cond["caption"]) == TEXTS
    assert spoken(Condition(caption=("a", "b"))["caption"]) == ["a", "b"]
    apart = cat([Condition(caption=[text], label=[row]) for row, text in enumerate(TEXTS)])
    assert torch.equal(apart["caption"], cond["caption"]) and torch.equal(apart["label"], cond["label"])
    few = cat([cond[:2].drop("caption", rows=torch.tensor([False, True])), Condition(caption=["a"], label=[0])])
    assert few.kept("caption").tolist() == [True, False, True]
    fewer = few.drop("caption", rows=torch.tensor([False, False, True]))
    assert fewer.kept("caption").tolist() == [True, False, False]  # what was dropped stays so
    for wrong, why in (("a red circle", "for a single one write"), (["a", 3], "not int")):
        with pytest.raises(Refusal, match=why):
            Condition(caption=wrong)
    with pytest.raises(RuntimeError):  # numbers of another width are no texts that could be filled up
        cat([Condition(pose=torch.zeros(1, 3)), Condition(pose=torch.zeros(1, 4))])
