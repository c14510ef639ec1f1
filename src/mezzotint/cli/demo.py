"""``mezzotint demo``: train on real digits, sample, judge and report, in two minutes on two cores.

Everything here is what the other verbs do, one after another: the recipe of ``train``, the drawing of ``sample``, the
judgement of ``evaluate``. The bars say what a healthy installation reaches; whether they hold is said as it is, and a
bar that does not hold is a finding and not an error.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from mezzotint.cli.bar import Bar
from mezzotint.cli.console import Flag, Threads, duration, emit, note, progress, table, use_threads

if TYPE_CHECKING:
    from mezzotint.metrics.report import Report

BARS = {
    bar.measure: bar
    for bar in (
        Bar("accuracy", 0.96),
        Bar("classification_score", 0.95),
        Bar("frechet_features", 1.5, of_real=True),
        Bar("frechet_pixels", 1.5, of_real=True),
        Bar("neighbour_ratio", 0.9),
    )
}
MEASURES = (*BARS, "close_share")
_OURS = ("run", "report.html", "report.json", "samples.png")


@dataclass(frozen=True)
class Demo:
    """Train a model of real handwritten digits, sample it, judge the samples, and write a report.

    The digits come with scikit-learn; nothing is downloaded. As many samples are drawn as there are training
    pictures, with the same labels and without guidance, and judged against 360 digits that were held out.

    In the folder: report.html (one page, open it in a browser), report.json (the numbers), samples.png, and the run,
    which the other verbs take. The exit code is 0 whether or not the bars hold; report.json says so in "holds".

    examples:
      mezzotint demo
      mezzotint demo --out runs/second --seed 1
    """

    out: Annotated[str, arg(metavar="DIR")] = "demo"
    """The folder to write; new or empty, unless --overwrite."""
    seed: Annotated[int, arg(metavar="N")] = 0
    """Of the training: weights, order of pictures and noise. Sample k always starts from seed k."""
    overwrite: Flag = False
    """Replace the demo that is in the folder."""
    threads: Threads = None
    """Threads to compute with."""
    json: Flag = False
    """Print one JSON document instead of text."""


def bars(report: Report) -> dict[str, bool]:
    """Whether each of the demo's bars holds for a report of digits."""
    return {name: bar.holds(report) for name, bar in BARS.items()}


def run(args: Demo) -> int:
    """Do the demo that ``args`` describe."""
    seconds: dict[str, float] = {}
    with _stage("start", seconds):
        threads = use_threads(args.threads)
        out = _folder(args)
        from mezzotint import recipes
        from mezzotint.cli import drawing
        from mezzotint.cli.flags import Output
        from mezzotint.cli.plan import BATCH, SAMPLE, Plan
        from mezzotint.cli.sample import Sample
        from mezzotint.core.condition import Condition
        from mezzotint.core.rng import Rng
        from mezzotint.data.digits import Digits
        from mezzotint.denoiser.counted import Counted
        from mezzotint.metrics.extractor import Extractor
        from mezzotint.metrics.report import evaluate
        from mezzotint.samplers import Sampling
        from mezzotint.training.start import train

        data = Digits()
        tree = recipes.of_data(data, **recipes.DEMO, seed=args.seed)
    note(f"a model of {len(data):,} real digits into {out}, on {threads} thread{'s' if threads > 1 else ''}")
    with _stage("training", seconds), progress("training") as meter:
        made = train(
            tree,
            out / "run",
            progress=lambda p: meter(p.images, p.total, f"loss {p.loss:.4f}", p.per_second),
        )
    with _stage("sampling", seconds), progress("sampling", "pictures") as meter:
        output = Output(out=str(out / "samples.png"))
        plan = Plan.of(Sample(run=str(made.path), output=output), SAMPLE, {})
        model, sampler = plan.model.denoiser, plan.method.sampler
        counted, count = Counted(model), len(data)
        many = Condition(label=data.labels)
        x = drawing.draw(Sampling(sampler, counted), many, Rng(range(count)), BATCH, meter)
        each = counted.rows / count
        even = Sampling(sampler, plan.method.guided(model, plan.rows))  # as sample draws them, to the last bit
        few = drawing.draw(even, plan.told.cond(), Rng(plan.seeds), BATCH, lambda *_: None, plan.rows)
        assert x is not None and few is not None  # which they are for all processes but the first
        plan.write(output, few, plan.settings(threads))
    with _stage("evaluation", seconds):
        (train_x, cond), (held_x, held_cond) = data[:], data.held_out()[:]
        labels = cond["label"]
        extractor = Extractor.train(train_x, labels, (held_x, held_cond["label"]))
        extractor.save(made.path / "extractor")  # where evaluate looks for it
        report = evaluate(x, labels, data, data.held_out(), measures=MEASURES, extractor=extractor)
    with _stage("report", seconds):
        from mezzotint.cli.report import render
        from mezzotint.cli.subject import Subject

        spent = {name: value for name, value in seconds.items() if name != "report"}
        subject = Subject(made, data, model, sampler, x, labels, range(count), report, BARS, spent)
        (out / "report.html").write_text(render(subject, f"{count:,} digits, drawn from noise"), encoding="utf-8")
    found = {
        **_outcome(report),
        "model": plan.model.record(),
        **plan.method.record(),
        "seed": args.seed,
        "evaluations_per_sample": each,
        **report.plain(),
        "report": str(out / "report.html"),
        "pictures": str(out / "samples.png"),
        "device": model.device.type,
        "threads": threads,
        "versions": drawing.versions(),
        "stages": {name: round(value, 2) for name, value in seconds.items()},
        "seconds": round(sum(seconds.values()), 2),
    }
    text = json.dumps(found, indent=1)
    (out / "report.json").write_text(text, encoding="utf-8")
    (made.path / "reports").mkdir(exist_ok=True)
    (made.path / "reports" / "demo.json").write_text(text, encoding="utf-8")
    if args.json:
        emit(found)
    else:
        _say(report, out, sum(seconds.values()))
    return 0


