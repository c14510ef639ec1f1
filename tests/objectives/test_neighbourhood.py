"""Neighbours against what can be counted by hand."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from surroundings import around

from mezzotint.objectives.neighbourhood import Neighbourhood

LINE, PLANE, SOLID = (5,), (5, 7), (3, 4, 5)


@pytest.mark.parametrize("space", [LINE, PLANE, SOLID, (1, 6)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_what_is_gathered_is_what_stands_around(space: tuple[int, ...], stride: int) -> None:
    """x_0[h, w] = h W + w: every site's list, in rows whose sites come in orders of their own."""
    count = int(torch.Size(space).numel())
    numbers = torch.arange(count, dtype=torch.float64)
    values = torch.stack((numbers, -numbers)).reshape(1, 2, *space).expand(3, -1, *space).clone()
    values[1] += 1000
    sites = torch.stack((torch.arange(count), torch.arange(count).flip(0), torch.arange(count).roll(2)))
    found, there = Neighbourhood(space, stride).gather(values, sites)
    assert found.shape[:2] == there.shape[:2] == (3, count) and there.dtype == torch.bool and found.shape[-1] == 2
    for row, n in product(range(3), range(count)):
        due = [value + 1000.0 * (row == 1) for value in around(space, int(sites[row, n]), stride)]
        seen = found[row, n][there[row, n]]
        assert sorted(seen[:, 0].tolist()) == due, (row, n)
        assert sorted((-seen[:, 1] + 2000 * (row == 1)).tolist()) == due


def test_how_many_neighbours_there_are() -> None:
    grid = {s: Neighbourhood((9, 11), s) for s in (1, 2, 3)}
    assert [len(grid[s].offsets) for s in (1, 2, 3)] == [8, 24, 48]
    assert len(Neighbourhood((9,), 3).offsets) == 6 and len(Neighbourhood((5, 5, 5), 1).offsets) == 26
    for s in (1, 2, 3):  # the offsets themselves: all within the distance, none twice, not the site itself
        offsets = {tuple(offset) for offset in grid[s].offsets.tolist()}
        assert offsets == set(product(range(-s, s + 1), repeat=2)) - {(0, 0)}
    _, there = grid[1].gather(torch.zeros(1, 1, 9, 11), torch.tensor([[0, 5, 4 * 11 + 5, 8 * 11 + 10, 3 * 11]]))
    assert there.sum(-1).tolist() == [[3, 5, 8, 3, 5]]
