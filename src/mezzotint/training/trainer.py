"""The training loop: one objective, one model, one data set, counted in images.

Everything random is a function of (seed, step, place in the batch), so a run that was stopped and one that was not
draw the same numbers, and a batch split over processes or into pieces is the same batch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mezzotint.core import ranks as together
from mezzotint.core.condition import Condition
from mezzotint.core.config import count, dumps
from mezzotint.core.errors import Refusal
from mezzotint.core.learner import Learner
from mezzotint.core.rng import Rng
from mezzotint.core.spec import Part, spec
from mezzotint.data.data import Data, unpacked
from mezzotint.denoiser.base import Denoiser
from mezzotint.objectives.base import Loss, Objective
from mezzotint.samplers.base import Sampler
from mezzotint.samplers.heun import Heun
from mezzotint.training.checkpoint import Place, average_name, restore
from mezzotint.training.ema import PowerAverage, gamma_of
from mezzotint.training.feed import feed
from mezzotint.training.health import Skips, culprit
from mezzotint.training.phase import Phase, check_onward, starts, suited
from mezzotint.training.preview import tried
from mezzotint.training.rate import Rate
from mezzotint.training.recorder import Progress, Recorder
from mezzotint.training.run import Run
from mezzotint.training.shards import Shards
from mezzotint.training.stop import Stopped, agreed, watching

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}
PLAIN = ("NO", "MULTI_CPU", "MULTI_GPU")
"""Ways of launching, as accelerate calls them, that start processes and do nothing else to the model."""


class Turn(nn.Module):
    """The objective and the model as one module, so that what distributes modules sees one forward pass."""

    def __init__(self, objective: Objective, model: Learner, later: Sequence[Objective] = ()) -> None:
        super().__init__()
        self.objective, self.model, self.later = objective, model, nn.ModuleList(later)

    def of(self, phase: int) -> Objective:
        """What is minimised in a phase, the first being 0."""
        return cast(Objective, self.later[phase - 1]) if phase else self.objective

    def forward(self, x: Tensor, cond: Condition, rng: Rng, phase: int = 0) -> tuple[Tensor, Loss]:
        """The values (B,), where what distributes modules looks for tensors, and the loss they are of."""
        loss: Loss = self.of(phase)(self.model, x, self.model.prepare(cond), rng)
        idle = list(self.objective.parameters()) if phase else []
        if idle and torch.is_grad_enabled():  # several processes wait for a gradient of every weight
            loss = replace(loss, value=loss.value + 0.0 * torch.stack([p.reshape(-1)[0] for p in idle]).sum())
        return loss.value, loss


@dataclass(frozen=True)
class Trainer(Part):
    """Trains a denoiser, or whatever else its objective can train; ``fit`` writes a run folder.

    Arguments:
        objective: what to minimise.
        images: how long, in images seen (``200_000``, ``"2M"``).
        batch: images a step, over all processes and pieces.
        accumulate: pieces a batch is computed in, to save memory; the result is the same to rounding.
        rate: learning rate by images seen.
        betas: of Adam.
        clip: largest gradient norm; 0 does not clip. An objective's own weights are clipped apart from the model's.
        averages: relative lengths of the averages of the weights; the first is exported.
        precision: ``fp32`` or ``bf16`` inside the network; everything else stays float32.
        seed: of the order, the noise and the initial weights where :func:`mezzotint.training.train` builds them.
        log, save, picture: how often, in images; by default a hundredth, a quarter and a quarter of the run.
        sampler: for the pictures, and as the model's usual one.
        workers: processes that read data; 0 reads in this one.
        patience: stop after so many non-finite steps in a row.
        tensorboard: also write TensorBoard events (needs the extra ``tensorboard``).
        shard: cut weights, averages and optimiser into one piece a process (FSDP2) instead of a copy each (DDP); one
            process alone has nothing to cut.
        then: further phases, each from a share of the run on; ``objective`` and ``rate`` are of the first, and so is
            the held-out loss in the log, all the way.
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
    shard: bool = False
    then: tuple[Phase, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise Refusal(f"precision is fp32 or bf16, not {self.precision!r}")
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise Refusal(f"a batch of {self.batch} cannot be computed in {self.accumulate} equal pieces")
        if not isinstance(self.averages, tuple | list) or not self.averages:
            raise Refusal("averages is a list of relative lengths with at least one, which is what is exported")
        for length in self.averages:
            gamma_of(length)
        if len({average_name(length) for length in self.averages}) < len(self.averages):
            raise Refusal(f"the averages {self.averages} are too close to tell apart: three decimals count")
        kinds = {"objective": Objective, "rate": Rate, "sampler": Sampler}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                wrong = (
                    f"training.{name} is {getattr(self, name)!r}, but it has to be a part of the kind {kind.__name__}"
                )
                raise Refusal(wrong + ("; the rate itself is training.rate.peak" if name == "rate" else ""))
        object.__setattr__(self, "then", tuple(self.then) if isinstance(self.then, tuple | list) else (self.then,))
        for phase in self.then:
            if not isinstance(phase, Phase):
                raise Refusal(f"training.then is a list of training.Phase(begins, objective, rate), not {phase!r:.60}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise Refusal(f"betas are two numbers in [0, 1), not {self.betas}")
        if self.clip < 0 or self.workers < 0 or self.patience < 1:
            raise Refusal("clip and workers cannot be negative, and patience is at least one step")
        if not -(2**63) <= self.seed < 2**63:
            raise Refusal(f"a seed has 64 bits; {self.seed} has more")
        if count(self.images) < self.batch:
            raise Refusal(
                f"training for {self.images} images is less than one batch of {self.batch}: train for more, or make "
                f"training.batch smaller"
            )
        starts(self.then, -(-count(self.images) // self.batch))

    def every(self) -> dict[str, int]:
        """The intervals of log lines, checkpoints and pictures, in steps."""
        shares = {"log": (self.log, 100), "save": (self.save, 4), "picture": (self.picture, 4)}
        images = {
            name: count(self.images) // n if value is None else count(value) for name, (value, n) in shares.items()
        }
        return {name: max(1, number // self.batch) for name, number in images.items()}

    def fit(
        self,
        denoiser: Denoiser | Learner,
        data: Data,
        folder: str | Path,
        *,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
        saved: Callable[[Run], None] | None = None,
    ) -> Run:
        """Train ``denoiser`` on ``data`` and leave a run folder.

        Arguments:
            denoiser: what is trained; several processes begin with the same weights.
            data: what it is trained on.
            folder: where the run is written.
            resume: go on with the run that is there.
            progress: called at every log line, by the first of several processes.
            saved: called after every checkpoint, by the first of several processes.

        Raises:
            Stopped: if a signal asks for it; the run is saved at the step it has come to.
        """
        if not isinstance(denoiser, Learner):
            raise Refusal(f"a {type(denoiser).__name__} has nothing to train; wrap a network in Preconditioned")
        self.suits(denoiser, data)
        with ExitStack() as stack:
            return self._fit(denoiser, data, Run(Path(folder)), resume, progress, saved, stack)

    def suits(self, denoiser: Learner, data: Data) -> None:
        """Refuse a model and data that do not go together, or with what is minimised; no item is read."""
        if tuple(denoiser.shape) != tuple(data.shape):
            raise Refusal(
                f"the model makes samples of shape {tuple(denoiser.shape)}, the data have {tuple(data.shape)}"
            )
        of_model = getattr(getattr(denoiser, "process", None), "vocab", None)
        if of_model != data.vocab:
            raise Refusal(f"the model is of {_symbols(of_model)}, the data are {_symbols(data.vocab)}")
        for objective in (self.objective, *(phase.objective for phase in self.then)):
            objective.suits(data)

    def _introduced(self, denoiser: Learner, data: Data, seed: int) -> None:
        """Let the objectives look at the model and an item, and make what weights they own by a seed."""
        x, cond = data[:1]
        x, cond = x.to(denoiser.device), cond.to(denoiser.device)
        for objective in (self.objective, *(phase.objective for phase in self.then)):
            objective.meet(denoiser, unpacked(x), denoiser.prepare(cond), seed)

    def _fit(
        self,
        denoiser: Learner,
        data: Data,
        run: Run,
        resume: bool,
        progress: Callable[[Progress], None] | None,
        saved: Callable[[Run], None] | None,
        stack: ExitStack,
    ) -> Run:
        from accelerate import Accelerator

        watch = stack.enter_context(watching())
        tree = {"model": spec(denoiser), "data": spec(data), "training": spec(self)}
        tried(denoiser, data, self.sampler)
        suited(self.then, denoiser, data)
        keys = Rng([self.seed]).at("training")
        self._introduced(denoiser, data, int(keys.at("objective").keys[0]))
        together.join()
        accelerator = Accelerator(cpu=together.launched() and not together.on_gpu())
        way = str(accelerator.distributed_type.value)
        if way not in PLAIN:
            raise Refusal(
                f"this launch asks for {way}; launch plain processes, and cut the model by training.shard=true"
            )
        ranks, rank, device = accelerator.num_processes, accelerator.process_index, accelerator.device
        if self.batch % (ranks * self.accumulate):
            pieces = f" in {self.accumulate} pieces each" if self.accumulate > 1 else ""
            raise Refusal(f"a batch of {self.batch} cannot be shared equally by {ranks} processes{pieces}")
        if ranks * self.accumulate > 1 and any(
            each.coupled for each in (self.objective, *(p.objective for p in self.then))
        ):
            raise Refusal(
                f"{type(self.objective).__name__} looks at other samples of its batch, so a batch in pieces would be "
                "another one: train in one process, with training.accumulate=1"
            )
        denoiser.to(device).train().requires_grad_(True)
        denoiser.lower(PRECISIONS[self.precision])
        averages = [PowerAverage(denoiser, length) for length in self.averages]
        turn = Turn(self.objective, denoiser, [phase.objective for phase in self.then]).to(device)
        weights = _trained(turn)
        optimizer = torch.optim.AdamW(weights, lr=0.0, betas=self.betas, weight_decay=0.0, fused=True)
        main = accelerator.is_main_process
        if main:
            run.begun(tree, resume)  # what is refused is refused before anything is written
            with run.writing():
                stack.enter_context(run.alone())
                run = Run.create(run.path, tree, resume)
        accelerator.wait_for_everyone()
        skips = Skips(self.patience)
        with together.agreed():
            place = restore(run, turn, averages, optimizer, self.batch, self.seed, data) if resume else Place()
        step = place.step
        if step:
            with together.agreed():
                check_onward(run.config["training"], self.then, step, count(self.images))
        together.alike(f"step {step} of {_digests(tree)}")
        skips.restore(place.skipped, place.running)
        accelerator.wait_for_everyone()
        if main and resume:
            with run.writing():
                run.forget_after(step * self.batch)
                run.describe(tree)
        shards = Shards(turn, averages, optimizer, device) if self.shard and ranks > 1 else None
        wrapped: Any = turn
        if shards is None:
            wrapped, optimizer = accelerator.prepare(turn, optimizer)
        else:
            optimizer = shards.optimizer
        players = [_trained(turn.model), [*_trained(turn.objective), *_trained(turn.later)]]
        total = -(-count(self.images) // self.batch)
        ends = starts(self.then, total)
        rates = (self.rate, *(phase.rate for phase in self.then))
        mine = np.arange(self.batch)[rank::ranks]
        places = torch.from_numpy(mine)
        recorder = Recorder(
            run, turn, averages, data, self.sampler,
            seed=self.seed, batch=self.batch, total=total, every=self.every(),
            progress=progress, tensorboard=self.tensorboard, shards=shards, saved=saved,
        )  # fmt: skip
        recorder.resume(place)
        if step and step >= total:  # stopped after its last checkpoint: what is left to do is to export it
            recorder.export(step * self.batch)

        batches = feed(data, self.seed, step, total, self.batch, mine, self.workers)
        for x, cond in recorder.timed(batches):
            phase = bisect_right(ends, step)
            begun = ends[phase - 1] if phase else 0
            rate = rates[phase]((step + 1 - begun) * self.batch, (ends[phase] - begun) * self.batch)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(int(keys.at("layers", step, rank).keys[0]))  # dropout layers draw from torch's generator
            rng = keys.at("step", step).repeat(len(mine)).at(places)
            x, cond = unpacked(x.to(device)), cond.to(device)
            value, shots = torch.zeros((), dtype=torch.float64, device=device), []
            for piece in range(self.accumulate):
                rows = slice(piece * len(x) // self.accumulate, (piece + 1) * len(x) // self.accumulate)
                last = piece == self.accumulate - 1
                if shards is not None:
                    shards.sync(last)
                with nullcontext() if last or shards is not None else accelerator.no_sync(wrapped):
                    _, loss = wrapped(x[rows], cond[rows] if cond else cond, rng[rows], phase)
                    # Gradients are averaged over processes, so each counts its share of the batch that many times.
                    accelerator.backward(loss.value.sum() * ranks / self.batch)
                value += loss.value.detach().double().sum() * ranks / self.batch
                shots.append(loss)
            mean, signal = agreed(accelerator, value, watch)
            norms = [nn.utils.clip_grad_norm_(some, self.clip or float("inf")) for some in players if some]
            norm, *others = (float(together.whole(each)) for each in norms)  # one bad gradient makes its norm bad
            step += 1
            if np.isfinite([mean, norm, *others]).all():
                optimizer.step()
                skips.good()
                for average in averages:
                    average.update(denoiser, step)
                for loss in shots:
                    turn.of(phase).update(cast(Any, denoiser), loss)
                recorder.good(mean, shots)
            else:  # the batch is spent: the same one again would fail again
                where = culprit(turn, partial(turn, x, cond, rng, phase))
                recorder.skipped(step * self.batch, where, mean, norm)
                skips.bad(where)
            optimizer.zero_grad()
            recorder.after(step, optimizer, rate, norm, skips)
            if signal and step < total:
                recorder.save(step, optimizer, skips)
                accelerator.wait_for_everyone()  # whoever ends first must not end the one that saves
                raise Stopped(signal, step * self.batch)
        recorder.close()
        accelerator.wait_for_everyone()
        denoiser.eval()
        skips.end(step)
        return run


def _trained(module: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def _symbols(vocab: int | None) -> str:
    return "real numbers" if vocab is None else f"{vocab:,} symbols"


def _digests(tree: dict[str, Any]) -> str:
    """A config in a few letters a part, so that those who differ can say in what."""
    found = {name: blake2b(dumps(part).encode(), digest_size=4).hexdigest() for name, part in tree.items()}
    return ", ".join(f"{name} {digest}" for name, digest in found.items())
