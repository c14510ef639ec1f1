"""Reproducing a claim: time it, train and measure what is not there yet, judge, and leave one record."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mezzotint.core.errors import Refusal
from mezzotint.core.folder import tidy
from mezzotint.core.lock import alone
from mezzotint.core.spec import spec
from mezzotint.core.stop import watching
from mezzotint.evidence import keys
from mezzotint.evidence.estimate import smaller
from mezzotint.evidence.load import Loaded
from mezzotint.evidence.pool import Pool, Task
from mezzotint.evidence.recipe import Closed, Experiment, Setting, Trained, Training
from mezzotint.evidence.record import SCHEMA, Record, finite
from mezzotint.evidence.verdict import Numbers, Seen, Verdict
from mezzotint.evidence.work import KEPT, Estimate, Names, Work, everything
from mezzotint.training.run import environment

NOBODY = -1
"""A seed that no trainer has: trainings that are one there are one at every seed."""
PATIENCE = 10.0
"""Seconds to wait for the workers of a run that was killed."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Arguments:
        phase: ``timing``, ``work`` or ``seeds``.
        unit: what is counted.
        done, total: in that unit; of work, seconds of one process as they were estimated.
        what: what was heard last.
    """

    phase: str
    unit: str
    done: float
    total: float
    what: str


Told = Callable[[Progress], None]


@dataclass(frozen=True)
class Request:
    """What to reproduce.

    Arguments:
        loaded: the recipe.
        size: ``exact``, ``small`` or ``full``.
        seeds: paired seeds; None: the recipe's own.
        changes: ``name=value`` of the setting.
        folder: where finished work is kept; one folder for all recipes.
        jobs: processes; None: two on a CPU, one on a GPU.
        minutes: a paired seed may take; None: what the recipe says.
    """

    loaded: Loaded
    size: str
    seeds: tuple[int, ...] | None = None
    changes: tuple[str, ...] = ()
    folder: Path = Path("runs/reproduce")
    jobs: int | None = None
    minutes: float | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment of that size."""
        return self.loaded.recipe.at(self.size)

    @property
    def setting(self) -> Setting:
        """Its numbers, as changed."""
        return Setting(self.experiment.setting).edited(list(self.changes))

    @property
    def paired(self) -> tuple[int, ...]:
        """The seeds."""
        return self.experiment.seeds if self.seeds is None else self.seeds


def reproduce(request: Request, told: Told = lambda progress: None) -> Record:
    """Do what is asked and return the record; what an earlier run has finished is not done again.

    Raises:
        Refusal: if the estimate exceeds twice the minutes a seed may take; it names sizes that fit.
    """
    if not request.paired or len(set(request.paired)) < len(request.paired):
        raise Refusal(f"seeds are different numbers, at least one, not {list(request.paired)}")
    if request.jobs is not None and request.jobs < 1:
        raise Refusal(f"the work needs a process at least, not {request.jobs}")
    start, experiment = time.perf_counter(), request.experiment
    _ = request.setting  # a change that cannot be is better known before the work
    if isinstance(experiment, Closed):
        tables, evidence, times = _closed(request, experiment, told)
    else:
        tables, evidence, times = _trained(request, experiment, told)
    seen = Seen(tables)
    verdict = _concluded(experiment, seen)
    figures = experiment.figures(seen) if experiment.figures is not None else []
    recipe, loaded = request.loaded.recipe, request.loaded
    standard = dict(request.setting) == dict(experiment.setting) and request.paired == experiment.seeds
    tree = {
        "schema": SCHEMA,
        "recipe": loaded.slug,
        "size": request.size,
        "setting": dict(request.setting),
        "standard": standard,
        "variant": keys.digest(dict(request.setting), request.paired)[:8],
        "seeds": list(request.paired),
        "paper": asdict(recipe.paper),
        "claim": recipe.claim,
        "published": recipe.published,
        "criterion": experiment.criterion,
        "departures": experiment.departures,
        "numbers": tables,
        "verdict": verdict.plain(),
        "figures": [figure.plain() for figure in figures],
        "evidence": {"package": keys.package(), "recipe": loaded.code, **evidence},
        "environment": {**environment(), "threads": 1},
        "times": {**times, "seconds": time.perf_counter() - start, "when": time.strftime("%Y-%m-%d", time.gmtime())},
    }
    return Record(json.loads(json.dumps(finite(tree))))  # as it will be read


