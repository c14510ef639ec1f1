"""Importance sampling of times: no bias, the published rule, a memory that survives and does not know of batches."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections import deque

import numpy as np
import pytest
import torch
from scipy import stats

from mezzotint.core import NONE, Refusal, Rng
from mezzotint.denoiser import Preconditioned
from mezzotint.networks import MLP
from mezzotint.objectives import Denoising, Importance
from mezzotint.processes import VP


def taught(bins: int = 8, turns: int = 40, window: int = 10) -> Importance:
    """After some losses that grow with the square of the bin."""
    levels = Importance(bins, window)
    for turn in range(turns):
        rng = Rng(range(64)).at(turn)
        t, _ = levels(VP(), (1,), rng)
        levels.update(t, (1 + 10 * t) ** 2 * (0.5 + rng.uniform("loss", ())))
    return levels


def test_the_weighted_loss_has_no_bias() -> None:
    """Enumerated: the probability of a bin times its weight is that of the uniform, whatever was learnt."""
    levels = taught()
    shares = levels.shares()
    t, weight = levels(VP(), (1,), Rng(range(40_000)))
    place = (8 * t).ceil().long() - 1
    found = torch.bincount(place, minlength=8)
    assert stats.chisquare(found.numpy(), 40_000 * shares.numpy()).pvalue > 1e-3
    assert float(shares.max() / shares.min()) > 20
    torch.testing.assert_close(weight * shares[place], torch.full_like(weight, 1 / 8))
    f = torch.linspace(3, -1, 8, dtype=torch.float64) ** 3
    torch.testing.assert_close((shares * f / (8 * shares)).sum(), f.mean())
    for bin in (0, 5):  # within a bin, times are uniform
        inside = 8 * t[place == bin] - bin
        assert stats.kstest(inside.numpy(), stats.uniform.cdf).pvalue > 1e-3


def test_it_has_less_variance_than_the_uniform() -> None:
    levels = taught()
    t, weight = levels(VP(), (1,), Rng(range(20_000)))
    u = torch.rand(20_000, dtype=torch.float64)
    wise, plain = weight * (1 + 10 * t) ** 4, (1 + 10 * u) ** 4
    assert abs(float(wise.mean() - plain.mean())) < 4 * float(plain.std()) / 20_000**0.5
    assert float(wise.std()) < 0.6 * float(plain.std())


def test_it_is_the_published_rule() -> None:
    """Nichol and Dhariwal, eq. 18, with lists: the last ten losses a step, once every step has ten of them."""
    steps, rng = 5, np.random.default_rng(0)
    levels, lists = Importance(steps), [deque(maxlen=10) for _ in range(steps)]  # type: ignore[var-annotated]
    for _ in range(60):
        k = rng.integers(1, steps + 1, 7) if rng.uniform() < 0.7 else np.full(23, rng.integers(1, steps + 1))
        value = rng.exponential(1.0, len(k)) * k
        levels.update(torch.from_numpy(k / steps), torch.from_numpy(value))
        for one, number in zip(k, value, strict=True):
            lists[one - 1].append(number)
        due = np.full(steps, 1 / steps)
        if all(len(each) == 10 for each in lists):
            size = np.array([np.sqrt(np.mean(np.square(each))) for each in lists])
            due = 0.999 * size / size.sum() + 0.001 / steps
        np.testing.assert_allclose(levels.shares().numpy(), due, rtol=1e-12)
    assert all(len(each) == 10 for each in lists)


def test_times_on_the_edge_of_a_bin_belong_to_the_bin_below() -> None:
    """k / n computed and multiplied by n again may come out above k, for two in three of these n."""
    for n in range(1, 300):
        levels = Importance(n, window=1)
        levels.update(torch.arange(1, n + 1, dtype=torch.float64) / n, torch.arange(1, n + 1, dtype=torch.float64))
        assert torch.equal(levels.history[:, 0], torch.arange(1, n + 1, dtype=torch.float64))


def test_uniform_until_every_bin_was_seen_ten_times() -> None:
    levels = Importance(3)
    t = torch.tensor([0.2, 0.5], dtype=torch.float64).repeat(500)
    levels.update(t, torch.ones(1000))
    assert torch.equal(levels.shares(), torch.full((3,), 1 / 3, dtype=torch.float64))
    levels.update(torch.full((9,), 0.9, dtype=torch.float64), torch.full((9,), 5.0))
    assert torch.equal(levels.shares(), torch.full((3,), 1 / 3, dtype=torch.float64))
    levels.update(torch.full((1,), 0.9, dtype=torch.float64), torch.full((1,), 5.0))
    torch.testing.assert_close(levels.shares(), 0.999 * torch.tensor([1, 1, 5]).double() / 7 + 0.001 / 3)
    levels.history.zero_()
    assert torch.equal(levels.shares(), torch.full((3,), 1 / 3, dtype=torch.float64))  # nothing to go by


def test_the_state_is_the_memory() -> None:
    levels = taught(turns=7)
    again = Importance(8)
    again.load_state_dict(levels.state_dict())
    for turn in range(12):  # over the moment when the last bin has its ten
        one, two = (each(VP(), (1,), Rng(range(16)).at(turn)) for each in (levels, again))
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
        for each in (levels, again):
            each.update(one[0], one[0] ** 2)
    assert torch.equal(levels.history, again.history) and torch.equal(levels.seen, again.seen)


def test_rows_and_pieces_do_not_matter() -> None:
    levels = taught()
    t, weight = levels(VP(), (1,), Rng(range(50)))
    few = levels(VP(), (1,), Rng([31, 7]))
    assert torch.equal(few[0], t[[31, 7]]) and torch.equal(few[1], weight[[31, 7]])
    whole, pieces = taught(), taught()
    whole.update(t, t)
    for part in (slice(0, 13), slice(13, 40), slice(40, 50)):
        pieces.update(t[part], t[part])
    assert torch.equal(whole.history, pieces.history) and torch.equal(whole.seen, pieces.seen)


@pytest.mark.long
def test_processes_share_one_memory(tmp_path: object) -> None:
    """Two processes with every other row each end with the memory of one that had the whole batch."""
    code = f"""
        import sys, torch, torch.distributed as dist
        from mezzotint.objectives import Importance
        rank = int(sys.argv[1])
        dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
        levels = Importance(4, window=3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            t, value = torch.rand(2, 12, generator=generator, dtype=torch.float64)
            levels.update(t[rank::2], value[rank::2])
        torch.save((levels.history, levels.seen), f"{tmp_path}/{{rank}}.pt")
    """
    runs = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(rank)], env=dict(os.environ))
        for rank in (0, 1)
    ]
    assert [run.wait(120) for run in runs] == [0, 0]
    alone, generator = Importance(4, window=3), torch.Generator().manual_seed(0)
    for _ in range(5):
        t, value = torch.rand(2, 12, generator=generator, dtype=torch.float64)
        alone.update(t, value)
    for rank in (0, 1):
        history, seen = torch.load(f"{tmp_path}/{rank}.pt")
        assert torch.equal(history, alone.history) and torch.equal(seen, alone.seen)


def test_a_denoising_loss_teaches_it_before_it_is_weighed() -> None:
    model = Preconditioned(MLP((3,), width=16, depth=1, vector=None), VP())
    levels = taught(4, window=5)
    objective = Denoising(levels, "noise")
    loss = objective(model, Rng(range(40)).normal("x", (3,)), NONE, Rng(range(40)))
    shot = loss.shot
    assert shot is not None and shot.weight is not None
    objective.update(model, loss)
    place = (4 * shot.t).ceil().long() - 1
    for k in range(4):
        mine = (loss.value.detach().double() / shot.weight)[place == k][-5:]
        torch.testing.assert_close(levels.history[k, 5 - len(mine) :], mine, rtol=1e-6, atol=0)


def test_refusals() -> None:
    for wrong in ({"bins": 0}, {"window": 0}, {"uniform": 0.0}, {"uniform": 1.5}):
        with pytest.raises(Refusal, match="Importance needs"):
            Importance(**wrong)  # type: ignore[arg-type]
