"""Every recipe's exact size, run again: it says what its committed record says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mezzotint.evidence.record import Record
from mezzotint.evidence.reproduce import Request, reproduce
from mezzotint.recipes import find, origins

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.mark.parametrize("slug", [slug for slug in origins() if "exact" in find(slug).recipe.sizes])
def test_an_exact_size_says_what_its_record_says(slug: str) -> None:
    before, now = Record.read(RESULTS / f"{slug}-exact.json"), reproduce(Request(find(slug), "exact"))
    assert now.outcome == before.outcome
    assert now["seeds"] == before["seeds"]
    for seed, rows in before["numbers"].items():
        for row, columns in rows.items():
            assert now["numbers"][seed][row] == pytest.approx(columns, rel=1e-4, abs=1e-9)
