"""Independent normal entries, against the mixture of the same law and against draws of it."""

from __future__ import annotations

import pytest
import torch

from mezzotint.core import Condition, Refusal, Rng
from mezzotint.core.distribution import Gaussian
from mezzotint.denoiser import JointMixture, NormalEntries
from mezzotint.processes import EDM, VP, Continuous, Cosine, Flow
from mezzotint.samplers import Ancestral, Sampling, Uniform
from mezzotint.testing import check_denoiser
from mezzotint.testing.denoiser import TIMES


@pytest.mark.parametrize(("process", "corruption"), [(EDM(), Cosine()), (Flow(), VP()), (Cosine(), EDM())])
def test_mean_and_variance_are_those_of_the_mixture(process: Continuous, corruption: Continuous) -> None:
    """Also where nothing is told, where it is dropped, at both ends of the levels, and without a level."""
    torch.manual_seed(1)
    eye, rho = torch.eye(2, dtype=torch.float64), -0.8
    covariance = torch.cat([torch.cat([eye, rho * eye], 1), torch.cat([rho * eye, eye], 1)])
    mixture = JointMixture(process, torch.zeros(1, 4), covariance[None], (1, 2), (1, 2), corruption)
    entries = NormalEntries(process, (1, 2), rho=rho, corruption=corruption)
    x, z = torch.randn(8, 1, 2, dtype=torch.float64), torch.randn(8, 1, 2, dtype=torch.float64)
    t = torch.tensor([0.001, 0.3, 0.6, 1.0] * 2, dtype=torch.float64)
    u = torch.tensor([0.0, 0.01, 0.3, 0.5, 0.7, 0.95, 1.0, 0.2], dtype=torch.float64)
    told = Condition(**{"low": z, "low.level": u})
    for cond in (Condition(), Condition(low=z), told, told.drop("low", rows=u > 0.4)):
        due, found = mixture(x, t, cond, want=("covariance",)), entries(x, t, cond)
        torch.testing.assert_close(found.mean, due.mean, rtol=1e-9, atol=1e-11)
        variance = due.aux["covariance"].diagonal(dim1=1, dim2=2).reshape(8, 1, 2)
        assert isinstance(found, Gaussian)
        torch.testing.assert_close(found.variance, variance, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("process", [EDM(), Flow(), Cosine()], ids=lambda p: type(p).__name__)
def test_any_number_of_steps_draws_the_law(process: Continuous) -> None:
    """Mean and standard deviation of 200 000 numbers, from one step and from five."""
    law = NormalEntries(process, (1, 1000), 0.7, 0.5)
    for steps in (1, 5):
        x = Sampling(Ancestral(steps, grid=Uniform()), law)(rng=Rng(range(200)))
        assert abs(float(x.mean()) - 0.7) < 4 * 0.5 / 200_000**0.5
        assert abs(float(x.std()) / 0.5 - 1) < 4 / 400_000**0.5


def test_the_contract_also_when_told() -> None:
    n = len(TIMES)
    told = Condition(**{"low": torch.randn(n, 1, 3), "low.level": torch.linspace(0, 1, n, dtype=torch.float64)})
    check_denoiser(NormalEntries(Flow(), (1, 3), rho=0.9, corruption=Cosine()), told)
    check_denoiser(NormalEntries(VP(), (3,), 1.0, 0.0))


def test_what_is_refused() -> None:
    with pytest.raises(Refusal, match="correlation"):
        NormalEntries(Flow(), (2,), rho=1.1)
    with pytest.raises(Refusal, match="at least 0"):
        NormalEntries(Flow(), (2,), spread=-1.0)
    x, t = torch.zeros(2, 2), torch.full((2,), 0.5).double()
    with pytest.raises(Refusal, match="each 'low'"):
        NormalEntries(Flow(), (2,), rho=0.5)(x, t, Condition(low=torch.zeros(2, 3)))
    with pytest.raises(Refusal, match="corruption"):
        NormalEntries(Flow(), (2,), rho=0.5)(x, t, Condition(**{"low": x, "low.level": t}))
