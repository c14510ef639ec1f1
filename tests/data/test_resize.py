"""Resizing by area: exact on block means, conservative, and idle on constants."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.core import Refusal
from mezzotint.data.resize import fit, nearest, sides

side = st.integers(1, 23)


def picture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, channels), dtype=np.float32)


def test_whole_blocks_are_block_means() -> None:
    x = picture(0, 12, 20)
    assert fit(x, (4, 5)).shape == (4, 5, 3)
    # 12 x 20 brought to 4 x 5 keeps the middle 12 x 15 pixels: blocks of 3 x 3 from column 2.5 on.
    columns = (x[:, 2:17] + x[:, 3:18]) / 2
    assert np.allclose(fit(x, (4, 5)), columns.reshape(4, 3, 5, 3, 3).mean((1, 3)), atol=1e-6)
    y = picture(1, 12, 20)
    assert np.allclose(fit(y, (6, 10)), y.reshape(6, 2, 10, 2, 3).mean((1, 3)), atol=1e-6)


@given(side, side, st.integers(1, 9), st.integers(1, 9))
def test_matches_repetition_to_a_common_grid(height: int, width: int, h: int, w: int) -> None:
    # The mean over [a, b) of a piecewise constant function, by repeating pixels until all edges fall on the grid.
    scale = max(h / height, w / width)
    if scale > 1:
        return
    x = picture(height * 31 + width, height, width, 1)
    fine = x.repeat(2 * h * w, 0).repeat(2 * h * w, 1)[..., 0].astype(np.float64)
    # A side of one output pixel on the fine grid, where 1 / scale is height / h or width / w.
    step = round(2 * h * w / scale)
    top, left = (fine.shape[0] - step * h) // 2, (fine.shape[1] - step * w) // 2
    kept = fine[top : top + step * h, left : left + step * w]
    assert np.allclose(fit(x, (h, w))[..., 0], kept.reshape(h, step, w, step).mean((1, 3)), atol=1e-5)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6), st.integers(0, 4))
def test_nearest_finds_whole_blocks_where_area_does(h: int, w: int, block: int, more: int) -> None:
    x = np.random.default_rng(h * 31 + w).integers(0, 256, (h, w, 1), dtype=np.uint8)
    large = x.repeat(block, 0).repeat(block, 1)
    assert np.array_equal(nearest(large, (h, w)), x)
    # Beside the centred rectangle lies what is cut off, as much on the left as on the right.
    wide = np.pad(large, ((0, 0), (more, more), (0, 0)))
    assert np.array_equal(nearest(wide, (h, w)), fit(wide, (h, w))) and np.array_equal(nearest(wide, (h, w)), x)


@given(side, side, side, side)
def test_nearest_takes_the_pixel_under_each_centre(height: int, width: int, h: int, w: int) -> None:
    # A picture of its own coordinates, enlarged linearly by fit, says where each centre lies.
    places = np.stack(np.indices((height, width)), -1)
    scale = max(h / height, w / width)
    found = nearest(places.astype(np.float32), (h, w))
    for axis, (have, want) in enumerate(((height, h), (width, w))):
        centres = have / 2 + (np.arange(want) + 0.5 - want / 2) / scale
        inside = np.moveaxis(found[..., axis], axis, 0)
        assert (np.abs(inside + 0.5 - centres.reshape(-1, 1)) <= 0.5 + 1e-6).all()


@given(side, side, side, side, st.integers(0, 255))
def test_constants_stay(height: int, width: int, h: int, w: int, value: int) -> None:
    x = np.full((2, height, width, 3), value, np.uint8)
    assert (fit(x, (h, w)) == value).all() and fit(x, (h, w)).shape == (2, h, w, 3)


def test_enlarging_keeps_a_ramp_straight_inside() -> None:
    x = np.linspace(0, 1, 8, dtype=np.float32)[None, :, None].repeat(8, 0)
    row = fit(x, (24, 24))[5, :, 0]
    assert np.allclose(np.diff(row[1:-1]), 1 / 21, atol=1e-6)


def test_a_fine_pattern_fades_to_grey() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    assert set(np.unique(fit(board, (16, 16)))) <= {127, 128}


@pytest.mark.parametrize("size", [0, -4, (3,), (3, 0), (3.5, 2)])
def test_nonsense_sizes_are_refused(size: object) -> None:
    with pytest.raises(Refusal, match="a size is one number"):
        sides(size)  # type: ignore[arg-type]
