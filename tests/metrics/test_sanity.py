"""Every flaw is caught by the measures meant to catch it, and the blind spots are where the pages say they are."""

import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.data import Digits
from mezzotint.testing.sanity import MEASURES, Bench, Cell, Labelled, blurred, suite


@pytest.fixture(scope="module")
def bench() -> Bench:
    x, cond = Digits(split="all")[:]
    return Bench.of(Labelled(x, cond["label"]), 300, draws=12, seen=4800)


@pytest.fixture(scope="module")
def found(bench: Bench) -> dict[str, dict[str, Cell]]:
    return suite(bench)


def test_each_flaw_is_caught_by_what_is_meant_to(found: dict[str, dict[str, Cell]]) -> None:
    missed = [(name, flaw) for name in found for flaw in MEASURES[name].meant if not found[name][flaw].caught]
    assert not missed
    for flaw in next(iter(found.values())):
        assert any(flaw in MEASURES[name].meant for name in found), flaw


def test_blind_spots_are_where_they_are_said_to_be(found: dict[str, dict[str, Cell]]) -> None:
    # A judge sees neither copies nor missing classes; what compares sets without labels does not see these.
    for name, flaw in (
        ("accuracy", "memorised"),
        ("accuracy", "modes dropped"),
        ("Frechet, features", "memorised"),
        ("Frechet, features", "shuffled labels"),
        ("Frechet, pixels", "shuffled labels"),
        ("neighbour ratio", "blurred"),
        ("neighbour ratio", "modes dropped"),
        ("coverage", "shuffled labels"),
    ):
        assert not found[name][flaw].caught, (name, flaw)


def test_the_parts_of_a_bench_share_no_picture(bench: Bench) -> None:
    sets = (bench.train, bench.reference, bench.untouched)
    rows = [{x.numpy().tobytes() for x in part.x} for part in sets]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]
    assert [len(part) for part in sets] == [600, 300, 300]
    assert {len(part) for part in bench.faults.values()} == {300}
    assert bench.faults["modes dropped"].y.min() == 3
    assert {x.numpy().tobytes() for x in bench.faults["memorised"].x} <= rows[0]
    told, own = bench.faults["shuffled labels"].y, bench.untouched.y
    assert torch.equal(told.sort().values, own.sort().values) and (told == own).float().mean() < 0.3
    with pytest.raises(Refusal, match="needs 5000 real ones"):
        Bench.of(sets[0], 1000)


def test_an_untouched_set_is_caught_by_nothing(bench: Bench) -> None:
    # Fresh pictures in the place of a flaw: what the suite says by accident.
    x, cond = Digits(split="all")[:]
    other = Bench.of(Labelled(x, cond["label"]), 300, seed=1).untouched
    used = {p.numpy().tobytes() for part in (bench.train, bench.reference) for p in part.x}
    rows = [row for row in range(300) if other.x[row].numpy().tobytes() not in used]
    fresh = Bench(
        bench.train, bench.reference, bench.untouched.take(range(len(rows))), {"none": other.take(rows)}, 12, 64
    )
    some = {name: MEASURES[name] for name in ("accuracy", "patches", "sliced, pixels", "neighbour ratio", "copying")}
    assert sum(cells["none"].caught for cells in suite(fresh, some).values()) <= 1


def test_blurring_keeps_what_has_no_edges_and_halves_what_alternates() -> None:
    assert torch.equal(blurred(torch.full((1, 2, 8, 8), 0.5)), torch.full((1, 2, 8, 8), 0.5))
    stripes = torch.tensor([1.0, -1.0]).repeat(4).expand(1, 1, 8, 8)
    assert blurred(stripes).abs().max() < 1e-7
