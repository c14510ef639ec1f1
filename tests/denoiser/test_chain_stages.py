"""Stages of learnt chains: which rows, which symbols, which neighbours a stage reads."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.batched import cat
from mezzotint.denoiser import Chain, Denoiser, EnumeratedChain, Raster
from mezzotint.guidance import Known, Tempered
from mezzotint.networks import Causal, EncoderDecoder
from mezzotint.objectives import ChainBound
from mezzotint.processes import Knots, Multinomial
from mezzotint.samplers import Chain as Walk
from mezzotint.testing.truth import nudge

EVERY = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(81, 2, 2)
TABLE = torch.sin(torch.arange(81, dtype=torch.float64) ** 2)


def equal_times(stages: int) -> list[float]:
    return [(stages - k) / stages for k in range(stages)]


def network_chain(shared: bool = False, residual: bool = True) -> Chain:
    """An untrained chain of three stages, of three symbols on two by two entries, its weights nudged away from zero."""
    torch.manual_seed(0)
    networks: list[torch.nn.Module] = [] if shared else [Causal(3, (2, 2), 16, 1, 2)]
    networks += [
        EncoderDecoder(3, (2, 2), 16, (1, 1), 2, level=shared, residual=residual) for _ in range(1 if shared else 2)
    ]
    made = Chain(networks, Multinomial(3), None, equal_times(3))
    nudge(made, 0.5)
    return made.double().eval()


def test_residual_between_two_times_is_what_was_lost_on_the_way() -> None:
    """Not at a time but between two: from 0.3 alive to 0.9, on a bent schedule; without it nothing is added."""
    torch.manual_seed(0)
    process, networks = Multinomial(3, Knots((1.0, 0.9, 0.3, 0.0))), [Causal(3, (2, 2), 16, 1, 2)]
    for residual in (True, False):
        finer = [EncoderDecoder(3, (2, 2), 16, (1, 1), 2, residual=residual) for _ in range(2)]
        chain = Chain((*networks, *finer), process).double().eval()
        for t, s in ((2 / 3, 1 / 3), (1 / 3, 0.0)):
            times = torch.tensor([t]).double(), torch.tensor([s]).double()
            said = chain(EVERY[[17]], times[0]).conditionals(EVERY[[60]]).logits.softmax(-1)
            due = process.renoise(EVERY[[17]], times[1], times[0]).mean if residual else torch.full_like(said, 1 / 3)
            torch.testing.assert_close(said, due, rtol=0, atol=1e-7)


def test_one_network_for_all_stages_tells_them_apart() -> None:
    chain = network_chain(shared=True, residual=False)
    with torch.no_grad():
        one, two, three = (chain(EVERY[[7]], torch.tensor([k / 3]).double()).log_prob(EVERY[[9]]) for k in (1, 2, 3))
    assert (one - two).abs() > 1e-3 and (two - three).abs() > 1e-3


@pytest.mark.parametrize("exact", [True, False])
def test_entries_that_stand_at_0_are_known(exact: bool) -> None:
    table = torch.sin(torch.arange(81, dtype=torch.float64) ** 2)
    chain: Denoiser = EnumeratedChain(Multinomial(3), table, (2, 2), equal_times(3)) if exact else network_chain()
    t = torch.tensor([[0, 2 / 3], [2 / 3, 0]]).double().expand(5, 2, 2)
    x = EVERY[[11, 35, 4, 68, 80]]
    with torch.no_grad():
        drawn = chain(x, t).sample(Rng(range(5)))
        due = chain(x, torch.full((5,), 2 / 3).double()).given(x, t == 0).sample(Rng(range(5)))
    assert torch.equal(drawn[t == 0], x[t == 0]) and torch.equal(drawn, due)


def test_each_network_is_asked_about_its_own_rows() -> None:
    """A batch in three stages costs what its rows cost, and says the same."""
    chain, asked = network_chain(), list[int]()
    x, t = EVERY[::9], torch.tensor([1.0, 2 / 3, 1 / 3, 1.0, 1.0, 2 / 3, 1.0, 1.0, 1.0]).double()
    for network in chain.networks:
        network.register_forward_pre_hook(lambda _, given: asked.append(len(given[0])))
    law = chain(x, t)
    law.conditionals(EVERY[:9])
    assert sorted(asked) == [1, 2, 6]
    law[[0, 3]].log_prob(EVERY[:2]).sum().backward()  # the others have none at all
    assert sorted(asked) == [1, 2, 2, 6]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_what_is_trained_is_a_pair_of_one_forward_run(stage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """x_t is x_s corrupted further, not x_0 corrupted anew, and x_s is what stands before a symbol: by counts."""
    asked, plain = list[Tensor](), Raster.conditionals
    monkeypatch.setattr(Raster, "conditionals", lambda law, x: (asked.append(x), plain(law, x))[1])
    times, shares, many = equal_times(3), (1.0, 0.8, 0.6, 0.0), 5000
    chain = EnumeratedChain(Multinomial(3, Knots(shares)), TABLE, (2, 2), times)
    x = EVERY[torch.arange(many) % 81]
    shot = ChainBound(stage=stage)(chain, x, NONE, Rng(range(many))).shot
    assert shot is not None and torch.equal(shot.t, torch.full((many,), times[stage], dtype=torch.float64))
    (x_s,), x_t = asked, shot.x_t
    alive_s, alive_t = shares[2 - stage], shares[3 - stage]
    for one, other, kept in ((x_s, x, alive_s), (x_t, x_s, alive_t / alive_s), (x_t, x, alive_t)):
        found, due = float((one == other).double().mean()), kept + (1 - kept) / 3
        assert found == pytest.approx(due, abs=4 * (due * (1 - due) / (4 * many)) ** 0.5)


def test_rows_know_entries_of_their_own() -> None:
    chain, rng = network_chain(), Rng(range(40))
    x, mask = EVERY[:40], Rng(range(40)).uniform("mask", (2, 2)) < 0.5
    with torch.no_grad():
        drawn = Walk(repeats=2)(Known(chain), Condition(**{"known.x": x, "known.mask": mask}), rng=rng)
        alone = Walk(repeats=2)(Known(chain), Condition(**{"known.x": x[3:4], "known.mask": mask[3:4]}), rng=rng[[3]])
    assert torch.equal(drawn[mask], x[mask]) and not torch.equal(drawn, x)
    assert torch.equal(drawn[3], alone[0])


def test_repeats_are_counted_by_stage_and_are_further_draws() -> None:
    """Repeats of one stage are those of a chain that has them at that stage alone."""
    chain = EnumeratedChain(Multinomial(3), TABLE, (2, 2), equal_times(3))
    rng = Rng(range(200))
    plain, *once = (
        list(Walk(repeats=often).trajectory(chain, NONE, rng=rng)) for often in (1, (3, 1, 1), (1, 3, 1), (1, 1, 3))
    )
    for stage, states in enumerate(once):
        for k, (mine, theirs) in enumerate(zip(states, plain, strict=True)):
            assert torch.equal(mine.x, theirs.x) == (k <= stage)


def test_repeats_of_the_exact_chain_keep_its_law() -> None:
    """Redrawing a share of x_s and asking again leads back to x_s of the same law where x_t lay at full noise."""
    chain = EnumeratedChain(Multinomial(3), TABLE, (2, 2), (1.0,))
    x = Walk(repeats=3)(chain, rng=Rng(range(20_000)))
    seen = torch.bincount(chain.table.number(x), minlength=81).double() / 20_000
    due = TABLE.softmax(0)
    assert float(((seen - due) ** 2 / due).sum()) * 20_000 < 124.8  # chi-square of 80 degrees of freedom, 1 in 1,000


def test_tempered_and_plain_laws_stand_in_one_batch() -> None:
    chain, t = network_chain(), torch.tensor([2 / 3]).double()
    with torch.no_grad():
        plain = [chain(EVERY[[k]], t) for k in (3, 30)] + [chain(EVERY[[5]], torch.ones(1).double())]
        heat, top = torch.tensor([0.5]).double(), torch.tensor([2])
        laws = [plain[0], plain[1].tempered(heat), plain[2].tempered(None, top)]
        due = torch.cat([law.log_prob(EVERY[[9]]) for law in laws])
        torch.testing.assert_close(cat(laws).log_prob(EVERY[[9, 9, 9]]), due)
        rng = Rng(range(3))
        alone = torch.cat([law.sample(rng[[k]]) for k, law in enumerate(laws)])
        assert torch.equal(cat(laws).sample(rng), alone)


def test_laws_that_were_asked_about_other_maps_are_not_bent() -> None:
    chain, t = network_chain(), torch.tensor([2 / 3]).double()
    with torch.no_grad(), pytest.raises(Refusal, match="asked about the same x_t"):
        chain(EVERY[[3]], t).lerp(chain(EVERY[[30]], t), 2.0)


def test_a_temperature_and_a_number_of_symbols_a_stage() -> None:
    """Functions of the level: at the last stage of three it is 1/3, at the first 1."""
    chain, x = network_chain(), EVERY[[3]]
    with torch.no_grad():
        for time in equal_times(3):
            t = torch.tensor([time]).double()
            plain = chain(x, t).conditionals(EVERY[[9]]).logits.log_softmax(-1)
            said = Tempered(chain, lambda u: 0.5 + u)(x, t).conditionals(EVERY[[9]])  # type: ignore[attr-defined]
            torch.testing.assert_close(said.logits.log_softmax(-1), (plain / (0.5 + time)).log_softmax(-1))
            left = Tempered(chain, 1.0, lambda u: 3 * u)(x, t).conditionals(EVERY[[9]])  # type: ignore[attr-defined]
            assert int((left.logits > -torch.inf).sum(-1).unique()) == round(3 * time)
