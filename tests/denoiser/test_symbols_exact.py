"""Exact denoisers of symbols against Bayes' rule in plain loops, and a chain against the table of all of its texts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from mezzotint.core import Categorical, Condition, Refusal, Rng
from mezzotint.denoiser import Enumerated, Markov, Mixture, Recast
from mezzotint.processes import Absorbing, Blockwise, Discrete, Flow, Linear, Multinomial, Sine
from mezzotint.samplers import Ancestral, State, Uniform

Array = NDArray[np.float64]
PROCESSES: list[Discrete] = [
    Absorbing(3),
    Multinomial(3),
    Absorbing(3, Sine()),
    Blockwise(Absorbing(3), 2),
    Blockwise(Multinomial(3, Linear(0.01)), 4),
]
named = pytest.mark.parametrize("process", PROCESSES, ids=str)
TEXTS = list(itertools.product(range(3), repeat=4))
START = [0.5, 0.3, 0.2]
STEP = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]


def share(process: Discrete, t: float, entry: int) -> float:
    """What is alive of one of four entries at t, written out."""
    if isinstance(process, Blockwise):
        per = 4 // process.blocks
        t = min(max(t * process.blocks - (process.blocks - 1 - entry // per), 0.0), 1.0)
        process = process.inner
    schedule = process.schedule  # type: ignore[attr-defined]
    return 1 - math.sin(math.pi * t / 2) if schedule == Sine() else 1 - (1 - schedule.end) * t


def bayes(process: Discrete, joint: Array, x: list[int], t: float) -> tuple[Array, float]:
    """(p(x_0^i = v | x_t), p(x_t)) by a loop over all texts, each weighed by what it could have become."""
    found, total = np.zeros((4, 3)), 0.0
    for text, p in zip(TEXTS, joint, strict=True):
        for entry, (u, v) in enumerate(zip(x, text, strict=True)):
            a = share(process, t, entry)
            rest = float(u == 3) if process.mask is not None else 1 / 3
            p *= a * (u == v) + (1 - a) * rest
        total += p
        for entry, v in enumerate(text):
            found[entry, v] += p
    return found / total, total


def table(classes: int = 3) -> Array:
    draws = np.random.default_rng(5).dirichlet(np.full(classes * 81, 0.3)).reshape(classes, 81)
    return np.maximum(draws, 1e-12) / np.maximum(draws, 1e-12).sum()


def asked(process: Discrete, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Texts of two by two as the process leaves them, at times next to both ends and between."""
    t = torch.tensor([0.05, 0.3, 0.5, 0.7, 0.95], dtype=torch.float64).repeat(count)
    x0 = (3 * Rng(range(len(t))).uniform("text", (2, 2))).long()
    return process.corrupt(x0, t).sample(Rng(range(len(t)))), t


@named
def test_the_table_is_bayes_rule(process: Discrete) -> None:
    """Of all texts, of those of one class, and of some rows' class where the others' is dropped; two by two."""
    joint = table()
    denoiser = Enumerated(process, joint_logits(joint), (2, 2))
    x, t = asked(process, 5)
    label = torch.arange(len(t)) % 3
    cond = Condition(label=label)
    odd = torch.arange(len(t)) % 2 == 1
    answers = {
        "all": (denoiser(x, t), [joint.sum(0)] * len(t)),
        "one": (denoiser(x, t, cond), [joint[k] for k in label]),
        "dropped": (
            denoiser(x, t, cond.drop("label", rows=odd)),
            [joint.sum(0) if drop else joint[k] for k, drop in zip(label, odd, strict=True)],
        ),
    }
    for name, (answer, weights) in answers.items():
        for row in range(len(t)):
            due, _ = bayes(process, weights[row], x[row].flatten().tolist(), float(t[row]))
            np.testing.assert_allclose(answer.mean[row].reshape(4, 3).numpy(), due, atol=1e-11, err_msg=name)


def joint_logits(p: Array) -> torch.Tensor:
    return torch.tensor(np.log(p) + 3.7)  # unnormalised


