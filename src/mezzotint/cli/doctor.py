"""``mezzotint doctor``: what is wrong with this machine, or with a run, and what to do about it."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, emit, table, use_threads

if TYPE_CHECKING:
    from mezzotint.doctor.finding import Examination, Finding
    from mezzotint.doctor.levels import Level

FOUND = 4
"""The exit code where something was found: another than that of a defect of ours."""
_WIDEST, _INDENT, _BAR = 110, 10, 24


@dataclass(frozen=True)
class Doctor:
    """Say what is wrong, with numbers, and name the fix.

    Without RUN: this machine. torch, numpy and torchvision that do not fit each other, threads and cores,
    memory and disk, data. With RUN: a training run. Its error by noise level beside predictors that need no
    training, averages, the null of guidance, steps that were not finite, waiting for data, damaged files.

    A finding is wrong (results are spoilt or work is lost), a warning (time or quality is) or a hint. The
    exit code is 0 where what could be checked gave hints at most, and 4 otherwise; what could not be checked
    is listed with the reason.

    Checking a run reads the data set that its config names. Of a stranger's run, leave that out: --no-data.

    examples:
      mezzotint doctor
      mezzotint doctor --processes 4
      mezzotint doctor runs/digits
      mezzotint doctor runs/digits --json
      mezzotint doctor downloads/theirs --no-data
    """

    run: Annotated[Positional[Optional[str]], arg(metavar="[RUN]", help_behavior_hint="(default: this machine)")] = None
    """A run folder."""
    sharing: Annotated[
        Optional[int], arg(name="processes", metavar="N", help_behavior_hint="(default: what a launcher says, or 1)")
    ] = None
    """Without RUN, how many processes are to share this machine."""
    closed: Annotated[bool, arg(name="no-data", help_behavior_hint="")] = False
    """With RUN, do not read its data; what needs them is not checked."""
    threads: Threads = None
    """Threads to compute with."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Doctor) -> int:
    """Examine what ``args`` name; 0 where it is healthy, ``FOUND`` where something is wrong."""
    return _machine(args) if args.run is None else _run(args, args.run)


def _machine(args: Doctor) -> int:
    from mezzotint.doctor import traps
    from mezzotint.doctor.machine import Machine

    # Nothing of ours that needs torch is imported here: it may be what is broken.
    examined = traps.examine(Machine.here(args.sharing))
    if args.json:
        emit({"about": "machine", **examined.plain()})
    else:
        _say("this machine", examined)
    return 0 if examined.healthy else FOUND


def _run(args: Doctor, path: str) -> int:
    use_threads(args.threads)
    from mezzotint.core.errors import Refusal
    from mezzotint.doctor.ailments import examine

    if args.sharing is not None:
        raise Refusal("--processes is about this machine; leave it out to examine a run")
    examined, levels = examine(path, data=not args.closed)
    if args.json:
        emit({"about": path, **examined.plain(), "levels": [level.plain() for level in levels]})
    else:
        _say(path, examined)
        if levels:
            print("\n" + _table(levels))
    return 0 if examined.healthy else FOUND


def _say(about: str, examined: Examination) -> None:
    """The verdict in one line, then every finding with its fix, then what could not be told."""
    bad = sum(finding.severity != "hint" for finding in examined.findings)
    many, all_ = len(examined.checked), len(examined.checked) + len(examined.unknown)
    state = "healthy" if examined.healthy else f"{bad} finding{'s' if bad > 1 else ''}"
    if examined.healthy and examined.unknown:
        state = "healthy as far as could be told"
    print(f"{about}: {state} ({many if many == all_ else f'{many} of {all_}'} checks)")
    for finding in examined.findings:
        print("\n" + _lines(finding))
    if examined.unknown:
        print("\nnot checked")
        for why in dict.fromkeys(examined.unknown.values()):
            names = ", ".join(name for name, reason in examined.unknown.items() if reason == why)
            print(_wrapped("  ", f"{names}: {why}"))


def _lines(finding: Finding) -> str:
    return "\n".join([
        f"{finding.severity:<{_INDENT}}{finding.name}",
        _wrapped(" " * _INDENT, finding.seen),
        _wrapped(" " * _INDENT + "fix: ", finding.fix),
    ])  # fmt: skip


def _wrapped(first: str, text: str) -> str:
    """A text below its first column; a command is never broken inside a word."""
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _table(levels: Sequence[Level]) -> str:
    """Errors as shares of the mean's, with a bar for the model: # up to it, : from there to the linear guess."""
    rows = []
    for level in levels:
        whole = level.mean or 1.0
        model, linear = level.model / whole, level.linear / whole
        bar = "#" * min(_BAR, round(model * _BAR))
        bar += ":" * (min(_BAR, round(linear * _BAR)) - len(bar))
        heart = "-" if level.by_heart is None else f"{level.by_heart / whole:.3f}"
        draws = "-" if level.share is None else f"{level.share:.0%}"
        rows.append([
            f"{level.level:.2f}", f"|{bar:.<{_BAR}}|", draws, f"{model:.3f}", f"{linear:.3f}",
            f"{level.seen / whole:.3f}", heart,
        ])  # fmt: skip
    head = ("noise", "", "draws", "model", "linear", "model, seen", "by heart, seen")
    said = "error of the clean estimate as a share of the mean picture's, on new pictures and on seen ones:"
    return f"{said}\n{table(head, rows, 2)}"
