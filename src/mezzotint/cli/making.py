"""From a plan to files: the pictures are drawn, written with their settings, and spoken of."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from mezzotint.cli import drawing
from mezzotint.cli.changes import said
from mezzotint.cli.console import duration, emit, note, printable, progress, use_threads
from mezzotint.cli.flags import Asked
from mezzotint.cli.plan import Plan, Verb
from mezzotint.core.condition import Condition
from mezzotint.core.pipeline import Pipeline
from mezzotint.core.rng import Rng
from mezzotint.training.pictures import Pixels


def make(
    args: Asked,
    verb: Verb,
    plan: Plan,
    pipeline: Callable[[], Pipeline],
    cond: Condition,
    lay: Callable[[Tensor], Pixels] | None = None,
    kept: bool = False,
    **more: Any,
) -> int:
    """Draw what is planned, write it, and say so; the exit code.

    Arguments:
        args: of the verb.
        verb: which it is.
        plan: what is drawn.
        pipeline: makes what draws it, once the files are known to have a place.
        cond: one row a picture, or NONE.
        lay: makes the sheet; None: a grid, or pictures under their maps.
        kept: whether a mask holds what is not to change.
        more: further settings that the pictures carry.
    """
    remarks = plan.remarks()
    for remark in remarks:
        note(f"note: {printable(remark)}")
    threads = use_threads(plan.threads if args.drawing.threads is None else args.drawing.threads)
    for name in plan.files(args.output):
        drawing.exists(name, args.output.overwrite)
    made = pipeline()
    start = time.perf_counter()
    with progress("sampling", "texts" if plan.text else "pictures") as meter:
        x = drawing.draw(made, cond, Rng(plan.seeds), plan.batch, meter, plan.rows)
    if x is None:  # the first process writes
        return 0
    seconds = time.perf_counter() - start
    settings = plan.settings(threads, **more)
    written = plan.write(args.output, x, settings, lay)
    found = plan.changes(x)
    if args.json:
        changed = {"changes": [change.record() for change in found]} if found else {}
        more = {"remarks": remarks, **changed, "settings": settings}
        emit({"written": written, "count": len(x), "seconds": seconds, **more})
        return 0
    what = "texts" if plan.text else "pictures"
    print(f"{len(x):,} {what} in {duration(seconds)}: {', '.join(written[:3])}{', ...' if len(written) > 3 else ''}")
    reader = getattr(plan.told.mapped, "reader", None)
    for line in said(found, kept, None if reader is None or reader.file is None else reader.file.path):
        print(line)
    if plan.told.source is not None and plan.told.source.licence and plan.sheet is not None:
        note(f"the sheet shows what is told of the data. {plan.told.source.licence}")
    if args.output.like is None and plan.sheet is not None:
        again = f"--like {shlex.quote(plan.sheet)} --out again{Path(plan.sheet).suffix}"
        note(f"the same again: mezzotint {verb.name} {again}")
    return 0
