"""Clean estimates in the range of the data."""

import pytest
import torch

import mezzotint as mz
from mezzotint.core.distribution import Gaussian
from mezzotint.denoiser import Mixture
from mezzotint.guidance import CFG, Clipped


def law(mean=0.9):
    """Two classes of pixels near the ends of the range; guided estimates leave it."""
    return Mixture(mz.processes.EDM(), [(-mean,), (mean,)], [((0.01,),)] * 2, labels=(0, 1))


def drawn(denoiser, count=200):
    cond = mz.Condition(label=torch.ones(count, dtype=torch.int64))
    keys = mz.Rng([0]).repeat(count).at(torch.arange(count))
    return mz.samplers.Heun(20)(denoiser, cond, rng=keys)


def test_guided_samples_stay_where_data_are_and_others_are_as_they_were():
    guided = CFG(law(), 3.0)
    assert drawn(guided).max() > 1.05
    kept = drawn(Clipped(guided))
    assert kept.max() <= 1.0 and kept.min() >= -1.0
    wide = Clipped(guided, -9.0, 9.0)
    assert torch.equal(drawn(wide), drawn(guided))
    own = drawn(law(0.5))
    assert torch.equal(drawn(Clipped(law(0.5), -2.0, 2.0)), own)


def test_the_spread_of_an_answer_and_what_was_asked_beside_it_stay():
    class Wide(mz.denoiser.Denoiser):
        def __init__(self):
            super().__init__()
            self.process, self.shape = mz.processes.EDM(), (2,)

        def forward(self, x, t, cond=mz.NONE, want=()):
            return Gaussian(x, torch.full_like(x, 0.3), {"seen": x + 1})

    x = torch.tensor([[-3.0, 0.5]])
    answer = Clipped(Wide(), -1.0, 0.25)(x, torch.tensor([0.5], dtype=torch.float64), want=("seen",))
    assert answer.mean.tolist() == [[-1.0, 0.25]]
    assert torch.equal(answer.variance, torch.full_like(x, 0.3)) and torch.equal(answer.aux["seen"], x + 1)


def test_it_says_what_it_cannot_clip():
    with pytest.raises(mz.Refusal, match="begins below its end"):
        Clipped(law(), 1.0, 1.0)
    symbols = mz.denoiser.Enumerated(mz.processes.Absorbing(3), torch.ones(3, 3).double() / 9)
    with pytest.raises(mz.Refusal, match="not a Categorical"):
        Clipped(symbols)(torch.zeros(1, 1, dtype=torch.int64), torch.tensor([0.5], dtype=torch.float64))