@named
def test_densities_of_classes_differ_as_bayes_rule_says(process: Discrete) -> None:
    """log p(x_t, label) minus log p(x_t): the posterior of the class, whatever is left out of both."""
    joint = table()
    denoiser = Enumerated(process, joint_logits(joint), (4,))
    x, t = asked(process, 2)
    x = x.flatten(1)
    free = denoiser(x, t, want=("log_density",)).aux["log_density"]
    for k in range(3):
        told = denoiser(x, t, Condition(label=torch.full((len(t),), k)), want=("log_density",)).aux["log_density"]
        for row in range(len(t)):
            state, time = x[row].tolist(), float(t[row])
            due = bayes(process, joint[k], state, time)[1] / bayes(process, joint.sum(0), state, time)[1]
            assert float((told - free)[row].exp()) == pytest.approx(due, rel=1e-9)


def chain_table() -> Array:
    return np.array([START[a] * STEP[a][b] * STEP[b][c] * STEP[c][d] for a, b, c, d in TEXTS])


@named
def test_a_chain_is_the_table_of_its_texts(process: Discrete) -> None:
    markov = Markov(process, START, STEP, (2, 2))
    whole = Enumerated(process, np.log(chain_table()).tolist(), (2, 2))
    x, t = asked(process, 20)
    torch.testing.assert_close(markov(x, t).mean, whole(x, t).mean, rtol=0, atol=1e-12)
    for row in range(0, 100, 9):
        due, _ = bayes(process, chain_table(), x[row].flatten().tolist(), float(t[row]))
        np.testing.assert_allclose(markov(x, t).mean[row].reshape(4, 3).numpy(), due, atol=1e-12)


def test_a_long_chain_is_exact_where_nothing_can_be_enumerated() -> None:
    """500 symbols: all masked, the marginals are powers of the step; one told, they are powers from it on."""
    markov = Markov(Absorbing(3), START, STEP, (20, 25))
    x = torch.full((2, 20, 25), 3)
    x[1, 10, 7] = 2
    mean = markov(x, torch.ones(2, dtype=torch.float64)).mean.reshape(2, 500, 3).numpy()
    step = np.array(STEP)
    here = np.array(START)
    for entry in range(500):
        np.testing.assert_allclose(mean[0, entry], here, atol=1e-12)
        here = here @ step
    place = 10 * 25 + 7
    for k in (0, 1, 2, 60):
        np.testing.assert_allclose(mean[1, place + k], np.linalg.matrix_power(step, k)[2], atol=1e-12)
        before = np.linalg.matrix_power(step, k)[:, 2] * (START @ np.linalg.matrix_power(step, place - k))
        np.testing.assert_allclose(mean[1, place - k], before / before.sum(), atol=1e-12)
    # And from right to left on a process that corrects itself: an entry's neighbours on both sides count.
    noisy = Markov(Multinomial(3), START, STEP, (3,))
    said = noisy(torch.tensor([[0, 1, 0]]), torch.tensor([0.4], dtype=torch.float64)).mean[0, 1].numpy()
    kernel = 0.6 * np.eye(3) + 0.4 / 3
    joint = np.einsum("a,ab,bc,a,b,c->abc", START, STEP, STEP, kernel[:, 0], kernel[:, 1], kernel[:, 0])
    np.testing.assert_allclose(said, joint.sum((0, 2)) / joint.sum(), atol=1e-13)


def test_likelihood_and_entropy_of_a_chain() -> None:
    """The log-probabilities of all texts are the table's, sum to one, and their mean is the entropy."""
    markov, p = Markov(Multinomial(3), START, STEP, (2, 2)), chain_table()
    texts = torch.tensor(TEXTS).reshape(81, 2, 2)
    np.testing.assert_allclose(markov.log_prob(texts).exp().numpy(), p, atol=1e-14)
    assert markov.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-12)
    whole = Enumerated(Multinomial(3), np.log(p).tolist(), (2, 2))
    np.testing.assert_allclose(whole.log_prob(texts).exp().numpy(), p, atol=1e-14)
    assert torch.equal(whole.number(texts), torch.arange(81)) and torch.equal(whole.text(torch.arange(81)), texts)
    sure = Markov(Absorbing(2), [1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]], (5,))  # 0 1 0 1 0 and nothing else
    assert sure.entropy == 0 and sure.log_prob(torch.tensor([[0, 1, 0, 1, 0], [0, 1, 1, 0, 1]])).tolist() == [
        0.0,
        -math.inf,
    ]
    assert sure.draw(Rng(range(3))).tolist() == [[0, 1, 0, 1, 0]] * 3


