"""What an operator sees of samples, as a condition and in their place: one filter for all stages of a cascade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mezzotint.core import Refusal, build, spec
from mezzotint.data import Arrays, Derived, Digits, Flipped, Measured, Scenes, Shaded
from mezzotint.operators import BlockMean


@pytest.fixture
def wide(tmp_path: Path) -> Arrays:
    """Coloured pictures of 12 x 8 pixels of three classes."""
    values = np.random.default_rng(0).integers(0, 256, (40, 12, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "wide.npz", images=values, labels=np.arange(40) % 3)
    return Arrays(str(tmp_path / "wide.npz"))


def test_what_a_base_draws_is_what_the_next_stage_is_told(wide: Arrays) -> None:
    """To the bit, and the mean of four pixels by numpy; nothing is rounded to eight bits between stages."""
    told, base = Derived(wide, BlockMean((2, 4))), Measured(wide, BlockMean((2, 4)))
    x, cond = told[[3, 0, 7]]
    small, labels = base[[3, 0, 7]]
    assert torch.equal(cond["low"], small) and base.shape == (3, 6, 2)
    pixels = x.double().numpy().reshape(3, 3, 6, 2, 2, 4).mean((3, 5))
    np.testing.assert_allclose(small.numpy(), pixels, atol=1e-6)
    assert torch.equal(cond["label"], labels["label"]) and "low" not in labels
    assert torch.equal(told.condition(np.array([7]))["low"], small[[2]])
    steps = small.double().add(1).mul(127.5)
    assert (steps - steps.round()).abs().max() > 0.1


def test_scenes_are_made_small_by_the_same_filter() -> None:
    x, cond = Scenes(size=(16, 32), tells=("low",))[:3]
    torch.testing.assert_close(BlockMean(4).forward(x), cond["low"], rtol=0, atol=1e-6)


def test_moments_and_splits_are_its_own(wide: Arrays) -> None:
    base = Measured(wide, BlockMean(2))
    x = base[:][0].double()
    assert base.mean == pytest.approx(float(x.mean()), abs=1e-9)
    assert base.std == pytest.approx(float(x.std(correction=0)), abs=1e-9)
    assert base.std < 0.7 * wide.std  # means of four independent pixels spread half as much
    held = base.held_out()
    assert (held.mean, held.std) == (base.mean, base.std)
    assert torch.equal(held[[0]][0], BlockMean(2).forward(wide.held_out()[[0]][0]))


def test_what_they_are_stands_in_their_marks_and_configs(wide: Arrays) -> None:
    every = [wide, Derived(wide, BlockMean(2)), Derived(wide, BlockMean(4)), Derived(wide, BlockMean(2), "sketch")]
    every += [Measured(wide, BlockMean(2)), Measured(wide, BlockMean(4))]
    assert len({data.mark for data in every}) == len(every)
    for data in every[1:]:
        assert build(spec(data)) == data and build(spec(data)).mark == data.mark


def test_around_each_other(wide: Arrays) -> None:
    """A mirrored picture is told its own small picture, in either order."""
    outer = Flipped(Derived(wide, BlockMean(2)), harmless=("label",))
    inner = Derived(Flipped(wide, harmless=("label",)), BlockMean(2))
    rows = [0, len(wide), len(wide) + 5]
    (x, cond), (y, told) = outer[rows], inner[rows]
    assert torch.equal(x, y) and torch.equal(x[0], x[1].flip(-1)) and not torch.equal(x[0], x[1])
    torch.testing.assert_close(cond["low"], told["low"], rtol=0, atol=1e-6)  # sums in another order
    torch.testing.assert_close(told["low"], BlockMean(2).forward(x), rtol=0, atol=1e-6)
    third = Derived(Measured(wide, BlockMean(2)), BlockMean(2))  # the middle stage of three
    x, cond = third[:4]
    torch.testing.assert_close(cond["low"], BlockMean(4).forward(wide[:4][0]), rtol=0, atol=1e-6)


def test_refusals(wide: Arrays) -> None:
    with pytest.raises(Refusal, match="takes an operator"):
        Derived(wide, torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="are symbols"):
        Measured(Shaded(Digits()), BlockMean(2))
    with pytest.raises(Refusal, match="is told of these samples already"):
        Derived(wide, BlockMean(2), "label")[0]
    with pytest.raises(Refusal, match="a family is a name"):
        Derived(wide, BlockMean(2), "low.level")
    with pytest.raises(Refusal, match="do not divide"):
        Measured(wide, BlockMean(5))[0]
