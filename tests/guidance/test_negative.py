"""Negatives: the exact answers of two separate questions, combined by hand."""

from __future__ import annotations

import pytest
import torch

import mezzotint as mz
from mezzotint.conditions import Classes, Encoder, Text, Words
from mezzotint.core import NONE, Condition, Refusal, Rng
from mezzotint.denoiser import Counted, Mixture, Preconditioned
from mezzotint.denoiser.base import Denoiser
from mezzotint.guidance import CFG, Contrast, Instead, Negative, between
from mezzotint.networks import UViT
from mezzotint.processes import VP
from mezzotint.testing.truth import Watched, nudge

COUNT = 6


def mixture() -> Mixture:
    means = [[-1.0, 0.3], [1.0, 0.0], [0.2, 1.5]]
    return Mixture(VP(), means, [[[0.3, 0.1], [0.1, 0.2]]] * 3, labels=[0, 1, 2])


def asked(denoiser: Denoiser) -> tuple[torch.Tensor, torch.Tensor]:
    x = Rng(range(COUNT)).normal("x", tuple(denoiser.shape)).double()
    return x, torch.linspace(0.1, 0.9, COUNT, dtype=torch.float64)


LABEL, OTHER = torch.arange(COUNT) % 3, (torch.arange(COUNT) + 1) % 3
PAIR = Condition(label=LABEL, **{"negative.label": OTHER})


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, 7.5])
def test_the_answer_is_that_of_two_questions(scale: float) -> None:
    exact = mixture()
    x, t = asked(exact)
    wanted, unwanted = (exact(x, t, Condition(label=label)).mean for label in (LABEL, OTHER))
    guided = Negative(exact, scale)
    answer = guided(x, t, guided.prepare(PAIR)).mean
    torch.testing.assert_close(answer, unwanted + scale * (wanted - unwanted), rtol=1e-12, atol=1e-12)


def test_at_scale_one_it_is_the_plain_model_which_is_not_asked_for_more() -> None:
    exact = mixture()
    counted = Counted(exact)
    x, t = asked(exact)
    plain = exact(x, t, Condition(label=LABEL)).mean
    assert torch.equal(Negative(counted, 1.0)(x, t, PAIR).mean, plain) and counted.rows == COUNT
    some = Negative(exact, between(3.0, 0.4, 0.6))(x, t, PAIR).mean
    changed = (some != plain).any(1)
    u = exact.process.level(t)
    assert torch.equal(changed, (u > 0.4) & (u <= 0.6)) and 0 < changed.sum() < COUNT


def test_rows_without_a_negative_and_conditions_without_one_are_cfg() -> None:
    exact = mixture()
    x, t = asked(exact)
    guided, free = Negative(exact, 3.0), CFG(exact, 3.0)
    told = Condition(label=LABEL)
    assert torch.equal(guided(x, t, guided.prepare(told)).mean, free(x, t, told).mean)
    assert torch.equal(guided(x, t).mean, free(x, t).mean)
    rows = torch.tensor([False, True, True, False, True, False])
    mixed = guided(x, t, guided.prepare(PAIR.drop("negative", rows=rows))).mean
    assert torch.equal(mixed[rows], free(x, t, told).mean[rows])
    assert torch.equal(mixed[~rows], guided(x, t, PAIR).mean[~rows])
    dropped = guided(x, t, PAIR.drop("negative")).mean
    assert torch.equal(dropped, free(x, t, told).mean)


def test_rows_that_are_told_nothing_still_go_away_from_the_negative() -> None:
    exact = mixture()
    x, t = asked(exact)
    unwanted, free = exact(x, t, Condition(label=OTHER)).mean, exact(x, t).mean
    due = unwanted + 2.0 * (free - unwanted)
    for cond in (PAIR.drop("label"), Condition(**{"negative.label": OTHER})):
        torch.testing.assert_close(Negative(exact, 2.0)(x, t, cond).mean, due, rtol=1e-12, atol=1e-12)


def test_a_negative_that_is_the_condition_changes_nothing() -> None:
    exact = mixture()
    x, t = asked(exact)
    same = Condition(label=LABEL, **{"negative.label": LABEL})
    torch.testing.assert_close(Negative(exact, 5.0)(x, t, same).mean, exact(x, t, Condition(label=LABEL)).mean)


def test_both_questions_are_one_batch_and_rows_are_their_own() -> None:
    exact = mixture()
    counted = Counted(exact)
    x, t = asked(exact)
    guided = Negative(counted, "strength")
    cond = guided.prepare(PAIR | Condition(strength=[1.0, 2.0, 0.0, 3.0, 1.0, 0.5]))
    answer = guided(x, t, cond).mean
    assert counted.rows == 2 * 1 + 1 + 2 * 3  # plain, the negative alone, both
    for row in range(COUNT):
        assert torch.equal(guided(x[[row]], t[[row]], cond[[row]]).mean, answer[[row]])
    watched = Watched(exact)
    once = Negative(watched, 3.0)
    once(x, t, once.prepare(PAIR))
    assert [len(rows) for rows, *_ in watched.asked] == [2 * COUNT]
    drawn = mz.samplers.Heun(4)(guided, cond, rng=Rng(range(COUNT)))
    alone = mz.samplers.Heun(4)(guided, cond[[3]], rng=Rng([3]))
    assert torch.equal(drawn[[3]], alone)


