"""Every reader of a gathered set says under which licence its pictures may be shown, as the data root has it."""

from __future__ import annotations

import pytest

import mezzotint as mz
from mezzotint.core import Refusal
from mezzotint.data.licence import OURS, Licence, licence_of, said
from mezzotint.testing import parts

ROWS = {
    "FashionMNIST": "fashion_mnist",
    "MNIST": "mnist",
    "CIFAR10": "cifar10",
    "CamVid": "camvid",
    "Facades": "cmp_facades",
    "Olivetti": "olivetti",
    "Flowers": "flowers",
    "Emoji": "emoji",
    "TimeSeries": "timeseries",
    "ECG5000": "biosignal",
    "MITBIH": "biosignal",
    "EyeState": "biosignal",
    "Corpus": "text",
}
OWN = {"Arrays", "Folder", "Table", "Shards", "HuggingFace", "TextFile", "Bucket", "Buckets", "Cached", "Flipped"} | {
    "Pairs",
    "Shaded",
    "Untold",
    "Encoded",
    "Derived",
    "Measured",
}
"""Sets of whoever brought them, and sets around another."""


def test_every_reader_states_one() -> None:
    kinds = {cls.__name__: cls for cls in parts("data")}
    assert set(ROWS) < set(kinds) and OWN < set(kinds)
    for name, cls in kinds.items():
        stated = getattr(cls, "licence", None)
        assert (stated is None) == (name in OWN), name
        if stated is not None:
            assert isinstance(stated, Licence) and stated.name and stated.terms


@pytest.mark.parametrize("name", ROWS)
def test_it_is_that_of_the_data_root(name: str) -> None:
    try:
        page = mz.data.find("README.md").read_text(encoding="utf-8")
    except Refusal as absent:
        pytest.skip(str(absent))
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {ROWS[name]} |")]
    theirs, licence = row.rsplit("|", 2)[1], getattr(mz.data, name).licence
    assert licence.name.removesuffix(" stated") in theirs  # "none stated" there has several wordings
    assert licence.research == ("research" in theirs)


def test_what_is_around_a_set_has_its_licence(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for around in (
        mz.spec(mz.data.CamVid()),
        mz.spec(mz.data.Flipped(mz.data.Digits(), harmless=("label",))),
        mz.spec(mz.data.Cached(mz.data.Scenes(pictures=4, held_out_pictures=2), str(tmp_path))),
    ):
        name, licence = licence_of(around)
        inner = around.get("source", around)
        assert name == inner["part"] and licence == getattr(mz.data, name.partition(".")[2]).licence
    assert "research only" in said(mz.spec(mz.data.CamVid())) and "CC BY-NC 4.0" in said(mz.spec(mz.data.CamVid()))
    assert str(OURS) in said(mz.spec(mz.data.Scenes())) and "your own" not in said(mz.spec(mz.data.Scenes()))
    for unknown in ({"part": "data.Folder", "path": "x"}, {"part": "elsewhere.Set"}, {"part": 3}, None, {}):
        assert licence_of(unknown)[1] is None and "your own" in said(unknown)
    both = said(mz.spec(mz.data.Digits()), mz.spec(mz.data.Digits()), {"part": "data.Folder"})
    assert both.count("data.Digits") == 1 and "your own" in both


def test_a_model_says_where_its_pictures_are_from(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tree = mz.recipes.of_data(mz.data.Digits(), images=64, width=8, steps=1, batch=32)
    mz.training.train(tree, tmp_path / "run")
    assert "data.Digits, licence CC BY 4.0" in (tmp_path / "run" / "model" / "README.md").read_text()
