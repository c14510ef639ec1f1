"""What an autoencoder is worth: how near held-out samples come back, and how much of its codes is in use.

Codes are the mean of their law, as :class:`mezzotint.autoencoders.Encoded` takes them. Usage and perplexity are of the
codes of the samples that are judged: few samples cannot use many codes, so the count stands beside them.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mezzotint.autoencoders import Autoencoder, perplexity
from mezzotint.autoencoders.frozen import decoded, encoded
from mezzotint.cli import drawing, source
from mezzotint.cli.console import duration, emit, number, progress, table
from mezzotint.cli.evaluate import Evaluate
from mezzotint.cli.flags import changes_of, parameters_of
from mezzotint.cli.results import REPORTS
from mezzotint.cli.words import good
from mezzotint.core import config, ranks
from mezzotint.core.errors import Refusal
from mezzotint.core.folder import write_text
from mezzotint.core.stop import poll
from mezzotint.core.store import WEIGHTS, load_model, model_folder, settled, sha256
from mezzotint.data import Data
from mezzotint.metrics import Record
from mezzotint.metrics.estimate import Estimate, mean
from mezzotint.metrics.fidelity import psnr_each
from mezzotint.metrics.pictures import fingerprint, subset
from mezzotint.metrics.record import origin
from mezzotint.training import Run, reconstruct

MOST, AT_ONCE = 5_000, 256


def evaluate(args: Evaluate, threads: int) -> int:
    """Measure an autoencoder on held-out samples, write the report, and say so; the exit code.

    Arguments:
        args: of the verb.
        threads: computed with.
    """
    start = time.perf_counter()
    _check(args)
    machine, digest, images = _load(args)
    train = source.of_run(args.run, changes_of(args.drawing.set))
    data = train.held_out()
    if not len(data):
        raise Refusal(f"nothing is held out of the data of {args.run!r}, so there is nothing to judge by")
    if tuple(data.shape) != tuple(machine.shape):
        raise Refusal(
            f"the autoencoder takes samples of the shape {tuple(machine.shape)}, its data have {tuple(data.shape)}"
        )
    many = min(len(data), MOST if args.count is None else args.count)
    out = _out(args, many, images)
    found, usage = measured(machine, data, subset(len(data), many))
    if not ranks.main():
        return 0
    how = {
        "reference": data.mark,
        "extractor": None,
        "resize": None,
        "clamping": "to [-1, 1]",
        **origin(digest, None, None, args.drawing.average, args.seed),
    }
    document = {
        "model": {"path": args.run, "sha256": digest, "average": args.drawing.average, "images": images},
        "reconstruction": usage,
        "seed": args.seed,
        "measures": {one.name: Record(one, how).plain() for one in found},
        "times_real": {},
        "counts": {"samples": 0, "train": len(train), "held_out": len(data), "held_out_sha256": data.mark},
        "device": machine.device.type,
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


def measured(machine: Autoencoder, data: Data, rows: Any) -> tuple[list[Estimate], dict[str, Any]]:
    """What an autoencoder keeps of these rows, and what its codes are.

    ``psnr`` in dB of pictures, ``squared_error`` a number of other samples; of symbols ``code_usage``, the share of
    them that occur, and ``perplexity``, exp of the entropy of how often; of real codes ``code_std``.
    """
    kept: list[Any] = []
    counts = torch.zeros(machine.vocab or 0, dtype=torch.int64)
    sums = torch.zeros(3, dtype=torch.float64)
    pictures = len(data.shape) == 3 and data.vocab is None
    with progress("measuring", "pictures" if pictures else "samples") as meter:
        for at in range(0, len(rows), AT_ONCE):
            poll()
            x = data[rows[at : at + AT_ONCE]][0]
            z = encoded(machine, x)
            back = decoded(machine, z)
            each = psnr_each(back.clamp(-1, 1), x) if pictures else (back - x).double().square().flatten(1).mean(1)
            kept.append(each.numpy())
            if machine.vocab is not None:
                counts += z.flatten().bincount(minlength=len(counts))
            else:
                sums += torch.tensor([z.numel(), float(z.double().sum()), float(z.double().square().sum())])
            meter(min(at + AT_ONCE, len(rows)), len(rows))
    found = [mean("psnr" if pictures else "squared_error", np.concatenate(kept), len(rows))]
    about: dict[str, Any] = {"latent": list(machine.latent), "vocab": machine.vocab, "shape": list(machine.shape)}
    if machine.vocab is not None:
        about["codes"] = int(counts.sum())
        shares = {"code_usage": float((counts > 0).double().mean()), "perplexity": float(perplexity(counts))}
    else:
        count, total, squares = sums.tolist()
        shares = {"code_std": math.sqrt(max(0.0, squares / count - (total / count) ** 2))}
    found += [Estimate(name, value, math.nan, math.nan, len(rows)) for name, value in shares.items()]
    return found, about


def describe(document: dict[str, Any]) -> str:
    """Such a report as text: a table, and what it was measured on."""
    rows = []
    for name, found in document["measures"].items():
        low, high = found["low"], found["high"]
        spread = "" if low is None or high is None else f"[{number(low)}, {number(high)}]"
        rows.append([name, number(found["value"]), spread, f"{found['count']:,}", good(name) or "-"])
    about, counts = document["reconstruction"], document["counts"]
    entries, before = math.prod(about["latent"]), math.prod(about["shape"])
    kind = "real numbers" if about["vocab"] is None else f"symbols of {about['vocab']:,}"
    return "\n".join([
        table(("measure", "held out", "95 %", "count", "better"), rows),
        "",
        f"{before:,} numbers a sample become {entries:,} {kind}, of the shape {'x'.join(map(str, about['latent']))}",
        f"{counts['held_out']:,} samples are held out",
    ])  # fmt: skip


def _load(args: Evaluate) -> tuple[Autoencoder, str, int | None]:
    """The autoencoder, what tells its weights from others, and the images it has seen where that is asked for."""
    given = args.drawing
    images = None if args.at is None else config.count(args.at)

    def read() -> tuple[Autoencoder, str]:
        made: Autoencoder = load_model(args.run, parameters=parameters_of(given.max_parameters))
        return made, sha256(model_folder(args.run) / WEIGHTS)

    machine, digest = settled(args.run, read)
    if given.average is not None:
        run = Run.open(args.run)
        reconstruct(run, given.average, machine, images)
        images = images if images is not None else next(seen for seen in run.latest() if run.whole(seen))
        digest = fingerprint(*(value for _, value in sorted(machine.state_dict().items())))
    machine.to(drawing.place(given.device))
    return machine, digest, images


def _check(args: Evaluate) -> None:
    """Refuse what says nothing about an autoencoder."""
    given = args.drawing
    others = {
        "sampler": given.sampler, "steps": given.steps, "guidance": given.guidance, "interval": given.interval,
        "report": args.report, "size": args.size, "extractor": args.extractor,
        "measures": None if args.measures == "usual" else args.measures,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise Refusal(
                f"--{name} says nothing about an autoencoder, which is judged by what comes back of held-out pictures; "
                "leave it out"
            )


def _out(args: Evaluate, count: int, images: int | None) -> Path:
    if args.out is not None:
        return drawing.exists(args.out, args.overwrite)
    folder = model_folder(args.run)
    home = folder.parent if folder.name == "model" else folder
    average = f"-ema{args.drawing.average:g}-at{images}" if args.drawing.average is not None else ""
    return Path(home, REPORTS, f"reconstruction{average}-n{count}-seed{args.seed}.json")