def test_draws_of_a_chain() -> None:
    """A chi-squared over all 81 texts below its one-in-a-million quantile, and seeds that are their own."""
    markov, count = Markov(Absorbing(3), START, STEP, (2, 2)), 20_000
    x = markov.draw(Rng(range(count)))
    assert x.shape == (count, 2, 2) and x.dtype == torch.int64
    place = (x.flatten(1) * torch.tensor([27, 9, 3, 1])).sum(1)
    due = count * chain_table()
    seen = np.bincount(place.numpy(), minlength=81)
    assert float(((seen - due) ** 2 / due).sum()) < stats.chi2.isf(1e-6, 80)
    assert torch.equal(markov.draw(Rng([7, 3])), x[[7, 3]])
    # The least and the largest uniform there is never draw what cannot be, though ten tenths add up to less than 1.
    p = torch.tensor([[0.0, *[0.1] * 10, 0.0]], dtype=torch.float64).repeat(2, 1)
    ends = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert float(p[0].cumsum(0)[-1]) <= float(ends[1]) and markov._pick(p, ends).tolist() == [1, 10]


@named
@pytest.mark.parametrize("make", ["table", "chain"])
def test_a_row_is_the_same_in_any_batch(process: Discrete, make: str) -> None:
    """To the last bit, alone, in pieces of odd sizes and upside down."""
    whole = joint_logits(table(1)[0])
    denoiser = Enumerated(process, whole, (4,)) if make == "table" else Markov(process, START, STEP, (4,))
    x, t = asked(process, 13)
    x = x.flatten(1)
    logits = denoiser(x, t).logits  # type: ignore[attr-defined]
    for piece in (1, 3, 7, 64):
        parts = [denoiser(x[k : k + piece], t[k : k + piece]).logits for k in range(0, len(t), piece)]  # type: ignore[attr-defined]
        assert torch.equal(torch.cat(parts), logits)
    assert torch.equal(denoiser(x.flip(0), t.flip(0)).logits.flip(0), logits)  # type: ignore[attr-defined]


@pytest.mark.parametrize("process", [Absorbing(3), Absorbing(3, Sine()), Blockwise(Absorbing(3), 2)], ids=str)
@pytest.mark.parametrize("make", ["table", "chain"])
def test_with_a_mask_the_time_says_nothing(process: Discrete, make: str) -> None:
    """Every state there is, at every time, to the last bit; what is not masked is certain."""
    states = torch.tensor(list(itertools.product(range(4), repeat=4)))
    whole = joint_logits(table(1)[0])
    denoiser = Enumerated(process, whole) if make == "table" else Markov(process, START, STEP, (4,))
    assert not denoiser.uses_level
    first = denoiser(states, torch.zeros(256, dtype=torch.float64))
    for t in (1e-9, 0.3, 0.999, 1.0):
        again = denoiser(states, torch.full((256,), t, dtype=torch.float64))
        assert torch.equal(again.logits, first.logits)  # type: ignore[attr-defined]
    known = states < 3
    assert torch.equal(first.mean[known], torch.nn.functional.one_hot(states[known], 3).double())
    assert Enumerated(Multinomial(3), whole).uses_level and Markov(Multinomial(3), START, STEP, (4,)).uses_level


@pytest.mark.parametrize("process", [Absorbing(3), Multinomial(3)], ids=str)
def test_what_cannot_occur_is_the_limit_of_a_smoothed_law(process: Discrete) -> None:
    """Only 0 1 2 0 and 0 2 1 0 are said; where neither fits, the answer is that of a law that says all, a little."""
    p = np.zeros(81)
    p[[TEXTS.index((0, 1, 2, 0)), TEXTS.index((0, 2, 1, 0))]] = 0.5
    with np.errstate(divide="ignore"):
        strict = Enumerated(process, np.log(p).tolist())
    smooth = Enumerated(process, np.log((1 - 1e-13) * p + 1e-13 / 81).tolist())
    lost = 3 if process.mask is not None else 1
    x = torch.tensor([[lost, 1, lost, lost], [lost, 1, 1, lost], [2, lost, lost, 0]])
    t = torch.full((3,), 0.5 if process.mask is not None else 0.0, dtype=torch.float64)
    said = strict(x, t)
    assert isinstance(said, Categorical) and not bool(said.logits.isnan().any())
    torch.testing.assert_close(said.mean, smooth(x, t).mean, rtol=0, atol=1e-9)
    # A chain that never goes from 1 to 1 is asked about 1 1.
    chain = Markov(process, START, [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], (4,))
    found = chain(x, t).mean
    assert not bool(found.isnan().any())
    whole = torch.tensor([math.exp(float(chain.log_prob(torch.tensor([text]))[0])) for text in TEXTS])
    torch.testing.assert_close(found, Enumerated(process, whole.log(), (4,))(x, t).mean, rtol=0, atol=1e-6)


