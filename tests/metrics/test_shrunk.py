"""Pictures that are made smaller before they are measured: by area, as data are, whatever the ratio."""

import numpy as np
import pytest
import torch

from mezzotint.core.errors import Refusal
from mezzotint.metrics.moments import gather
from mezzotint.metrics.pictures import resized, shrink


@pytest.mark.parametrize(("have", "side"), [((48, 48), 32), ((28, 28), 16), ((30, 20), 12), ((9, 31), 7)])
def test_a_pixel_is_the_mean_over_what_it_covers(have, side):
    """Brute force: every pixel cut into as many as make the edges meet."""
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 2, *have)).astype(np.float32))
    made = shrink(x, side)
    height, width = made.shape[-2:]
    assert max(height, width) == side
    fine = x.double().repeat_interleave(height, 2).repeat_interleave(width, 3)
    truth = fine.unflatten(3, (width, have[1])).unflatten(2, (height, have[0])).mean((3, 5))
    assert torch.allclose(made.double(), truth, atol=1e-6)
    assert torch.allclose(made.double().mean((2, 3)), x.double().mean((2, 3)), atol=1e-6)


def test_what_fits_is_left_alone_and_what_is_small_is_enlarged_between_its_pixels():
    x = torch.tensor([[[[-1.0, 1.0]]]])
    assert shrink(x, 2) is x and resized(x, (1, 2)) is x
    assert resized(x, (1, 4)).flatten().tolist() == [-1.0, -0.5, 0.5, 1.0]


def test_moments_that_are_kept_say_what_they_are_about(tmp_path):
    with pytest.raises(Refusal, match="about"):
        gather([], lambda x: x, path=tmp_path)  # type: ignore[arg-type]
