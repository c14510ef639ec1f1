"""Learnt chains: exact ones against enumeration, networks against what a law and a causal order promise."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.core.distribution import Categorical
from mezzotint.denoiser import Autoregressive, Chain, Denoiser, Enumerated, EnumeratedChain, Raster
from mezzotint.guidance import CFG, Known, Tempered
from mezzotint.networks import Causal, EncoderDecoder
from mezzotint.objectives import Bound, ChainBound
from mezzotint.processes import Absorbing, Knots, Linear, Multinomial
from mezzotint.samplers import Ancestral
from mezzotint.samplers import Chain as Walk
from mezzotint.testing.truth import nudge

SITES = 6
STATES = torch.tensor(list(itertools.product(range(2), repeat=SITES)))
HALF = torch.arange(SITES) >= SITES // 2
"""The second half is known."""


def couplings(seed: int) -> Tensor:
    """log p of all texts of six binary symbols with random pair couplings and fields, unnormalised."""
    drawn = torch.Generator().manual_seed(seed)
    pairs = torch.randn(SITES, SITES, 2, 2, generator=drawn, dtype=torch.float64) * 2 / math.sqrt(SITES)
    fields = 0.3 * torch.randn(SITES, 2, generator=drawn, dtype=torch.float64)
    found = sum(fields[i, STATES[:, i]] for i in range(SITES))
    return found + sum(pairs[i, j, STATES[:, i], STATES[:, j]] for i in range(SITES) for j in range(i))  # type: ignore


def equal_times(stages: int) -> list[float]:
    return [(stages - k) / stages for k in range(stages)]


def walked(denoiser: Denoiser, cond: Condition = NONE) -> Tensor:
    """The law of a chain's samples over all 64 texts, by products of its transition matrices."""
    count = len(STATES)
    coarse, fine = STATES.repeat_interleave(count, 0), STATES.repeat(count, 1)
    p = torch.full((count,), 1 / count, dtype=torch.float64)
    assert denoiser.times is not None
    for t in denoiser.times:
        law = denoiser(coarse, t.expand(count**2), cond.repeat(count) if cond else cond)
        p = p @ law.log_prob(fine).exp().reshape(count, count)
    return p


def distance(a: Tensor, b: Tensor) -> float:
    return float(0.5 * (a - b).abs().sum())


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_exact_chain_has_the_law_of_the_table_at_any_number_of_stages(stages: int) -> None:
    table = couplings(0)
    p = walked(EnumeratedChain(Multinomial(2), table, None, equal_times(stages)))
    assert distance(p, table.softmax(0)) < 1e-12


def test_the_exact_chain_is_bayes_rule_on_any_schedule() -> None:
    process = Multinomial(3, Knots((1.0, 0.8, 0.5, 0.0)))
    texts = torch.tensor(list(itertools.product(range(3), repeat=3)))
    logits = torch.sin(torch.arange(27, dtype=torch.float64) ** 2)
    chain = EnumeratedChain(process, logits, None, (1.0, 2 / 3, 1 / 3))
    t, s = (torch.tensor(k / 3, dtype=torch.float64) for k in (2, 1))
    joint = torch.zeros(27, 27, dtype=torch.float64)  # of x_s and x_t, summed over x_0
    for x0, p in zip(texts, logits.softmax(0), strict=True):
        down = process.corrupt(x0.expand(27, -1), s.expand(27)).log_prob(texts).exp()
        joint += p * down[:, None]
    up = torch.stack(
        [process.renoise(x.expand(27, -1), s.expand(27), t.expand(27)).log_prob(texts).exp() for x in texts]
    )
    joint = joint[:, :1] * up
    due = joint / joint.sum(0)
    for place in (0, 5, 26):
        said = chain(texts[place].expand(27, -1), t.expand(27)).log_prob(texts).exp()
        torch.testing.assert_close(said, due[:, place], rtol=0, atol=1e-14)