def run(process: Discrete, steps: int, p: Array, length: int) -> Array:
    """The law of Ancestral's samples from the exact denoiser, by the product of its steps over all states."""
    denoiser = Enumerated(process, np.log(p).tolist(), (length,))
    sampler, n = Ancestral(steps, grid=Uniform()), process.symbols
    states = torch.tensor(list(itertools.product(range(n), repeat=length)))
    rest = process.rest.numpy()
    law = np.array([np.prod([rest[u] for u in state]) for state in states.tolist()])
    times = sampler.grid(process, steps)
    for t, s in itertools.pairwise(times.tolist()):
        here = torch.full((len(states),), t, dtype=torch.float64)
        state = State(states, here, Rng(range(len(states))))
        step = sampler.transition(denoiser, state, torch.full_like(here, s), Condition()).mean.numpy()
        move = np.ones((len(states), len(states)))
        for entry in range(length):
            move *= step[:, entry][:, states[:, entry].numpy()]
        law = law @ move
    clean = (states < process.vocab).all(1).numpy()
    assert law[~clean].sum() < 1e-12
    found: Array = law[clean]
    return found


def test_blocks_of_one_entry_are_a_language_model() -> None:
    """Where intervals end at the ends of blocks nothing is drawn apart that belongs together, and nothing is missed.

    Another number of steps has an interval across two blocks, and all at once is the product of the marginals.
    """
    length, p = 3, np.random.default_rng(3).dirichlet(np.full(27, 0.5))
    process = Blockwise(Absorbing(3), length)
    for steps in (3, 6, 9):
        assert 0.5 * np.abs(run(process, steps, p, length) - p).sum() < 1e-13
    assert 0.5 * np.abs(run(process, 4, p, length) - p).sum() > 0.01
    assert 0.5 * np.abs(run(process, 300, p, length) - p).sum() < 1e-13
    cube = p.reshape(3, 3, 3)
    product = np.einsum("a,b,c->abc", cube.sum((1, 2)), cube.sum((0, 2)), cube.sum((0, 1))).reshape(27)
    np.testing.assert_allclose(run(process, 1, p, length), product, atol=1e-13)
    together = [0.5 * np.abs(run(Absorbing(3), steps, p, length) - p).sum() for steps in (8, 16, 32)]
    for more, fewer in itertools.pairwise(together):  # without blocks the error is of first order
        assert 1.7 < more / fewer < 2.3


@pytest.mark.parametrize("kind", [Absorbing, Multinomial])
def test_more_steps_come_nearer(kind: type) -> None:
    """Total variation falls as 1 / steps on either process, which a wrong step of the reverse chain does not."""
    p = np.random.default_rng(4).dirichlet(np.full(9, 0.5))
    gaps = [0.5 * np.abs(run(kind(3), steps, p, 2) - p).sum() for steps in (16, 64, 256)]
    for more, fewer in itertools.pairwise(gaps):
        assert 3 < more / fewer < 5


