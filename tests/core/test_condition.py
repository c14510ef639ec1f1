"""The algebra of conditions: rows, families, what is kept, and how they travel."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from mezzotint.core import NONE, Condition, Refusal, Rng, cat


def make(n: int = 6) -> Condition:
    cond = Condition(label=torch.arange(n), **{"text.tokens": torch.arange(2 * n).reshape(n, 2), "text": torch.ones(n)})
    return cond.dropout({"label": 0.5}, Rng(range(n)))


def same(a: Condition, b: Condition) -> bool:
    return a.leaves().keys() == b.leaves().keys() and all(torch.equal(v, b.leaves()[k]) for k, v in a.leaves().items())


@given(st.lists(st.integers(-6, 5), max_size=7), st.integers(1, 3))
def test_rows(index: list[int], n: int) -> None:
    cond = make()
    assert same(cond[index], cond[torch.tensor(index, dtype=torch.int64)])
    assert cond[index]["label"].tolist() == [i % 6 for i in index]
    assert cond[index].kept("label").tolist() == [bool(cond.kept("label")[i]) for i in index]
    repeated = cond.repeat(n)
    assert same(repeated, cond[[i for i in range(6) for _ in range(n)]])
    if index:
        assert same(cat([cond[i] for i in index]), cond[index])


def test_an_integer_keeps_the_axis() -> None:
    cond = make()
    for index in (4, -2, torch.tensor(4), torch.arange(6).numpy()[4]):
        assert len(cond[index]) == 1 and same(cond[index], cond[4:5])
    assert same(cond[torch.arange(6) > 3], cond[4:])
    with pytest.raises(IndexError):
        cond[6]
    with pytest.raises(KeyError, match="label"):
        cond["lable"]


def test_join_fills_what_is_kept() -> None:
    one, two = Condition(label=[1, 2]), Condition(label=[3]).drop()
    assert cat([one, two, one]).kept("label").tolist() == [True, True, False, True, True]
    with pytest.raises(ValueError, match="cannot join"):
        cat([one, Condition(text=[1])])


@settings(max_examples=20)
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_dropout_rates_are_their_own(p: float, q: float) -> None:
    n = 3000
    cond, rng = Condition(label=torch.zeros(n), text=torch.zeros(n)), Rng(range(n))
    both, one = cond.dropout({"label": p, "text": q}, rng), cond.dropout({"label": p}, rng)
    assert torch.equal(both.kept("label"), one.kept("label")) and bool(one.kept("text").all())
    for name, rate in (("label", p), ("text", q)):
        assert abs(float((~both.kept(name)).double().mean()) - rate) < 5 * (rate * (1 - rate) / n) ** 0.5
    joint = float((~both.kept("label") & ~both.kept("text")).double().mean())
    assert abs(joint - p * q) < 5 * (p * q / n) ** 0.5
    more = cond.dropout({"label": min(1.0, p + 0.1)}, rng)  # one draw a row: a higher rate drops a superset
    assert bool((one.kept("label") | ~more.kept("label")).all())


def test_dropout_never_brings_a_row_back() -> None:
    cond = Condition(label=torch.zeros(100)).drop()
    assert not bool(cond.dropout(0.3, Rng(range(100))).kept("label").any())
    assert bool(Condition(label=[0]).dropout(0.0, Rng([0])).kept("label").all())


def test_families_travel_together() -> None:
    cond = make().drop("text")
    taken, rest = cond.take("text")
    assert set(taken.values) == {"text", "text.tokens"} and taken.families == ("text",)
    assert rest.families == ("label",) and not bool(taken.kept("text").any())
    assert torch.equal(rest.kept("label"), cond.kept("label"))
    assert same(Condition(**dict((rest | taken).values)), Condition(**{n: cond[n] for n in (rest | taken).values}))
    assert same(cond.take("nothing")[1], cond) and not cond.take("nothing")[0]
    assert same(cond.drop("nothing"), cond)


def test_the_right_side_wins_and_joining_a_family_brings_nothing_back() -> None:
    cond = Condition(label=[1, 2]).drop("label")
    again = cond | Condition(label=[5, 6])
    assert again["label"].tolist() == [5, 6] and again.kept("label").tolist() == [True, True]
    joined = cond | Condition(**{"label.add": [0.1, 0.2]})
    assert joined.kept("label").tolist() == [False, False]
    assert not bool((Condition(label=[1]) | Condition(label=[1]).drop()).kept("label").any())
    assert same(NONE | cond, cond) and same(cond | NONE, cond) and len(NONE) == 0 and not NONE


def test_malformed_and_immutable() -> None:
    with pytest.raises(Refusal, match="same length"):
        Condition(label=[1, 2], text=[1])
    with pytest.raises(Refusal):
        Condition(label=3)
    with pytest.raises(AttributeError):
        make().values = {}


class Rows:
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Condition:
        return make(8)[index]


def test_travels_between_processes() -> None:
    assert same(pickle.loads(pickle.dumps(make())), make())
    loader = DataLoader(Rows(), batch_size=4, num_workers=1, collate_fn=cat)  # type: ignore[arg-type]
    assert same(cat(list(loader)), make(8))
