"""Randomness: numpy's own Philox, keys that do not know their neighbours, draws that are what they claim."""

from __future__ import annotations

import pickle
from hashlib import blake2b

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mezzotint.core import Rng, cat


def philox(key: int, name: str) -> np.random.Generator:
    word = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.Philox(key=np.array([key % 2**64, word], dtype=np.uint64)))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (63,), (64,), (65,), (8, 9), (300,)])
def test_draws_are_numpy_s_philox(shape: tuple[int, ...]) -> None:
    """On both sides of the size where all rows are computed at once."""
    rng = Rng([0, 1, 2**63, 2**64 - 1, -5])
    uniform, normal = rng.uniform("u", shape), rng.normal("n", shape)
    assert uniform.dtype == torch.float64 and normal.dtype == torch.float32
    for row, key in enumerate(rng.keys.tolist()):
        np.testing.assert_array_equal(uniform[row].numpy(), philox(key, "u").random(shape))
        np.testing.assert_array_equal(normal[row].numpy(), philox(key, "n").standard_normal(shape, dtype=np.float32))


@settings(max_examples=25)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_a_row_is_its_key_s_alone(rows: list[int]) -> None:
    crowd, some = Rng(range(31)), Rng(rows)
    logits = torch.linspace(-1, 1, 5).expand(31, 5)
    for path in ((), ("noise", 3), ("a", "b")):
        here, there = crowd.at(*path), some.at(*path)
        assert torch.equal(here[rows].keys, there.keys)
        assert torch.equal(here.normal("x", (2,))[rows], there.normal("x", (2,)))
        assert torch.equal(here.uniform("x", ())[rows], there.uniform("x", ()))
        assert torch.equal(here.categorical("x", logits)[rows], there.categorical("x", logits[: len(rows)]))


def test_paths_and_names_lead_to_different_keys() -> None:
    rng = Rng(range(50))
    walked = [rng, rng.at("a"), rng.at("b"), rng.at("a", "b"), rng.at("b", "a"), rng.at(0), rng.at(1), rng.at("0")]
    walked += [rng.at(0, 1), rng.at(1, 0), rng.at(-1), rng.at("a", 0), rng.split(1), Rng(range(50, 100))]
    keys = torch.cat([w.keys for w in walked])
    assert len(keys.unique()) == len(keys)
    assert torch.equal(rng.at("a").at("b").keys, rng.at("a", "b").keys)
    steps = torch.arange(50)
    by_row = rng.at(steps)
    assert all(torch.equal(by_row[k].keys, rng[k].at(k).keys) for k in range(50))
    assert not torch.equal(rng.uniform("a", ()), rng.uniform("b", ()))
    assert torch.equal(rng.uniform("a", ()), rng.uniform("a", ()))
    with pytest.raises(ValueError, match="keys"):
        rng.at(torch.arange(3))


def test_split_follows_repeat() -> None:
    rng = Rng(range(3))
    four = rng.split(4)
    assert torch.equal(four.keys, torch.cat([rng[k].split(4).keys for k in range(3)]))
    assert len(four.keys.unique()) == 12
    assert torch.equal(rng.repeat(2).keys.reshape(3, 2)[:, 1], rng.keys)
    assert torch.equal(cat([rng[2], rng[:2]]).keys, rng[[2, 0, 1]].keys)
    assert torch.equal(pickle.loads(pickle.dumps(rng)).keys, rng.keys)
    with pytest.raises(AttributeError):
        rng.keys = four.keys


def test_neighbouring_seeds_and_names_are_independent() -> None:
    """Draws over keys are uniform and normal; seeds and names do not correlate (20,000 rows, four standard errors)."""
    rng = Rng(range(20_000))
    u = rng.uniform("u", (2,)).numpy()
    assert stats.kstest(u[:, 0], "uniform").pvalue > 1e-3
    assert stats.kstest(rng.normal("n", (1,))[:4000, 0].numpy(), "norm").pvalue > 1e-3
    v = rng.uniform("v", ()).numpy()
    w = rng.at("step", 1).uniform("u", ()).numpy()
    pairs = [(u[:-1, 0], u[1:, 0]), (u[:, 0], u[:, 1]), (u[:, 0], v), (u[:, 0], w)]
    assert max(abs(np.corrcoef(a, b)[0, 1]) for a, b in pairs) < 4 / 20_000**0.5


def test_categorical_has_its_probabilities_and_never_draws_a_hard_zero() -> None:
    probs = torch.tensor([0.0, 0.15, 0.0, 0.5, 0.05, 0.3, 0.0], dtype=torch.float64)
    drawn = Rng(range(20_000)).categorical("s", probs.log().expand(20_000, 7))
    counts = torch.bincount(drawn, minlength=7)
    assert counts[probs == 0].sum() == 0
    alive = probs > 0
    assert stats.chisquare(counts[alive].numpy(), 20_000 * probs[alive].double().numpy()).pvalue > 1e-3


class Extreme(Rng):
    """Keys whose uniforms are the two ends of what a uniform can be."""

    def uniform(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        ends = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
        return ends.reshape(-1, *(1 for _ in shape)).expand(2, *shape)


@pytest.mark.parametrize("size", [3, 7, 1000])
def test_the_ends_of_the_uniform_do_not_reach_a_hard_zero(size: int) -> None:
    logits = torch.zeros(2, size + 2)
    logits[:, 0] = logits[:, -1] = -np.inf
    assert Extreme(range(2)).categorical("s", logits).tolist() == [1, size]


@given(st.lists(st.sampled_from([-np.inf, -800.0, -1e-3, 0.0, 30.0]), min_size=1, max_size=6), st.integers(0, 9))
def test_categorical_is_possible_whatever_the_logits(logits: list[float], seed: int) -> None:
    if max(logits) == -np.inf:
        return
    row = torch.tensor(logits)
    drawn = Rng(range(seed, seed + 5)).categorical("s", row.expand(5, 3, -1))
    assert drawn.shape == (5, 3) and bool((row[drawn] > -np.inf).all())
