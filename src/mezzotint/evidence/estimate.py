"""What an experiment will take, timed before it starts.

A few steps of every training and a few evaluations of every model are timed, where they will run (in the workers, all
of them busy); what an arm's samples cost is the count of evaluations that one sample asks for, read off one run,
times the time of an evaluation in a full batch. An estimate is of the work from nothing: what is finished already is
not taken off.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mezzotint.conditions.part import ConditionPart
from mezzotint.core.config import count
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.core.spec import build
from mezzotint.core.store import save_model
from mezzotint.data.data import unpacked
from mezzotint.denoiser.base import Denoiser
from mezzotint.denoiser.raster import Raster
from mezzotint.evidence.recipe import Setting, Trained, Training
from mezzotint.evidence.work import Work, device, sample_keys, untrained
from mezzotint.training.trainer import PRECISIONS

_ENOUGH = 0.5  # seconds that a timing takes, at least
_MOST = 20  # repetitions


def smaller(experiment: Trained, setting: Setting, share: float) -> list[str]:
    """Settings that take about ``share`` of the time: every dial turned down alike, two digits kept."""
    return [f"{name}={_round(setting[name] * share)}" for name in experiment.dials]


def _round(value: float) -> int:
    whole = max(1, int(value))
    unit = int(10 ** max(0, len(str(whole)) - 2))
    return whole // unit * unit


@contextmanager
def standing(work: Work, training: Training) -> Iterator[dict[str, str]]:
    """Folders for what a training needs: of the finished run, or of an untrained model, which takes as long."""
    with TemporaryDirectory(prefix="mezzotint-") as home, ExitStack() as inner:
        folders: dict[str, str] = {}
        for name, need in training.needs.items():
            if need.once and work.trained(need, 0):
                folders[name] = str(work.run(need, 0).resolve())
            else:
                below = inner.enter_context(standing(work, need))
                folders[name] = str(save_model(Path(home, str(len(folders))), untrained(need, folders=below)))
        yield folders


def time_training(work: Work, training: Training) -> float:
    """Seconds that a training will take on this process."""
    with standing(work, training) as folders:
        return _time_training(training, folders)


def _time_training(training: Training, folders: Mapping[str, str]) -> float:
    model, trainer, data = untrained(training, folders=folders), training.training, training.data
    if folders:
        tree = training.tree(0, folders)
        trainer, data = build(tree["training"]), build(tree["data"])
    model.train().requires_grad_(True)
    assert isinstance(model, Learner)
    model.lower(PRECISIONS[trainer.precision])
    rows = torch.arange(trainer.batch) % len(data)
    x, cond = data[rows]
    x, cond = x.to(device()), cond.to(device())
    one = data[:1]
    trainer.objective.meet(model, unpacked(one[0].to(device())), model.prepare(one[1].to(device())))
    trainer.objective.to(device())
    weights = [p for p in (*model.parameters(), *trainer.objective.parameters()) if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, fused=True)
    rng = Rng([0]).repeat(len(x)).at(torch.arange(len(x)))

    def step() -> None:
        value = trainer.objective(model, x, model.prepare(cond), rng).value.mean()
        torch.autograd.backward(value)
        optimizer.step()
        optimizer.zero_grad()

    return _seconds(step) * (count(trainer.images) / trainer.batch)


def time_arm(work: Work, arm: str) -> float:
    """Seconds that the samples of an arm will take on this process."""
    chosen = work.arms[arm]
    total: int = work.setting.samples
    models: dict[str, Any] = {}
    for name, training in chosen.trainings.items():
        with standing(work, training) as folders:
            models[name] = _dropping(untrained(training, folders=folders))
    rows: int = min(work.setting.batch, total)
    if not models:  # exact denoisers: a tenth of a batch, and what it says of the whole
        few = max(1, rows // 10)
        return _seconds(lambda: _draw(work, arm, {}, few)) * total / few
    evaluations = Counter[str]()
    last: dict[str, Any] = {}
    whole = not all(isinstance(model, Denoiser) for model in models.values())

    def hook(name: str) -> Any:
        def heard(module: Denoiser, given: Any, named: Any, answer: Any) -> None:
            nonlocal whole
            evaluations[name] += len(given[0])
            last[name] = (given, named)
            whole |= isinstance(answer, Raster)

        return heard

    handles = [model.register_forward_hook(hook(name), with_kwargs=True) for name, model in models.items()]
    _draw(work, arm, models, 1)
    for handle in handles:
        handle.remove()
    if whole:  # what decodes, or is asked entry by entry once it has answered: a batch as it is drawn, after the first
        start = time.perf_counter()
        _finished(lambda: _draw(work, arm, models, rows))
        return (time.perf_counter() - start) / rows * total
    return sum(_evaluation(models[name], last[name], rows) * n for name, n in evaluations.items()) / rows * total


def _dropping(model: Any) -> Any:
    """A model as if its nulls were trained: guidance refuses one whose are not, and its time does not depend on it."""
    for part in model.modules():
        if isinstance(part, ConditionPart):
            part.null_trained.fill_(True)
    return model


def _draw(work: Work, arm: str, models: Mapping[str, Any], rows: int) -> None:
    with torch.no_grad():
        work.arms[arm].pipeline(models)(work.cond[:rows] if work.cond else work.cond, sample_keys(0, rows))


def _evaluation(model: Denoiser, asked: tuple[Any, dict[str, Any]], rows: int) -> float:
    """Seconds of one evaluation of so many rows, asked as in the run that was counted."""
    given, named = asked
    x, t = given[0][:1], given[1][:1]
    cond = [c[:1].repeat(rows) if len(c) else c for c in given[2:3]]
    big = x.repeat(rows, *(1 for _ in x.shape[1:])), t.repeat(rows, *(1 for _ in t.shape[1:]))
    with torch.no_grad():
        return _seconds(lambda: model(*big, *cond, *given[3:], **named))


def _seconds(act: Callable[[], object]) -> float:
    """The median time of an act, the first one left out."""
    _finished(act)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < _ENOUGH and len(times) < _MOST):
        start = time.perf_counter()
        _finished(act)
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def _finished(act: Callable[[], object]) -> None:
    act()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what was only launched took no time
