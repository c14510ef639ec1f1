"""What context prediction adds to a step of training: ratios to the plain step, of arms that take turns in one process.

    OMP_NUM_THREADS=1 python benchmarks/context.py --repeats 24 --out benchmarks/records/context.json

The sizes are those at which its effect is measured: Fashion-MNIST at 14 pixels, the usual unconditional U-Net at width
36, batches of 64, bfloat16 inside the network; ``--precision fp32`` makes the plain step longer and so every ratio
smaller. ``--channels 3`` repeats the grey pictures, so that values have several numbers and are paired one by one. A
step is what the trainer's is: the loss and its gradient, both norms clipped, fused AdamW, one average of the weights
and the objective's update; reading data is left out, which makes ratios larger, not smaller. Every arm has a copy of
the same model. Each turn takes one step of every arm, in an order that moves on with the turns; a ratio is the median
over turns of an arm's seconds over those of another in the same turn, so that a machine that is busy for a while slows
both. Seconds are the processor's, which on one thread are those of the clock where nobody else is at work; ``--clock
wall`` takes the clock's.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src")]

from mezzotint.core import Rng  # noqa: E402
from mezzotint.data import Data, FashionMNIST, Untold  # noqa: E402
from mezzotint.data.data import Rows  # noqa: E402
from mezzotint.denoiser.base import Denoiser  # noqa: E402
from mezzotint.objectives import ContextPrediction, Objective, OrderedDecoder, SetDecoder  # noqa: E402
from mezzotint.recipes import classes  # noqa: E402
from mezzotint.training.ema import PowerAverage  # noqa: E402

SIZE, WIDTH, BATCH, IMAGES = 14, 36, 64, 192_000
MOST, WIDER = 1.25, 1.25
"""The bars: a default step over a plain one, and a step of sets at stride 4 over one at stride 1."""
BASE, DEFAULT = "base", "set, the default"
CLOCKS = {"processor": time.process_time, "wall": time.perf_counter}
PRECISIONS = {"bf16": torch.bfloat16, "fp32": None}
Step = Callable[[int], None]


@dataclass(frozen=True)
class Repeated(Untold):
    """Pictures with their channels repeated."""

    times: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.times * self.source.shape[0], *self.source.shape[1:])

    def read(self, rows: Rows) -> torch.Tensor:
        return self.source.read(rows).repeat(1, self.times, 1, 1)


def arms(inner: Objective) -> dict[str, Objective]:
    """Every objective by its name; the default one is the constructor's, with nothing said."""
    made: dict[str, Objective] = {BASE: inner, DEFAULT: ContextPrediction(inner)}
    for stride in (2, 3, 4):
        made[f"set s={stride}"] = ContextPrediction(inner, SetDecoder(), strides=(stride,))
    for stride in (1, 2, 3, 4):
        made[f"ordered s={stride}"] = ContextPrediction(inner, OrderedDecoder(), strides=(stride,))
    for stride in (1, 4):
        made[f"set s={stride}, all sites"] = ContextPrediction(inner, SetDecoder(), strides=(stride,), sites=1.0)
    return made


