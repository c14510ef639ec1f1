"""Postures: joints are where they are told to be, in clean and in spoiled pictures, and nobody is where nobody is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mezzotint.core import Refusal
from mezzotint.data import Scenes, SceneVideos
from mezzotint.data.scenes.plan import Plan
from mezzotint.data.scenes.posture import Posture, keypoints, postures
from mezzotint.data.scenes.words import FIGURE, JOINTS


def _spoiled(x: Tensor) -> Tensor:
    """A blur of one pixel and noise of 0.1."""
    reach = torch.arange(-4.0, 5.0)
    bell = torch.exp(-(reach**2) / 2)
    bell /= bell.sum()
    wide = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="replicate").flatten(0, 1)[:, None]
    soft = torch.nn.functional.conv2d(
        torch.nn.functional.conv2d(wide, bell[None, None, :, None]), bell[None, None, None]
    )
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (soft.view_as(x) + 0.1 * noise).clamp(-1, 1)


def _matched(found: list[list[Posture]], plan: Plan, told: Tensor) -> tuple[dict[str, int], Tensor]:
    """Figures that are read, missed and made up, and, of the joints of those read that are seen, (error, read)."""
    counts, rows = {"read": 0, "missed": 0, "made up": 0}, []
    for b, figures in enumerate(found):
        left = list(figures)
        for k in np.flatnonzero(plan.form[b] == FIGURE):
            truth, tall = told[b, k], 2 * plan.r[b, k]
            near = [
                one
                for one in left
                if one.colour == plan.colour[b, k] and float((one.joints[2] - truth[2, :2]).abs().max()) < 0.15
            ]
            counts["read" if near else "missed"] += 1
            if near:
                left = [one for one in left if one is not near[0]]
                away = (near[0].joints - truth[:, :2]).square().sum(1).sqrt() / tall
                seen = truth[:, 2] == 2
                rows.append(torch.stack([away, near[0].read.float()], 1)[seen])
        counts["made up"] += len(left)
    return counts, torch.cat(rows)


@pytest.mark.parametrize(("size", "many"), [(32, 10), (96, 3)])
def test_joints_of_clean_scenes(size: int, many: int) -> None:
    scenes = Scenes(size=size, figures=0.6, tells=("keypoints",), seed=3)
    x, told = scenes[:many]
    counts, joints = _matched(postures(x), scenes.plan(np.arange(many)), told["keypoints"])
    assert counts["read"] >= many / 2 and counts["missed"] + counts["made up"] == 0, counts
    error, read = joints[:, 0], joints[:, 1] == 1
    assert read.float().mean() > 0.97 and (error[read] < 0.05).float().mean() > 0.99 and error[read].median() < 0.005


def test_joints_of_spoiled_scenes() -> None:
    """Hands at 32 pixels are one and a half pixels thick; what noise may have moved is abstained from."""
    scenes = Scenes(figures=0.6, tells=("keypoints",), seed=3)
    x, told = scenes[:12]
    plan = scenes.plan(np.arange(12))
    counts, joints = _matched(postures(_spoiled(x)), plan, told["keypoints"])
    assert counts["missed"] <= 0.15 * (counts["read"] + counts["missed"]) and counts["made up"] <= 2, counts
    error, read = joints[:, 0], joints[:, 1] == 1
    assert read.float().mean() > 0.75
    assert (error[read] < 0.05).float().mean() > 0.95 and (error[read] < 0.1).float().mean() > 0.98
    assert (error[~read] > 0.05).float().mean() > 3 * (error[read] > 0.05).float().mean()  # it abstains where it errs


def test_nobody_is_there() -> None:
    empty = Scenes(forms=("circle", "square", "triangle", "star", "cross", "ring"), seed=4)
    assert not any(postures(empty[:6][0]))
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert not any(postures(torch.cat([noise, torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)])))


def test_a_picture_is_read_alone_and_wherever_the_figure_is() -> None:
    scenes = Scenes(forms=("figure",), objects=(1, 1), sizes=("small",), seed=5, tells=("keypoints",))
    x, told = scenes[:3]
    together, alone = postures(x), [postures(x[b : b + 1])[0] for b in range(3)]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one[0].joints, other[0].joints) and torch.equal(one[0].spread, other[0].spread)
    mirrored = postures(x.flip(3))
    swap = [0, 1, 2, 5, 6, 3, 4, 9, 10, 7, 8]  # left is what is left for who looks
    for one, other in zip(together, mirrored, strict=True):
        turned = torch.stack([1 - other[0].joints[swap, 0], other[0].joints[swap, 1]], 1)
        assert (one[0].joints - turned).abs().max() < 0.02
    found = keypoints(together, 2)
    assert found.shape == (3, 2, len(JOINTS), 3) and not found[:, 1].any()
    assert torch.equal(found[:, 0, :, 2] == 2, torch.stack([one[0].read for one in together]))
    assert (found[:, 0, :, :2] - told["keypoints"][:, 0, :, :2])[found[:, 0, :, 2] == 2].abs().max() < 0.02


def test_a_figure_is_followed_through_a_video() -> None:
    scenes = Scenes(forms=("figure",), objects=(1, 1), tells=("keypoints",), seed=6)
    x, told = SceneVideos(scenes=scenes, frames=2, pan=0.0, zoom=0.0, speed=0.02)[:2]
    found = keypoints(postures(x.transpose(1, 2).flatten(0, 1)), 1)
    truth = told["keypoints"].flatten(0, 1)
    both = (found[..., 2] == 2) & (truth[..., 2] == 2)
    assert both.float().mean() > 0.8 and (found - truth)[..., :2][both].abs().max() < 0.02


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(Refusal, match="at least 16 pixels"):
        postures(torch.zeros(1, 1, 32, 32))
    with pytest.raises(Refusal, match="NaN"):
        postures(torch.full((1, 3, 32, 32), float("nan")))
