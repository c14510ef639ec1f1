"""`+=`: a part put around what is there, and every way in which it cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from mezzotint.core import config
from mezzotint.core.errors import Refusal
from mezzotint.core.spec import build, spec
from mezzotint.objectives import ContextPrediction, Denoising, Hybrid, Importance, OrderedDecoder
from mezzotint.training import Phase, Trainer

CONTEXT, HYBRID = "objectives.ContextPrediction", "objectives.Hybrid"


def tree() -> dict[str, Any]:
    return {"training": spec(Trainer(Denoising(Importance(7)), then=(Phase(0.5, Denoising(dropout=0.3)),)))}


def objective(*changes: str) -> Any:
    return build(config.edit(tree(), changes)["training"]).objective


def test_a_part_is_put_around_what_is_there() -> None:
    before = tree()
    edited = config.edit(before, [f"training.objective+={CONTEXT}"])
    assert before == tree()  # a copy was edited
    assert edited["training"]["objective"] == {"part": CONTEXT, "inner": before["training"]["objective"]}
    assert {key: value for key, value in edited["training"].items() if key != "objective"} == {
        key: value for key, value in before["training"].items() if key != "objective"
    }
    made = build(edited["training"]).objective
    assert type(made) is ContextPrediction and spec(made) == spec(ContextPrediction(Denoising(Importance(7))))


def test_with_settings_and_edits_of_what_was_put_around() -> None:
    for change in ("training.objective+={part: %s, weight: 0.3}", " training.objective += {weight: 0.3, part: %s}"):
        assert objective(change % CONTEXT).weight == 0.3
    made = objective(
        f"training.objective+={CONTEXT}", "training.objective.weight=0.7", "training.objective.inner.dropout=0.2",
        "training.objective.decoder={part: objectives.OrderedDecoder, width: 5}",
    )  # fmt: skip
    assert (made.weight, made.inner.dropout, made.inner.levels.bins) == (0.7, 0.2, 7)
    assert isinstance(made.decoder, OrderedDecoder) and made.decoder.width == 5
    assert objective("training.objective.dropout=0.2", f"training.objective+={CONTEXT}").inner.dropout == 0.2


def test_one_around_another_and_inside_another() -> None:
    """Said twice, the second stands outside; said of what is inside, it comes between."""
    inner = f"training.objective+={{part: {HYBRID}, steps: 10}}"
    made = objective(inner, f"training.objective+={CONTEXT}")
    assert [type(each) for each in (made, made.inner, made.inner.inner)] == [ContextPrediction, Hybrid, Denoising]
    between = f"training.objective.inner+={{part: {HYBRID}, steps: 10}}"
    assert spec(objective(f"training.objective+={CONTEXT}", between)) == spec(made)


def test_what_is_used_twice_is_put_around_once() -> None:
    """A part under an anchor that stands in two places: the other place keeps what it had."""
    said = config.loads("a: &x {part: objectives.Denoising}\nb: *x")
    edited = config.edit(said, [f"a+={CONTEXT}"])
    assert edited["b"] == {"part": "objectives.Denoising"} and edited["a"]["inner"] == edited["b"]


def test_in_a_list() -> None:
    """By its number, as `=` does it; and a part within one."""
    phase = config.edit(tree(), [f"training.then.0.objective+={{part: {HYBRID}, steps: 4}}"])["training"]["then"][0]
    assert phase["objective"]["part"] == HYBRID and phase["objective"]["inner"]["dropout"] == 0.3
    said = {"items": [{"part": "objectives.Denoising"}, {"part": "objectives.Denoising", "dropout": 0.3}]}
    edited = config.edit(said, [f"items.1+={CONTEXT}"])["items"]
    assert edited[0] == said["items"][0] and edited[1] == {"part": CONTEXT, "inner": said["items"][1]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"training.images+={CONTEXT}", "part"), (f"training.objective.part+={CONTEXT}", "part"),
        (f"training.objective.augment+={CONTEXT}", "part"), (f"training.averages+={CONTEXT}", "part"),
        (f"training.then.0.begins+={CONTEXT}", "part"), ("training.objective+=3", "part"),
        ("training.objective+=", "part"), ("training.objective+=[1]", "part"), ("training.objective+={a: 1}", "part"),
        ("training.objective+={part: 3}", "part"), (f"training.averages.0+={CONTEXT}", "part"),
        ("training.objective+=processes.Flow", "no arguments"), ("training.objective+=objectives.Contxt", "Context"),
        (f"training.objective+={{part: {CONTEXT}, inner: 3}}", "inner"), (f"+={CONTEXT}", "no setting"),
        (f"training.objctive+={CONTEXT}", "objective"), (f"training.objective++={CONTEXT}", "no setting"),
        (f"training.images.more+={CONTEXT}", "no settings"), (f"training.then.7+={CONTEXT}", "entries"),
        ("training.objective+", "key=value"),
    ],
)  # fmt: skip
def test_where_it_cannot_be_there_is_a_sentence(change: str, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        config.edit(tree(), [change])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("ContextPrediction", "did you mean 'objectives.ContextPrediction'"),
        ("mezzotint.objectives.ContextPrediction", "did you mean 'objectives.ContextPrediction'"),
        ("objective.Beside", "known: |did you mean 'objectives'"),  # it derives from nothing that can be built
        ("objective.Hybrid", "did you mean 'objectives.Hybrid'"),
        ("networks.UNet", "networks.UNet cannot stand around objectives.Denoising"),
        ("Nobody", "known: "),
    ],
)
def test_a_name_without_its_room_and_a_part_of_another_room_are_named(part: str, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        config.edit(tree(), [f"training.objective+={part}"])


@pytest.mark.parametrize("part", ["training.Rate", "objectives.LogNormal", "samplers.Heun", "conditions.Encoder"])
def test_around_what_takes_no_such_part_it_is_refused_before_anything_is_trained(part: str) -> None:
    with pytest.raises(Refusal):
        objective(f"training.objective+={part}")


def test_said_again_it_changes_what_it_says_wherever_it_stands() -> None:
    """Whoever goes on with a run repeats the command that began it."""
    both = [f"training.objective+={{part: {HYBRID}, steps: 10}}", f"training.objective+={CONTEXT}"]
    assert spec(objective(*both, *both)) == spec(objective(*both))
    made = objective(*both, f"training.objective+={{part: {HYBRID}, steps: 12}}")
    assert isinstance(made, ContextPrediction) and made.inner.steps == 12


def test_said_again_it_takes_nothing_in_the_place_of_what_is_there() -> None:
    for inner in ("3", "{part: objectives.Denoising}"):
        with pytest.raises(Refusal, match="inner"):
            objective(f"training.objective+={CONTEXT}", f"training.objective+={{part: {CONTEXT}, inner: {inner}}}")
