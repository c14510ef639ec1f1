"""Maps in files at ``mezzotint edit``: what is drawn anew, and what stays to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mapped_world import Command, drawn, layout, other, save


def test_an_edit_is_made_where_two_maps_differ(command: Command, models: Path, files: Path) -> None:
    run, there = models / "named", layout() != other()
    rng = np.random.default_rng(1)
    was = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    picture, mask = save(files / "picture.png", was), save(files / "mask.png", np.uint8(255) * there)
    edit = ("edit", run, picture, "--layout", files / "after.png", "--seeds", "0-1", "--resample", 2)
    made = drawn(command, *edit, "--before", files / "is.png")
    assert np.array_equal(made[:, ~there], np.stack([was[~there]] * 2)) and (made[:, there] != was[there]).mean() > 0.5
    assert np.array_equal(made, drawn(command, *edit, "--mask", mask))
    otherwise = ("edit", run, picture, "--layout", files / "is.png", "--seeds", "0-1", "--resample", 2, "--mask", mask)
    assert (made[:, there] != drawn(command, *otherwise)[:, there]).any()  # it is told the new map
    wide = drawn(command, *edit, "--before", files / "is.png", "--dilate", 1)
    grown = np.zeros_like(there)
    grown[0:6, 9:16] = True
    assert np.array_equal(wide[:, ~grown], np.stack([was[~grown]] * 2))
    assert (wide[:, grown & ~there] != was[grown & ~there]).any()

    out, again = files / "a.png", files / "b.png"
    assert command(*edit, "--before", files / "is.png", "--out", out).code == 0
    assert command("edit", "--like", out, "--out", again).code == 0 and out.read_bytes() == again.read_bytes()
    save(files / "is.png", np.zeros((16, 16), np.uint8))
    assert "has changed" in command("edit", "--like", out, "--out", again, "--overwrite").sentence
    for words, part in (
        ((*edit, "--before", files / "after.png"), "the same everywhere"),
        ((*edit, "--before", files / "is.png", "--mask", mask), "leave one of them out"),
        ((*edit[:3], "--before", files / "is.png"), "name both"),
        ((*edit[:3], "--before", files / "is.png", "--palette", files / "palette.json"), "name both"),
        ((*edit[:5], files / "is.png", *edit[5:], "--before", files / "is.png"), "--layout names 2"),
        ((*edit[:7], "--extend", "right=4"), "where the map of --layout ends"),
        ((*edit, "--before", save(files / "all.png", other() ^ 2)), "differ everywhere"),
    ):
        assert part in command(*words, "--out", files / "c.png").sentence


def test_a_map_of_the_picture_is_cut_as_the_picture_is(command: Command, models: Path, files: Path) -> None:
    """A wide photograph and its map lose the same sides."""
    run, rng = models / "named", np.random.default_rng(2)
    was = rng.integers(0, 256, (16, 24, 3)).astype(np.uint8)
    picture = save(files / "picture.png", was)
    pad = np.full((16, 4), 2, np.uint8)
    whole = save(files / "whole.png", np.concatenate([pad, layout(), pad], 1))
    words = ("--strength", 0.7, "--seeds", 3)
    made = drawn(command, "edit", run, picture, "--layout", whole, *words)
    assert np.array_equal(made, drawn(command, "edit", run, picture, "--layout", files / "is.png", *words))
    save(files / "tall.png", np.zeros((20, 10), np.uint8))
    said = command("edit", run, picture, "--layout", files / "tall.png", *words, "--out", files / "a.png").sentence
    assert "24 x 16 pixels as the picture" in said and "--size" not in said
    square = save(files / "square.png", was[:, :16])
    said = command("edit", run, square, "--layout", files / "tall.png", *words, "--out", files / "a.png").sentence
    assert "make it 16 x 16 pixels" in said and "as the picture" not in said
