"""Killing a training again and again, letting it go on, and comparing the end with a run that was left in peace."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
TIMES = ("seconds", "versions")
"""Entries of a report that differ from one run to the next."""


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

    Each time it must go on from the newest whole checkpoint, so that nothing is lost but the steps since then; nothing
    may be left over, and the end is that of the undisturbed run.
    """
    hit, wrong = 0, []
    for kill in plan:
        after = None if kill.at is not None else kill.share * seconds
        found = _go_on(made, folder, wrong, fault=kill.at, count=kill.count, after=after)
        if found["ended"] == 0:
            break  # it was over before: nothing is left to kill
        if found["ended"] != -9:
            wrong.append(f"{kill}: ended with {found['ended']}: {found['heard'][-500:]}")
            break
        hit += 1
        told = _told(folder)[-1:]
        lost = int(told[0].removeprefix("from ")) - _whole(folder) if told else 0
        if lost > SAVE:
            wrong.append(f"{kill}: {lost} steps were lost")
    found = _go_on(made, folder, wrong)
    if found["ended"] != 0:
        return hit, [*wrong, f"it did not go on after {', '.join(map(str, plan))}: {found['heard'][-500:]}"]
    wrong += [f"{name} differs after {', '.join(map(str, plan))}" for name in trial.differences(folder, whole)]
    wrong += [f"{name} was left over by {', '.join(map(str, plan))}" for name in trial.left_over(folder)]
    return hit, wrong


def _go_on(made: Server, folder: Path, wrong: list[str], **job: Any) -> dict[str, Any]:
    """Train on, and see that it begins where it has to; a process that is killed early may not come to say it."""
    newest, said = _whole(folder), len(_told(folder))
    found = made.do(folder, **job)
    begun = _told(folder)[said:][:1]
    if begun != [f"from {newest}"] and (begun or found["ended"] == 0):
        wrong.append(f"with {newest} steps on the disk it began {begun}")
    return found


def kept(made: Server, does: str, kill: Kill, home: Path, whole: Path) -> tuple[int, list[str]]:
    """The same where a judge, a report, or the numbers of an arm are built beside a run.

    Arguments:
        does: the job, by its name.
        kill: where it dies the first time.
        home: for whatever it writes; what nobody disturbed is in it once, for all kills of that job.
        whole: a finished run.
    """
    places = {name: home / does / name / does for name in (f"{kill}", "undisturbed")}
    ended = {}
    for name, folder in places.items():
        if does == "evaluate" and not folder.exists():
            shutil.copytree(whole, folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if name == "undisturbed" and (folder.parent / "done").exists():
            continue
        for fault in (kill.at, None) if name == f"{kill}" else (None,):
            found = made.do(folder, do=does, fault=fault, count=kill.count)
            ended[name, fault] = found["ended"], found["heard"][-500:]
        (folder.parent / "done").touch()
    mine, other = places.values()
    hit = int(ended[f"{kill}", kill.at][0] == -9)
    if not hit or any(code for (_, fault), (code, _) in ended.items() if fault is None):
        return hit, [f"{kill}: {ended}"]
    wrong = [] if _result(does, mine) == _result(does, other) else [f"{kill}: another result"]
    return hit, wrong + [f"{name} was left over by {kill}" for name in trial.left_over(mine)]


def _result(does: str, folder: Path) -> Any:
    """What a job has come to, without what tells time."""

    def plain(path: Path) -> dict[str, Any]:
        return {name: value for name, value in json.loads(path.read_text()).items() if name not in TIMES}

    if does == "extractor":
        return Extractor.load(folder).record
    if does == "evaluate":
        report = plain(folder / "reports" / "few.json")
        return report | {"model": {**report["model"], "path": ""}}, Extractor.load(folder / "extractor").record
    cells = sorted((folder / "cells").iterdir())
    assert len(cells) == 2
    return [(path.name, plain(path) if path.suffix == ".json" else path.read_bytes()) for path in cells]


@dataclass
class Count:
    """Kills that hit, those of them that were survived, what was wrong, and how many there were of each."""

    tried: int = 0
    survived: int = 0
    wrong: list[str] = field(default_factory=list)
    where: dict[str, int] = field(default_factory=dict)

    def add(self, kills: Sequence[Kill], wrong: Sequence[str]) -> None:
        """Take in kills that hit one run; where its end is wrong, none of them was survived."""
        self.tried += len(kills)
        self.survived += 0 if wrong else len(kills)
        self.wrong += wrong
        for kill in kills:
            name = kill.at or "a random moment"
            self.where[name] = self.where.get(name, 0) + 1


def everywhere(made: Server, home: Path, least: int, seed: int = 0) -> Count:
    """At least so many kills: all that builds what is kept, random moments, and every named point at least once."""
    found, whole = Count(), truth(made, home / "whole")
    for does, points in child.KEPT.items():
        for at in points:
            kill = Kill(at, 2 if "samples of" in at else 1)
            hit, wrong = kept(made, does, kill, home, whole[0])
            found.add([kill][:hit], wrong)
    for number, plan in enumerate(plans(10 * least, seed)):
        if found.tried >= least:
            break
        hit, wrong = survived(made, plan, home / str(number), *whole)
        found.add(plan[:hit], wrong)
    for at in [name for name in child.FAULTS if name not in found.where]:  # a random kill before came too late or early
        plan = [Kill("after the rename of a checkpoint"), Kill(at)]
        hit, wrong = survived(made, plan, home / at, *whole)
        found.add(plan[:hit], wrong)
    missed = [name for name in (*child.FAULTS, *sum(map(list, child.KEPT.values()), [])) if name not in found.where]
    found.wrong += [f"nothing died {name}" for name in missed]
    return found


def _told(folder: Path) -> list[str]:
    """Lines that trainings in a folder have told: ``from <step>`` where one began, ``<step>`` after each."""
    told = folder.with_name(f"{folder.name}.told")
    return told.read_text().splitlines() if told.is_file() else []


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
    named = [Kill(name, 1 if any(word in name for word in once) else 1 + random.randrange(2)) for name in child.FAULTS]
    random.shuffle(named)
    while left > 0:
        few, named = named[:2], named[2:]
        later = [*few, *(Kill(share=random.random() * 0.6) for _ in range(3 - len(few)))]
        random.shuffle(later)
        yield [Kill(share=0.1 + random.random() * 0.5), *later]
        left -= 4
