"""Scenes: what is told of a picture is what is in it, by other people's drawing and by looking at every pixel."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from matplotlib.path import Path

from mezzotint.core import Condition, Refusal, build, spec
from mezzotint.core.text import spoken
from mezzotint.data import Scenes
from mezzotint.data.scenes import captions, forms
from mezzotint.data.scenes.scenes import TELLS
from mezzotint.data.scenes.stage import LEAST
from mezzotint.data.scenes.words import COLOURS, FORMS, PALETTE, PLACES, RELATIONS, SIZES, TEXTURES
from mezzotint.testing import check_data

EVERYTHING = tuple(TELLS)
SOME = Scenes(tells=EVERYTHING, pictures=2_000, held_out_pictures=200)


@pytest.fixture(scope="module")
def many() -> tuple[torch.Tensor, Condition]:
    return SOME[:600]


def _same(a: Condition, b: Condition) -> bool:
    return a.values.keys() == b.values.keys() and all(torch.equal(a[name], b[name]) for name in a.values)


def test_a_scene_does_not_depend_on_its_neighbours_or_its_split() -> None:
    x, told = SOME[:40]
    for rows in ([7], [39, 7, 0], list(range(40))):
        y, other = SOME[rows]
        assert torch.equal(x[rows], y) and _same(told[rows], other)
    whole = SOME.sibling("all")
    held, hold = SOME.held_out()[:5]
    again, told_again = whole[2_000:2_005]
    assert torch.equal(held, again) and _same(hold, told_again)
    assert not torch.equal(dataclasses.replace(SOME, seed=1)[:5][0], x[:5])
    check_data(SOME)


def test_the_same_scene_at_every_size() -> None:
    names = ("attributes", "caption", "layout")
    small, large = (Scenes(size=size, tells=names, pictures=64)[:64] for size in (32, 96))
    for name in small[1].values:
        if name != "layout":
            assert torch.equal(small[1][name], large[1][name]), name
    middles = large[1]["layout"][:, 1::3, 1::3]  # the pixels whose centres are those of the small picture
    assert torch.equal(middles, small[1]["layout"])
    means = torch.nn.functional.avg_pool2d(large[0], 3)
    assert (means - small[0]).abs().mean() < 0.02


@pytest.mark.parametrize("size", [(24, 40), (40, 24), 16, 80])
def test_other_sizes_hold_their_promises(size: int | tuple[int, int]) -> None:
    data = Scenes(size=size, tells=EVERYTHING, pictures=32)
    x, told = data[:32]
    assert x.shape[1:] == data.shape and (told["attributes.count"] >= 1).all()
    assert told["boxes"].min() >= 0 and told["boxes"].max() <= 1
    check_data(data)


def test_occlusion_is_common_and_never_hides_too_much(many: tuple[torch.Tensor, Condition]) -> None:
    plan = SOME.plan(np.arange(600))
    covered = torch.from_numpy(((plan.covers >= 0) & plan.there).any(1))
    assert covered.float().mean() >= 0.3
    data = Scenes(size=128, pictures=300, tells=("layout.instances",))
    maps = data[:300][1]["layout.instances"].numpy()
    plan = data.plan(np.arange(300))
    hidden = 0
    for k in range(4):
        alone = dataclasses.replace(plan, form=np.where(np.arange(4) == k, plan.form, -1))
        from mezzotint.data.scenes.paint import seen

        whole = seen(alone, (128, 128))[1][:, k]
        shown = (maps == k + 1).sum((1, 2))
        there = plan.form[:, k] >= 0
        assert (shown[there] >= (LEAST - 0.03) * whole[there]).all()  # counted on a coarser grid
        hidden += int(((shown < 0.97 * whole) & there).any())
    assert hidden


def test_maps_agree_with_each_other_and_with_the_words(many: tuple[torch.Tensor, Condition]) -> None:
    x, told = many
    count, K = told["attributes.form"].shape
    instances, layout, depth = told["layout.instances"].long(), told["layout"].long(), told["depth"][:, 0]
    colours = torch.cat([torch.zeros(count, 1, dtype=torch.int64), told["attributes.colour"] + 1], 1)
    assert torch.equal(layout, colours.gather(1, instances.flatten(1)).view_as(layout))
    assert torch.equal(told["mask"][:, 0], instances > 0)
    forms_told = Scenes(layout="form", tells=("layout",))[:600][1]["layout"].long()
    named = torch.cat([torch.zeros(count, 1, dtype=torch.int64), told["attributes.form"] + 1], 1)
    assert torch.equal(forms_told, named.gather(1, instances.flatten(1)).view_as(layout))
    for row in range(60):
        for k in range(K):
            held = instances[row] == k + 1
            assert bool(held.any()) == bool(told["attributes.form"][row, k] >= 0)
            if held.any():
                i, j = held.nonzero().T
                box = torch.tensor([j.min(), i.min(), j.max() + 1, i.max() + 1]) / 32
                assert torch.equal(told["boxes"][row, k], box)
                behind = depth[row][(instances[row] != k + 1) & (instances[row] <= k)]
                assert depth[row][held].max() < behind.min() + 1e-6
        areas = torch.bincount(instances[row].flatten(), minlength=K + 1)[1:]
        assert told["label"][row] == told["attributes.form"][row, areas.argmax()]
        padded = torch.nn.functional.pad(instances[row][None].float(), (1, 1, 1, 1), mode="replicate")[0]
        around = [padded[1:-1, :-2], padded[1:-1, 2:], padded[:-2, 1:-1], padded[2:, 1:-1]]
        assert torch.equal(told["layout.edges"][row, 0], torch.stack([a != instances[row] for a in around]).any(0))
    assert torch.allclose(told["low"], torch.nn.functional.avg_pool2d(x, 4), atol=1e-6)
    assert torch.equal(told["boxes.label"], told["attributes.form"])


def test_colour_says_which_object_a_pixel_belongs_to(many: tuple[torch.Tensor, Condition]) -> None:
    x, told = many
    inner = (~told["layout.edges"][:, 0]) & (told["layout"] > 0)
    pixels = (x.permute(0, 2, 3, 1)[inner] + 1) / 2
    palette = torch.from_numpy(PALETTE)[told["layout"][inner].long() - 1]
    cosine = torch.nn.functional.cosine_similarity(pixels, palette)
    assert (cosine > 0.985).float().mean() > 0.97  # edges of forms may lie within a pixel of those of the map
    ground = (x.permute(0, 2, 3, 1)[(told["layout"] == 0) & ~told["layout.edges"][:, 0]] + 1) / 2
    assert (ground.std(1) / ground.mean(1) < 0.12).float().mean() > 0.97


def _drawn(form: str, x: float, y: float, r: float, turns: float, side: int) -> np.ndarray:
    """Which centres of ``side`` x ``side`` pixels matplotlib finds inside of the form."""
    centres = (np.arange(side) + 0.5) / side
    places = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)

    def polygon(*points: tuple[float, float]) -> np.ndarray:
        """Of corners in units of the radius, turned clockwise as they are seen."""
        c, s = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns)
        corners = [(x + r * (c * a - s * b), y + r * (s * a + c * b)) for a, b in points]
        return Path([*corners, corners[0]], closed=True).contains_points(places)

    def regular(*radii: float) -> np.ndarray:
        angles = 2 * np.pi * np.arange(len(radii)) / len(radii)
        return polygon(*zip(np.array(radii) * np.sin(angles), -np.array(radii) * np.cos(angles), strict=True))

    def disc(radius: float) -> np.ndarray:
        return regular(*[radius] * 360)

    if form == "circle":
        found = disc(forms.DISC)
    elif form == "ring":
        found = disc(sum(forms.HOOP)) & ~disc(forms.HOOP[0] - forms.HOOP[1])
    elif form == "square":
        found = _box(polygon, forms.SIDE, forms.SIDE)
    elif form == "triangle":
        found = regular(*[2 * forms.RIDGE] * 3)
    elif form == "star":
        found = regular(*[1.0, 0.44] * 5)
    else:
        found = _box(polygon, *forms.ARM) | _box(polygon, *forms.ARM[::-1])
    return found.reshape(side, side)


def _box(polygon: Callable[..., np.ndarray], a: float, b: float) -> np.ndarray:
    return polygon((-a, -b), (a, -b), (a, b), (-a, b))


@pytest.mark.parametrize("form", FORMS[:-1])
def test_forms_are_what_another_library_draws(form: str) -> None:
    data = Scenes(size=128, objects=(1, 1), forms=(form,), tells=("mask",), pictures=40)
    plan = data.plan(np.arange(40))
    masks = data[:40][1]["mask"][:, 0].numpy()
    for row in range(40):
        told = (float(getattr(plan, name)[row, 0]) for name in ("x", "y", "r", "angle"))
        drawn = _drawn(form, *told, side=128)
        both, either = (masks[row] & drawn).sum(), (masks[row] | drawn).sum()
        assert both / either > 0.995, (form, row, both / either)


def test_as_many_objects_as_are_asked_for() -> None:
    for low, high in ((2, 2), (3, 4), (4, 4)):
        counts = Scenes(objects=(low, high), tells=("attributes",), pictures=200)[:200][1]["attributes.count"]
        assert counts.max() <= high and (counts >= low).float().mean() > (0.99 if low < 4 else 0.8)
    figures = Scenes(objects=(4, 4), forms=("figure",), tells=("attributes",), pictures=20)[:20][1]["attributes.count"]
    assert (figures >= 1).all()  # there is no room for four, and that is told


def test_what_is_near_has_another_colour() -> None:
    """Four of 64 pixels lie between objects of one colour, along a row or a column, the hands of figures too."""
    told = Scenes(size=64, figures=0.4, tells=("layout", "layout.instances"), pictures=1200)[:1200][1]
    instances, layout = told["layout.instances"], told["layout"]
    for n in range(1, 5):
        for here, there in ((np.s_[:, n:], np.s_[:, :-n]), (np.s_[:, :, n:], np.s_[:, :, :-n])):
            other = (instances[here] != instances[there]) & (layout[here] > 0) & (layout[there] > 0)
            assert other.any() and not (other & (layout[here] == layout[there])).any()


def test_keypoints_lie_on_their_figure_in_its_proportions() -> None:
    data = Scenes(size=64, forms=("figure",), objects=(1, 2), tells=("keypoints", "layout.instances"), pictures=200)
    told = data[:200][1]
    points, instances = told["keypoints"], told["layout.instances"]
    seen = points[..., 2] == 2
    assert set(points[..., 2].unique().tolist()) == {0.0, 1.0, 2.0} and seen.float().mean() > 0.4
    rows, slots, joints = seen.nonzero(as_tuple=True)
    across, down = ((64 * points[..., axis][seen]).long() for axis in (0, 1))
    assert (instances[rows, down, across].long() == slots + 1).float().mean() > 0.998  # but for rounding
    there = points[:, 0, 0, 2] > 0
    length = [(points[there, 0, a, :2] - points[there, 0, b, :2]).norm(dim=-1) for a, b in ((0, 2), (1, 3), (7, 8))]
    trunk = 0.82  # from head to hip, in half heights; arms and legs are as long as they say
    assert torch.allclose(length[1] / length[0], torch.tensor(0.36 / trunk), atol=1e-4)
    assert torch.allclose(length[2] / length[0], torch.tensor(0.40 / trunk), atol=1e-4)
    left, right = points[there, 0, 4, 0], points[there, 0, 6, 0]
    assert (left < right).all()


def _holds(claim: captions.Claim, told: dict[str, int]) -> bool:
    words = {"form": FORMS, "colour": COLOURS, "size": SIZES, "texture": (*TEXTURES, "own"), "place": PLACES}
    return all(
        getattr(claim, name) is None or known[told[name]] == getattr(claim, name) for name, known in words.items()
    )


@pytest.mark.parametrize("style", captions.STYLES)
def test_captions_say_what_is_there_and_are_read_back(style: str) -> None:
    data = Scenes(phrasing=style, tells=("caption", "attributes"), pictures=400)
    told = data[:400][1]
    sentences = spoken(told["caption"])
    assert len(set(sentences)) > (100 if style == "short" else 250)
    relations = 0
    for row, sentence in enumerate(sentences):
        objects = [
            {name: int(told[f"attributes.{name}"][row, k]) for name in ("form", "colour", "size", "texture", "place")}
            for k in range(4)
            if told["attributes.form"][row, k] >= 0
        ]
        claims = captions.claims(sentence)
        for claim in claims.objects:
            assert sum(_holds(claim, o) for o in objects) >= claim.count, (sentence, objects)
        if not claims.relations:
            assert sum(claim.count for claim in claims.objects) == len(objects), sentence
        for first, relation, second in claims.relations:
            relations += 1
            found = [
                told["attributes.relations"][row, i, j]
                for i in range(4)
                for j in range(4)
                if i != j and told["attributes.form"][row, i] >= 0 and told["attributes.form"][row, j] >= 0
                and _holds(claims.objects[first], _words(told, row, i))
                and _holds(claims.objects[second], _words(told, row, j))
            ]  # fmt: skip
            assert RELATIONS.index(relation) in found, sentence
        if style == "dense":
            assert claims.ground and claims.tint and all(claim.place for claim in claims.objects)
    assert relations > 50 if style in ("relations", "mixed") else not relations


def _words(told: Condition, row: int, k: int) -> dict[str, int]:
    return {name: int(told[f"attributes.{name}"][row, k]) for name in ("form", "colour", "size", "texture", "place")}


def test_a_long_caption_is_read_in_its_length() -> None:
    for piece in ("on a ", "a x-", "a small ", "on a sand tiled "):
        start = time.process_time()
        assert captions.claims((piece * 4000)[: 2**14]).objects == ()
        assert time.process_time() - start < 1


def test_claims_of_other_peoples_sentences() -> None:
    found = captions.claims("Three small red   Rings, an old-fashioned blue square at the top left; nothing else")
    assert [claim.count for claim in found.objects] == [3, 1]
    assert found.objects[0].size == "small" and found.objects[0].form == "ring"
    assert found.objects[1].place == "top left" and found.objects[1].size is None
    assert captions.claims("").objects == () and captions.claims("a photograph of a dog").objects == ()
    two = captions.claims("a red circle in front of a blue star below a green ring")
    assert two.relations == ((1, "below", 2),)


def test_a_subject_is_the_same_everywhere_and_nowhere_else() -> None:
    data = Scenes(subject="zwx", tells=("caption", "attributes"), pictures=50)
    told = data[:50][1]
    assert (
        len(set(map(tuple, torch.stack([told["attributes.form"], told["attributes.colour"]], -1)[:, 0].tolist()))) == 1
    )
    assert (told["attributes.texture"][:, 0] == len(TEXTURES)).all()
    assert not (told["attributes.texture"][:, 1:] == len(TEXTURES)).any()
    said = spoken(told["caption"])
    assert sum("zwx" in sentence for sentence in said) > 40
    wide = Scenes(subject="東" * 120, objects=(1, 1), pictures=20)  # three bytes each
    assert all("東" * 120 in sentence for sentence in spoken(wide[:20][1]["caption"]))
    other = Scenes(subject="abc", pictures=50)
    assert (data.plan(np.arange(1)).own != other.plan(np.arange(1)).own).any()


def test_styles_change_the_picture_and_not_the_truth() -> None:
    x, told = Scenes(tells=("layout",))[:16]
    for style in ("night", "faded", "sketch", "poster"):
        y, same = Scenes(tells=("layout",), style=style)[:16]
        assert (x - y).abs().mean() > 0.1 and torch.equal(told["layout"], same["layout"])
        assert y.min() >= -1 and y.max() <= 1


def test_a_config_makes_the_same_scenes_and_what_cannot_be_is_refused() -> None:
    data = Scenes(size=(16, 24), objects=(2, 3), forms=("star", "ring"), tells=("label",), seed=3, pictures="2k")
    again = build(spec(data))
    assert again == data and torch.equal(again[:4][0], data[:4][0]) and again.mark == data.mark
    assert data.mark != dataclasses.replace(data, seed=4).mark and len(data) == 2_000
    assert set(data[:50][1]["label"].tolist()) == {3, 5}
    for wrong in (
        {"size": 8}, {"size": 512}, {"forms": ("blob",)}, {"forms": ()}, {"colours": "red"}, {"tells": ("text",)},
        {"objects": (0, 2)}, {"objects": (3, 2)}, {"objects": (1, 9)}, {"figures": 1.5}, {"overlap": -1},
        {"phrasing": "long"}, {"layout": "class"}, {"style": "oil"}, {"subject": "two words"}, {"pictures": 0},
        {"subject": "circle"}, {"objects": 2}, {"seed": 2**70}, {"size": 32.0}, {"tells": "caption"},
        {"size": 18, "tells": ("low",)}, {"textures": ("plain", "plain")},
    ):  # fmt: skip
        with pytest.raises(Refusal):
            Scenes(**wrong)
