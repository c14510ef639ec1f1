"""A mirrored picture with what is told of it is what would have been told of the mirrored scene."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

import mezzotint as mz
from mezzotint.data.scenes.scenes import keypoints
from mezzotint.data.scenes.words import FIGURE

PAIRS = ((3, 5), (4, 6), (7, 9), (8, 10))
MAPS = ("layout", "layout.instances", "layout.edges", "boxes", "depth", "keypoints", "mask", "low", "label")


def scenes(*tells, **more):
    settings = {"pictures": 24, "held_out_pictures": 6, "size": (32, 44), **more}
    return mz.data.Scenes(tells=tells or MAPS, **settings)


@pytest.fixture(scope="module")
def flipped():
    return mz.data.Flipped(scenes(figures=0.5), ("label",), PAIRS)


def test_twice_is_the_identity(flipped):
    twice = mz.data.Flipped(flipped, ("label",), PAIRS)
    assert len(twice) == 4 * 24
    (x, told), (y, again) = twice[:24], twice[72:]
    assert torch.equal(x, y) and not torch.equal(x, twice[24:48][0])
    for name in told.values:
        close = torch.allclose if told[name].is_floating_point() else torch.equal
        assert close(told[name], again[name]), name
        assert "label" in name or not torch.equal(told[name], twice[24:48][1][name]), name


def test_the_first_half_is_the_source_and_the_order_is_the_askers(flipped):
    x, told = scenes(figures=0.5)[:24]
    y, same = flipped[:24]
    assert torch.equal(x, y) and all(torch.equal(told[name], same[name]) for name in told.values)
    rows = [30, 2, 47, 2, 25]
    z, some = flipped[rows]
    whole, all_told = flipped[:]
    assert torch.equal(z, whole[rows]) and all(torch.equal(some[n], all_told[n][rows]) for n in some.values)
    assert torch.equal(whole[24:], x.flip(-1))
    assert len(flipped[[]][0]) == 0


def test_maps_and_boxes_are_read_from_the_mirrored_picture(flipped):
    """What a reader sees there, which knows nothing of the plan: colours, boxes, the mask."""
    data = mz.data.Flipped(scenes("layout", "layout.instances", "mask", "boxes", size=64, figures=0.0, objects=(1, 2)))
    x, told = data[24:]
    checked = 0
    for row, reading in enumerate(mz.data.scenes.Reader().read(x)):
        sure = (reading.layout != 255) & (reading.layout > 0)
        truth, wrong = told["layout"][row], told["layout"][row].flip(-1)
        assert (truth == reading.layout)[sure].float().mean() > 0.9
        if (wrong == reading.layout)[sure].float().mean() < 0.5:
            checked += 1
        for k, (left, top, right, bottom) in enumerate(told["boxes"][row].tolist()):
            seen = told["layout.instances"][row] == k + 1
            if not seen.any():
                assert (left, top, right, bottom) == (0, 0, 0, 0)
                continue
            down, across = (seen.any(axis).nonzero() for axis in (1, 0))
            edges = [across.min() / 64, down.min() / 64, (across.max() + 1) / 64, (down.max() + 1) / 64]
            assert np.allclose([left, top, right, bottom], edges, atol=1e-6)
    assert checked > 8  # and the map of the picture that is not mirrored would not do


def test_keypoints_are_those_of_the_mirrored_plan(flipped):
    source = scenes(figures=0.5)
    plan = source.plan(np.arange(24))
    bends = np.concatenate([plan.bends[..., 4:], plan.bends[..., :4]], -1)  # the right limbs are the left ones now
    mirrored = replace(plan, x=plan.aspect[1] - plan.x, angle=-plan.angle, bends=bends)
    there = plan.form == FIGURE
    across, down = keypoints(mirrored)
    told = flipped[24:][1]["keypoints"].numpy()
    assert there.sum() > 8
    assert np.allclose(told[there][..., 0], across[there] / plan.aspect[1], atol=1e-5)
    assert np.allclose(told[there][..., 1], down[there] / plan.aspect[0], atol=1e-5)
    assert (told[~there] == 0).all()
    unpaired = mz.data.Flipped(source, ("label",))[24:][1]["keypoints"].numpy()
    assert not np.allclose(unpaired[there], told[there], atol=0.02)


def test_only_what_is_trained_on_is_mirrored(flipped):
    source = scenes(figures=0.5)
    held = flipped.held_out()
    assert len(held) == 6 and torch.equal(held[:][0], source.held_out()[:][0])
    assert len(flipped.sibling("all")) == 2 * 24 + 6
    assert torch.equal(flipped.sibling("all")[-6:][0], held[:][0])
    assert (flipped.mean, flipped.std) == (source.mean, source.std) and flipped.mark != source.mark
    mz.testing.check_data(mz.data.Flipped(mz.data.Digits(), ("label",)))
    digits = mz.data.Flipped(mz.data.Digits(), ("label",))
    assert np.array_equal(digits.labels, np.tile(mz.data.Digits().labels, 2))


def test_what_a_mirror_makes_false_is_refused():
    for name, said in (("caption", "caption"), ("attributes", "attributes.form")):
        with pytest.raises(mz.Refusal, match=f"{said!r} is told .* may be false"):
            mz.data.Flipped(scenes(name))
    with pytest.raises(mz.Refusal, match=r"'label' is told .* may be false .*harmless=\('label',\)"):
        mz.data.Flipped(mz.data.Digits())  # a mirrored 2 is no 2
    declared = mz.data.Flipped(scenes("caption"), harmless=("caption",))
    assert declared.texts([3])[0] == declared.texts([27])[0] and len(declared.texts()) == 48
    assert mz.build(mz.spec(declared)) == declared
    with pytest.raises(mz.Refusal, match="'attributes.colour' is told"):
        mz.data.Flipped(scenes("attributes"), harmless=("attributes.form",))
    for wrong in ({"harmless": "caption"}, {"pairs": ((1, 1),)}, {"pairs": ((1, 2, 3),)}, {"pairs": ((0, 11),)}):
        with pytest.raises(mz.Refusal):
            mz.data.Flipped(scenes("keypoints"), **wrong)


@dataclass(frozen=True)
class Guided(mz.data.Digits):
    """Digits with a picture as condition, and something nobody knows."""

    extra: str = "image"

    def condition(self, rows):
        return super().condition(rows) | mz.Condition(**{self.extra: self.read(rows).abs()})


def test_a_condition_picture_turns_with_the_picture():
    x, told = mz.data.Flipped(Guided(), ("label",))[1440:1450]
    assert torch.equal(told["image"], x.abs())
    with pytest.raises(mz.Refusal, match="'gaze' is told"):
        mz.data.Flipped(Guided(extra="gaze"), ("label",))


def test_a_folder_of_pictures(tmp_path):
    for number in range(20):
        Image.new("L", (6, 4), 10 * number).save(tmp_path / f"{number}.png")
    data = mz.build(mz.spec(mz.data.Flipped(mz.data.Folder(str(tmp_path)))))
    assert len(data) == 2 * len(data.source) and data.labels is None and data[:2][1] == mz.NONE
