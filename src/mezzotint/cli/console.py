"""What every verb shares with the person in front of it: threads, one JSON document, tables and progress.

Results go to standard output, everything said on the way to standard error. On a terminal progress is a bar (rich,
imported then); elsewhere it is a plain line at every tenth of the way, so that logs stay readable.
"""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Optional, Protocol

from tyro.conf import arg

Flag = Annotated[bool, arg(help_behavior_hint="")]
"""A switch: off unless named."""
Threads = Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 2, or 1 on one core)")]
"""How many threads torch computes with."""
Processes = Annotated[Optional[int], arg(metavar="N", help_behavior_hint="(default: 1)")]
"""How many processes share the work."""
MOST_THREADS = 2


def use_threads(count: int | None = None) -> int:
    """Set torch's threads: ``count``, else OMP_NUM_THREADS, else min(2, cores); call it before anything imports torch.

    Threads that fit the cores wait as OpenMP likes (a short spin: passive waiting cost a fifth of the training speed on
    two idle cores); more threads than cores wait passively, because those that spin take the cores from the others.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    if count is None:
        count = int(given) if given.isdigit() and int(given) else min(MOST_THREADS, os.cpu_count() or 1)
    fresh = "torch" not in sys.modules
    if fresh:
        os.environ["OMP_NUM_THREADS"] = str(max(1, count))
        if count > (os.cpu_count() or 1):
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    if count < 1:
        from mezzotint.core.errors import Refusal

        raise Refusal(f"--threads is {count}, but something has to do the work: at least 1")
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
    return count


def emit(document: Any) -> None:
    """The one JSON document of a verb, on standard output; numbers that JSON does not know become null."""
    print(json.dumps(_finite(document), indent=1, ensure_ascii=False))


def _finite(tree: Any) -> Any:
    if isinstance(tree, float):
        return tree if tree - tree == 0 else None
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    return [_finite(item) for item in tree] if isinstance(tree, list | tuple) else tree


def note(text: str) -> None:
    """A word on the way, on standard error."""
    print(text, file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Words of a file as a screen may show them: what could move the cursor or recolour it is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Aligned columns, the first ``left`` of them to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def number(value: float | None) -> str:
    """A measured value for people: four digits, or a dash."""
    return "-" if value is None or value != value else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 days``."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 2 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} days"


class Meter(Protocol):
    """Told how far the work is; shows it."""

    def __call__(self, done: int, total: int, note: str = "", per_second: float | None = None) -> None: ...


@contextmanager
def progress(what: str, unit: str = "images", pace: bool = True) -> Iterator[Meter]:
    """A meter for work counted in ``unit``: a bar on a terminal, else a line at every tenth of the way.

    Arguments:
        what: one word for the work, such as ``training``.
        unit: what is counted.
        pace: whether to say how many and how fast, and not the share alone; then the time that is left is said only
            where the pace is given.
    """
    start = time.perf_counter()

    def share(done: int, total: int, extra: str, pace: float | None) -> str:
        left = f"about {duration((total - done) / pace)} left" if pace and done < total else ""
        spent = duration(time.perf_counter() - start) if done >= total else ""
        return "  ".join(filter(None, (f"{100 * done / max(total, 1):3.0f} %", extra, left or spent)))

    def counted(done: int, total: int, extra: str, pace: float | None) -> str:
        pace = done / max(time.perf_counter() - start, 1e-9) if pace is None else pace
        speed = f"{pace:,.0f} {unit}/s" if pace >= 10 else f"{pace:.1f} {unit}/s"
        left = (
            f"{duration((total - done) / max(pace, 1e-9))} left"
            if done < total
            else f"{duration(time.perf_counter() - start)}"
        )
        return "  ".join(filter(None, (f"{done:,} / {total:,} {unit}", extra, speed, left)))

    text = counted if pace else share

    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[text]}"))
        with Progress(*columns, console=Console(stderr=True, highlight=False)) as bar:
            task = bar.add_task(what, total=None, text="")

            def draw(done: int, total: int, note: str = "", per_second: float | None = None) -> None:
                bar.update(task, total=total, completed=done, text=text(done, total, note, per_second), refresh=True)

            yield draw
    else:
        shown = [-1]

        def line(done: int, total: int, note: str = "", per_second: float | None = None) -> None:
            tenth = 10 * done // max(total, 1)
            if tenth > shown[0]:
                shown[0] = tenth
                print(f"{what}  {text(done, total, note, per_second)}", file=sys.stderr, flush=True)

        yield line


@contextmanager
def stages(units: Mapping[str, str]) -> Iterator[Callable[[str, int, int, str], None]]:
    """A meter for each stage of a work, one after another; told the stage, how much is done, of how much, and a word.

    Arguments:
        units: what is counted in a stage, by its name; nothing for one whose steps take unlike times.
    """
    with ExitStack() as stack:
        now: list[tuple[str, Meter]] = []

        def tell(stage: str, done: int, total: int, note: str = "") -> None:
            if not now or now[0][0] != stage:
                stack.close()
                unit = units.get(stage, "")
                now[:] = [(stage, stack.enter_context(progress(stage, unit or "steps", pace=bool(unit))))]
            now[0][1](done, total, note)

        yield tell


def onward(meter: Meter) -> Callable[[int, int], None]:
    """A meter for work that may have been begun before: its pace is that of what is done now.

    It is told first how much is done already.
    """
    start: list[tuple[float, int]] = []

    def tell(done: int, total: int) -> None:
        now = time.perf_counter()
        start[:] = start or [(now, done)]
        then, before = start[0]
        if done > before or done >= total:
            meter(done, total, per_second=(done - before) / max(now - then, 1e-9))

    return tell
