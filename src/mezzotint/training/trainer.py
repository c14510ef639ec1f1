"""The training loop: one objective, one model, one data set, counted in images.

Everything random is a function of (seed, step, place in the batch), so a run that was stopped and one that was not
draw the same numbers, and a batch split over processes or into pieces is the same batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mezzotint.core.condition import Condition
from mezzotint.core.config import count
from mezzotint.core.errors import Refusal
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part, spec
from mezzotint.data.data import Data
from mezzotint.denoiser.base import Denoiser, Trainable
from mezzotint.objectives.base import Loss, Objective
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.heun import Heun
from mezzotint.training.checkpoint import export, restore, store
from mezzotint.training.ema import PowerAverage
from mezzotint.training.health import Skips, culprit, grads_finite
from mezzotint.training.levels import ErrorByLevel
from mezzotint.training.order import Order
from mezzotint.training.preview import held_out, preview
from mezzotint.training.rate import Rate
from mezzotint.training.run import Run

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to ``fit``'s ``progress``."""

    images: int
    total: int
    loss: float
    per_second: float

    @property
    def seconds_left(self) -> float:
        """At the present pace."""
        return (self.total - self.images) / max(self.per_second, 1e-9)


class Turn(nn.Module):
    """The objective and the model as one module, so that what distributes modules sees one forward pass."""

    def __init__(self, objective: Objective, model: Denoiser) -> None:
        super().__init__()
        self.objective, self.model = objective, model

    def forward(self, x: Tensor, cond: Condition, rng: Rng) -> Loss:
        loss: Loss = self.objective(self.model, x, self.model.prepare(cond), rng)
        return loss


