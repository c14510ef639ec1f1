"""Stages of learnt chains: which rows, which symbols, which neighbours a stage reads."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.batched import cat
from mezzotint.denoiser import Chain, Denoiser, EnumeratedChain, Raster
from mezzotint.guidance import Known, Tempered
from mezzotint.networks import Causal, EncoderDecoder
from mezzotint.objectives import ChainBound
from mezzotint.processes import Knots, Multinomial
from mezzotint.samplers import Chain as Walk
from mezzotint.samplers import State
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


def test_what_is_known_is_shown_clean_however_it_was_renoised() -> None:
    """Repeats redraw known symbols as well, and the model must not see that."""
    chain, x, known = network_chain(), EVERY[::9], EVERY[4::9]
    mask = torch.tensor([[False, False], [True, False]]).expand(9, 2, 2)
    t = torch.full((9,), 2 / 3, dtype=torch.float64)
    with torch.no_grad():
        law = Known(chain)(x, t, Condition(**{"known.x": known, "known.mask": mask}))
        due = chain(torch.where(mask, known, x), t).given(known, mask)
        blind = chain(x, t).given(known, mask)
        fine = torch.where(mask, known, EVERY[7::9])
        torch.testing.assert_close(law.log_prob(fine), due.log_prob(fine))
        assert (law.log_prob(fine) - blind.log_prob(fine)).abs().max() > 1e-3


def test_entries_that_stand_at_a_time_of_their_own_stay() -> None:
    """At no time of the chain, t = s = 0.4: they are shown as they are, and the others are drawn given them."""
    chain, x, rng = network_chain(), EVERY[::9], Rng(range(9))
    stands = torch.tensor([[True, False], [False, True]]).expand(9, 2, 2)
    t, s = (torch.full((9, 2, 2), each / 3, dtype=torch.float64).masked_fill(stands, 0.4) for each in (2, 1))
    with torch.no_grad():
        after = Walk(repeats=2).step(chain, State(x, t, rng), s, NONE).x
        zero = [times.masked_fill(stands, 0.0) for times in (t, s)]
        due = Walk(repeats=2).step(chain, State(x, zero[0], rng), zero[1], NONE).x
    assert torch.equal(after[stands], x[stands]) and torch.equal(after, due) and not torch.equal(after, x)


def test_rows_in_several_stages_repeat_their_own() -> None:
    chain = EnumeratedChain(Multinomial(3), TABLE, (2, 2), equal_times(3))
    x, rng, walk = EVERY[::9], Rng(range(9)), Walk(repeats=(1, 3, 2))
    t = torch.tensor([1.0, 2 / 3, 1 / 3] * 3, dtype=torch.float64)
    together = walk.step(chain, State(x, t, rng), t - 1 / 3, NONE).x
    for k in range(9):
        alone = walk.step(chain, State(x[k : k + 1], t[k : k + 1], rng[[k]]), t[k : k + 1] - 1 / 3, NONE).x
        assert torch.equal(together[k], alone[0])


def moved(chain: EnumeratedChain, start: Tensor, t: float, s: float, often: int) -> Tensor:
    """The law after a stage that is drawn so often, from one x_t, by products of matrices over all 81 maps."""

    def kernel(x: Tensor) -> Tensor:
        wide = x.repeat_interleave(81, 0)
        law = chain(wide, torch.full((len(wide),), t, dtype=torch.float64))
        return law.log_prob(EVERY.repeat(len(x), 1, 1)).exp().reshape(len(x), 81)

    beta, same = 1 - (1 - t) / (1 - s), (EVERY[:, None] == EVERY).double()
    p = kernel(start)
    for r in range(1, often):
        lost = (1 - r / often) * beta
        p = p @ ((1 - lost) * same + lost / 3).flatten(2).prod(2) @ kernel(EVERY)
    return p[0]


@pytest.mark.parametrize("often", [2, 3])
def test_a_repeated_stage_has_the_law_of_its_transition_matrices(often: int) -> None:
    """Chi-square of 20,000 runs; to tell more or less of redrawing apart it stands far from that of other numbers."""
    chain, start, count = EnumeratedChain(Multinomial(3), TABLE, (2, 2), equal_times(3)), EVERY[[80]], 20_000
    t, s = (torch.full((count,), k / 3, dtype=torch.float64) for k in (2, 1))
    with torch.no_grad():
        state = State(start.expand(count, -1, -1), t, Rng(range(count)))
        x = Walk(repeats=(1, often, 1)).step(chain, state, s, NONE).x
        laws = {n: moved(chain, start, 2 / 3, 1 / 3, n) for n in (1, often, often + 1)}
    seen = torch.bincount(chain.table.number(x), minlength=81).double()
    away = {n: float(((seen - count * p) ** 2 / (count * p)).sum()) for n, p in laws.items()}
    assert away.pop(often) < 124.8  # 80 degrees of freedom, 1 in 1,000
    assert min(away.values()) > 160


def test_conditions_are_dropped_while_training() -> None:
    torch.manual_seed(0)
    chain = Chain((Causal(3, (2, 2), 16, 1, 2, vector=8),), Multinomial(3), Encoder(label=Classes(3, 8)))
    nudge(chain, 0.5)
    x, cond, rng = EVERY[:60], Condition(label=torch.arange(60) % 3), Rng(range(60))
    told, half = (ChainBound(dropout=share)(chain, x, cond, rng).value for share in (0.0, 0.5))
    none = ChainBound()(chain, x, cond.drop("label"), rng).value
    dropped = (half - none).abs() < 1e-6
    assert bool(((half - told).abs() < 1e-6)[~dropped].all()) and 15 < int(dropped.sum()) < 45


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