def test_what_is_refused() -> None:
    nine, mask = [0.0] * 9, Absorbing(3)
    half = torch.full((1,), 0.5, dtype=torch.float64)
    for make, says in (
        (lambda: Enumerated(Flow(), nine), "process of symbols"),  # type: ignore[arg-type]
        (lambda: Markov(Flow(), START, STEP, (2,)), "process of symbols"),  # type: ignore[arg-type]
        (lambda: Mixture(mask, [[0.0]], [[[1.0]]]), "continuous process"),  # type: ignore[arg-type]
        (lambda: Recast(Enumerated(mask, nine), Flow()), "two continuous processes"),
        (lambda: Enumerated(Blockwise(mask, 3), nine), "3 blocks do not share 2 entries"),
        (lambda: Markov(Blockwise(mask, 2), START, STEP, (3,)), "2 blocks do not share 3 entries"),
        (lambda: Enumerated(mask, [0.0] * 10), "no power"),
        (lambda: Enumerated(mask, [0.0]), "a table holds"),
        (lambda: Enumerated(mask, []), "a table holds"),
        (lambda: Enumerated(mask, [[nine]]), "a table holds"),  # type: ignore[list-item]
        (lambda: Enumerated(mask, [math.inf, *nine[1:]]), "a table holds"),
        (lambda: Enumerated(mask, [math.nan, *nine[1:]]), "a table holds"),
        (lambda: Enumerated(mask, [-math.inf] * 9), "a text of every class"),
        (lambda: Enumerated(mask, [nine, [-math.inf] * 9]), "a text of every class"),
        (lambda: Enumerated(mask, nine, (3,)), "texts of 2 entries"),
        (lambda: Markov(mask, START, STEP[:2], (2,)), "sum to 1"),
        (lambda: Markov(mask, [0.5, 0.3, 0.3], STEP, (2,)), "sum to 1"),
        (lambda: Markov(mask, [1.1, 0.1, -0.2], STEP, (2,)), "sum to 1"),
        (lambda: Markov(mask, [math.nan, 0.5, 0.5], STEP, (2,)), "sum to 1"),
        (lambda: Markov(mask, START, STEP, (0,)), "at least one entry"),
        (lambda: Enumerated(mask, nine)(torch.zeros(1, 3, dtype=torch.int64), half), "whole numbers"),
        (lambda: Enumerated(mask, nine)(torch.zeros(1, 2), half), "whole numbers"),
        (lambda: Markov(mask, START, STEP, (2,))(torch.zeros(1, 1, 2, dtype=torch.int64), half), "whole numbers"),
        (
            lambda: Enumerated(mask, [nine] * 2)(torch.zeros(1, 2, dtype=torch.int64), half, Condition(label=[2])),
            "classes 0 to 1",
        ),
    ):
        with pytest.raises(Refusal, match=says):
            make()
    dropped = Condition(label=[-1]).drop("label")  # what is ignored may be anything
    texts = torch.full((1, 2), 3)
    free = Enumerated(mask, [nine] * 2)
    assert torch.equal(free(texts, half, dropped).mean, free(texts, half).mean)


@pytest.mark.cuda
@named
def test_laws_and_answers_are_the_same_on_cuda(process: Discrete) -> None:
    """Corruption, bridges, likelihoods, answers and draws, from the device's tensors to the device's tensors."""
    x, t = asked(process, 3)
    keys, cond = Rng(range(len(t))), Condition(label=torch.arange(len(t)) % 3)
    exact = [
        (Enumerated(process, joint_logits(table()), (2, 2)), cond),
        (Markov(process, START, STEP, (2, 2)), Condition()),
    ]
    for denoiser, told in exact:
        here = denoiser(x, t, told)
        down = process.bridge(x, here, t, 0.5 * t, 0.5)
        up = process.renoise(x, 0.5 * t, t)
        there = denoiser.cuda()(x.cuda(), t, told.to(torch.device("cuda")))
        assert there.mean.is_cuda
        torch.testing.assert_close(there.mean.cpu(), here.mean, rtol=0, atol=1e-12)
        lowered = process.bridge(x.cuda(), there, t, 0.5 * t, 0.5)
        torch.testing.assert_close(lowered.mean.cpu(), down.mean, rtol=0, atol=1e-12)
        torch.testing.assert_close(process.renoise(x.cuda(), 0.5 * t, t).mean.cpu(), up.mean, rtol=0, atol=1e-12)
        assert lowered.sample(keys).is_cuda
        clean = here.sample(keys)
        torch.testing.assert_close(denoiser.log_prob(clean.cuda()).cpu(), denoiser.cpu().log_prob(clean))  # type: ignore[operator]
    markov = Markov(process, START, STEP, (2, 2))
    assert torch.equal(markov.cuda().draw(keys).cpu(), markov.cpu().draw(keys))


def test_a_masked_text_has_no_place_in_the_table() -> None:
    model = Enumerated(Absorbing(3), [0.0] * 27)
    place = torch.tensor([0, 5, 26])
    assert torch.equal(model.number(model.text(place)), place)
    for row in ([0, 3, 0], [0, 0, -1]):  # as numbers they are those of 100 and of no text
        with pytest.raises(Refusal, match="a mask is none of them"):
            model.log_prob(torch.tensor([row]))
