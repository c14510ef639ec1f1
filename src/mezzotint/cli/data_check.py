"""``mezzotint data check``: what is in a folder of pictures, what will be in the way, and a recipe for the rest."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import shlex
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Optional

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, Threads, emit, note, printable, progress, table, use_threads

if TYPE_CHECKING:
    from mezzotint.data.check import Problem, Report

FOUND = 4
"""The exit code where something was found, as of ``mezzotint doctor``."""
_NAMED, _LONGEST, _CLASSES, _THINGS = 3, 80, 12, 24


@dataclass(frozen=True)
class Check:
    """Look at every picture of a folder and say what was found.

    Classes and their balance, kinds of files and pixels, sizes and aspects; then what will be in the way: files
    that are empty, cut off, no pictures or too large, links that lead out or nowhere, tables that name what is
    not there, pictures that are there twice, in two classes, or both trained on and held out. Nothing in the
    folder is changed, and nothing outside it is read.

    A finding is wrong (training stops at it, or learns what is not so), a warning (pictures are left out, or what
    is measured afterwards is spoilt) or a hint. Pictures are near duplicates where their difference hashes (9 x 8
    cells, grey) differ in at most 4 of 64 bits and their thumbnails (16 x 16, colour) hardly at all.

    Then a recipe is proposed, and written with --out: mezzotint train trains it. It leaves out what is broken.
    The exit code is 0 where nothing was found but hints, 4 where something was, and 2 where there is nothing to
    look at, or no recipe to be written.

    examples:
      mezzotint data check pictures/
      mezzotint data check pictures/ --size 64 --out recipe.yaml
      mezzotint train recipe.yaml --out runs/mine
      mezzotint data check pictures/ --json
    """

    folder: Annotated[Positional[str], arg(metavar="DIR", help_behavior_hint="")]
    """The folder: one sub-folder a class, or none; or pictures and layouts, a folder each."""
    size: Annotated[
        Optional[int], arg(metavar="PIXELS", help_behavior_hint="(default: 64, or less where pictures are smaller)")
    ] = None
    """The side to which the recipe brings them."""
    out: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Write the recipe there, as YAML."""
    overwrite: Flag = False
    """Replace a file that exists."""
    threads: Threads = None
    """Threads to compute with."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Check) -> int:
    """Look at the folder; 0 where it can be trained on as it is, ``FOUND`` where something was found."""
    use_threads(args.threads)
    from pathlib import Path

    from mezzotint.core.errors import Refusal
    from mezzotint.data.check import look

    if args.size is not None and args.size < 1:
        raise Refusal(f"--size is {args.size}, but a size is a number of pixels, at least 1")
    if args.out is not None and Path(args.out).exists() and not args.overwrite:
        raise Refusal(f"{args.out!r} exists already; name another file with --out, or add --overwrite")
    with progress("looking", "files") as meter, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about large pictures, which are in the report
        report = look(args.folder, args.size, progress=meter)
        tree, reason = _recipe(report, args.size)
    if args.json:
        emit({**report.plain(), "recipe": tree, "refused": reason, "written": args.out if tree is not None else None})
    else:
        _say(report)
        print()
    if tree is None:
        if args.out is not None:
            raise Refusal(f"no recipe was written: {reason}")
        if not args.json:
            print(f"no recipe yet: {reason}")
        return FOUND
    if args.out is not None:
        _write(args.out, tree)
    if not args.json:
        _propose(args, report, tree)
    return 0 if report.healthy else FOUND


def _recipe(report: Report, size: int | None) -> tuple[dict[str, Any] | None, str]:
    """The recipe that is proposed, or why there is none."""
    from mezzotint.core.errors import Refusal
    from mezzotint.recipes import of_data

    try:
        return of_data(report.data(size)), ""
    except Refusal as refusal:
        return None, str(refusal)


def _write(path: str, tree: dict[str, Any]) -> None:
    from pathlib import Path

    from mezzotint.core import config
    from mezzotint.core.folder import write_text

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_text(path, config.dumps(tree))


def _say(report: Report) -> None:
    """What is there, in a few lines and a small table, then every problem, the worst first."""
    held = f"{report.held_out:,} of them held out"
    print(f"{_short(report.folder)}: {_pictures(report.pictures)} that can be read, {held}\n")
    facts = {
        "classes": _classes(report.classes),
        "maps": ", ".join(
            f"{_short(name)} {share:.1%}" for name, share in list((report.things or {}).items())[:_THINGS]
        ),
        "tables": ", ".join(report.tables),
        "formats": _counts(report.formats),
        "pixels": _counts(report.modes),
        "aspects": _counts(report.aspects) if len(report.sizes) > 1 else "",
    }
    for name, text in facts.items():
        if text:
            print(f"{name:<9} {text}")
    if len(report.sizes) == 1:
        print("sizes     {} x {}, all of them".format(*next(iter(report.sizes))))
    elif report.sizes:
        print(f"sizes     {len(report.sizes):,} different ones, in pixels:\n")
        rows = [[name, *map(str, values)] for name, values in report.sides().items()]
        print("\n".join(f"  {line}" for line in table(("", "smallest", "median", "largest"), rows).splitlines()))
    for problem in report.problems:
        print("\n" + _problem(problem))


def _problem(problem: Problem) -> str:
    """A problem with its first files, shown so that no name can move the cursor."""
    from mezzotint.data.check import KINDS

    kind = KINDS[problem.kind]
    lines = [f"{kind.severity:<8} {problem.kind}: {kind.of(problem.count)}"]
    for case in problem.cases[:_NAMED]:
        lines.append(f"           {_short(case.file)}{f'  ({_short(case.why)})' if case.why else ''}")
    if problem.count > _NAMED:
        lines.append(f"           and {problem.count - _NAMED:,} more")
    return "\n".join([*lines, f"         {kind.fix}"])


def _propose(args: Check, report: Report, tree: Mapping[str, Any]) -> None:
    """The recipe in one line, and how to go on."""
    network, training = tree["model"]["network"], tree["training"]
    channels, height, width = network["shape"]
    what = f"{height} x {width} pixels, {'grey' if channels == 1 else 'colour'}"
    side = report.size if args.size is None else args.size
    kept = report.kept(side)
    captions = "caption" in (tree["model"].get("encoder") or {})
    parts = [
        what + (f" (the centre, {kept:.0%} of an average picture)" if kept < 0.995 else ""),
        f"batches of {training['batch']}, {training['images']:,} images",
        f"{report.broken:,} left out" if report.broken else "",
        "the captions are learnt" + (", the labels left out" if report.classes else "") if captions else "",
    ]
    print(f"recipe    {'; '.join(filter(None, parts))}")
    if args.out is not None:
        note(f"written: {printable(args.out)}")
        print(f"go on     mezzotint train {shlex.quote(args.out)} --out runs/mine")
    else:
        print(f"go on     mezzotint data check {printable(shlex.quote(args.folder))} --out recipe.yaml")


def _classes(classes: Mapping[str, int]) -> str:
    shown = [f"{_short(name)} {count:,}" for name, count in list(classes.items())[:_CLASSES]]
    more = [f"and {len(classes) - _CLASSES:,} more"] if len(classes) > _CLASSES else []
    return f"{len(classes):,}: {', '.join([*shown, *more])}" if classes else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _pictures(count: int) -> str:
    return f"{count:,} picture{'s' * (count != 1)}"


def _short(name: str) -> str:
    """A name as a screen may show it, a very long one without its middle."""
    text = printable(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 + 3 :]}"
