"""Texts as numbers: what a word is, what is unknown, and how large a vocabulary may be."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mezzotint as mz
from mezzotint.conditions import Bytes, Words
from mezzotint.conditions.tokenizers import MOST, words
from mezzotint.core import Refusal, config
from mezzotint.core.spec import NODES


def test_words_and_marks() -> None:
    assert words("A red, ROUND one.") == ["a", "red", ",", "round", "one", "."]
    assert words("don't_stop 3x\tnow") == ["don", "'", "t_stop", "3x", "now"]
    assert words("") == words(" \n") == []
    assert words("Ärger") == words("A\u0308rger") == ["ärger"]  # written in one character and in two
    assert words("लाल घेरा") == ["लाल", "घेरा"]  # vowel signs belong to their word
    assert words("红色的圆。") == ["红色的圆", "。"]


def test_the_quick_way_for_plain_letters_is_the_same() -> None:
    plain = [chr(number) for number in range(128)]
    for text in ["".join(plain), *(one + other for one in plain for other in "a_5 .")]:
        assert words(text + " é") == [*words(text), "é"], text


@given(st.text(st.sampled_from("aÅßİ\u0308_5 .,!\t\u00a0红ल\u093e🍀"), max_size=20))
def test_nothing_is_lost_and_cutting_again_changes_nothing(text: str) -> None:
    found = words(text)
    assert words(" ".join(found)) == found
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    assert "".join(found) == re.sub(r"\s", "", plain)


def test_a_vocabulary_is_the_same_whatever_the_order() -> None:
    texts = ["a red circle", "Two red squares, one blue.", "a green one"]
    one, other = Words.of(texts), Words.of(iter(reversed(texts)))
    assert one == other and list(one.vocabulary) == sorted(one.vocabulary)
    assert Words.of(texts, least=2).vocabulary == ("a", "one", "red")
    assert one.size == len(one.vocabulary) + 1
    ids = one.encode("A RED zorp")
    assert [0, *ids][-1] == 0 and 0 not in ids[:2]
    assert [one.vocabulary[i - 1] for i in ids[:2]] == ["a", "red"]
    assert one.unknown("a zorp, zorp blick!") == ["zorp", "blick", "!"]


def test_bytes_know_everything() -> None:
    tokenizer = Bytes()
    for text in ("a red circle", "红", "🍀", ""):
        ids = tokenizer.encode(text)
        assert bytes(ids).decode() == text and tokenizer.unknown(text) == []
        assert all(0 < i < tokenizer.size for i in ids)


def test_a_vocabulary_that_no_config_could_hold_is_refused() -> None:
    many = tuple(f"w{i}" for i in range(MOST))
    assert Words(many).size == MOST + 1
    with pytest.raises(Refusal, match=r"Bytes\(\)"):
        Words((*many, "more"))
    with pytest.raises(Refusal, match=r"Bytes\(\)"):
        Words.of(f"w{i}" for i in range(NODES))
    with pytest.raises(Refusal, match=r"Bytes\(\)"):
        Words(tuple(letter * 10_000 for letter in "abcdefgh"))


def test_the_largest_vocabularies_fit_into_a_config_and_come_back() -> None:
    odd = ("no", "1e3", "null")  # which YAML would read as something else
    some = tuple(f"abcd{i:04x}" for i in range(MOST - len(odd)))  # 8 bytes a word, on average as many as may be
    tokenizer = Words((*some, *odd))
    text = config.dumps({"model": mz.spec(mz.conditions.Encoder(caption=mz.conditions.Text(tokenizer, width=4)))})
    assert len(text.encode()) < 2**18
    assert mz.build(config.loads(text)["model"])["caption"].tokenizer == tokenizer


@pytest.mark.parametrize(
    "vocabulary, why",
    [
        (("red", "blue", "red"), "'red' twice"),
        (("Red",), "lower case"),
        (("two words",), "no text is cut into"),
        (("",), "no text is cut into"),
        (("\ud800",), "no text is cut into"),
        ("red", "sequence of words"),
        ((1, 2), "sequence of words"),
    ],
)
def test_vocabularies_that_are_none(vocabulary: tuple[str, ...], why: str) -> None:
    with pytest.raises(Refusal, match=why):
        Words(vocabulary)
