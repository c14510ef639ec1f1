"""A training that is killed, wherever that is, loses at most what came after its last checkpoint."""

from __future__ import annotations

from pathlib import Path

import kills
import pytest
from kills import Kill, Server


@pytest.fixture(scope="module")
def whole(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    return kills.truth(server, tmp_path_factory.mktemp("whole") / "run")


def test_three_kills(server: Server, whole: tuple[Path, float], tmp_path: Path) -> None:
    plan = [Kill("on a half-written manifest", 3), Kill("before the rename of a checkpoint", 2), Kill(share=0.5)]
    hit, wrong = kills.survived(server, plan, tmp_path / "run", *whole)
    assert not wrong and hit >= 2  # the last one is a matter of time
    plan = [Kill("in the evaluation of held-out pictures"), Kill("in a log line", 3)]
    hit, wrong = kills.survived(server, plan, tmp_path / "other", *whole)
    assert not wrong and hit == 2
    # Before the first checkpoint there is nothing to go on from; pictures are evaluated just before it is written.
    told = (tmp_path / "other.told").read_text().split("\n")
    assert told[: kills.SAVE + 1] == ["from 0", *map(str, range(1, kills.SAVE)), "from 0"]


@pytest.mark.long
def test_fifty_kills(server: Server, tmp_path: Path) -> None:
    found = kills.everywhere(server, tmp_path, 60)
    assert found.wrong == [] and found.survived == found.tried >= 60
