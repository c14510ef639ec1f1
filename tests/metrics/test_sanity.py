"""Every flaw is caught by the measures meant to catch it, and the blind spots are where the pages say they are."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mezzotint.core import Refusal
from mezzotint.data import Digits
from mezzotint.testing.sanity import BLUR, MEASURES, NOTHING, Bench, Cell, Labelled, blurred, suite, verdict

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted((ROOT / "results" / "sanity").glob("*.json"))


@pytest.fixture(scope="module")
def bench() -> Bench:
    x, cond = Digits(split="all")[:]
    return Bench.of(Labelled(x, cond["label"]), 250, draws=12, seen=4800, teach=547)


@pytest.fixture(scope="module")
def found(bench: Bench) -> dict[str, dict[str, Cell]]:
    return suite(bench)


def test_each_flaw_is_caught_by_what_is_meant_to(found: dict[str, dict[str, Cell]]) -> None:
    said = {
        (name, flaw): verdict(MEASURES[name], flaw, found[name][flaw].caught) for name in found for flaw in found[name]
    }
    assert not [cell for cell, word in said.items() if word == "missed"]
    for flaw in next(iter(found.values())):
        assert (flaw == NOTHING) != any(said[name, flaw] == "caught" for name in found), flaw


def test_blind_spots_are_where_they_are_said_to_be(found: dict[str, dict[str, Cell]]) -> None:
    # Each of these cells is caught by chance in at most one of forty; one that can be seen is caught nearly always.
    blind = [cells[flaw].caught for name, cells in found.items() for flaw in (*MEASURES[name].blind, NOTHING)]
    assert len(blind) > 40 and sum(blind) <= 4
    for name, measure in MEASURES.items():
        assert not set(measure.meant) & set(measure.blind), name
        if name in found and "shuffled labels" in measure.blind and name != "pairwise distance":
            assert found[name]["shuffled labels"].difference.value == 0, name  # it looks at no label


def test_the_parts_of_a_bench_share_no_picture(bench: Bench) -> None:
    assert bench.apart is not None and bench.teacher is bench.apart
    sets = (bench.train, bench.reference, bench.untouched, bench.apart, bench.faults[NOTHING])
    rows = [{x.numpy().tobytes() for x in part.x} for part in sets]
    assert len(set().union(*rows)) == sum(map(len, rows))
    assert [len(part) for part in sets] == [500, 250, 250, 547, 250]
    assert {len(part) for part in bench.faults.values()} == {250}
    assert bench.faults["modes dropped"].y.min() == 3
    assert {x.numpy().tobytes() for x in bench.faults["modes dropped"].x} <= rows[2] | rows[4]
    assert {x.numpy().tobytes() for x in bench.faults["memorised"].x} <= rows[0]
    told, own = bench.faults["shuffled labels"].y, bench.untouched.y
    assert torch.equal(told.sort().values, own.sort().values) and (told == own).float().mean() < 0.3
    with pytest.raises(Refusal, match="needs 5000 real ones"):
        Bench.of(sets[0], 1000)
    with pytest.raises(Refusal, match="needs 501 real ones"):
        Bench.of(sets[0], 100, teach=1)
    alone = Bench.of(sets[0], 100)
    assert alone.teacher is alone.train


def test_blurring_keeps_what_has_no_edges_and_spreads_a_point_as_far_as_said() -> None:
    assert torch.allclose(blurred(torch.full((1, 2, 8, 8), 0.5)), torch.full((1, 2, 8, 8), 0.5))
    point = torch.zeros(1, 1, 48, 64)
    point[0, 0, 24, 32] = 1
    spread, away = blurred(point)[0, 0].double(), torch.arange(64) - 32.0
    assert spread.sum() == pytest.approx(1, rel=1e-5)
    assert (spread.sum(0) * away**2).sum().sqrt() == pytest.approx(48 * BLUR, rel=0.02)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sanity_tool", ROOT / "tools" / "sanity.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_page_is_that_of_the_records(tool: ModuleType) -> None:
    assert tool.main(["--check"]) == 0, "run python tools/sanity.py --page"


@pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])
def test_a_record_holds_no_flaw_that_was_missed(path: Path) -> None:
    said = json.loads(path.read_text(encoding="utf-8"))
    assert set(said["found"]) == set(MEASURES) - (set() if path.stem.startswith("scenes") else {"follows"})
    for name, cells in said["found"].items():
        for flaw, cell in cells.items():
            _, low, high = cell["worse"]
            caught = low > 0 if MEASURES[name].bad > 0 else high < 0
            assert cell["verdict"] == verdict(MEASURES[name], flaw, caught) != "missed", (name, flaw)


def test_all_kinds_of_pictures_have_records(tool: ModuleType) -> None:
    assert {path.stem.split("-")[0] for path in RECORDS} == set(tool.KINDS)


def test_a_missed_flaw_is_told_and_is_the_exit_code(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads(RECORDS[0].read_text(encoding="utf-8"))
    monkeypatch.setattr(tool, "record", lambda *_: said)
    assert tool.main(["digits"]) == 0 and "every flaw is caught" in capsys.readouterr().out
    said["found"]["coverage"]["modes dropped"]["verdict"] = "missed"
    assert tool.main(["digits"]) == 1 and "not caught: modes dropped by coverage" in capsys.readouterr().out
