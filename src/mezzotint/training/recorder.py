"""What a run writes on the way: log lines, pictures and checkpoints, each at its own interval of steps.

Every process has a recorder, because some figures are sums over all of them and some models are cut into pieces that
only all of them have; rank 0 writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Trainable
from mezzotint.objectives.base import Loss, Objective
from mezzotint.samplers.base import Sampler
from mezzotint.training.checkpoint import Place, export, store
from mezzotint.training.ema import PowerAverage
from mezzotint.training.health import Skips
from mezzotint.training.levels import ErrorByLevel
from mezzotint.training.preview import held_out, preview
from mezzotint.training.run import Run
from mezzotint.training.shards import Shards


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to ``fit``'s ``progress``.

    Arguments:
        images, total: seen, and to see.
        loss: mean since the last time.
        per_second: images, since the last time.
        waiting: the share of that time in which the loop waited for data.
    """

    images: int
    total: int
    loss: float
    per_second: float
    waiting: float = 0.0

    @property
    def seconds_left(self) -> float:
        """At the present pace."""
        return (self.total - self.images) / max(self.per_second, 1e-9)


class Recorder:
    """Keeps the figures between log lines and writes what is due after a step.

    Arguments:
        run: where to write.
        turn: objective and model, as trained.
        averages: of the model; the first is shown and exported.
        data: what is trained on.
        sampler: for the pictures, and the model's usual one.
        seed, batch, total: of the run; ``total`` in steps.
        every: intervals in steps by ``log``, ``save`` and ``picture``.
        progress: called at every log line.
        tensorboard: whether to write events too.
        shards: of a run whose model is cut over processes.
        saved: called after every checkpoint.
    """

    def __init__(
        self,
        run: Run,
        turn: nn.Module,
        averages: Sequence[PowerAverage],
        data: Data,
        sampler: Sampler,
        *,
        seed: int,
        batch: int,
        total: int,
        every: Mapping[str, int],
        progress: Callable[[Progress], None] | None,
        tensorboard: bool,
        shards: Shards | None = None,
        saved: Callable[[Run], None] | None = None,
    ) -> None:
        self.main, self.shards, self.saved = ranks.main(), shards, saved
        self.run, self.turn, self.averages, self.data, self.sampler = run, turn, averages, data, sampler
        self.seed, self.batch, self.total, self.every, self.progress = seed, batch, total, every, progress
        self.objective = cast(Objective, turn.get_submodule("objective"))
        self.model = cast(Learner, turn.get_submodule("model"))
        self.tensorboard = tensorboard
        self.writer: Any = None
        self._restart()

    def _restart(self) -> None:
        self.errors = ErrorByLevel(self.model.device)
        self.losses: list[float] = []
        self.parts: dict[str, Tensor] = {}
        self.seen, self.waited, self.clock = 0, 0.0, time.perf_counter()

    def timed(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, with the time that each was waited for: what the log says of a loop bound by its data."""
        start = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()

    def good(self, value: float, shots: Sequence[Loss]) -> None:
        """Take in a step that went through: its mean loss and its corrupted batches."""
        self.losses.append(value)
        self.seen += self.batch
        # Of this step alone: what a line of the log says of parts does not hang on where a run was stopped.
        names = shots[0].parts
        self.parts = {name: torch.cat([loss.parts[name].detach().double() for loss in shots]).sum() for name in names}
        for loss in shots:
            if loss.shot is not None and isinstance(self.model, Trainable):
                self.errors.add(self.model, loss.shot)

    def skipped(self, images: int, where: str, loss: float, norm: float) -> None:
        """Write down a step that was not finite."""
        if not self.main:
            return
        with self.run.writing():
            self.run.log(images=images, event="skipped", where=where, loss=repr(loss), norm=repr(norm))

    def resume(self, place: Place) -> None:
        """Take up the figures since the last log line before a checkpoint, the beginning too; later events are void."""
        if self.tensorboard and self.main:
            self.writer = _writer(self.run, place.step * self.batch)
        if place.window:
            self.losses = place.window["losses"].tolist()
            if self.main:  # sums over all processes, so one of them has them
                self.errors.sums.copy_(place.window["levels"])

    def after(self, step: int, optimizer: Any, rate: float, norm: float, skips: Skips) -> None:
        """Write whatever is due after ``step``."""
        with self.run.writing():
            self._write(step, optimizer, rate, norm, skips)

    def _write(self, step: int, optimizer: Any, rate: float, norm: float, skips: Skips) -> None:
        images, end = step * self.batch, step == self.total
        if self.losses and (end or step % self.every["log"] == 0):
            spent = max(time.perf_counter() - self.clock, 1e-9)
            pace = self.seen / spent
            row = {"loss": float(np.mean(self.losses)), "rate": rate, "norm": norm, "images_per_second": pace}
            row["waiting"] = self.waited / spent
            self.errors.sums = ranks.total(self.errors.sums)
            parts = {name: float(ranks.total(part)) / self.batch for name, part in self.parts.items()}
            if self.main:
                more = {"parts": parts} if parts else {}
                self.run.log(images=images, step=step, **row, **more, skipped=skips.total, levels=self.errors.rows())
            for name, number in {**row, **{f"parts/{name}": part for name, part in parts.items()}}.items():
                if self.writer is not None:
                    self.writer.add_scalar(name, number, images)
            if self.progress is not None and self.main:
                self.progress(Progress(images, self.total * self.batch, row["loss"], pace, row["waiting"]))
            self._restart()
        pause = time.perf_counter()
        shown = self.averages[0]
        asked = self.main or self.shards is not None  # a model in pieces answers when all processes ask
        if asked and (end or step % self.every["picture"] == 0):
            preview(self.run, shown.model, self.data, self.sampler, images)
        if end or step % self.every["save"] == 0:
            unseen = held_out(self.objective, shown.model, self.data, self.seed) if asked else None
            if self.main:
                self.run.log(images=images, step=step, held_out=unseen)
            self._store(step, optimizer, skips)
        self.clock += time.perf_counter() - pause

    def save(self, step: int, optimizer: Any, skips: Skips) -> None:
        """Write a checkpoint where none is due, because the run is asked to stop."""
        if step % self.every["save"] and step < self.total:
            with self.run.writing():
                self._store(step, optimizer, skips)
        self.close()

    def _store(self, step: int, optimizer: Any, skips: Skips) -> None:
        window: dict[str, Tensor] = {}
        if self.losses:
            levels = ranks.total(self.errors.sums)
            window = {"losses": torch.tensor(self.losses, dtype=torch.float64), "levels": levels}
        place = Place(step, skips.total, skips.running, window)
        kept = (self.turn, self.averages, optimizer) if self.shards is None else self.shards.whole()
        if self.main and kept is not None:
            turn, averages, optimizer = kept
            store(self.run, turn, averages, optimizer, place, self.batch, self.seed, self.data)
            export(self.run, averages[0], self.data, self.sampler, step * self.batch)
            if self.saved is not None:
                self.saved(self.run)

    def export(self, images: int) -> None:
        """Write ``model/`` from the first average as it is."""
        kept = (self.turn, self.averages) if self.shards is None else self.shards.whole()
        if self.main and kept is not None:
            export(self.run, kept[1][0], self.data, self.sampler, images)

    def close(self) -> None:
        """Finish what writes in the background."""
        if self.writer is not None:
            self.writer.close()


def _writer(run: Run, images: int) -> Any:
    """What writes TensorBoard events; those beyond ``images`` are hidden, as their steps are about to be done again."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise Refusal("training.tensorboard needs the extra: pip install 'mezzotint[tensorboard]'") from None
    made: Any = SummaryWriter
    return made(str(run.path / "tensorboard"), purge_step=images + 1)
