"""Patches: scipy's pyramid, every patch found again, and which level sees noise, blur, shuffling and colour."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import patch_wasserstein
from mezzotint.metrics.patches import _descriptors, grown, levels, pyramid, shrunk

FILTER = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def smooth(count: int, seed: int, size: tuple[int, int] = (32, 40)) -> torch.Tensor:
    """Coloured blobs with a grain of their own, in [-1, 1]."""
    noise = Rng([seed]).normal("blobs", (count, 3, *size))[0].numpy()
    mixed = ndimage.gaussian_filter(noise, (0, 0, 3, 3)) * 4 + ndimage.gaussian_filter(noise, (0, 0, 0.7, 0.7)) * 0.3
    return torch.from_numpy(mixed).clamp(-1, 1)


@pytest.mark.parametrize("size", [(32, 32), (33, 46), (67, 35)])
def test_pyramid_is_scipys_and_gives_the_picture_back(size: tuple[int, int]) -> None:
    x = Rng([1]).normal("x", (2, 3, *size))[0]
    left, found = x.double().numpy(), pyramid(x)
    assert len(found) == levels(*size) == 2
    for level in found[:-1]:
        half = ndimage.convolve(left, FILTER[None, None], mode="mirror")[:, :, ::2, ::2]
        wide = np.zeros_like(left)
        wide[:, :, ::2, ::2] = half
        assert np.allclose(level, left - ndimage.convolve(wide, 4 * FILTER[None, None], mode="mirror"), atol=1e-12)
        left = half
    assert np.allclose(found[-1], left, atol=1e-12)
    back = found[-1]
    for level in reversed(found[:-1]):
        back = level + grown(back, level.shape[-2:])
    assert torch.allclose(back, x.double(), atol=1e-12)
    flat = torch.ones(1, 1, *size)
    assert torch.allclose(shrunk(flat), torch.ones(()))


def test_levels_end_at_sixteen_pixels() -> None:
    assert [levels(*size) for size in ((8, 8), (16, 16), (31, 31), (32, 200), (64, 64), (256, 256))] == [
        1,
        1,
        2,
        2,
        3,
        5,
    ]
    names = patch_wasserstein(smooth(3, 0, (64, 70)), smooth(3, 1, (64, 70)), 4, 4)
    assert list(names) == ["patches_64", "patches_32", "patches_16"]
    finer = patch_wasserstein(smooth(3, 0, (28, 30)), smooth(3, 1, (28, 30)), 4, 4, smallest=7)
    assert list(finer) == ["patches_28", "patches_14", "patches_7"]
    with pytest.raises(Refusal, match="at least 3 pixels a side, not 2"):
        patch_wasserstein(smooth(3, 0), smooth(3, 1), smallest=2)
    tiny = patch_wasserstein(smooth(3, 0, (5, 9)), smooth(3, 1, (5, 9)), 4, 4)  # narrower than a patch
    assert list(tiny) == ["patches_5"]


@pytest.mark.parametrize("level", [0, 1])
def test_every_patch_is_one_of_its_own_picture_and_all_places_are_drawn(level: int) -> None:
    x = smooth(3, 0, (32, 37))
    found = _descriptors(x, level, 900, Rng([0])).numpy()
    side = pyramid(x)[level].float().numpy()
    assert found.shape == (3 * 900, 3, 49)
    for place in range(3):
        windows = sliding_window_view(side[place], (7, 7), (1, 2))  # (C, h, w, 7, 7)
        known = {w.tobytes() for w in np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(-1, 3, 49)}
        drawn = {patch.tobytes() for patch in found[900 * place : 900 * (place + 1)]}
        # Of 858 places 900 draws miss 1/e, if all are equally likely; of the 130 of the smaller level nearly none.
        assert drawn <= known and len(drawn) > 0.6 * len(known) * (1 if level == 0 else 1.6)
    alone = _descriptors(x[:1], level, 900, Rng([0])).numpy()
    assert (alone == found[:900]).all()


def test_each_level_sees_its_own_flaw() -> None:
    real, fresh = smooth(60, 0), smooth(60, 1)

    def scores(samples: torch.Tensor) -> list[float]:
        return [one.value for one in patch_wasserstein(samples, real, 32, 64).values()]

    fine, coarse = scores(fresh)
    assert scores(real) == [0.0, 0.0]
    noise = scores(fresh + 0.1 * Rng([2]).normal("noise", tuple(fresh.shape))[0])
    assert noise[0] > 20 * fine and noise[1] < 3 * coarse
    blur = scores(torch.from_numpy(ndimage.gaussian_filter(fresh.numpy(), (0, 0, 1, 1))))
    assert blur[0] > 20 * fine and blur[1] < 5 * coarse
    grey = scores(fresh.mean(1, keepdim=True).expand(-1, 3, -1, -1))
    assert grey[1] > 3 * coarse
    bright = scores(fresh + 0.3)
    assert bright[0] < 3 * fine and bright[1] > 3 * coarse


def test_interval_is_of_pictures_not_of_patches() -> None:
    """As wide as the real spread over draws of pictures, where patches of one picture are much alike."""

    def drawn(seed: int) -> torch.Tensor:
        level = Rng([seed]).uniform("level", (40, 1, 1, 1))[0].float()
        return (level - 0.5 + 0.1 * Rng([seed]).normal("grain", (40, 1, 8, 8))[0]).clamp(-1, 1)

    real = drawn(10**6)
    found = [patch_wasserstein(drawn(seed) + 0.3, real, 8, 200)["patches_8"] for seed in range(40)]
    spread = np.std([one.value for one in found])
    # The real set stood still, and is half of what the interval covers.
    claimed = np.mean([one.high - one.value for one in found]) / 1.96
    assert spread < claimed < 2 * spread


def test_unfit_pictures_are_refused() -> None:
    x = torch.zeros(3, 1, 8, 8)
    for other, patches in ((torch.zeros(3, 3, 8, 8), 2), (x, 0)):
        with pytest.raises(Refusal, match="one shape"):
            patch_wasserstein(x, other, patches)
    assert patch_wasserstein(x, x, 2, 2)["patches_8"].value == 0  # without any spread


def test_a_second_level_lets_small_pictures_show_their_grain() -> None:
    # Alone, the level of 24 pixels is the pictures themselves, whose blobs outweigh any grain.
    real, noisy = smooth(60, 0, (24, 24)), smooth(60, 1, (24, 24))
    noisy = (noisy + 0.2 * Rng([2]).normal("grain", (60, 3, 24, 24))[0]).clamp(-1, 1)
    for smallest, seen in ((16, False), (12, True)):
        like, found = (
            patch_wasserstein(some, real, 16, 64, smallest=smallest)["patches_24"]
            for some in (smooth(60, 1, (24, 24)), noisy)
        )
        assert (found.low > 10 * like.high) is seen and (found.low > like.high) is seen
