"""Autoregressive models: one law of all entries, enumerated, drawn from, forced, bent and trained."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import Categorical, Condition, Distribution, Refusal, Rng, cat
from mezzotint.core.rng import inverted
from mezzotint.denoiser import Autoregressive, Counted, Enumerated, Raster
from mezzotint.guidance import Contrast, Without
from mezzotint.networks import Causal
from mezzotint.processes import Absorbing, Linear, Multinomial
from mezzotint.samplers import Ancestral, Heun
from mezzotint.testing.truth import nudge

EVERY = torch.tensor(list(itertools.product(range(3), repeat=4))).reshape(81, 2, 2)
"""All samples of two by two symbols out of three."""


def model(vocab: int = 3, shape: tuple[int, ...] = (2, 2), labelled: bool = False, seed: int = 0) -> Autoregressive:
    torch.manual_seed(seed)
    network = Causal(vocab, shape, 16, 2, 2, vector=8 if labelled else None)
    encoder = Encoder(label=Classes(3, 8)) if labelled else None
    made = Autoregressive(network, Absorbing(vocab), encoder)
    nudge(made, 0.3)
    if encoder is not None:
        for part in encoder.parts.values():
            part.null_trained.fill_(True)  # type: ignore[operator]
    return made.double().eval()


def law(denoiser: Autoregressive, rows: int, **label: list[int]) -> Raster:
    """Its answer for that many rows."""
    x = torch.full((rows, *denoiser.shape), denoiser.process.prior((1,)).logits.argmax())
    told = Condition(**label)
    return denoiser(x, torch.ones(rows, dtype=torch.float64), told)


def probabilities(of: Raster) -> Tensor:
    """Of every sample, (81,), where all rows are the same law."""
    with torch.no_grad():
        return of.log_prob(EVERY).exp()


def test_its_law_sums_to_one_and_samples_follow_it() -> None:
    denoiser = model()
    due = probabilities(law(denoiser, 81))
    assert due.sum().item() == pytest.approx(1.0, abs=1e-12) and due.max() > 3 / 81
    drawn = law(denoiser, 20_000).sample(Rng(range(20_000)))
    place = (drawn.flatten(1) * 3 ** torch.arange(3, -1, -1)).sum(1)
    found = torch.bincount(place, minlength=81).double()
    chi2 = float(((found - 20_000 * due) ** 2 / (20_000 * due)).sum())
    assert chi2 < 124.8  # 80 degrees of freedom, one time in a thousand


def test_cached_draws_are_those_of_teacher_forcing_and_no_row_depends_on_another() -> None:
    denoiser = model(5, (3, 4), labelled=True)
    said = law(denoiser, 6, label=[0, 1, 2, 0, 1, 2])
    rng = Rng(range(6))
    x = torch.zeros(6, 3, 4, dtype=torch.int64)
    for i in range(12):  # uncached: everything before is read again
        with torch.no_grad():
            logits = said.conditionals(x).logits.flatten(1, 2)[:, i]
        x.flatten(1)[:, i] = inverted(logits, rng.uniform("symbol", (3, 4)).flatten(1)[:, i])
    drawn = said.sample(rng)
    assert torch.equal(drawn, x)
    assert torch.equal(said.conditionals(x).sample(rng), x)  # a fixed point: the noise is that of independent entries
    assert torch.equal(said[[4, 1]].sample(rng[[4, 1]]), x[[4, 1]])
    assert torch.equal(cat([said[3:], said[:3]]).sample(cat([rng[3:], rng[:3]])), cat_rows(x))
    assert torch.equal(said.repeat(2).sample(rng.repeat(2))[1::2], x)


def cat_rows(x: Tensor) -> Tensor:
    return torch.cat((x[3:], x[:3]))


def test_forced_entries_condition_what_follows_and_nothing_before() -> None:
    denoiser = model()
    free = law(denoiser, 81)
    joint = probabilities(free).reshape(3, 3, 3, 3)
    value = torch.tensor([[2, 1], [0, 0]]).expand(81, 2, 2)

    ahead = free.given(value, torch.tensor([[True, True], [False, False]]))  # a prefix: the conditional law
    due = torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    due[2, 1] = joint[2, 1] / joint[2, 1].sum()
    torch.testing.assert_close(probabilities(ahead).reshape(due.shape), due, rtol=0, atol=1e-12)

    behind = free.given(value, torch.tensor([[False, False], [False, True]]))  # a suffix: looked at by nobody
    due = torch.zeros_like(joint)
    due[..., 0] = joint.sum(-1)
    torch.testing.assert_close(probabilities(behind).reshape(due.shape), due, rtol=0, atol=1e-12)

    middle = free.given(value, torch.tensor([[False, True], [False, False]]))
    drawn = middle.sample(Rng(range(81)))
    assert bool((drawn[:, 0, 1] == 1).all()) and len(drawn.flatten(1).unique(dim=0)) > 9
    assert torch.equal(free.given(value, torch.ones(2, 2, dtype=torch.bool)).sample(Rng(range(81))), value)
    nothing = free.given(value, torch.zeros(2, 2, dtype=torch.bool))
    assert torch.equal(nothing.sample(Rng(range(81))), free.sample(Rng(range(81))))


def test_entries_at_time_zero_are_known() -> None:
    denoiser = model()
    x = torch.full((4, 2, 2), 3)
    x[:, 0, 0] = 2
    t = torch.ones(4, 2, 2, dtype=torch.float64)
    t[:, 0, 0] = 0
    drawn = denoiser(x, t).sample(Rng(range(4)))
    assert bool((drawn[:, 0, 0] == 2).all()) and int(drawn.max()) < 3
    with pytest.raises(Refusal, match="symbols 0 .. 2"):
        denoiser(x, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("weight", [-0.5, 0.3, 1.0, 2.5])
def test_a_bent_law_is_a_law_whose_conditionals_are_bent(weight: float) -> None:
    strong, weak = law(model(seed=1), 81), law(model(seed=2), 81)
    bent = weak.lerp(strong, weight)
    assert probabilities(bent).sum().item() == pytest.approx(1.0, abs=1e-12)
    with torch.no_grad():
        due: Distribution = weak.conditionals(EVERY).lerp(strong.conditionals(EVERY), weight)
        assert isinstance(due, Categorical)
        found = bent.conditionals(EVERY).logits.log_softmax(-1)
    torch.testing.assert_close(found, due.logits.log_softmax(-1), rtol=0, atol=1e-12)
    each = weak.lerp(strong, torch.linspace(-1, weight, 81, dtype=torch.float64))
    torch.testing.assert_close(each.log_prob(EVERY)[-1], bent.log_prob(EVERY)[-1], rtol=0, atol=1e-12)
    twice = weak.lerp(bent, 0.5)  # bent again
    torch.testing.assert_close(
        twice.log_prob(EVERY), weak.lerp(strong, 0.5 * weight).log_prob(EVERY), rtol=0, atol=1e-12
    )


def test_guidance_row_by_row() -> None:
    """Classifier-free guidance of a language model: plain, dropped and contrasted rows in one batch."""
    denoiser = model(labelled=True)
    guided = Contrast(denoiser, Without(denoiser, ("label",)), "strength")
    cond = Condition(label=[0, 1, 2, 1], strength=[1.0, 0.0, 3.0, 0.5])
    x, t = torch.full((4, 2, 2), 3), torch.ones(4, dtype=torch.float64)
    answer = guided(x, t, cond)
    assert isinstance(answer, Raster)
    with torch.no_grad():
        found = torch.stack([answer.log_prob(each.expand(4, 2, 2)) for each in EVERY], 1)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-12)
        told, silent = law(denoiser, 81, label=[0] * 81), law(denoiser, 81)
        torch.testing.assert_close(found[0], told.log_prob(EVERY), rtol=0, atol=1e-12)
        torch.testing.assert_close(found[1], silent.log_prob(EVERY), rtol=0, atol=1e-12)
        strong = silent.lerp(law(denoiser, 81, label=[2] * 81), 3.0)
        torch.testing.assert_close(found[2], strong.log_prob(EVERY), rtol=0, atol=1e-12)
    assert torch.equal(answer.sample(Rng(range(4)))[2:], answer[[2, 3]].sample(Rng([2, 3])))


def test_ancestral_draws_it_in_one_step() -> None:
    denoiser = model(4, (3, 4))
    counted = Counted(denoiser)
    drawn = Ancestral(50)(counted, rng=Rng(range(5)))
    assert counted.report(5)["evaluations"] == 1
    assert torch.equal(drawn, law(denoiser, 5).sample(Rng(range(5)).at("steps").at("move")))
    assert torch.equal(Ancestral(7)(denoiser, rng=Rng([3])), drawn[3:4])
    with pytest.raises(Refusal, match="in one step"):
        Ancestral(2)(denoiser, rng=Rng([3]), times=torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(Refusal):
        Heun(2)(denoiser, rng=Rng([3]))


def test_it_is_trained_by_its_log_probability() -> None:
    """Against a table of all texts: the cross-entropy falls to the table's own entropy."""
    truth = Enumerated(Multinomial(3), (1.5 * torch.sin(torch.arange(81.0) ** 2)).tolist(), (2, 2))
    p = truth.table.exp()[0]
    torch.manual_seed(0)
    denoiser = Autoregressive(Causal(3, (2, 2), 32, 2, 2), Multinomial(3))
    optimizer = torch.optim.Adam(denoiser.parameters(), 3e-3)
    t = torch.ones(81, dtype=torch.float64)
    entropy = float(-(p * p.log()).sum())
    gaps = []
    for _ in range(120):
        loss = -(p * denoiser(EVERY, t).log_prob(EVERY)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        gaps.append(float(loss.detach()) - entropy)
    assert gaps[0] == pytest.approx(math.log(81) - entropy, abs=1e-5)  # fresh: all alike
    assert gaps[0] > 0.3 and 0 <= gaps[-1] < 0.01


def test_refusals() -> None:
    with pytest.raises(Refusal, match="alive at t = 1"):
        Autoregressive(Causal(3, (4,), 16, 1, 2), Absorbing(3, Linear(end=0.1)))
    with pytest.raises(Refusal, match="of as many"):
        Autoregressive(Causal(3, (4,), 16, 1, 2), Absorbing(4))
    with pytest.raises(Refusal, match="decodes"):
        Autoregressive(torch.nn.Linear(2, 2), Absorbing(4))
    denoiser = model()
    with pytest.raises(Refusal, match="at no other"):
        denoiser(EVERY[:2], torch.tensor([0.5, 1.0], dtype=torch.float64))
    with pytest.raises(Refusal, match="no features"):
        denoiser(EVERY[:2], torch.ones(2, dtype=torch.float64), want=("block.0",))
    said = law(denoiser, 2)
    with pytest.raises(TypeError, match="mean"):
        _ = said.mean
    with pytest.raises(TypeError, match="one kind"):
        said.lerp(said.conditionals(EVERY[:2]), 0.5)
    with pytest.raises(Refusal, match="afterwards"):
        said.lerp(said.given(EVERY[:2], torch.tensor(True)), 0.5)
    with pytest.raises(Refusal, match="one weight a sample"):
        said.lerp(said, torch.zeros(2, 2, 2))