def _closed(
    request: Request, experiment: Closed, told: Told
) -> tuple[dict[int, Numbers], dict[str, Any], dict[str, Any]]:
    tables: dict[int, Numbers] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in workers: sums over more threads round otherwise
    try:
        for seed in request.paired:
            told(Progress("seeds", "seeds", len(tables), len(request.paired), f"seed {seed}"))
            tables[seed] = experiment.measure(request.setting, seed)
    finally:
        torch.set_num_threads(threads)
    told(Progress("seeds", "seeds", len(tables), len(request.paired), ""))
    return tables, {}, {}


def _trained(
    request: Request, experiment: Trained, told: Told
) -> tuple[dict[int, Numbers], dict[str, Any], dict[str, Any]]:
    folder = request.folder / request.loaded.slug
    work = Work(experiment, request.size, request.setting, request.loaded.code, folder)
    _rehearse(experiment, work.arms)
    _ = work.cond
    jobs = request.jobs or (1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1))
    loaded = request.loaded
    origin = str(Path(loaded.origin).resolve()) if loaded.origin.endswith(".py") else loaded.origin
    first = {
        "origin": origin,
        "code": [loaded.code, keys.package()],
        "size": request.size,
        "changes": list(request.changes),
        "folder": str(folder.resolve()),
    }
    instead = "wait for it, or name another folder with --work"
    with watching(), alone(folder, "another run", instead, PATIENCE) as lock, Pool(first, jobs, lock) as pool:
        for kept in (folder, *(folder / name for name in KEPT)):
            tidy(kept, alone=True)
        done = all(work.cell(arm, seed) is not None for arm in work.arms for seed in request.paired)
        estimate = work.estimated(jobs) if done else _estimated(request, work, pool, jobs, told)
        if not done and estimate is not None:
            _work(pool, list(_tasks(work, request.paired, estimate)), told)
    tables: dict[int, Numbers] = {}
    weights: dict[str, Any] = {}
    seconds: dict[str, Any] = {}
    for seed in request.paired:
        cells = {arm: work.cell(arm, seed) or {} for arm in work.arms}
        tables[seed] = {arm: cell["numbers"] for arm, cell in cells.items()}
        weights[str(seed)] = {arm: cell["weights"] for arm, cell in cells.items() if cell["weights"]}
        seconds[str(seed)] = {arm: cell["seconds"] for arm, cell in cells.items()}
    judge = work.judged()
    trained = [training.tree(0)["data"] for arm in work.arms.values() for _, training in everything(arm)]
    trees = [source for tree in trained for source in keys.sources(tree)]
    trees += [spec(data) for data in experiment.data(request.setting)]
    data = {keys.short(tree): dict(zip(("sha256", "count"), keys.contents(tree), strict=True)) for tree in trees}
    evidence = {"data": data, "weights": weights, "judge": None if judge is None else judge.record}
    foreseen = None if estimate is None else estimate.seconds(jobs)
    return tables, evidence, {"estimate_per_seed": foreseen, "jobs": jobs, "samples": seconds}


class _Any(dict[str, float]):
    """A row in which every column is 1."""

    def __missing__(self, column: str) -> float:
        return 1.0


def _concluded(experiment: Experiment, seen: Seen) -> Verdict:
    verdict: object = experiment.verdict(seen)
    if not isinstance(verdict, Verdict):
        raise Refusal(f"a verdict is what seen.all(criterion, ...) makes, but this recipe's returns {verdict!r:.80}")
    return verdict


def _rehearse(experiment: Trained, arms: Iterable[str]) -> None:
    """Ask for the verdict and the figures of made-up numbers: what is not there is better missed before."""
    seen = Seen({seed: {arm: _Any() for arm in arms} for seed in (0, 1)})
    _concluded(experiment, seen)
    if experiment.figures is not None:
        experiment.figures(seen)


def pictures(request: Request) -> dict[str, Tensor]:
    """The first samples of every arm at the first seed, to look at; nothing where an experiment has no arms."""
    experiment = request.experiment
    if isinstance(experiment, Closed):
        return {}
    folder = request.folder / request.loaded.slug
    work = Work(experiment, request.size, request.setting, request.loaded.code, folder)
    return {arm: found for arm in work.arms if (found := work.shown(arm, request.paired[0])) is not None}


