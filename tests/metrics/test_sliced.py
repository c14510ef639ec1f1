"""Sliced Wasserstein distance: optimal assignments, unequal counts, Gaussians in closed form, and its interval."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

from mezzotint.core import Refusal, Rng
from mezzotint.metrics import sliced_wasserstein
from mezzotint.metrics.sliced import along


def test_on_a_line_it_is_the_cheapest_assignment() -> None:
    x, y = (
        Rng(range(40)).normal("x", (1,)).double().numpy(),
        0.5 + Rng(range(40)).normal("y", (1,)).double().numpy() ** 3,
    )
    costs = cdist(x, y, "sqeuclidean")
    found = sliced_wasserstein(x, y, 3)
    assert found.value == pytest.approx(costs[linear_sum_assignment(costs)].mean(), rel=1e-12)
    assert sliced_wasserstein(y, x, 3).value == pytest.approx(found.value, rel=1e-12)


@pytest.mark.parametrize(("n", "m"), [(6, 4), (5, 7), (12, 3), (2, 9)])
def test_unequal_counts_are_equal_ones_repeated(n: int, m: int) -> None:
    x, y = Rng(range(n)).normal("x", (3,)), 1 + Rng(range(m)).normal("y", (3,))
    common = math.lcm(n, m)
    want = sliced_wasserstein(x.repeat_interleave(common // n, 0), y.repeat_interleave(common // m, 0), 20)
    assert sliced_wasserstein(x, y, 20).value == pytest.approx(want.value, rel=1e-12)


def test_directions_are_uniform_and_pieces_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift by s costs (u . s)^2 along u, whose mean over the sphere is |s|^2 / D, whatever its direction."""
    x = Rng(range(30)).normal("x", (5,)).double()
    for shift in (torch.tensor([2.0, 0, 0, 0, 0]), torch.tensor([0, 0, -1.0, 2.0, 1.0])):
        found = sliced_wasserstein(x + shift, x, 4000)
        assert found.value == pytest.approx(float(shift.square().sum()) / 5, rel=0.05)
    whole = sliced_wasserstein(x[:20], x + 1, 64)
    for module in ("sliced", "points"):
        monkeypatch.setattr(f"mezzotint.metrics.{module}._CHUNK", 100)
    cut = sliced_wasserstein(x[:20], x + 1, 64)
    assert (cut.value, cut.low) == (pytest.approx(whole.value, rel=1e-12), pytest.approx(whole.low, rel=1e-12))


def test_gaussians_in_closed_form() -> None:
    """|m - n|^2 / D + (s - t)^2, and a turn changes nothing but the draw of directions."""
    x, y = (Rng([place]).normal("points", (4000, 4))[0].double() for place in range(2))
    a, b = 1.5 * x, 0.5 * y + torch.tensor([1.0, 0.0, 0.5, -0.5])
    found = sliced_wasserstein(a, b, 256)
    assert found.value == pytest.approx(1.5 / 4 + 1.0, rel=0.04) and found.low < 1.5 / 4 + 1.0 < found.high
    turn = torch.from_numpy(ortho_group.rvs(4, random_state=1))
    assert sliced_wasserstein(a @ turn, b @ turn, 256).value == pytest.approx(found.value, rel=0.03)
    back = sliced_wasserstein(b, a, 256)
    assert (back.value, back.high) == (pytest.approx(found.value, rel=1e-12), pytest.approx(found.high, rel=1e-12))
    assert sliced_wasserstein(a, a, 8).value == 0 and sliced_wasserstein(a, a, 8).low == 0


@pytest.mark.parametrize(("shape", "directions"), [((1,), 2), ((3,), 12)])
def test_interval_holds_the_truth(shape: tuple[int], directions: int) -> None:
    """Over the draw of both sets and, in space, of few directions."""
    size = shape[0]
    shift = torch.zeros(size)
    shift[0] = 1.0
    held, inner = [], []
    for trial in range(200):
        x, y = Rng([trial]).normal("points", (2, 120, size))[0]
        one = sliced_wasserstein(x, 0.5 * y[:90] + shift, directions, Rng([trial]))
        held.append(one.low <= 1 / size + 0.25 <= one.high)
        inner.append(one.value)
    assert 0.9 < np.mean(held) < 0.985
    assert abs(np.mean(inner) - (1 / size + 0.25)) < 0.05


def test_points_in_groups_count_as_their_groups() -> None:
    """Every point five times over, five in a group: the same law, the same distance, the same interval."""
    x, y = Rng(range(40)).normal("x", (3,)), 1 + Rng(range(30)).normal("y", (3,))
    alone = sliced_wasserstein(x, y, 400)
    many = along(x.repeat_interleave(5, 0), y.repeat_interleave(5, 0), 5, 5, 400, None, "sliced wasserstein")
    assert many.value == pytest.approx(alone.value, rel=1e-12) and (many.count, many.against) == (40, 30)
    assert many.high == pytest.approx(alone.high, rel=0.02)
    apart = along(x.repeat_interleave(5, 0), y.repeat_interleave(5, 0), 1, 1, 400, None, "sliced wasserstein")
    assert apart.high - apart.value < 0.7 * (many.high - many.value)


def test_keys_name_directions_and_nonsense_is_refused() -> None:
    x, y = torch.randn(9, 3), torch.randn(8, 3)
    assert sliced_wasserstein(x, y, 4, Rng([3])) == sliced_wasserstein(x, y, 4, Rng([3]))
    assert sliced_wasserstein(x, y, 4, Rng([3])) != sliced_wasserstein(x, y, 4, Rng([4]))
    with pytest.raises(Refusal, match="two directions"):
        sliced_wasserstein(x, y, 1)
    with pytest.raises(Refusal, match="one length"):
        sliced_wasserstein(x, y[:, :2])
