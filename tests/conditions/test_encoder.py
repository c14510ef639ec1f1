"""From conditions to context: what is refused, what the null does, when it counts as trained."""

from __future__ import annotations

import pytest
import torch

from mezzotint.conditions import Classes, Encoder
from mezzotint.core import NONE, Condition, Refusal, cat


def encoder(**families: Classes) -> Encoder:
    made = Encoder(**(families or {"label": Classes(4, width=6)}))
    for name in made.families:
        torch.nn.init.normal_(made[name].null)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("label", [[4], [0, -1], [1 << 40]])
def test_labels_out_of_range(label: list[int]) -> None:
    wrong = str(max(label, key=abs))
    for ask in (encoder().prepare, lambda c: encoder()(c, len(c))):
        with pytest.raises(Refusal, match=f"label {wrong} is out of range.*0 to 3"):
            ask(Condition(label=label))


@pytest.mark.parametrize("label", [torch.tensor([0.5]), torch.tensor([True]), torch.tensor([[1]])])
def test_labels_that_are_no_labels(label: torch.Tensor) -> None:
    with pytest.raises(Refusal, match="integers"):
        encoder().prepare(Condition(label=label))


def test_unknown_families_list_the_known_ones() -> None:
    two = encoder(label=Classes(3), style=Classes(2))
    for ask in (two.prepare, lambda c: two(c, 1)):
        with pytest.raises(Refusal, match="'text'.*label, style"):
            ask(Condition(label=[0], text=[0], style=[0]))
    with pytest.raises(Refusal, match="condition part"):
        Encoder(label=torch.nn.Linear(1, 1))  # type: ignore[arg-type]


def test_a_missing_family_needs_a_trained_null() -> None:
    made = encoder(label=Classes(3), style=Classes(2))
    with pytest.raises(Refusal, match="'style'.*dropout"):
        made.prepare(Condition(label=[0]))
    told = made(Condition(label=[0, 1], style=[0, 1]).drop("style"), 2).vector
    assert told is not None
    told.sum().backward()
    assert made.nulls == ("style",)
    assert made.prepare(Condition(label=[0])).families == ("label",)
    with pytest.raises(Refusal, match="'label'"):
        made.prepare(NONE)


def test_the_null_stands_in_row_by_row() -> None:
    made = encoder()
    cond = Condition(label=[1, 2, 3])
    full = made(cond, 3).vector
    part = made(cond[0], 1).vector
    assert full is not None and part is not None and torch.equal(full[:1], part)
    dropped = made(cond.drop("label"), 3).vector
    absent = made(NONE, 3).vector
    assert dropped is not None and absent is not None
    assert torch.equal(dropped, absent) and torch.equal(dropped[0], made["label"].null)
    assert len(full.unique(dim=0)) == 3


def test_only_training_with_dropout_trains_the_null() -> None:
    made = encoder()
    cond = Condition(label=[0, 1])
    made(cond, 2)
    assert made.nulls == ()
    with torch.no_grad():
        made(cond.drop("label"), 2)
    assert made.nulls == ()
    made.requires_grad_(False)
    made(cond.drop("label"), 2)
    assert made.nulls == ()
    made.requires_grad_(True)
    made(cond.drop("label"), 2)  # asking is not training
    assert made.nulls == ()
    told = made(cat([cond[0], cond[1].drop("label")]), 2).vector  # one row of two is enough
    assert told is not None
    told.sum().backward()
    assert made.nulls == ("label",)
    again = encoder()
    again.load_state_dict(made.state_dict())
    assert again.nulls == ("label",)


def test_families_add_up() -> None:
    made = encoder(label=Classes(3, width=5), style=Classes(2, width=5))
    both = made(Condition(label=[2], style=[1]), 1).vector
    assert both is not None
    expected = made["label"].table.weight[2] + made["style"].table.weight[1]  # type: ignore[union-attr]
    torch.testing.assert_close(both[0], expected)
    with pytest.raises(Refusal, match="widths"):
        encoder(label=Classes(3, width=5), style=Classes(2, width=4))(Condition(label=[2], style=[1]), 1)