@contextmanager
def _stage(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Time a stage, and say how long it took."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
    note(f"{name} took {seconds[name]:.1f} s")


def _folder(args: Demo) -> Path:
    """The folder, with room for what is about to be written; only what a demo wrote is ever removed."""
    from mezzotint.core.errors import Refusal

    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise Refusal(f"{args.out!r} is a file; a demo needs a folder: name another with --out")
    if out.is_dir() and any(out.iterdir()):
        if not args.overwrite:
            raise Refusal(
                f"the folder {args.out!r} is not empty; name another with --out, or replace the demo in it with "
                "--overwrite"
            )
        old = out / "run"
        if old.is_symlink() or (old.exists() and any(old.iterdir()) and not (old / "config.yaml").is_file()):
            raise Refusal(f"{str(old)!r} is not a run of ours, so it is not replaced; name another folder with --out")
        for name in _OURS:
            path = out / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    return out


def _outcome(report: Report) -> dict[str, Any]:
    """Whether the bars hold, each with what was reached and what it asks for."""
    held = bars(report)
    each = {
        name: {"holds": held[name], "reached": bar.reached(report), "limit": bar.limit, "of_real": bar.of_real}
        for name, bar in BARS.items()
    }
    return {"holds": all(held.values()), "bars": each}


def _say(report: Report, out: Path, total: float) -> None:
    """The outcome in a few lines, and how to go on."""
    from mezzotint.cli.words import headline, need, words

    rows = []
    for name, bar in BARS.items():
        found, word = report[name], words(name)
        value = f"{bar.reached(report):.2f} x real" if bar.of_real else word.number(found.value)
        beside = word.number(report.real[name].value) if name in report.real else "-"
        need_said = need(bar).replace("×", "x")
        rows.append([word.title.replace("é", "e"), "holds" if bar.holds(report) else "FAILS", value, need_said, beside])
    print()
    print(table(("measure", "bar", "samples", "must be", "real pictures"), rows, left=2))
    print(f"\n{headline(report, BARS).replace('é', 'e')} {duration(total)} in all.")
    print(f"\nthe report, for a browser: {out / 'report.html'}\n\nto go on:")
    folder, pictures, more, again = (
        shlex.quote(str(out / name)) for name in ("run", "samples.png", "threes.png", "again.png")
    )
    for what, line in (
        ("draw", f"mezzotint sample {folder} --label 3 --seeds 0-63 --guidance 2 --out {more}"),
        ("repeat", f"mezzotint sample --like {pictures} --out {again}"),
        ("judge", f"mezzotint evaluate {folder}"),
        ("look", f"mezzotint show {folder}"),
        ("your own", "mezzotint train path/to/pictures --size 32 --out runs/mine"),
    ):
        print(f"  {what:<9} {line}")
