"""What a model of symbols is worth: its bound on the likelihood of held-out samples, in nats and bits per symbol.

Nothing is drawn and nothing is learnt for it. Every held-out sample is corrupted a few times over, the model says what
it may have been, and the mean of what that costs bounds -log p(x) from above. The interval is over samples, and holds
the noise of the corruptions, too. On masks that fall alike the count of masked entries is drawn (``OrderBound``), whose
terms are bounded; on others the time. A chain of autoregressive laws is asked of one stage a time
(``ChainBound``); with one stage that is the likelihood itself.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mezzotint.cascades.folder import families
from mezzotint.cli import drawing
from mezzotint.cli.console import duration, emit, number, progress, table
from mezzotint.cli.evaluate import Evaluate
from mezzotint.cli.results import REPORTS
from mezzotint.cli.symbols import Shown
from mezzotint.core import ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text
from mezzotint.core.rng import Rng
from mezzotint.core.spec import spec
from mezzotint.core.stop import poll
from mezzotint.core.store import model_folder
from mezzotint.data import Data
from mezzotint.denoiser import Chunked
from mezzotint.denoiser.base import Denoiser
from mezzotint.metrics import Record
from mezzotint.metrics.estimate import mean
from mezzotint.metrics.pictures import subset
from mezzotint.metrics.record import origin
from mezzotint.objectives import Bound, ChainBound, Objective, OrderBound, TimeBound
from mezzotint.processes import Absorbing

Numbers = NDArray[Any]
MOST, DRAWS, INTERVALS = 1_000, 8, 1_000
NATS, BITS = "nats_per_symbol", "bits_per_symbol"


def objective(denoiser: Denoiser) -> Objective:
    """The bound that suits the process of a model of symbols, that of the least variance where there are several."""
    if denoiser.times is not None and (not denoiser.clean or len(denoiser.times) == 1):  # a chain of whole samples
        return ChainBound()
    if isinstance(denoiser.process, Absorbing):
        return OrderBound()
    return Bound(INTERVALS) if getattr(denoiser.process, "mask", None) is None else TimeBound(score=True)


def evaluate(args: Evaluate, model: drawing.Model, changes: list[str], threads: int) -> int:
    """Measure the bound on held-out samples, write the report, and say so; the exit code.

    Arguments:
        args: of the verb.
        model: of symbols.
        changes: edits of where the data lie.
        threads: computed with.
    """
    start = time.perf_counter()
    _check(args, changes)
    shown = Shown.of(model, changes)
    assert shown is not None
    data = shown.data.held_out()
    many = min(len(data), MOST if args.count is None else args.count)
    out = _out(args, many, model)
    rows = subset(len(data), many)
    asks, size = objective(model.denoiser), args.drawing.rows or drawing.rows_of(model.denoiser)
    nats = costs(Chunked(model.denoiser, size), asks, data, rows, args.seed)
    if not ranks.main():
        return 0
    entries = math.prod(model.shape)
    how = {
        "reference": data.mark,
        "extractor": None,
        "resize": None,
        "clamping": None,
        "bound": spec(asks),
        "draws": DRAWS,
        **origin(model.sha256, None, None, model.average, args.seed),
    }
    measures = {
        name: Record(mean(name, nats / (entries * unit)), how).plain()
        for name, unit in ((NATS, 1.0), (BITS, math.log(2)))
    }
    document = {
        "model": model.record(),
        "bound": spec(asks),
        "draws": DRAWS,
        "seed": args.seed,
        "measures": measures,
        "times_real": {},
        "symbols": {"vocab": data.vocab, "a_sample": entries},
        "counts": {"samples": 0, "train": len(shown.data), "held_out": len(data), "held_out_sha256": data.mark},
        "device": model.denoiser.device.type,
        "rows": size,
        "threads": threads,
        "versions": drawing.versions(),
        "seconds": time.perf_counter() - start,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, json.dumps(document, indent=1, ensure_ascii=False))
    if args.json:
        emit({**document, "written": str(out), "page": None})
        return 0
    print(describe(document))
    print(f"\n{duration(time.perf_counter() - start)}; the report is {out}")
    return 0


@torch.no_grad()
def costs(denoiser: Denoiser, asks: Objective, data: Data, rows: Numbers, seed: int) -> Numbers:
    """Nats of each of these samples, the mean over :data:`DRAWS` corruptions, float64 (N,).

    Every process computes all of them: what is measured is small beside what is drawn.
    """
    known = families(getattr(denoiser, "denoiser", denoiser))
    found: list[Tensor] = []
    at_once = 128
    with progress("measuring", "samples") as meter:
        for first in range(0, len(rows), at_once):
            poll()
            some = rows[first : first + at_once]
            x, told = data[some]
            heard = denoiser.prepare(told.take(*known)[0].to(denoiser.device))
            keys = Rng([seed]).at("likelihood").repeat(len(some)).at(torch.from_numpy(some))
            x, total = x.to(denoiser.device), torch.zeros(len(some), dtype=torch.float64)
            for draw in range(DRAWS):
                total += asks(denoiser, x, heard, keys.at(draw)).value.double().cpu()
            found.append(total / DRAWS)
            meter(first + len(some), len(rows))
    nats: Numbers = torch.cat(found).numpy()
    return nats


def describe(document: dict[str, Any]) -> str:
    """Such a report as text: a table, and what it was measured on."""
    rows = []
    for name, found in document["measures"].items():
        low, high = found["low"], found["high"]
        spread = "" if low is None or high is None else f"[{number(low)}, {number(high)}]"
        rows.append([name, number(found["value"]), spread, f"{found['count']:,}"])
    symbols, counts = document["symbols"], document["counts"]
    bound = str(document["bound"].get("part", "")).rpartition(".")[2]
    return "\n".join([
        table(("at most", "held out", "95 %", "count"), rows),
        "",
        f"a bound on the likelihood by {bound}, {document['draws']} draws a sample; even odds of {symbols['vocab']} "
        f"symbols are {number(math.log(symbols['vocab']))} nats, {number(math.log2(symbols['vocab']))} bits",
        f"{counts['held_out']:,} samples of {symbols['a_sample']:,} symbols are held out",
    ])  # fmt: skip


def _check(args: Evaluate, changes: list[str]) -> None:
    """Refuse what says nothing about a bound."""
    given = args.drawing
    others = {
        "sampler": given.sampler, "steps": given.steps, "guidance": given.guidance, "interval": given.interval,
        "report": args.report, "size": args.size, "extractor": args.extractor,
        "measures": None if args.measures == "usual" else args.measures,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise Refusal(
                f"--{name} says nothing about a model of symbols, which is judged by its likelihood and draws nothing "
                "for it; leave it out"
            )
    for change in changes:
        if not change.lstrip().startswith("data"):
            raise Refusal(f"--set {change} says nothing about a likelihood; only where the data are, data.path=...")


def _out(args: Evaluate, count: int, model: drawing.Model) -> Path:
    if args.out is not None:
        return drawing.exists(args.out, args.overwrite)
    folder = model_folder(args.run)
    home = folder.parent if folder.name == "model" else folder
    average = f"-ema{model.average:g}-at{model.images}" if model.average is not None else ""
    return Path(home, REPORTS, f"likelihood{average}-n{count}-seed{args.seed}.json")