def _estimated(request: Request, work: Work, pool: Pool, jobs: int, told: Told) -> Estimate:
    """Time every training and every arm, and refuse what would take more than twice its minutes."""
    minutes = work.experiment.minutes if request.minutes is None else request.minutes
    estimate = work.estimated(jobs) or _timed(work, pool, told)
    needed = estimate.seconds(jobs) / 60
    if needed > 2 * minutes:
        fitting = " ".join(smaller(work.experiment, work.setting, minutes / needed))
        raise Refusal(
            f"this would take about {needed:.0f} minutes a paired seed here, and {minutes:g} are meant for it; what "
            f"fits: --set {fitting}; or give it more with --minutes {needed:.0f}"
        )
    work.keep(estimate, jobs)  # not a refused one: another time the machine may be free
    return estimate


def _timed(work: Work, pool: Pool, told: Told) -> Estimate:
    distinct = _distinct(work, NOBODY)
    tasks = [
        *(Task(("time fit", *path), {"do": "time fit", "arm": path[0], "training": path[1:]}) for path in distinct),
        *(Task(("time draw", arm), {"do": "time draw", "arm": arm}) for arm in work.arms),
    ]
    fits: dict[Names, float] = {}
    draws: dict[str, float] = {}
    for heard in pool.run(tasks):
        if heard.share == 1.0:
            if heard.task.key[0] == "time fit":
                fits[heard.task.key[1:]] = heard.result
            else:
                draws[heard.task.key[1]] = heard.result
            told(Progress("timing", "tasks", len(fits) + len(draws), len(tasks), heard.task.key[1]))
    return Estimate(fits, draws)


def _distinct(work: Work, seed: int) -> dict[Names, Training]:
    """Every training once, under the first arm that has it, and where it is needed most deeply."""
    found: dict[str, Names] = {}
    for arm, chosen in work.arms.items():
        for names, training in everything(chosen):
            key = keys.of(training, seed)
            if key not in found or len(found[key]) < 1 + len(names):
                found[key] = (arm, *names)
    return {path: work.training(path[0], path[1:]) for path in found.values()}


def _tasks(work: Work, seeds: Sequence[int], estimate: Estimate) -> Iterator[Task]:
    """What is left to do, seed by seed, so that a run that is stopped leaves whole seeds."""
    judge = ("judge",)
    named: dict[str, Names] = {}  # of all seeds: what is done once is done under the first
    if work.experiment.judge is not None:
        yield Task(judge, {"do": "judge"}, seconds=30.0)
    for seed in seeds:
        distinct = _distinct(work, seed)
        for path, training in sorted(distinct.items(), key=lambda item: (-len(item[0]), -estimate.fits[item[0]])):
            task, key = ("train", str(seed), *path), keys.of(training, seed)
            if named.setdefault(key, task) == task and not work.trained(training, seed):
                order = {"do": "fit", "arm": path[0], "training": path[1:], "seed": seed}
                after = tuple(named[keys.of(need, seed)] for need in training.needs.values())
                yield Task(task, order, after, estimate.fits[path])
        for arm in sorted(work.arms, key=lambda arm: -estimate.draws[arm]):
            if work.cell(arm, seed) is None:
                needs = [named[keys.of(training, seed)] for training in work.arms[arm].trainings.values()]
                order = {"do": "draw", "arm": arm, "seed": seed}
                yield Task(("sample", str(seed), arm), order, (judge, *needs), estimate.draws[arm])


def _work(pool: Pool, tasks: Sequence[Task], told: Told) -> None:
    total, shares = sum(task.seconds for task in tasks), dict[tuple[str, ...], float]()
    for heard in pool.run(tasks):
        shares[heard.task.key] = heard.share * heard.task.seconds
        what, *rest = heard.task.key
        seed, names = (rest[0], rest[1:]) if rest else ("", [])
        text = f"{f'seed {seed}: ' if seed else ''}{what} {' '.join(names)}".strip()
        told(
            Progress("work", "s of work", sum(shares.values()), total, f"{text}{' done' if heard.share == 1.0 else ''}")
        )
