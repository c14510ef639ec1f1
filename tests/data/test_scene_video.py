"""Videos of scenes: flow carries one frame onto another, and what is hidden is what cannot be found again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.core import Condition, Refusal
from mezzotint.data import Scenes, SceneVideos
from mezzotint.data.scenes import forms
from mezzotint.data.scenes.flow import Flow, flow
from mezzotint.data.scenes.paint import paint
from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.scenes import TELLS, keypoints
from mezzotint.data.scenes.words import FIGURE
from mezzotint.testing import check_data, check_spec

STILL = {"speed": 0.0, "turning": 0.0, "waving": 0.0, "pan": 0.0, "zoom": 0.0}
EVERYTHING = Scenes(tells=tuple(TELLS), figures=0.3, pictures=400, held_out_pictures=60)
SOME = SceneVideos(scenes=EVERYTHING, flow=True)


def _same(a: Condition, b: Condition) -> bool:
    return a.values.keys() == b.values.keys() and all(torch.equal(a[name], b[name]) for name in a.values)


def _sampled(picture: Tensor, way: Tensor) -> Tensor:
    """What a picture (B, C, H, W) has a way (B, 2, H, W) in pixels further on, by somebody else's interpolation."""
    height, width = picture.shape[2:]
    i, j = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grid = torch.stack([2 * (j + way[:, 0]) / width - 1, 2 * (i + way[:, 1]) / height - 1], -1)
    return torch.nn.functional.grid_sample(picture, grid, align_corners=False, padding_mode="border")


def _spread(instances: Tensor, pixels: int) -> Tensor:
    """Whether a neighbourhood (B, H, W) shows more than one thing."""
    values, around = instances[:, None].float(), 2 * pixels + 1
    most = torch.nn.functional.max_pool2d(values, around, 1, pixels)
    least = -torch.nn.functional.max_pool2d(-values, around, 1, pixels)
    return (most != least)[:, 0]


def _pair(videos: SceneVideos, count: int) -> tuple[Plan, Tensor, Tensor, Flow]:
    """Plans, pictures and instances of the first two frames, and the flow between."""
    plan = videos.plan(np.arange(count))
    painting = paint(plan, videos.shape[2:])
    first = np.arange(0, len(plan), videos.frames)
    found = flow(plan, painting.instances[first], first, first + 1)
    return plan, torch.from_numpy(np.ascontiguousarray(painting.image)), torch.from_numpy(painting.instances), found


def test_a_video_does_not_depend_on_its_neighbours_or_its_split() -> None:
    x, told = SOME[:10]
    for rows in ([7], [9, 7, 0], list(range(10))):
        y, other = SOME[rows]
        assert torch.equal(x[rows], y) and _same(told[rows], other)
    held, hold = SOME.held_out()[:3]
    again, told_again = SOME.sibling("all")[400:403]
    assert torch.equal(held, again) and _same(hold, told_again)
    check_data(SOME)
    check_spec(SOME)


def test_it_begins_with_the_scene() -> None:
    for split in ("train", "held_out"):
        x, told = SOME.sibling(split)[:12]
        y, other = EVERYTHING.sibling(split)[:12]
        assert torch.equal(x[:, :, 0], y)
        for name, value in other.values.items():
            found = told[name]
            if name in ("layout.edges", "depth", "mask", "low"):
                found = found[:, :, 0]
            elif not name.startswith(("label", "attributes", "caption")):
                found = found[:, 0]
            assert torch.equal(found, value), name
    still, told = dataclasses.replace(SOME, **STILL)[:12]
    assert torch.equal(still, still[:, :, :1].expand_as(still))
    assert max(float(told[f"flow.{way}"].abs().max()) for way in ("forward", "backward")) < 1e-5
    assert not told["flow.forward_hidden"].any() and not told["flow.backward_hidden"].any()


