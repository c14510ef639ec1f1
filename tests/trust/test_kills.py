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
    hit, wrong = kills.survived(server, [Kill("in a log line", 3)], tmp_path / "other", *whole)
    assert not wrong and hit == 1


@pytest.mark.long
def test_fifty_kills(server: Server, whole: tuple[Path, float], tmp_path: Path) -> None:
    done, wrong, points = 0, [], set[str | None]()
    for number, plan in enumerate(kills.plans(200)):
        hit, found = kills.survived(server, plan, tmp_path / str(number), *whole)
        done, wrong = done + hit, wrong + found
        points |= {kill.at for kill in plan[:hit]}
        if done >= 60:
            break
    for name in kills.KEPT:
        hit, found = kills.kept(server, Kill(name), tmp_path / name)
        done, wrong = done + hit, wrong + found
    assert not wrong and done >= 50
    assert len(points - {None}) >= 16  # a run that ends before a random moment passes no further point
