"""What gives way where the aspect is another; a dot, its mask, its map and its point stay together."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mezzotint.core import Refusal
from mezzotint.data.resize import RESIZES, check_resize, fit, moved, nearest

policy = st.sampled_from(RESIZES)
side = st.integers(1, 23)


def test_padding_keeps_everything_in_the_middle() -> None:
    x = np.random.default_rng(0).integers(0, 256, (10, 20, 3), dtype=np.uint8)
    out = fit(x, (10, 10), "pad", (1, 2, 3))
    assert (out[:2] == (1, 2, 3)).all() and (out[7:] == (1, 2, 3)).all()  # 5 of 10 rows, and the odd one behind
    means = x.reshape(5, 2, 10, 2, 3).mean((1, 3))
    assert np.abs(out[2:7] - means).max() <= 0.5 + 1e-4
    tall = fit(x.transpose(1, 0, 2), (10, 10), "pad", (1, 2, 3))
    assert np.array_equal(tall, out.transpose(1, 0, 2))


def test_stretching_brings_each_side_by_itself() -> None:
    x = np.random.default_rng(1).random((12, 20, 1), dtype=np.float32)
    means = x.reshape(4, 3, 10, 2, 1).mean((1, 3))
    assert np.allclose(fit(x, (4, 10), "stretch"), means, atol=1e-6)
    # One side shrinks and the other grows: along the first the means, along the second the straight line between.
    ramp = np.arange(8, dtype=np.float32)[None, :, None].repeat(6, 0)
    out = fit(ramp, (3, 24), "stretch")[..., 0]
    assert np.allclose(out[0], out[2]) and np.allclose(np.diff(out[1, 1:-1]), 1 / 3, atol=1e-5)


@given(side, side, st.integers(1, 9), st.integers(1, 9), policy)
def test_nothing_is_invented(height: int, width: int, h: int, w: int, resize: str) -> None:
    """Constants stay; a map keeps its numbers, and the numbers outside are those under it."""
    x = np.full((height, width, 2), 200, np.uint8)
    out = fit(x, (h, w), resize, (200, 200))
    assert out.shape == (h, w, 2) and (out == 200).all()
    numbers = np.random.default_rng(height).integers(0, 5, (height, width, 1), dtype=np.uint8)
    found = nearest(numbers, (h, w), resize, 255)
    assert found.shape == (h, w, 1) and set(np.unique(found)) <= {*np.unique(numbers), 255}
    assert resize == "pad" or 255 not in found


@settings(max_examples=40, deadline=None)
@given(st.integers(24, 70), st.integers(24, 70), st.integers(12, 50), st.integers(12, 50), policy, st.data())
def test_a_dot_stays_together(height: int, width: int, h: int, w: int, resize: str, data: st.DataObject) -> None:
    """A square painted at a point: its centre in the picture, the mask and the map is where the point says.

    The truth is found in the resized picture: the centre of mass of what is painted.
    """
    reach = 5
    down = data.draw(st.integers(reach, height - reach))
    across = data.draw(st.integers(reach, width - reach))
    x = np.zeros((height, width, 1), np.float32)
    x[down - reach : down + reach, across - reach : across + reach] = 1
    point = np.array([[across, down, 2]], np.float32)
    place = moved(point, (height, width), (h, w), resize)[0]
    out = fit(x, (h, w), resize)[..., 0].astype(np.float64)
    edge = np.concatenate([out[0], out[-1], out[:, 0], out[:, -1]])
    assume(out.any() and (resize == "stretch" or not edge.any()))  # of a square that is cut off it is elsewhere
    weights = out / out.sum()
    rows, columns = np.arange(h) + 0.5, np.arange(w) + 0.5
    centre = (weights.sum(0) @ columns) / w, (weights.sum(1) @ rows) / h
    assert place[2] == 2
    # A pixel that the square shares counts from its middle; enlarging adds half a pixel at the edges of the picture.
    assert abs(centre[0] - place[0]) * w < 0.51 and abs(centre[1] - place[1]) * h < 0.51
    if h <= height and w <= width and not edge.any():
        assert abs(centre[0] - place[0]) * w < 0.13 and abs(centre[1] - place[1]) * h < 0.13
    mask = nearest((x > 0).astype(np.uint8), (h, w), resize)[..., 0]
    where = np.argwhere(mask) + 0.5
    assert np.abs(where.mean(0) - np.array([place[1] * h, place[0] * w])).max() < 1.01


def test_points_that_are_cut_off_are_not_there() -> None:
    points = np.array([[1, 5, 2], [10, 5, 1], [19, 5, 2], [10, 5, 0]], np.float32)
    cut = moved(points, (10, 20), (10, 10), "crop")
    assert cut.tolist() == [[0, 0, 0], [0.5, 0.5, 1], [0, 0, 0], [0, 0, 0]]
    padded = moved(points, (10, 20), (20, 20), "pad")
    assert np.allclose(padded[0], [0.05, 0.5, 2]) and np.allclose(padded[2], [0.95, 0.5, 2])


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(Refusal, match="no resize policy 'croop'.*'crop'"):
        check_resize("croop")