def test_it_stacks_and_stands_beside_others() -> None:
    exact = mixture()
    x, t = asked(exact)
    bad = Mixture(exact.process, exact.means, 2 * torch.eye(2).expand(3, 2, 2), labels=[0, 1, 2])
    inner = Negative(exact, 2.0)
    outer = mz.guidance.Autoguidance(inner, bad, 3.0)
    strong, weak = inner(x, t, PAIR).mean, bad(x, t, Condition(label=LABEL)).mean
    torch.testing.assert_close(outer(x, t, outer.prepare(PAIR)).mean, weak + 3.0 * (strong - weak))
    around = Negative(CFG(exact, 2.0), 3.0)
    wanted, unwanted = (CFG(exact, 2.0)(x, t, Condition(label=label)).mean for label in (LABEL, OTHER))
    torch.testing.assert_close(around(x, t, around.prepare(PAIR)).mean, unwanted + 3.0 * (wanted - unwanted))
    by_hand = Contrast(exact, Instead(mixture()), 4.0)  # two models, each asked by itself
    torch.testing.assert_close(by_hand(x, t, by_hand.prepare(PAIR)).mean, Negative(exact, 4.0)(x, t, PAIR).mean)


def told_by_text() -> Preconditioned:
    text = Text(Words.of(["a red circle", "a blue square"]), width=16, heads=2, length=6)
    network = UViT((1, 4, 4), width=16, depth=0, heads=2, vector=8, tokens=16)
    model = Preconditioned(network, VP(), Encoder(caption=text, label=Classes(3, 8)))
    nudge(model, 0.3)
    for part in model.encoder.parts.values():  # type: ignore[union-attr]
        part.null_trained.fill_(True)
    return model.eval()


@pytest.mark.filterwarnings("ignore::mezzotint.conditions.TextWarning")
def test_captions_have_negatives_which_are_cut_into_tokens_once() -> None:
    model = told_by_text()
    x, t = asked(model)
    x = x.float()
    cond = Condition(caption=["a red circle"] * COUNT, label=LABEL)
    unwanted = ["a blue square", "circle", "", "red", "a", "a red circle"]
    guided = Negative(model, 3.0)
    ready = guided.prepare(cond | Condition(**{"negative.caption": unwanted}))
    assert set(ready.values) == {"caption", "caption.ids", "label", "negative.caption", "negative.caption.ids"}
    other = Condition(caption=unwanted, label=LABEL).drop("label")  # which has no negative
    with torch.no_grad():
        strong, weak = (model(x, t, model.prepare(c)).mean for c in (cond, other))
        answer = guided(x, t, ready).mean
        torch.testing.assert_close(answer, weak + 3.0 * (strong - weak), rtol=1e-5, atol=1e-5)
        assert (answer[0] - CFG(model, 3.0)(x, t, model.prepare(cond)).mean[0]).abs().max() > 1e-3
        silent = guided.prepare(cond | Condition(**{"negative.caption": [""] * COUNT}))
        assert torch.equal(guided(x, t, silent).mean, CFG(model, 3.0)(x, t, model.prepare(cond)).mean)
        kept = Negative(model, 3.0, families=("caption",))
        weak = model(x, t, model.prepare(Condition(caption=unwanted, label=LABEL))).mean
        torch.testing.assert_close(
            kept(x, t, kept.prepare(ready)).mean, weak + 3.0 * (strong - weak), rtol=1e-5, atol=1e-5
        )


def test_the_null_is_needed_only_where_there_is_no_negative() -> None:
    model = told_by_text()
    for part in model.encoder.parts.values():  # type: ignore[union-attr]
        part.null_trained.fill_(False)
    x, t = asked(model)
    x, guided = x.float(), Negative(model, 3.0)
    cond = Condition(caption=["a red circle"] * COUNT, label=LABEL)
    both = cond | Condition(**{"negative.caption": ["a"] * COUNT})
    with torch.no_grad():
        weak = model(x, t, model.prepare(Condition(caption=["a"] * COUNT, label=LABEL))).mean
        strong = model(x, t, model.prepare(cond)).mean
        answer = guided(x, t, guided.prepare(both)).mean
        torch.testing.assert_close(answer, weak + 3.0 * (strong - weak), rtol=1e-5, atol=1e-5)
    for refused, why in (
        (cond, "never learnt what to say without"),
        (both.drop("negative", rows=torch.arange(COUNT) == 2), "give every row one"),
    ):
        with pytest.raises(Refusal, match=why):
            guided.prepare(refused)
    with pytest.raises(Refusal, match="never learnt what to say without 'label'"):
        Negative(model, 3.0, families=("label",)).prepare(both)


def test_what_is_no_negative_is_refused() -> None:
    exact = mixture()
    for wrong, why in (
        ({"negative": OTHER}, "in place of"),
        ({"negative.lable": OTHER}, "'lable' but knows label"),
    ):
        with pytest.raises(Refusal, match=why):
            Negative(exact, 2.0).prepare(Condition(label=LABEL, **wrong))
    with pytest.raises(Refusal, match="'negative'"):
        exact.prepare(PAIR)
    with pytest.raises(Refusal, match="scale is read from"):
        Negative(exact, "negative.scale")
    assert "negative" in Negative(exact, "strength").takes and Negative(exact, 2.0).prepare(NONE) is not None