def test_flow_carries_the_next_frame_back() -> None:
    """Interpolation is wrong near edges, which are a share of 1 / size of a picture, and by 1 / size^2 elsewhere."""
    everywhere, inside = [], []
    for size in (32, 64, 128):
        scenes = Scenes(size=size, textures=("plain",), figures=0.2)
        _, image, instances, found = _pair(SceneVideos(scenes=scenes, frames=2, turning=0.0), 24)
        way, open_ = torch.from_numpy(found.way), ~torch.from_numpy(found.hidden)
        errors = {}
        for name, tried in (("right", way), ("sign", -way), ("axes", way.flip(1)), ("none", 0 * way)):
            errors[name] = (_sampled(image[1::2], tried) - image[::2]).abs().amax(1)
        middle = open_ & ~_spread(instances[::2], size // 16) & (instances[::2] > 0)
        everywhere.append({name: float(error[open_].mean()) for name, error in errors.items()})
        inside.append(float(errors["right"][middle].median()))
    for size, right, wrong in zip((32, 64, 128), everywhere, (2, 4, 8), strict=True):
        assert all(right[name] > wrong * right["right"] for name in ("sign", "axes", "none")), (size, right)
    right = [found["right"] for found in everywhere]
    assert right[2] < 0.005 and 1.6 < right[0] / right[1] < 2.4 and 1.6 < right[1] / right[2] < 2.4, right
    assert inside[2] < 1e-4 and inside[0] / inside[1] > 3 and inside[1] / inside[2] > 3, inside


def test_light_stays_where_it_is_while_objects_turn() -> None:
    """So what turns becomes a little lighter or darker, by less than the light changes across it."""
    scenes = Scenes(size=128, textures=("plain",), figures=0.0)
    _, image, instances, found = _pair(SceneVideos(scenes=scenes, frames=2, turning=0.05), 24)
    way = torch.from_numpy(found.way)
    beside = _sampled(_spread(instances[1::2], 2)[:, None].float(), way)[:, 0] > 0
    middle = ~torch.from_numpy(found.hidden) & ~_spread(instances[::2], 2) & ~beside & (instances[::2] > 0)
    error = (_sampled(image[1::2], way) - image[::2]).abs().amax(1)[middle]
    assert 0.001 < float(error.max()) < 0.1 * 2 * np.pi * 0.05 + 0.002


def test_forward_and_backward_undo_each_other() -> None:
    """A piece that moves as one has a flow that is linear in the place, which interpolation does not change."""
    videos = SceneVideos(scenes=Scenes(size=64, figures=0.0), flow=True, turning=0.03)
    x, told = videos[:12]
    instances = dataclasses.replace(videos, scenes=Scenes(size=64, figures=0.0, tells=("layout.instances",)))[:12][1]
    maps = instances["layout.instances"]
    inner = torch.nn.functional.pad(torch.ones(12, 1, 60, 60), (2, 2, 2, 2))
    checked = 0
    for t in range(videos.frames - 1):
        for here, there, a, b in ((t, t + 1, "forward", "backward"), (t + 1, t, "backward", "forward")):
            way, back = told[f"flow.{a}"][:, :, t], told[f"flow.{b}"][:, :, t]
            found = way + _sampled(back, way)
            # All four pixels that are interpolated between show the same piece, and what they show is not hidden.
            around = _sampled(maps[:, there, None].double(), way.double())[:, 0]
            even = _sampled(_spread(maps[:, there], 1)[:, None].double(), way.double())[:, 0] == 0
            rim = _sampled(inner, way)[:, 0] < 1  # beyond the outermost centres there is nothing to go between
            sure = even & ~rim & (around == maps[:, here]) & ~told[f"flow.{a}_hidden"][:, 0, t]
            assert float(found.abs().amax(1)[sure].max()) < 1e-3
            checked += int(sure.sum())
            wrong = (way - _sampled(back, way)).abs().amax(1)[sure]
            assert float(wrong.median()) > 0.3
    assert checked > 0.6 * 6 * maps[:, 0].numel()


def _pieces(plan: Plan, row: int, slot: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which piece of a figure holds places of the picture deepest: capsules, from where its joints are told to be."""
    across, down = (z[row, slot] for z in keypoints(plan))
    r = plan.r[row, slot]
    depths = [np.hypot(x - across[0], y - down[0]) - forms.HEAD * r]
    for number, (start, end) in enumerate(forms.BONES):
        bone = np.array([across[end] - across[start], down[end] - down[start]])
        share = ((x - across[start]) * bone[0] + (y - down[start]) * bone[1]) / (bone @ bone)
        share = share.clip(0, 1)
        away = np.hypot(x - across[start] - share * bone[0], y - down[start] - share * bone[1])
        depths.append(away - (forms.LIMB if number else forms.TRUNK) * r)
    return np.argmin(depths, 0)


def test_what_is_hidden_is_what_a_finer_picture_does_not_show() -> None:
    """Every place is looked up in a picture of the other frame that has 8 x 8 times as many pixels."""
    size, fine = 32, 8
    videos = SceneVideos(scenes=Scenes(size=size, figures=0.4, objects=(2, 4)), frames=3, speed=0.1, waving=0.25)
    plan = videos.plan(np.arange(12))
    instances = paint(plan, (size, size)).instances
    large = paint(plan, (fine * size, fine * size)).instances
    edges = _spread(torch.from_numpy(large), 1).numpy()
    i, j = np.mgrid[:size, :size]
    compared, kinds = 0, np.zeros(4, dtype=int)
    for here in range(len(plan)):
        for there in (here - 1, here + 1):
            if not 0 <= there < len(plan) or there // 3 != here // 3:
                continue
            found = flow(plan, instances[here : here + 1], np.array([here]), np.array([there]))
            x, y = j + 0.5 + found.way[0, 0], i + 0.5 + found.way[0, 1]
            outside = (x < 0) | (x >= size) | (y < 0) | (y >= size)
            column, row = ((z * fine).astype(int).clip(0, fine * size - 1) for z in (x, y))
            shown = large[there, row, column]
            expected = outside | (shown != instances[here])
            sure = outside | ~edges[there, row, column]
            for slot in np.flatnonzero(plan.form[here] == FIGURE):
                mine = instances[here] == slot + 1
                before = _pieces(plan, here, slot, (j + 0.5) / size, (i + 0.5) / size)
                after = _pieces(plan, there, slot, x / size, y / size)
                expected |= mine & (before != after)
                kinds[2] += int((mine & (before != after) & found.hidden[0]).sum())
                # Where two pieces are as near as the flow is rounded, either may be said to hold the place.
                for shift in (-2e-6, 2e-6):
                    moved_x, moved_y = x / size + shift, y / size + shift
                    sure &= ~mine | (_pieces(plan, there, slot, moved_x, moved_y) == after)
            assert np.array_equal(found.hidden[0][sure], expected[sure]), (here, there)
            compared += int(sure.sum())
            kinds[0] += int((found.hidden[0] & outside).sum())
            kinds[1] += int((found.hidden[0] & ~outside & (shown != instances[here])).sum())
            kinds[3] += int((~found.hidden[0]).sum())
    assert compared > 0.96 * size * size * 48 and (kinds > 20).all(), (compared, kinds)


def test_an_object_goes_straight_on() -> None:
    """Alone, it is where it was plus its speed times the number of frames, and so is every place of it."""
    scenes = Scenes(size=64, objects=(1, 1), figures=0.3, tells=("layout.instances", "keypoints", "boxes"))
    videos = SceneVideos(scenes=scenes, flow=True, frames=5, **{**STILL, "speed": 0.04})
    plan = videos.plan(np.arange(20))
    x, y = (z[:, 0].reshape(20, 5) for z in (plan.x, plan.y))
    told = videos[:20][1]
    for b in range(20):
        step = np.array([x[b, 1] - x[b, 0], y[b, 1] - y[b, 0]])
        assert 0 < np.abs(step).max() <= 0.04
        for t in range(5):
            assert [x[b, t], y[b, t]] == pytest.approx([x[b, 0] + t * step[0], y[b, 0] + t * step[1]], abs=1e-12)
        for t in range(4):
            mine = told["layout.instances"][b, t] == 1
            after = told["layout.instances"][b, t + 1] == 1
            goes = torch.from_numpy(64 * step).float()[:, None]
            assert (told["flow.forward"][b, :, t, mine] - goes).abs().max() < 1e-4
            assert not len(after) or (told["flow.backward"][b, :, t, after] + goes).abs().max() < 1e-4
            assert not told["flow.forward"][b, :, t, ~mine].any()
    joints = told["keypoints"][:, :, 0, :, :2]
    figures = torch.from_numpy(plan.form.reshape(20, 5)[:, 0] == FIGURE)
    steps = torch.from_numpy(np.stack([x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], -1)).float()
    moves = joints[:, 1:] - joints[:, :-1]
    assert torch.allclose(moves[figures], steps[figures, None, None].expand_as(moves[figures]), atol=1e-6)
    assert figures.sum() > 2


def test_whoever_looks_comes_nearer_or_goes_by() -> None:
    """The background grows about the middle by the same factor every frame, or goes the other way."""
    for size in (32, (24, 40)):
        scenes = Scenes(size=size, objects=(1, 1), tells=("layout.instances",))
        height, width = scenes.shape[1:]
        i, j = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        middle = torch.stack([j - width / 2, i - height / 2])
        videos = SceneVideos(scenes=scenes, flow=True, **{**STILL, "zoom": 0.1})
        told = videos[:12][1]
        view = videos.plan(np.arange(12)).view.reshape(12, 4, 3)
        for b in range(12):
            factor = view[b, 1, 2] / view[b, 0, 2]
            assert 0 < abs(factor - 1) <= 0.1
            for t in range(3):
                # Nothing moves but whoever looks, so objects go the same way.
                assert torch.allclose(told["flow.forward"][b, :, t], (factor - 1) * middle, atol=1e-4)
                assert torch.allclose(told["flow.backward"][b, :, t], (1 / factor - 1) * middle, atol=1e-4)
            outside = (middle.abs() * factor > torch.tensor([width / 2, height / 2])[:, None, None]).any(0)
            assert torch.equal(told["flow.forward_hidden"][b, 0, 0], outside)
        panned = SceneVideos(scenes=scenes, flow=True, **{**STILL, "pan": 0.06})
        told, view = panned[:12][1], panned.plan(np.arange(12)).view.reshape(12, 4, 3)
        for b in range(12):
            step = (view[b, 1, :2] - view[b, 0, :2]) * min(height, width)
            expected = torch.from_numpy(-step).float()[:, None, None, None]
            assert torch.allclose(told["flow.forward"][b], expected.expand(2, 3, height, width), atol=1e-4)
            assert 0 < np.abs(step).max() <= 0.06 * min(height, width)


def test_figures_wave_and_keep_their_lengths() -> None:
    scenes = Scenes(forms=("figure",), objects=(1, 1))
    plan = SceneVideos(scenes=scenes, frames=9, **{**STILL, "waving": 0.25}).plan(np.arange(20))
    across, down = (z[:, 0].reshape(20, 9, 11) for z in keypoints(plan))
    for start, end in forms.BONES:
        length = np.hypot(across[..., end] - across[..., start], down[..., end] - down[..., start])
        assert length == pytest.approx(np.broadcast_to(length[:, :1], length.shape), rel=1e-9)
    hands = np.abs(np.diff(down[..., [4, 6]], axis=1)).max((1, 2))
    assert np.median(hands) > 0.02
    assert np.ptp(across[..., :3], axis=1).max() < 1e-12  # the trunk keeps still


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(Refusal, match="split of their own"):
        SceneVideos(scenes=Scenes(split="held_out"))
    with pytest.raises(Refusal, match="2 to 64 frames, not 1"):
        SceneVideos(frames=1)
    with pytest.raises(Refusal, match="speed is a share"):
        SceneVideos(speed=-0.1)
    with pytest.raises(Refusal, match="no split"):
        SceneVideos(split="test")
