"""What scenes show of what is said of them, where it is known: real ones, recoloured ones, other captions."""

from __future__ import annotations

import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.data import Digits, Scenes
from mezzotint.metrics import evaluate, following

SCENES = Scenes(objects=(1, 2), phrasing="full", forms=("circle", "square", "star"), pictures=200, held_out_pictures=16)


def test_real_scenes_follow_their_captions_and_not_those_of_others() -> None:
    x, _ = SCENES[:40]
    own, other = following(x, SCENES.texts(range(40)), draws=50)
    assert own["follows"].value > 0.98 and own["follows_whole"].value > 0.93
    assert other["follows"].value < 0.6 and other["follows_whole"].value < 0.1
    assert own["follows"].low <= own["follows"].value <= own["follows"].high
    asked = {name.removeprefix("follows_") for name in own} - {"follows", "whole"}
    assert {"form", "colour", "size"} <= asked and not asked & {"ground", "place"}  # a full caption says no place


def test_another_colour_is_a_wrong_colour_and_nothing_else() -> None:
    """Red, green and blue go round: so do red, green, blue and yellow, cyan, purple, and forms stay as they are."""
    x, _ = SCENES[:24]
    texts = SCENES.texts(range(24))
    own, _ = following(x, texts, draws=20)
    turned, _ = following(x.roll(1, 1), texts, draws=20)
    assert turned["follows_colour"].value < 0.1 < 0.9 < own["follows_colour"].value
    assert turned["follows_form"].value < own["follows_form"].value + 0.05
    assert turned["follows_whole"].value < 0.05


def test_pictures_without_objects_follow_nothing() -> None:
    empty, _ = following(torch.zeros(8, 3, 32, 32), SCENES.texts(range(8)), draws=0)
    assert empty["follows"].value == 0


def test_a_report_of_scenes_has_ceiling_and_chance() -> None:
    x, _ = SCENES[100:116]
    report = evaluate(x, None, SCENES, SCENES.held_out(), captions=SCENES.texts(range(100, 116)), draws=2)
    plain = report.plain()["measures"]["follows"]
    assert plain["value"] > 0.97 and plain["real"]["value"] > 0.97 and plain["chance"]["value"] < 0.6
    assert "chance" not in report.plain()["measures"]["frechet_pixels"]
    digits = Digits()
    assert "follows" not in evaluate(digits[:80][0], None, digits, digits.held_out(), draws=0).measures


def test_what_cannot_be_followed_is_refused() -> None:
    x, _ = SCENES[:4]
    with pytest.raises(Refusal, match="each with its caption"):
        following(x, ["a red circle"])
    with pytest.raises(Refusal, match="not torch.uint8"):
        following(x.byte(), ["a red circle"] * 4)
    with pytest.raises(Refusal, match="nothing to follow"):
        following(x, ["hello"] * 4)
