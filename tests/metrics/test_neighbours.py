"""Copying: distances by hand, and what copies, some copies and fresh pictures score."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mezzotint.metrics import Record, close_share, compare, nearest, neighbour_ratio
from mezzotint.metrics.record import NEEDED


def test_distances_are_those_counted_by_hand(real: SimpleNamespace) -> None:
    z, x = real.z.flatten(1).double(), real.x.flatten(1).double()
    by_hand = torch.cdist(z, x, compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.allclose(torch.from_numpy(nearest(real.z, real.x)), by_hand.amin(1), atol=1e-9)
    assert nearest(real.x, real.x).max() < 1e-5


def test_fresh_pictures_score_one(real: SimpleNamespace) -> None:
    near = nearest(real.z, real.x)
    found = neighbour_ratio(near[::2], near[1::2])
    assert found.low < 1 < found.high and abs(found.value - 1) < 0.06
    few = close_share(near[::2], near[1::2])
    assert few.low <= 0.05 <= few.high


@pytest.mark.parametrize("part", [0.1, 0.3, 1.0])
def test_copies_lower_the_ratio_by_their_share(real: SimpleNamespace, part: float) -> None:
    near = nearest(real.z, real.x)
    count = round(len(real.z) * part)
    samples = torch.cat([real.x[:count], real.z[count:]])
    found, many = neighbour_ratio(nearest(samples, real.x), near), close_share(nearest(samples, real.x), near)
    assert found.value == pytest.approx(1 - part, abs=0.03)
    assert many.value == pytest.approx(part + 0.05 * (1 - part), abs=0.02) and many.low > 0.05


def test_a_share_of_none_or_all_is_not_certain() -> None:
    # Wilson 1927: of 100 without a hit the bound is z^2 / (100 + z^2), and of 100 hits its mirror image.
    far, bound = np.linspace(1, 2, 300), 1.959964**2 / (100 + 1.959964**2)
    none, every = close_share(np.full(100, 3.0), far), close_share(np.zeros(100), far)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, bound), abs=1e-7)
    assert (every.value, every.low, every.high) == pytest.approx((1, 1 - bound, 1), abs=1e-7)
    assert (none.count, none.against) == (100, 300) and np.isnan(close_share(np.zeros(9), far, draws=0).low)
    difference = compare(Record(none), Record(close_share(np.full(100, 4.0), far)), despite=NEEDED)
    assert (difference.low, difference.high) == pytest.approx((-bound, bound), abs=1e-7) and not difference.clear
