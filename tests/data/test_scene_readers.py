"""Readers of scenes against the plans that the scenes were painted from, and against what is no scene."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mezzotint import data
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.core.text import spoken
from mezzotint.data.scenes import paint
from mezzotint.data.scenes.captions import claims, place_of
from mezzotint.data.scenes.following import KINDS, followed, held, total
from mezzotint.data.scenes.plan import RADII, TALL, Plan
from mezzotint.data.scenes.reader import Reader
from mezzotint.data.scenes.reading import ABSTAINS, UNSURE, Reading, Seen
from mezzotint.data.scenes.scoring import ATTRIBUTES, Score, scored
from mezzotint.data.scenes.segment import blurred
from mezzotint.data.scenes.words import COLOURS, FIGURE, FORMS, GROUNDS, PALETTE, PLACES, SIZES, TEXTURES

READER = Reader()


def pictures(count, size=32, first=0, **more):
    found = data.Scenes(split="held_out", size=size, tells=("caption", "layout"), **more)
    rows = np.arange(first, first + count)
    x, told = found.items(rows)
    return x, found.plan(rows), told["layout"].numpy(), spoken(told["caption"])


def corrupted(x, blur, noise):
    soft = torch.from_numpy(blurred(x.double().numpy(), blur, True).copy())
    return soft + noise * torch.from_numpy(np.random.Generator(np.random.PCG64(3)).standard_normal(soft.shape))


def score(x, plan, layout) -> Score:
    found = [scored(reading, plan, row, layout[row]) for row, reading in enumerate(READER.read(x))]
    return sum(found[1:], found[0])


def alone(form, texture, size, colour=4, x=0.45, y=0.52, angle=0.02):
    """A scene of one object, painted at 32 pixels."""
    one = data.Scenes(split="held_out").plan(np.arange(1))
    low, high = (TALL if form == FIGURE else RADII)[size]
    values = {"form": form, "texture": texture, "size": size, "colour": colour, "x": x, "y": y, "angle": angle}
    values |= {"r": (low + high) / 2, "covers": -1}
    changed = {}
    for name, value in values.items():
        array = getattr(one, name).copy()
        array[:] = -1 if name in ("form", "covers") else array
        array[0, 0] = value
        changed[name] = array
    return replace(one, **changed, ground=np.array([0]), tint=np.array([0]), bright=np.array([0.6]))


def painted(plan: Plan, size=32) -> torch.Tensor:
    lit = paint.paint(plan, (size, size)).image
    return torch.from_numpy(np.floor(lit * np.float32(255) + np.float32(0.5)) * np.float32(1 / 127.5) - np.float32(1))


def test_clean_scenes_are_read():
    found = score(*pictures(24)[:3])
    assert found.share() >= 0.995
    assert found.overlap >= 0.98


def test_blurred_and_noisy_scenes_are_read():
    x, plan, layout, _ = pictures(14, first=100)
    found = score(corrupted(x, 1.0, 0.1), plan, layout)
    assert found.share() >= 0.97
    assert found.share(answered=True) >= 0.98
    assert found.overlap >= 0.92


@pytest.mark.parametrize("size", [(32, 48), 64, (200, 130)])
def test_larger_and_longer_pictures_are_read(size):
    found = score(*pictures(3, size=size, first=300)[:3])
    assert found.share() >= 0.99
    assert found.overlap >= 0.98


@pytest.mark.parametrize("size", range(len(SIZES)))
@pytest.mark.parametrize("form", range(len(FORMS)))
def test_every_form_texture_and_size_alone(form, size):
    for texture in range(len(TEXTURES)) if form != FIGURE else (0,):
        (reading,) = READER.read(painted(alone(form, texture, size)))
        assert reading.count == 1
        (seen,) = reading.objects
        assert (seen.form, seen.texture, seen.size, seen.colour, seen.place) == (form, texture, size, 4, 4)
        low, high = (TALL if form == FIGURE else RADII)[size]
        assert (seen.x, seen.y, seen.r) == pytest.approx((0.45, 0.52, (low + high) / 2), abs=0.004)
        assert seen.share == pytest.approx(1, abs=0.02)
        assert (reading.ground, reading.tint) == (GROUNDS.index("plain"), 0)


def test_a_changed_colour_or_form_is_read_as_changed():
    before = READER.read(painted(alone(FORMS.index("cross"), 1, 0)))[0].objects[0]
    other = READER.read(painted(alone(FORMS.index("star"), 1, 0)))[0].objects[0]
    green = READER.read(painted(alone(FORMS.index("cross"), 1, 0, colour=COLOURS.index("green"))))[0].objects[0]
    assert (before.form, before.colour) == (FORMS.index("cross"), 4)
    assert (other.form, other.colour) == (FORMS.index("star"), 4)
    assert (green.form, green.colour) == (FORMS.index("cross"), COLOURS.index("green"))


def test_what_is_hidden_is_read_from_what_is_not():
    x, plan, layout, _ = pictures(30, first=500, overlap=1.0, objects=(2, 3), figures=0.0)
    rows = np.flatnonzero((plan.covers >= 0).any(1))[:8]
    found = [scored(reading, plan, row, layout[row]) for row, reading in zip(rows, READER.read(x[rows]), strict=True)]
    assert len(rows) == 8
    assert sum(found[1:], found[0]).share() >= 0.99


def test_nothing_is_said_of_what_is_no_scene():
    g = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    digits = torch.from_numpy(data.Digits(split="all").read(np.arange(3)).numpy())
    large = torch.nn.functional.interpolate(digits[:, :1].float(), size=32, mode="bilinear").expand(-1, 3, -1, -1)
    blobs = torch.nn.functional.interpolate(torch.randn(2, 3, 5, 5, generator=g), size=32, mode="bicubic")
    slopes = torch.stack(
        [
            torch.stack([0.2 + 0.5 * torch.sin(a * x + b * y), 0.4 * torch.cos(b * x), 0.3 * a * y])
            for a, b in ((1, 0.5), (3, 1))
        ]
    )
    smooth = torch.nn.functional.interpolate(
        torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1)), size=32, mode="bicubic"
    )
    red = torch.tensor([0.9, -0.8, -0.8])[:, None, None].expand(3, 32, 32)
    halves = torch.where(x < 0, red, red.flip(0))
    others = torch.cat(
        [torch.randn(2, 3, 32, 32, generator=g), large, blobs, slopes, torch.zeros(1, 3, 32, 32), smooth]
        + [one[None] for one in (red, halves)]
    )
    readings = READER.read(others.clamp(-1, 1))
    for reading in readings:
        assert reading.count == ABSTAINS
        assert all(seen.form == seen.colour == seen.place == ABSTAINS for seen in reading.objects)
    assert sum(len(reading.objects) for reading in readings) > 10  # parts that nothing is said of
    assert all(reading.ground == reading.tint == ABSTAINS for reading in readings[-3:])
    assert (READER.segment(torch.randn(1, 3, 32, 32, generator=g)) == UNSURE).all()


def splashed(rgb, x=16.5, y=23.5):
    """A blob that is no form, of a colour, on a plain background; and its pixels."""
    empty = painted(alone(FORMS.index("ring"), 0, 1, x=0.2, y=0.2))[:, :, -1:, -1:].expand(1, 3, 32, 32)
    i, j = np.mgrid[:32, :32]
    turn = np.arctan2(i - y, j - x)
    mask = np.hypot(i - y, j - x) < 5.0 + 1.8 * np.sin(3 * turn + 0.4) + 1.4 * np.cos(5 * turn)
    light = 0.85 + 0.1 * np.random.Generator(np.random.PCG64(2)).uniform(-1, 1, (32, 32))
    lit = 2 * torch.from_numpy(np.asarray(rgb)[:, None, None] * light).float() - 1
    return torch.where(torch.from_numpy(mask), lit, empty), mask


@pytest.mark.parametrize("colour", range(len(COLOURS)))
def test_of_a_part_that_is_no_form_only_the_colour_and_the_place_are_said(colour):
    x, mask = splashed(PALETTE[colour])
    reading = READER.read(x)[0]
    (one,) = reading.objects
    assert (one.form, one.size, one.texture, one.whole) == (ABSTAINS, ABSTAINS, ABSTAINS, False)
    assert (COLOURS[one.colour], PLACES[one.place]) == (COLOURS[colour], "bottom")
    rows, columns = np.nonzero(mask)
    assert abs(one.x - columns.mean() / 32) + abs(one.y - rows.mean() / 32) < 0.06
    assert (reading.count, reading.ground, reading.tint) == (ABSTAINS, ABSTAINS, ABSTAINS)
    assert (reading.layout.numpy()[mask] != colour + 1).all()  # a map says what is explained
    assert ((reading.instances.numpy() == 1) == mask).mean() > 0.98
    found = held(reading, claims(f"a large {COLOURS[colour]} star at the bottom"))
    asked = ("form", "colour", "size", "place")
    assert [answers(found, kind) for kind in asked] == [(1, 0, 1), (1, 1, 0), (1, 0, 1), (1, 1, 0)]
    astray = x.clone()
    astray[:, :, 2:12, 20:30] = torch.linspace(-1, 1, 10)  # something else that is not explained, far from it
    (again,) = READER.read(astray)[0].objects
    assert again.colour == again.place == ABSTAINS


@pytest.mark.parametrize("rgb", [(0.4, 0.2, 0.1), (0.30, 0.15, 0.0), (0.95, 0.55, 0.5), (0.5, 0.9, 0.3)])
def test_no_word_is_said_of_a_colour_that_is_between_words(rgb):
    found = READER.read(splashed(rgb)[0])[0].objects
    assert len(found) == 1
    assert found[0].colour == found[0].place == ABSTAINS


def test_no_place_is_said_of_a_part_on_a_line_between_two():
    y = splashed(PALETTE[0])[1].nonzero()[0].mean()
    for away, said in ((0.3, False), (1.5, True)):
        found = READER.read(splashed(PALETTE[0], y=23.5 + 32 * 2 / 3 - y - 0.5 + away)[0])[0].objects
        assert COLOURS[found[0].colour] == "red"
        assert (found[0].place != ABSTAINS) is said


@pytest.mark.parametrize("style", ["night", "faded", "sketch", "poster"])
def test_other_styles_are_not_read(style):
    readings = READER.read(data.Scenes(split="held_out", style=style)[:6][0])
    assert all(reading.count == reading.ground == reading.tint == ABSTAINS for reading in readings)
    assert all(one.colour == ABSTAINS for reading in readings for one in reading.objects if not one.whole)
    assert sum(one.whole for reading in readings for one in reading.objects) <= 1  # what happens to look like a photo


def test_a_reading_is_that_of_the_picture_alone():
    x = corrupted(pictures(2, first=40)[0], 1.0, 0.1)
    together, reversed_ = READER.read(x), READER.read(x.flip(0))[::-1]
    for one, other in zip(together, reversed_, strict=True):
        assert one == other
        assert torch.equal(one.layout, other.layout)
        assert torch.equal(one.instances, other.instances)
    assert torch.equal(READER.segment(x[1:2])[0], together[1].layout)


def test_relations_are_those_of_the_centres():
    x, plan, _, _ = pictures(6, first=60, objects=(3, 4))
    told = data.Scenes(split="held_out", tells=("attributes",), objects=(3, 4)).items(np.arange(60, 66))[1]
    said = told["attributes.relations"]
    checked = 0
    for row, reading in enumerate(READER.read(x)):
        order = [
            int(np.hypot(plan.x[row] - seen.x, plan.y[row] - seen.y + 9 * (plan.form[row] < 0)).argmin())
            for seen in reading.objects
        ]
        assert torch.equal(reading.relations, said[row][order][:, order])
        checked += len(order) > 1
    assert checked > 3


def test_own_captions_are_followed_and_other_ones_are_not():
    x, _, _, captions = pictures(15, first=700)
    readings = READER.read(x)
    asked = [claims(text) for text in captions]
    own = total(held(reading, claim) for reading, claim in zip(readings, asked, strict=True))
    other = total(held(reading, claim) for reading, claim in zip(readings, asked[1:] + asked[:1], strict=True))
    assert own.share >= 0.99
    assert own.whole >= 14
    assert other.share < 0.4
    assert other.whole <= 2
    assert own.captions == other.captions == 15


def seen(form, colour, size=0, texture=0, place=4, x=0.5, y=0.5):
    return Seen(FORMS.index(form), COLOURS.index(colour), size, texture, place, x, y, 0.15, 0.0, (), 1.0, 1.0)


def reading(*objects, count=None):
    none = torch.zeros(4, 4, dtype=torch.uint8)
    return Reading(objects, len(objects) if count is None else count, 0, 0, 0.0, 0.0, none, none)


def answers(found, kind):
    return tuple(getattr(found, name)[KINDS.index(kind)] for name in ("asked", "met", "abstained"))


def test_captions_are_held_to_a_reading_word_by_word():
    two = reading(seen("circle", "red", x=0.2), seen("square", "blue", x=0.8))
    whole = held(two, claims("a red circle and a blue square"))
    assert (whole.asked, whole.met, whole.whole) == ((2, 2, *[0] * 7), (2, 2, *[0] * 7), 1)
    swapped = held(two, claims("a blue circle and a red square"))
    assert (answers(swapped, "form")[1] + answers(swapped, "colour")[1], swapped.whole) == (2, 0)
    assert answers(held(two, claims("a red circle left of a blue square")), "relation") == (1, 1, 0)
    assert answers(held(two, claims("a red circle right of a blue square")), "relation") == (1, 0, 0)
    assert answers(held(two, claims("two red circles")), "count") == (1, 0, 0)
    assert answers(held(two, claims("two red circles")), "colour") == (2, 1, 0)
    assert answers(held(two, claims("no green star")), "count") == (1, 1, 0)
    assert answers(held(two, claims("no red circle")), "count") == (1, 0, 0)
    assert answers(held(two, claims("a red circle on a plain grey background")), "tint") == (1, 1, 0)
    assert held(reading(), claims("a red circle")).met == (0,) * 9
    assert held(two, claims("a red circle, a red circle and a red circle")).met[1] == 1


def test_a_relation_of_groups_is_that_of_each_to_each():
    three = [seen("circle", "red", x=0.1, y=0.2), seen("circle", "red", x=0.2, y=0.8), seen("square", "blue", x=0.8)]
    text = "two red circles left of a blue square"
    assert answers(held(reading(*three), claims(text)), "relation") == (1, 1, 0)
    three[1] = seen("circle", "red", x=0.79, y=0.95)
    assert answers(held(reading(*three), claims(text)), "relation") == (1, 0, 0)
    assert answers(held(reading(*three[1:]), claims(text)), "relation") == (1, 0, 0)
    three[2] = replace(three[2], whole=False, form=ABSTAINS)
    assert answers(held(reading(three[0], three[2]), claims("a red circle left of a blue square")), "relation") == (
        1,
        0,
        1,
    )
    assert answers(held(reading(three[0], count=ABSTAINS), claims("two red circles")), "count") == (1, 0, 1)


def test_what_another_group_speaks_of_is_not_counted():
    ring, striped = seen("ring", "red", x=0.2), seen("ring", "red", texture=TEXTURES.index("striped"), x=0.8)
    said = claims("two small red rings and a small striped red ring")
    assert held(reading(ring, striped, ring), said).whole == 1
    assert answers(held(reading(ring, striped, ring, ring), said), "count") == (1, 0, 0)
    assert answers(held(reading(ring, striped), said), "count") == (1, 0, 0)
    assert answers(held(reading(ring, ring, ring), claims("two red rings and a blue square")), "count") == (1, 0, 0)


@pytest.mark.parametrize("words", [{"objects": (4, 8)}, {"colours": ("red",), "textures": ("plain", "striped")}])
def test_the_truth_follows_every_caption(words):
    scenes = data.Scenes(split="held_out", **words)
    rows = np.arange(1500)
    plan, none = scenes.plan(rows), torch.zeros(4, 4, dtype=torch.uint8)
    height, width = plan.aspect
    for row, text in enumerate(scenes.texts(rows)):
        there = []
        for k in np.flatnonzero(plan.form[row] >= 0):
            form, colour, size, texture = (
                int(getattr(plan, name)[row, k]) for name in ("form", "colour", "size", "texture")
            )
            x, y, r = (float(getattr(plan, name)[row, k]) for name in ("x", "y", "r"))
            place = place_of(x / width, y / height)
            there.append(Seen(form, colour, size, texture, place, x, y, r, 0.0, (), 1.0, 1.0))
        ground, tint = int(plan.ground[row]), int(plan.tint[row])
        told = Reading(tuple(there), len(there), ground, tint, 0.0, 0.0, none, none)
        assert held(told, claims(text)).whole == 1, text


def test_what_is_not_said_is_not_met_and_is_counted():
    dim = replace(seen("circle", "red"), form=ABSTAINS)
    found = held(reading(dim), claims("a red circle"))
    assert (answers(found, "form"), answers(found, "colour")) == ((1, 0, 1), (1, 1, 0))
    assert answers(held(reading(dim), claims("two red circles")), "count") == (1, 0, 0)
    assert answers(held(reading(dim), claims("no red circle")), "count") == (1, 0, 1)
    assert answers(held(reading(seen("star", "red"), count=ABSTAINS), claims("no red circle")), "count") == (1, 0, 1)


def test_missing_and_invented_objects_are_wrong():
    x, plan, layout, _ = pictures(1)
    (right,) = READER.read(x)
    none = replace(right, objects=(), count=0)
    many = replace(right, objects=(*right.objects, seen("star", "red", x=5.0)), count=right.count + 1)
    assert scored(right, plan, 0, layout[0]).share() == 1
    assert scored(none, plan, 0, layout[0]).right[:5].sum() == 0
    extra = scored(many, plan, 0, layout[0])
    assert (extra.asked - extra.right)[:6].tolist() == [1] * 6
    assert len(ATTRIBUTES) == len(extra.asked) == 9
    assert {field.name for field in fields(Score)} >= {"asked", "right", "abstained"}


def test_what_cannot_be_read_is_refused():
    for x in (torch.zeros(1, 1, 32, 32), torch.zeros(3, 32, 32), torch.zeros(1, 3, 8, 32)):
        with pytest.raises(Refusal, match="pictures"):
            READER.read(x)
    with pytest.raises(Refusal, match="NaN"):
        READER.read(torch.full((1, 3, 32, 32), torch.nan))
    with pytest.raises(Refusal, match="127.5"):
        READER.read(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8))
    with pytest.raises(Refusal, match="127.5"):
        READER.read(torch.full((1, 3, 32, 32), 200.0))
    with pytest.raises(Refusal, match="from bool"):
        READER.read(torch.ones(1, 3, 32, 32, dtype=torch.bool))
    assert READER.read(torch.zeros(0, 3, 32, 32)) == []
    with pytest.raises(Refusal, match="captions"):
        followed(torch.zeros(2, 3, 32, 32), ["a red circle"])


def test_a_reader_is_a_part():
    assert build(spec(Reader(margin=3.0))) == Reader(margin=3.0)
