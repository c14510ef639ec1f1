"""Operators against their definitions: as matrices, and by numpy's and torch's own."""

from __future__ import annotations

import math

import pytest
import torch

from mezzotint.core import NONE, Condition, Refusal, Rng, build, spec
from mezzotint.data.resize import fit
from mezzotint.operators import BlockMean, Mask, Operator
from mezzotint.testing import check_operator

SHAPE = (2, 4, 6)
MASK = Condition(**{"observed.mask": Rng([5]).uniform("mask", (1, 4, 6)) < 0.6})
CASES = [
    pytest.param(Mask(), SHAPE, MASK, id="mask"),
    pytest.param(BlockMean(2), SHAPE, NONE, id="pictures"),
    pytest.param(BlockMean(3), (1, 9), NONE, id="series"),
    pytest.param(BlockMean(2), (1, 2, 4, 2), NONE, id="volumes"),
    pytest.param(BlockMean((4,)), (8,), NONE, id="vectors"),
    pytest.param(BlockMean((1, 2, 3)), (1, 2, 4, 6), NONE, id="pictures in time"),
    pytest.param(BlockMean(1), SHAPE, NONE, id="nothing lost"),
]


def matrix(apply, shape: tuple[int, ...]) -> torch.Tensor:  # type: ignore[no-untyped-def]
    """The matrix of a linear map of samples, one column for each entry."""
    size = math.prod(shape)
    return torch.cat([apply(row.reshape(1, *shape)).reshape(-1, 1) for row in torch.eye(size, dtype=torch.float64)], 1)


@pytest.mark.parametrize(("operator", "shape", "cond"), CASES)
def test_adjoint_and_pseudo_inverse_are_those_of_the_matrix(
    operator: Operator, shape: tuple[int, ...], cond: Condition
) -> None:
    a = matrix(lambda x: operator.forward(x, cond), shape)
    seen = tuple(operator.forward(torch.zeros(1, *shape).double(), cond).shape[1:])
    torch.testing.assert_close(matrix(lambda y: operator.adjoint(y, cond), seen), a.T, rtol=0, atol=1e-15)
    torch.testing.assert_close(matrix(lambda y: operator.pinv(y, cond), seen), torch.linalg.pinv(a), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("operator", "shape", "cond"), CASES)
def test_they_pass_their_contract(operator: Operator, shape: tuple[int, ...], cond: Condition) -> None:
    check_operator(operator, shape, cond.repeat(4) if cond else None)


def test_block_means_are_those_of_others() -> None:
    x = Rng(range(3)).normal("x", (2, 8, 12))
    for factor in (2, 4):
        pooled = torch.nn.functional.avg_pool2d(x, factor)
        torch.testing.assert_close(BlockMean(factor).forward(x), pooled, rtol=1e-5, atol=1e-6)
    ours = BlockMean(4).forward(x[:, :1])[:, 0, ..., None]
    area = fit(x[:, 0, :, :, None].numpy(), (2, 3))
    torch.testing.assert_close(ours, torch.from_numpy(area), rtol=1e-5, atol=1e-6)
    volume = Rng(range(2)).normal("volume", (1, 4, 6, 2))
    torch.testing.assert_close(
        BlockMean(2).forward(volume), torch.nn.functional.avg_pool3d(volume, 2), rtol=1e-5, atol=1e-6
    )
    repeated = torch.nn.functional.interpolate(x, scale_factor=3, mode="nearest")
    assert torch.equal(BlockMean(3).pinv(x), repeated)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_measured_each_by_itself(dtype: torch.dtype) -> None:
    x = Rng(range(7)).normal("x", (3, 8, 8)).to(dtype)
    mask = Condition(**{"observed.mask": Rng(range(7)).uniform("m", (1, 8, 8)) < 0.5})
    for operator, cond in ((BlockMean(4), NONE), (Mask(), mask)):
        crowd = operator.forward(x, cond)
        back = operator.pinv(crowd, cond)
        for rows in ([3], [6, 0]):
            told = cond[rows] if cond else cond
            assert torch.equal(operator.forward(x[rows], told), crowd[rows])
            assert torch.equal(operator.pinv(crowd[rows], told), back[rows])
        assert crowd.dtype == dtype


def test_a_mask_hides_what_it_does_not_show() -> None:
    """Whatever lies there, also what is not a number; in any rank, and whole samples."""
    x = torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]])
    mask = Condition(**{"seen.mask": [[True, False], [False, True]]})
    assert Mask("seen.mask").forward(x, mask).tolist() == [[1, 0], [0, 2]]
    rows = Condition(**{"observed.mask": [True, False]})
    assert Mask().forward(torch.ones(2, 1, 3), rows).sum((1, 2)).tolist() == [3, 0]


def test_what_is_refused() -> None:
    x = torch.ones(2, 3, 4, 6)
    for operator, cond, match in (
        (Mask(), NONE, "observed.mask"),
        (Mask(), Condition(**{"observed.mask": torch.ones(2, 1, 4, 6)}), "bool"),
        (Mask(), Condition(**{"observed.mask": torch.ones(2, 4, 6, dtype=torch.bool)}), "rank"),
        (BlockMean(4), NONE, "do not divide"),
        (BlockMean((2, 2, 2, 2)), NONE, "no axes"),
    ):
        with pytest.raises(Refusal, match=match):
            operator.forward(x, cond)
    with pytest.raises(Refusal, match="name the last"):
        BlockMean(2).forward(torch.ones(2, 8))
    for wrong in (0, (2, -1), (), 1.5, True):
        with pytest.raises(Refusal, match="whole number"):
            BlockMean(wrong)
    for part in (BlockMean(3), BlockMean((1, 2)), Mask("known.mask")):
        assert build(spec(part)) == part
