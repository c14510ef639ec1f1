"""Laws against torch.distributions, and the algebra guidance and inpainting stand on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mezzotint.core import Categorical, Dirac, Gaussian, Rng, cat

SHAPE = (5, 2, 3)


def gaussian(seed: int) -> Gaussian:
    torch.manual_seed(seed)
    return Gaussian(torch.randn(SHAPE).double(), torch.rand(SHAPE).double() + 0.1)


def symbols(seed: int) -> Categorical:
    torch.manual_seed(seed)
    return Categorical(2 * torch.randn(*SHAPE, 7).double())


def test_gaussian_is_torch_s() -> None:
    p, q, x = gaussian(0), gaussian(1), torch.randn(SHAPE).double()
    theirs, other = (torch.distributions.Normal(g.mean, g.variance.sqrt()) for g in (p, q))
    torch.testing.assert_close(p.log_prob(x), theirs.log_prob(x).sum((1, 2)))
    torch.testing.assert_close(p.kl(q), torch.distributions.kl_divergence(theirs, other).sum((1, 2)))


def test_categorical_is_torch_s() -> None:
    p, q = symbols(0), symbols(1)
    theirs, other = (torch.distributions.Categorical(logits=c.logits) for c in (p, q))
    x = theirs.sample()
    torch.testing.assert_close(p.log_prob(x), theirs.log_prob(x).sum((1, 2)))
    torch.testing.assert_close(p.kl(q), torch.distributions.kl_divergence(theirs, other).sum((1, 2)))
    torch.testing.assert_close(p.mean, theirs.probs)
    hard = Categorical(torch.tensor([[[0.0, -math.inf, 1.0]]]))
    soft = Categorical(torch.zeros(1, 1, 3))
    assert 0 < float(hard.kl(soft)) < math.log(3) and float(soft.kl(hard)) == math.inf and float(hard.kl(hard)) == 0


def test_point_masses_in_a_gaussian() -> None:
    p = Gaussian(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]]))
    assert torch.equal(p.sample(Rng([3]))[:, 0], torch.tensor([1.0]))
    assert float(p.kl(p)) == 0 and float(p.kl(Gaussian(p.mean + 1, p.variance))) == math.inf
    assert float(p.log_prob(torch.tensor([[1.5, 2.0]]))) == -math.inf


def test_sample_has_its_moments_and_shares_noise_under_one_key() -> None:
    p = Gaussian(torch.full((400, 50), 3.0), torch.full((400, 1), 4.0))
    drawn = p.sample(Rng(range(400)))
    assert abs(float(drawn.mean()) - 3) < 5 * 2 / 20_000**0.5 and abs(float(drawn.std()) / 2 - 1) < 5 / 40_000**0.5
    wider = Gaussian(p.mean - 1, 4 * p.variance).sample(Rng(range(400)))
    torch.testing.assert_close((wider - 2) / 4, (drawn - 3) / 2, rtol=1e-5, atol=1e-5)


@given(st.floats(-2, 4))
def test_lerp_of_points_and_normals(weight: float) -> None:
    p, q = gaussian(0), gaussian(1).with_aux(seen=torch.arange(5))
    bent, point = p.lerp(q, weight), Dirac(p.mean).lerp(Dirac(q.mean), weight)
    torch.testing.assert_close(bent.mean, p.mean + weight * (q.mean - p.mean), rtol=1e-12, atol=1e-12)
    assert torch.equal(bent.mean, point.mean)
    assert torch.equal(bent.variance, q.variance) and torch.equal(bent.aux["seen"], torch.arange(5))


def test_lerp_is_exact_at_its_ends_and_row_by_row() -> None:
    p, q = gaussian(0), gaussian(1)
    weight = torch.tensor([0.0, 1.0, 0.25, 3.0, -1.0], dtype=torch.float64)
    bent = p.lerp(q, weight).mean
    assert torch.equal(bent[0], p.mean[0]) and torch.equal(bent[1], q.mean[1])
    for row in range(5):
        torch.testing.assert_close(bent[row : row + 1], p[row].lerp(q[row], float(weight[row])).mean)
    with pytest.raises(TypeError):
        p.lerp(Dirac(q.mean), 0.5)
    with pytest.raises(TypeError):
        Dirac(q.mean).lerp(symbols(0), 0.5)


LOGITS = st.lists(st.one_of(st.just(-math.inf), st.floats(-4, 4)), min_size=4, max_size=4)


@given(LOGITS, LOGITS, st.floats(-2, 4))
def test_lerp_of_symbols(a: list[float], b: list[float], weight: float) -> None:
    """Stays a law; a hard zero is of either in between, of the nearer end beyond; otherwise a geometric mean."""
    one, two = torch.tensor(a).double(), torch.tensor(b).double()
    shared = (one > -math.inf) & (two > -math.inf)
    if not bool(shared.any()):
        return
    bent = Categorical(one[None, None]).lerp(Categorical(two[None, None]), weight).mean[0, 0]
    assert bool(torch.isfinite(bent).all()) and abs(float(bent.sum()) - 1) < 1e-12
    if 0 < weight < 1:
        alive = shared
    else:
        alive = (two if weight >= 1 else one) > -math.inf
    assert torch.equal(bent > 0, alive)
    ratio = (bent[shared].log() - bent[shared].log()[0]) - (
        (1 - weight) * (one[shared] - one[shared][0]) + weight * (two[shared] - two[shared][0])
    )
    assert float(ratio.abs().max()) < 1e-9


def test_beyond_an_end_what_only_the_far_one_forbids_keeps_its_own_probability() -> None:
    """By hand at weight 3: 0.25^3 / 0.5^2 twice and 0.5 itself, which is 1 : 1 : 8; mirrored below 0."""
    far, near = (
        Categorical(torch.tensor([[p]], dtype=torch.float64).log()) for p in ([0.5, 0.5, 0], [0.25, 0.25, 0.5])
    )
    expected = torch.tensor([[[0.1, 0.1, 0.8]]], dtype=torch.float64)
    torch.testing.assert_close(far.lerp(near, 3.0).mean, expected)
    torch.testing.assert_close(near.lerp(far, -2.0).mean, expected)


def test_given_is_known() -> None:
    mask = torch.tensor([True, False, True]).expand(5, 2, 3)
    x, rng = torch.randn(SHAPE).double(), Rng(range(5))
    for law in (gaussian(0), Dirac(gaussian(0).mean)):
        drawn, free = law.given(x, mask).sample(rng), law.sample(rng)
        assert torch.equal(drawn[mask], x[mask]) and torch.equal(drawn[~mask], free[~mask])
    known = torch.randint(7, SHAPE)
    drawn = symbols(0).given(known, mask).sample(rng)
    assert torch.equal(drawn[mask], known[mask]) and torch.equal(drawn[~mask], symbols(0).sample(rng)[~mask])


def test_laws_are_batched_values() -> None:
    for law in (gaussian(0), symbols(0), Dirac(gaussian(0).mean)):
        law = law.with_aux(tag=torch.arange(5))
        again = cat([law[3], law[[0, 1]]])
        assert len(again) == 3 and again.aux["tag"].tolist() == [3, 0, 1]
        assert torch.equal(again.mean, law.mean[[3, 0, 1]])
        assert torch.equal(law.repeat(2).mean.reshape(5, 2, *law.mean.shape[1:])[:, 1], law.mean)
    one = Gaussian(torch.zeros(4, 2), torch.ones(1, 1))
    assert len(one[2:].variance) == 2