def weights(module: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [weight for weight in module.parameters() if weight.requires_grad]


def stepping(model: Denoiser, objective: Objective, data: Data, betas: tuple[float, float]) -> Step:
    """A step of training on batch after batch of the data."""
    model.train().requires_grad_(True)
    pictures = [data[range(BATCH * place, BATCH * (place + 1))] for place in range(8)]
    objective.meet(model, pictures[0][0][:1], pictures[0][1][:1], 0)
    players = [some for some in (weights(model), weights(objective)) if some]
    optimizer = torch.optim.AdamW([p for some in players for p in some], 1e-3, betas, weight_decay=0.0, fused=True)
    average = PowerAverage(model, 0.05)

    def step(number: int) -> None:
        x, cond = pictures[number % len(pictures)]
        loss = objective(model, x, cond, Rng(range(BATCH)).at("step", number))
        (loss.value.sum() / BATCH).backward()
        for some in players:
            torch.nn.utils.clip_grad_norm_(some, 1.0)
        optimizer.step()
        average.update(model, number + 1)
        objective.update(model, loss)
        optimizer.zero_grad()

    return step


def timed(steps: dict[str, Step], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every arm by turn; two turns warm up."""
    names, seconds = list(steps), {name: [] for name in steps}  # type: dict[str, list[float]]
    for turn in range(repeats + 2):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            start = clock()
            steps[name](turn)
            if turn > 1:
                seconds[name].append(clock() - start)
    return seconds


def ratio(seconds: dict[str, list[float]], name: str, other: str) -> float:
    """The median over turns of one arm over another."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[other], strict=True))


def quartiles(seconds: dict[str, list[float]], name: str, other: str) -> tuple[float, float]:
    """Between which the middle half of the turns' ratios lies."""
    low, _, high = statistics.quantiles((a / b for a, b in zip(seconds[name], seconds[other], strict=True)), n=4)
    return low, high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=24, help="turns")
    parser.add_argument("--threads", type=int, default=1, help="torch.set_num_threads")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="processor", help="what seconds are of")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="bf16", help="inside the network")
    parser.add_argument("--channels", type=int, default=1, help="how often the grey pictures are repeated")
    parser.add_argument("--only", default="", help="only arms whose names contain one of these, a,b, beside the plain")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    if options.repeats < 2:
        parser.error("a median and its quartiles take two turns or more")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    data = Repeated(FashionMNIST(SIZE), options.channels)
    usual = classes.usual(data, IMAGES, WIDTH, 8, batch=BATCH)
    model: Any = usual.model
    model.lower(PRECISIONS[options.precision])
    steps, decoders = {}, {}
    for name, objective in arms(usual.training.objective).items():
        if name == BASE or any(some in name for some in options.only.split(",")):
            steps[name] = stepping(copy.deepcopy(model), objective, data, usual.training.betas)
            decoders[name] = sum(p.numel() for p in objective.parameters())
    seconds = timed(steps, options.repeats, CLOCKS[options.clock])

    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{parameters / 1e6:.2f}M parameters, {SIZE} px, {options.channels} channel(s), batch {BATCH}, "
        f"{options.precision}, {options.threads} thread(s), {options.repeats} turns, {options.clock} time"
    )
    print(f"{'':28} {'decoder':>9} {'ms':>8} {'of base':>8}   middle half")
    rows = {}
    for name in steps:
        low, high = quartiles(seconds, name, BASE)
        rows[name] = {
            "decoder": decoders[name],
            "milliseconds": round(1e3 * statistics.median(seconds[name]), 2),
            "of base": round(ratio(seconds, name, BASE), 4),
            "middle half": [round(low, 4), round(high, 4)],
        }
        print(
            f"{name:28} {decoders[name]:9,} {rows[name]['milliseconds']:8.1f} {rows[name]['of base']:8.3f}   "
            f"{low:.3f} to {high:.3f}"
        )
    said = {}
    for what, name, other, bar in (
        ("the default over the plain step", DEFAULT, BASE, MOST),
        ("sets at stride 4 over stride 1", "set s=4", DEFAULT, WIDER),
        ("sets at stride 4 over stride 1, all sites", "set s=4, all sites", "set s=1, all sites", WIDER),
    ):
        if name in steps and other in steps:
            found = ratio(seconds, name, other)
            said[what] = {"ratio": round(found, 4), "bar": bar, "within": found <= bar}
            print(f"{what}: {found:.3f}, {'within' if found <= bar else 'beyond'} {bar}")
    record = {
        "parameters": parameters,
        "pixels": SIZE,
        "batch": BATCH,
        "channels": options.channels,
        "precision": options.precision,
        "turns": options.repeats,
        "clock": options.clock,
        "arms": rows,
        "bars": said,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": options.threads,
            "torch": torch.__version__,
        },
    }
    if options.out:
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