def completed(table: Tensor, stages: int, noisy: bool = False) -> float:
    """Total variation of completions of the first half from the conditional law, the mean over second halves."""
    chain, p = EnumeratedChain(Multinomial(2), table, None, equal_times(stages)), table.softmax(0)
    total = 0.0
    for end in STATES[: 2 ** (SITES // 2), HALF]:
        known = torch.zeros(SITES, dtype=torch.int64)
        known[HALF] = end
        told = Condition(**{"known.x": known.expand(len(STATES), -1), "known.mask": HALF.expand(len(STATES), -1)})
        with_end = (STATES[:, HALF] == end).all(1)
        due = torch.where(with_end, p, 0.0)
        share = float(due.sum())
        total += share * distance(walked(Known(chain), told), due / share)
    return total


def test_completion_by_a_clamped_chain_is_nearer_to_the_truth_than_raster_order() -> None:
    for seed in (0, 1):
        table = couplings(seed)
        raster, two, four = (completed(table, stages) for stages in (1, 2, 4))
        assert raster > two > four and four < 0.75 * raster


def network_chain(stages: int = 3, labelled: bool = False, shared: bool = False, residual: bool = True) -> Chain:
    """An untrained chain of three symbols on two by two entries, its weights nudged away from zero."""
    torch.manual_seed(stages)
    vector = 8 if labelled else None
    many = 1 if shared else stages - 1
    finer = [
        EncoderDecoder(3, (2, 2), 16, (1, 1), 2, level=shared, residual=residual, vector=vector) for _ in range(many)
    ]
    first = [] if shared else [Causal(3, (2, 2), 16, 1, 2, vector=vector)]
    encoder = Encoder(label=Classes(3, 8)) if labelled else None
    made = Chain((*first, *finer), Multinomial(3), encoder, equal_times(stages))
    nudge(made, 0.5)
    if encoder is not None:
        for part in encoder.parts.values():
            part.null_trained.fill_(True)  # type: ignore[operator]
    return made.double().eval()


EVERY = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(81, 2, 2)


@pytest.mark.parametrize("kind", [{}, {"shared": True}, {"residual": False}])
def test_every_stage_is_a_law_that_depends_on_all_of_the_coarser_map(kind: dict[str, bool]) -> None:
    chain = network_chain(**kind)  # type: ignore[arg-type]
    coarse = EVERY[[7, 7, 40]].repeat_interleave(81, 0)
    coarse[81:162, 1, 1] = (coarse[81:162, 1, 1] + 1) % 3  # the last entry alone
    assert chain.times is not None
    for place, t in enumerate(chain.times):
        with torch.no_grad():
            p = chain(coarse, t.expand(len(coarse))).log_prob(EVERY.repeat(3, 1, 1)).exp().reshape(3, 81)
        torch.testing.assert_close(p.sum(1), torch.ones(3).double(), rtol=0, atol=1e-12)
        first = p.reshape(3, 3, 27).sum(2)  # of the first entry, which nothing stands before
        if place or kind.get("shared"):
            assert (first[1] - first[0]).abs().max() > 1e-4, "the first entry has seen the last of x_t"
        else:
            torch.testing.assert_close(p[0], p[2])  # at t = 1 there is nothing to see


def test_a_prefix_is_read_and_what_follows_is_not() -> None:
    chain = network_chain()
    x = EVERY[[5, 5]].clone()
    x[1, 1, 0] = (x[1, 1, 0] + 1) % 3  # the third of four
    with torch.no_grad():
        said = chain(EVERY[[11, 11]], torch.tensor([1 / 3, 1 / 3]).double()).conditionals(x).logits.flatten(1, 2)
    torch.testing.assert_close(said[0, :3], said[1, :3], rtol=0, atol=1e-12)
    assert (said[0, 3] - said[1, 3]).abs().max() > 1e-4


def test_draws_from_the_cache_are_those_of_teacher_forcing() -> None:
    chain, rng = network_chain(labelled=True), Rng(range(9))
    x_t, t = EVERY[::9], torch.tensor([1.0, 2 / 3, 1 / 3] * 3).double()
    with torch.no_grad():
        law = chain(x_t, t, Condition(label=torch.arange(9) % 3))
        drawn = law.sample(rng)
        assert torch.equal(law.conditionals(drawn).sample(rng), drawn)  # a fixed point of the same noise
        alone = chain(x_t[4:5], t[4:5], Condition(label=torch.tensor([1]))).sample(rng[[4]])
    assert torch.equal(alone[0], drawn[4])


def test_residual_with_a_silent_network_is_what_x_t_says_by_itself() -> None:
    """With nothing learnt, p(x_s^i = v) ~ q(x_t^i | x_s^i = v), which of redrawn symbols is symmetric."""
    torch.manual_seed(0)
    finer = EncoderDecoder(3, (2, 2), 16, (1, 1), 2)
    process = Multinomial(3)
    chain = Chain((Causal(3, (2, 2), 16, 1, 2), finer), process).double().eval()
    x_t = EVERY[[17]]
    t, s = torch.tensor([0.5]).double(), torch.zeros(1).double()
    said = chain(x_t, t).conditionals(EVERY[[60]]).logits.softmax(-1)
    torch.testing.assert_close(said, process.renoise(x_t, s, t).mean, rtol=0, atol=1e-7)


def test_one_stage_is_the_plain_autoregressive_model() -> None:
    torch.manual_seed(1)
    network = Causal(3, (2, 2), 16, 2, 2)
    plain, chain = Autoregressive(network, Multinomial(3)), Chain((network,), Multinomial(3))
    nudge(chain, 0.5)
    rng, x = Rng(range(8)), EVERY[::10][:8]
    assert torch.equal(Walk()(chain, rng=rng), Ancestral(1)(plain, rng=rng, times=torch.tensor([1.0, 0.0])))
    mine, theirs = (ChainBound()(model, x, NONE, rng).value for model in (chain, plain))
    torch.testing.assert_close(mine, theirs)
    exact = -chain(x, torch.ones(8).double()).log_prob(x)
    torch.testing.assert_close(mine.double(), exact, rtol=1e-6, atol=0)


def driven(chain: Denoiser, soft: float, x0: Tensor) -> float:
    """The mean of the loss over stages, x_s and x_t, all enumerated, for one clean text."""
    process, times, total = chain.process, chain.times, 0.0
    assert times is not None
    for k, t in enumerate(times):
        s = times[k + 1] if k + 1 < len(times) else torch.zeros(()).double()
        rows, n = len(STATES), len(STATES)
        p_s = process.corrupt(x0.expand(rows, -1), s.expand(rows)).log_prob(STATES).exp()
        for x_s, weight in zip(STATES, p_s, strict=True):
            if weight == 0:
                continue
            p_t = process.renoise(x_s.expand(n, -1), s.expand(n), t.expand(n)).log_prob(STATES).exp()
            here = x_s.expand(n, -1)
            said = chain(STATES, t.expand(n)).conditionals(here)  # type: ignore[attr-defined]
            due = process.bridge(STATES, x0.expand(n, -1), t.expand(n), s.expand(n))
            each = soft * due.kl(said) + (1 - soft) * (due.log_prob(here) - said.log_prob(here))
            total += float(weight * (p_t * each).sum())
    return total


def test_soft_and_hard_have_one_mean_which_bounds_the_likelihood() -> None:
    table = couplings(3)
    chain, x0 = EnumeratedChain(Multinomial(2), couplings(4), None, (1.0, 0.5)), STATES[21]
    soft, hard = (driven(chain, share, x0) for share in (1.0, 0.0))
    assert soft == pytest.approx(hard, abs=1e-10)
    truth = -float(couplings(4).log_softmax(0)[21])
    assert soft >= truth - 1e-10
    assert not torch.allclose(table, couplings(4))


def test_the_objective_draws_what_was_enumerated() -> None:
    """The mean of 20,000 draws is the enumerated mean, for the soft loss, the hard one and the half of each."""
    chain, x0 = EnumeratedChain(Multinomial(2), couplings(4), None, (1.0, 0.5)), STATES[21]
    due = driven(chain, 1.0, x0)
    many, spread = x0.expand(20_000, -1), []
    for soft in (1.0, 0.5, 0.0):
        value = ChainBound(soft)(chain, many, NONE, Rng(range(20_000))).value.double()
        error = float(value.std() / math.sqrt(len(value)))
        assert abs(float(value.mean()) - due) < 4 * error
        spread.append(error)
    assert spread[0] < spread[1] < spread[2]  # Rao-Blackwell
    terms = [ChainBound(stage=k)(chain, many, NONE, Rng(range(20_000))).value.double().mean() for k in (0, 1)]
    assert float(sum(terms)) == pytest.approx(due, rel=0.03)


def test_the_bound_of_a_factorised_answer_is_that_of_its_chain() -> None:
    """Two objectives, one number: Bound on p(x_0 | x_t) entry by entry, and the chain whose law is its bridge."""
    process = Multinomial(2)
    exact = Enumerated(process, couplings(5))
    drawn = torch.Generator().manual_seed(0)
    x = STATES[torch.multinomial(couplings(5).softmax(0), 8000, True, generator=drawn)]
    value = Bound(2)(exact, x, NONE, Rng(range(8000))).value.double()
    chain = ChainBound()(EnumeratedChain(process, couplings(5), None, (1.0, 0.5)), x, NONE, Rng(range(8000))).value
    # Nothing is assumed independent in the chain, so its bound is the smaller one.
    assert float(chain.double().mean()) < float(value.mean())


def test_known_symbols_stay_and_no_mask_changes_nothing() -> None:
    chain, rng = network_chain(), Rng(range(12))
    plain = Walk()(chain, rng=rng)
    x, nothing = EVERY[::6][:12], torch.zeros(12, 2, 2, dtype=torch.bool)
    for mask in (nothing, ~nothing, torch.tensor([[True, False], [False, True]]).expand(12, 2, 2)):
        drawn = Walk()(Known(chain), Condition(**{"known.x": x, "known.mask": mask}), rng=rng)
        assert torch.equal(drawn[mask], x[mask])
        assert bool(mask.any()) or torch.equal(drawn, plain)
    often = Walk(repeats=(1, 3, 2))(Known(chain), Condition(**{"known.x": x, "known.mask": mask}), rng=rng)
    assert torch.equal(often[mask], x[mask]) and not torch.equal(often, drawn)


def test_repeats_redraw_what_the_page_says() -> None:
    """Between two draws of n a symbol is redrawn with the chance (1 - r / n) beta: of 40,000 symbols, by count."""
    process = Multinomial(4)
    walk, x = Walk(repeats=4), torch.zeros(1, 40_000, dtype=torch.int64)
    chain = EnumeratedChain(process, torch.zeros(4), None, (1.0, 0.5))
    for t, s in ((1.0, 0.5), (0.5, 0.0)):
        beta = 1 - float(process.alive(torch.tensor(t)) / process.alive(torch.tensor(s)))
        for r in (1, 2, 3):
            times = [torch.tensor([each]).double() for each in (t, s)]
            law = walk._loosened(chain, x, *times, torch.tensor([1 - r / 4]).double())
            changed = float((law.sample(Rng([r])) != 0).double().mean())
            due = (1 - r / 4) * beta * 3 / 4  # a redrawn symbol comes back as itself one time in four
            assert changed == pytest.approx(due, abs=4 * math.sqrt(due / 40_000))


def test_a_temperature_and_the_likeliest_symbols() -> None:
    chain = network_chain()
    t, x = torch.full((81,), 2 / 3).double(), EVERY[[13]].expand(81, 2, 2)
    with torch.no_grad():
        law = chain(x, t)
        each = law.conditionals(EVERY).logits.log_softmax(-1)
        cold = Tempered(chain, temperature=0.5)(x, t).conditionals(EVERY).logits.softmax(-1)  # type: ignore[attr-defined]
        torch.testing.assert_close(cold, (2 * each).softmax(-1))
        best = Tempered(chain, top_k=1)(x, t).sample(Rng(range(81)))
        assert torch.equal(best, best[:1].expand_as(best))
        greedy = chain(x[:1], t[:1]).conditionals(best[:1]).logits.argmax(-1)
        assert torch.equal(best[:1], greedy)
        same = Tempered(chain, 1.0, 3)(x, t).sample(Rng(range(81)))
        assert torch.equal(same, law.sample(Rng(range(81))))
        forced = (best[:1] + 1) % 3  # none of the likeliest: known symbols are kept all the same
        law = Known(Tempered(chain, top_k=1))(
            x, t, Condition(**{"known.x": forced.expand(81, 2, 2), "known.mask": torch.ones(81, 1, 1).bool()})
        )
        assert torch.equal(law.sample(Rng(range(81))), forced.expand(81, 2, 2))
    flat = Tempered(Enumerated(Multinomial(2), couplings(0)), 1e6)(STATES[:2], torch.ones(2).double())
    torch.testing.assert_close(flat.mean, torch.full_like(flat.mean, 0.5), rtol=0, atol=1e-5)


def test_guidance_bends_a_chain_stage_by_stage() -> None:
    chain = network_chain(labelled=True)
    t, x, label = torch.full((81,), 1 / 3).double(), EVERY[[13]].expand(81, 2, 2), torch.ones(81).long()
    with torch.no_grad():
        strong = chain(x, t, Condition(label=label)).conditionals(EVERY).logits.log_softmax(-1)
        weak = chain(x, t).conditionals(EVERY).logits.log_softmax(-1)
        bent = CFG(chain, 2.0)(x, t, Condition(label=label))
        assert isinstance(bent, Raster)
        found = bent.conditionals(EVERY).logits.log_softmax(-1)
    torch.testing.assert_close(found, (2 * strong - weak).log_softmax(-1))


def test_training_learns_stages_together_and_apart() -> None:
    """On a table of known entropy the bound comes near it; a stage that is not trained keeps its weights."""
    table = couplings(7)
    entropy = -float((table.softmax(0) * table.log_softmax(0)).sum())
    draws = torch.multinomial(table.softmax(0), 4096, True, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    chain = Chain((Causal(2, (SITES,), 32, 1, 2), EncoderDecoder(2, (SITES,), 32, (1, 1), 2)), Multinomial(2, Linear()))
    before = [weight.clone() for weight in chain.networks[0].parameters()]
    optimizer = torch.optim.AdamW(chain.parameters(), lr=4e-3, weight_decay=0.0)
    held, rng = STATES[draws[2048:]], Rng(range(2048))
    untrained = float(ChainBound()(chain, held, NONE, rng).value.detach().mean())
    for step in range(160):
        loss = ChainBound(stage=1 if step < 5 else None)
        rows = STATES[draws[(step * 128) % 2048 :][:128]]
        loss(chain, rows, NONE, Rng([step]).repeat(128).at(torch.arange(128))).value.mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 4:
            assert all(torch.equal(a, b) for a, b in zip(before, chain.networks[0].parameters(), strict=True))
    found = float(ChainBound()(chain, held, NONE, rng).value.detach().mean())
    assert entropy - 0.05 < found < entropy + 0.35 * (untrained - entropy)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Chain((Causal(3, (4,), 16, 1, 2),), Multinomial(4)), "needs a network of as many, not 3"),
        (lambda: Chain((Causal(3, (4,), 16, 1, 2),), Absorbing(3)), "use Tokens"),
        (lambda: Chain((Causal(3, (4,), 16, 1, 2),), Multinomial(3, Linear(end=0.1))), "a chain begins at symbols"),
        (lambda: Chain((Causal(3, (4,), 16, 1, 2),) * 2, Multinomial(3)), "reads x_t"),
        (lambda: Chain((EncoderDecoder(3, (4,), 16, (1, 1), 2),), Multinomial(3), None, (1.0, 0.5)), "level=True"),
        (lambda: Chain((), Multinomial(3)), "a sequence of networks"),
        (lambda: Chain((Causal(3, (4,), 16, 1, 2),), Multinomial(3), None, (0.5, 0.2)), "begin at 1 and fall"),
        (lambda: EncoderDecoder(3, (4,), 16, (1, 2, 3), 2), "the encoder and of the decoder"),
        (lambda: Walk(repeats=0), "once or more often"),
        (lambda: Tempered(network_chain(), temperature=0), "above 0"),
        (lambda: Walk()(Enumerated(Multinomial(2), couplings(0)), rng=Rng([0])), "use Ancestral"),
        (lambda: Ancestral(3)(network_chain(), rng=Rng([0])), "use Chain"),
        (lambda: Walk(repeats=(1, 2))(network_chain(), rng=Rng([0])), "3 stages"),
        (lambda: Walk()(network_chain(), rng=Rng([0]), times=torch.tensor([1.0, 0.4, 0.0])), "takes no other steps"),
        (lambda: network_chain()(EVERY[:1], torch.tensor([0.66]).double()), "at its own times"),
        (lambda: ChainBound(stage=3)(network_chain(), EVERY[:1], NONE, Rng([0])), "no stage 3"),
        (lambda: ChainBound()(Enumerated(Multinomial(2), couplings(0)), STATES[:1], NONE, Rng([0])), "its own times"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        make()  # type: ignore[operator]


def test_laws_of_several_stages_stand_in_one_batch() -> None:
    """Rows in different stages and a bent neighbour: joined and picked, each says what it said."""
    chain = network_chain()
    t = torch.tensor([1 / 3, 1.0, 2 / 3, 1.0]).double()
    with torch.no_grad():
        law = chain(EVERY[[3, 30, 60, 80]], t)
        for row in range(4):
            alone = chain(EVERY[[3, 30, 60, 80]][row : row + 1], t[row : row + 1])
            torch.testing.assert_close(law.log_prob(EVERY[:4])[row], alone.log_prob(EVERY[row : row + 1])[0])
        assert isinstance(law[[2, 0]].conditionals(EVERY[:2]), Categorical)


def test_stages_of_runs_of_their_own_make_one_chain() -> None:
    one, two = network_chain(2), network_chain(2)
    nudge(two, 0.3)
    made = Chain.assembled((one, two)).double().eval()
    x, t = EVERY[[3, 30]], torch.tensor([1.0, 0.5]).double()
    with torch.no_grad():
        for row, chain in enumerate((one, two)):
            due = chain(x, t).log_prob(EVERY[[9, 9]])[row]
            torch.testing.assert_close(made(x, t).log_prob(EVERY[[9, 9]])[row], due)
    labelled = network_chain(2, labelled=True)
    for wrong, says in (((one,), "as many chains"), ((), "one run a stage"), ((labelled,) * 2, "together")):
        with pytest.raises(Refusal, match=says):
            Chain.assembled(wrong)
