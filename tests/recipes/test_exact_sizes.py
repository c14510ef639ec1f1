"""Every recipe's exact size, run again: it says what its committed record says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mezzotint.cli.claims import counts
from mezzotint.evidence.record import Record
from mezzotint.evidence.reproduce import Request, reproduce
from mezzotint.recipes import find, origins

RESULTS = Path(__file__).resolve().parents[2] / "results"
SLUGS = [slug for slug in origins() if "exact" in find(slug).recipe.sizes]


def same(before: Record, now: Record) -> None:
    """Equal numbers at every seed of ``now``."""
    for seed in map(str, now["seeds"]):
        for row, columns in before["numbers"][seed].items():
            assert now["numbers"][seed][row] == pytest.approx(columns, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("slug", SLUGS)
def test_an_exact_size_says_what_its_record_says(slug: str) -> None:
    """Its first seed measures the same, and the numbers of all seeds are judged as they were."""
    loaded, before = find(slug), Record.read(RESULTS / f"{slug}-exact.json")
    assert counts(loaded.recipe, before)
    same(before, reproduce(Request(loaded, "exact", seeds=loaded.recipe.at("exact").seeds[:1])))


@pytest.mark.long
@pytest.mark.parametrize("slug", SLUGS)
def test_all_seeds_of_an_exact_size_say_what_its_record_says(slug: str) -> None:
    before, now = Record.read(RESULTS / f"{slug}-exact.json"), reproduce(Request(find(slug), "exact"))
    assert now.outcome == before.outcome
    same(before, now)