@dataclass(frozen=True)
class Trainer(Part):
    """Trains a denoiser; ``fit`` writes a run folder.

    Arguments:
        objective: what to minimise.
        images: how long, in images seen (``200_000``, ``"2M"``).
        batch: images a step, over all processes and pieces.
        accumulate: pieces a batch is computed in, to save memory; the result is the same.
        rate: learning rate by images seen.
        betas: of Adam.
        clip: largest gradient norm; 0 does not clip.
        averages: relative lengths of the averages of the weights; the first is exported.
        precision: ``fp32`` or ``bf16`` inside the network; everything else stays float32.
        seed: of the order, the noise and the initial weights where :func:`mezzotint.training.train` builds them.
        log, save, picture: how often, in images; by default a hundredth, a quarter and a quarter of the run.
        sampler: for the pictures and as the model's usual one.
        workers: processes that read data; 0 reads in this one.
        patience: stop after so many non-finite steps in a row.
        tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
    """

    objective: Objective
    images: int | str = 200_000
    batch: int = 128
    accumulate: int = 1
    rate: Rate = field(default_factory=Rate)
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    averages: tuple[float, ...] = (0.05, 0.10)
    precision: str = "fp32"
    seed: int = 0
    log: int | str | None = None
    save: int | str | None = None
    picture: int | str | None = None
    sampler: Sampler = field(default_factory=lambda: Heun(steps=18))
    workers: int = 0
    patience: int = 20
    tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise Refusal(f"precision is fp32 or bf16, not {self.precision!r}")
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise Refusal(f"a batch of {self.batch} cannot be computed in {self.accumulate} equal pieces")
        if not self.averages:
            raise Refusal("training needs at least one average of the weights: it is what is exported")
        if count(self.images) < self.batch:
            raise Refusal(f"training for {self.images} images is less than one batch of {self.batch}")

    def _every(self, value: int | str | None, share: int) -> int:
        """An interval of the schedule in steps, at least one."""
        images = count(self.images) // share if value is None else count(value)
        return max(1, images // self.batch)

    def fit(
        self,
        denoiser: Denoiser,
        data: Data,
        folder: str | Path,
        *,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Run:
        """Train ``denoiser`` on ``data`` and leave a run folder; ``resume`` goes on with the one that is there."""
        from accelerate import Accelerator

        if not isinstance(denoiser, Trainable):
            raise Refusal(f"a {type(denoiser).__name__} has nothing to train; wrap a network in Preconditioned")
        if tuple(denoiser.shape) != tuple(data.shape):
            raise Refusal(f"the model is made for samples of shape {tuple(denoiser.shape)}, the data have {tuple(data.shape)}")
        tree = {"model": spec(denoiser), "data": spec(data), "training": spec(self)}
        run = Run.create(folder, tree, resume)
        accelerator = Accelerator()
        ranks, rank = accelerator.num_processes, accelerator.process_index
        if self.batch % (ranks * self.accumulate):
            raise Refusal(f"a batch of {self.batch} cannot be shared by {ranks} processes in {self.accumulate} pieces")
        denoiser.to(accelerator.device).train().requires_grad_(True)
        denoiser.lower(PRECISIONS[self.precision])
        averages = [PowerAverage(denoiser, length) for length in self.averages]
        turn = Turn(self.objective, denoiser).to(accelerator.device)
        weights = [p for p in turn.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=0.0, betas=self.betas, weight_decay=0.0)
        step = restore(run, turn, averages, optimizer, self.batch) if resume else 0
        if not resume:
            run.forget_after(-1)
        wrapped, optimizer = accelerator.prepare(turn, optimizer)
        total = -(-count(self.images) // self.batch)
        each = {name: self._every(getattr(self, name), share) for name, share in (("log", 100), ("save", 4), ("picture", 4))}
        mine = np.arange(self.batch)[rank :: ranks]
        order = Order(len(data), self.seed)
        loader = DataLoader(
            _Reader(data), batch_size=None, sampler=_Batches(order, step, total, self.batch, mine), num_workers=self.workers
        )
        keys, places = Rng([self.seed]).at("training"), torch.from_numpy(mine)
        skips, writer = Skips(self.patience), self._writer(run) if accelerator.is_main_process else None
        errors = ErrorByLevel(accelerator.device)
        losses, since, clock = [], step, time.perf_counter()

        for x, cond in loader:
            rate = self.rate((step + 1) * self.batch, total * self.batch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(int(keys.at("layers", step).keys[0]))
            rng = keys.at("step", step).repeat(len(mine)).at(places)
            x, cond = x.to(accelerator.device), cond.to(accelerator.device)
            value, shots = torch.zeros((), dtype=torch.float64, device=x.device), []
            for i in range(self.accumulate):
                rows = slice(i * len(x) // self.accumulate, (i + 1) * len(x) // self.accumulate)
                last = i == self.accumulate - 1
                with accelerator.no_sync(wrapped) if not last else nullcontext():
                    loss = wrapped(x[rows], cond[rows] if cond else cond, rng[rows])
                    accelerator.backward(loss.value.sum() * ranks / self.batch)
                value = value + loss.value.detach().double().sum() * ranks / self.batch
                shots.append(loss)
            mean = float(accelerator.reduce(value, "mean"))
            norm = float(nn.utils.clip_grad_norm_(weights, self.clip if self.clip > 0 else float("inf")))
            if np.isfinite(mean) and np.isfinite(norm) and grads_finite(weights):
                optimizer.step()
                skips.good()
                step += 1
                for average in averages:
                    average.update(denoiser, step)
                for loss in shots:
                    self.objective.update(denoiser, loss)
                    if loss.shot is not None:
                        errors.add(denoiser, loss.shot)
                losses.append(mean)
            else:
                where = culprit(turn, lambda x=x, cond=cond, rng=rng: turn(x, cond, rng))
                step += 1  # the batch is spent: the same one again would fail again
                run.log(images=step * self.batch, event="skipped", where=where, loss=repr(mean), norm=repr(norm))
                skips.bad(where)
            optimizer.zero_grad()

            images, end = step * self.batch, step == total
            if accelerator.is_main_process and (step % each["log"] == 0 or end) and losses:
                now = time.perf_counter()
                pace = (step - since) * self.batch / max(now - clock, 1e-9)
                row: dict[str, Any] = {"loss": float(np.mean(losses)), "rate": rate, "norm": norm, "images_per_second": pace}
                run.log(images=images, step=step, **row, skipped=skips.total, levels=errors.rows())
                for name, number in row.items() if writer is not None else ():
                    writer.add_scalar(name, number, images)
                if progress is not None:
                    progress(Progress(images, total * self.batch, row["loss"], pace))
                losses, since, clock = [], step, now
                errors = ErrorByLevel(accelerator.device)
            if accelerator.is_main_process and (step % each["picture"] == 0 or end):
                pause = time.perf_counter()
                preview(run, averages[0].model, data, self.sampler, images)
                clock += time.perf_counter() - pause
            if accelerator.is_main_process and (step % each["save"] == 0 or end):
                pause = time.perf_counter()
                run.log(images=images, step=step, held_out=held_out(self.objective, averages[0].model, data, self.seed))
                store(run, turn, averages, optimizer, step, self.batch, skips.total)
                export(run, averages[0], data, self.sampler, images)
                clock += time.perf_counter() - pause
        denoiser.eval()
        if writer is not None:
            writer.close()
        accelerator.wait_for_everyone()
        return run

    def _writer(self, run: Run) -> Any:
        if not self.tensorboard:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise Refusal("training.tensorboard needs the extra: pip install 'mezzotint[tensorboard]'") from None
        return SummaryWriter(str(run.path / "tensorboard"))  # type: ignore[no-untyped-call]


class _Reader:
    """Reads whole batches by their list of indices; what a DataLoader calls a data set."""

    def __init__(self, data: Data) -> None:
        self.data = data

    def __getitem__(self, rows: Any) -> tuple[Tensor, Condition]:
        return self.data[rows]


class _Batches:
    """The index lists of every step still to come."""

    def __init__(self, order: Order, step: int, total: int, batch: int, mine: Any) -> None:
        self.order, self.step, self.total, self.batch, self.mine = order, step, total, batch, mine

    def __iter__(self) -> Iterator[Any]:
        for step in range(self.step, self.total):
            yield self.order.at(step * self.batch, self.batch)[self.mine]

    def __len__(self) -> int:
        return max(0, self.total - self.step)
