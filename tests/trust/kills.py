"""Killing a training again and again, letting it go on, and comparing the end with a run that was left in peace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import child
import trial

import mezzotint as mz
from mezzotint.metrics import Extractor
from mezzotint.training.run import Run

SAVE = 4
STEPS = 12
CONFIG = trial.config(STEPS, SAVE)
SOURCE = str(Path(mz.__file__).resolve().parent.parent)
KEPT = tuple(name for name in child.FAULTS if "kept extractor" in name)
"""Points that are passed where a cache is built and not in training."""


@dataclass(frozen=True)
class Kill:
    """A named point with how often it is passed before, or a share of the time that the run takes."""

    at: str | None = None
    count: int = 1
    share: float = 0.0

    def __str__(self) -> str:
        return f"{self.at}, time {self.count}" if self.at is not None else f"after {self.share:.3f} of the run"


class Server:
    """Does jobs in processes of their own."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": SOURCE, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(child.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def do(self, folder: Path, **job: Any) -> dict[str, Any]:
        """Do a job: how the process ended, what it said, and the seconds it took."""
        assert self.process.stdin is not None and self.process.stdout is not None
        heard = folder.with_name(f"{folder.name}.heard")
        job = {"do": "train", "folder": str(folder), "heard": str(heard), "config": CONFIG, "resume": True} | job
        self.process.stdin.write(json.dumps(job | {"told": str(folder.with_name(f"{folder.name}.told"))}) + "\n")
        self.process.stdin.flush()
        return {**json.loads(self.process.stdout.readline()), "heard": heard.read_text()}


@contextmanager
def server() -> Iterator[Server]:
    """A server, until the end of the block."""
    made = Server()
    try:
        yield made
    finally:
        assert made.process.stdin is not None
        made.process.stdin.close()
        made.process.wait()


def truth(made: Server, folder: Path) -> tuple[Path, float]:
    """A run that nobody disturbed, and the seconds it took."""
    found = made.do(folder)
    assert found["ended"] == 0, found["heard"]
    return folder, found["seconds"]


def survived(made: Server, plan: Sequence[Kill], folder: Path, whole: Path, seconds: float) -> tuple[int, list[str]]:
    """Kill one training at each point of a plan, then let it end; how many kills hit, and what is wrong.

    Nothing may be lost but the steps since the last checkpoint, nothing may be left over, and the end is that of the
    undisturbed run.
    """
    hit, wrong = 0, []
    for kill in plan:
        after = None if kill.at is not None else kill.share * seconds
        found = made.do(folder, fault=kill.at, count=kill.count, after=after)
        if found["ended"] == 0:
            break  # it was over before: nothing is left to kill
        if found["ended"] != -9:
            wrong.append(f"{kill}: ended with {found['ended']}: {found['heard'][-500:]}")
            break
        hit += 1
        lost = _told(folder) - _whole(folder)
        if lost > SAVE:
            wrong.append(f"{kill}: {lost} steps were lost")
    found = made.do(folder)
    if found["ended"] != 0:
        return hit, [*wrong, f"it did not go on after {', '.join(map(str, plan))}: {found['heard'][-500:]}"]
    wrong += [f"{name} differs after {', '.join(map(str, plan))}" for name in trial.differences(folder, whole)]
    wrong += [f"{name} was left over by {', '.join(map(str, plan))}" for name in trial.left_over(folder)]
    return hit, wrong


def kept(made: Server, kill: Kill, folder: Path) -> tuple[int, list[str]]:
    """The same where the judge that is kept beside a run is trained."""
    folder.mkdir()
    first = made.do(folder / "extractor", do="extractor", fault=kill.at, count=kill.count)
    again, other = (made.do(folder / name, do="extractor") for name in ("extractor", "other"))
    if (first["ended"], again["ended"], other["ended"]) != (-9, 0, 0):
        return int(first["ended"] == -9), [f"{kill}: {first}, {again}, {other}"]
    mine, whole = (Extractor.load(folder / name) for name in ("extractor", "other"))
    wrong = [] if mine.record == whole.record else [f"another extractor after {kill}"]
    return 1, wrong + [f"{name} was left over by {kill}" for name in trial.left_over(folder)]


def _told(folder: Path) -> int:
    told = folder.with_name(f"{folder.name}.told")
    lines = told.read_text().split() if told.is_file() else []
    return int(lines[-1]) if lines else 0


def _whole(folder: Path) -> int:
    batch = CONFIG["training"]["batch"]
    run = Run(folder)
    return next((images // batch for images in run.latest() if run.whole(images)), 0)


def plans(count: int, seed: int = 0) -> Iterator[list[Kill]]:
    """Plans of so many kills in all: every named point, then at random moments, four a run.

    The first is at a random moment, because some points are passed only where a run goes on, and seldom.
    """
    random, left = Random(seed), count
    once = ("log is cut back", "config", "model", "picture")
    named = [
        Kill(name, 1 if any(word in name for word in once) else 1 + random.randrange(2))
        for name in child.FAULTS
        if name not in KEPT
    ]
    random.shuffle(named)
    while left > 0:
        few, named = named[:2], named[2:]
        later = [*few, *(Kill(share=random.random() * 0.6) for _ in range(3 - len(few)))]
        random.shuffle(later)
        yield [Kill(share=0.1 + random.random() * 0.5), *later]
        left -= 4
