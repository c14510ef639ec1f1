"""``mezzotint runs``: what was trained here, and how two runs differ."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, Union

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, duration, emit, number, table, use_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mezzotint.cli.results import Result
    from mezzotint.cli.rivals import Rivals

MEASURES = (
    "accuracy", "classification_score", "frechet_features", "frechet_pixels", "kid", "precision", "recall",
    "neighbour_ratio", "nats_per_symbol", "bits_per_symbol", "psnr", "code_usage", "perplexity",
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """List runs, or compare them.

      list [DIR]           every run in DIR (default: runs): images, losses, the newest evaluation, age
      show RUN             what mezzotint show RUN prints
      compare RUN RUN ...  only the settings that differ, the numbers side by side, and of the first run against
                           each other one, by how much they differ and whether that is clear

    What was measured with other rulers, or differs in more than one way, is not compared: a sentence says what
    differs, and --despite compares all the same. Where nothing could be compared, the exit code is 2.

    examples:
      mezzotint runs
      mezzotint runs list elsewhere --json
      mezzotint runs compare runs/digits runs/digits-wide --out wider.html
      mezzotint runs compare runs/digits runs/flat --despite guidance,seeds
    """

    action: Annotated[
        Positional[Literal["list", "show", "compare"]], arg(metavar="[ACTION]", help_behavior_hint="(default: list)")
    ] = "list"
    """list, show or compare."""
    paths: Annotated[Positional[Union[None, tuple[str, ...]]], arg(metavar="[PATH ...]", help_behavior_hint="")] = None
    """A folder of runs for list, runs for show and compare."""
    out: Annotated[Optional[str], arg(metavar="FILE", help_behavior_hint="")] = None
    """Of compare, also a page, one HTML file that loads nothing."""
    despite: Annotated[Optional[str], arg(metavar="KEY,...", help_behavior_hint="")] = None
    """Of compare, what may differ because you know what it does, such as count or guidance,seeds."""
    overwrite: Flag = False
    """Replace a file given by --out that exists."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Runs) -> int:
    """Do the action."""
    use_threads()
    from mezzotint.core.errors import Refusal

    paths = args.paths or ()
    if args.action != "compare" and (args.out is not None or args.despite is not None):
        raise Refusal(f"--out and --despite are of runs compare, not of runs {args.action}")
    if args.action == "show":
        if len(paths) != 1:
            raise Refusal(f"runs show takes one run, not {len(paths)}")
        from mezzotint.cli import show

        return show.run(show.Show(paths[0], json=args.json))
    if args.action == "compare":
        if len(paths) < 2:
            raise Refusal(f"runs compare takes two runs or more, not {len(paths)}")
        return _compare(paths, args)
    if len(paths) > 1:
        raise Refusal(f"runs list takes one folder, not {len(paths)}")
    return _list(paths[0] if paths else "runs", args.json)


def _list(folder: str, machine: bool) -> int:
    from pathlib import Path

    from mezzotint.cli.console import note
    from mezzotint.cli.results import Result
    from mezzotint.cli.source import is_run
    from mezzotint.core.errors import Refusal
    from mezzotint.training import Run

    home = Path(folder)
    if not home.is_dir():
        raise Refusal(f"there is no folder {folder!r}; runs lie in runs/ unless train was told otherwise")
    found = [home] if is_run(home) else sorted(path for path in home.iterdir() if is_run(path))
    results: dict[str, Result] = {}
    for path in found:
        try:
            results[str(path)] = Result.read(Run.open(path))
        except Refusal as refusal:
            note(f"left out: {refusal}")
    if machine:
        emit([{"run": name, **result.plain()} for name, result in results.items()])
        return 0
    if not results:
        print(f"no runs in {folder}; begin one: mezzotint train digits")
        return 0
    now = time.time()
    symbols = any(result.measure(_BITS) is not None for result in results.values())
    rows = [
        [name, *_numbers(result), *([number(result.measure(_BITS))] * symbols), f"{duration(now - result.changed)} ago"]
        for name, result in results.items()
    ]
    print(table(("run", *_HEAD, *(("bits/symbol",) * symbols), "written"), rows))
    return 0


_BITS = "bits_per_symbol"
_HEAD = ("images", "loss", "held out", "accuracy", "Frechet/real", "neighbours")


def _numbers(result: Result) -> list[str]:
    times = (result.evaluation or {}).get("times_real", {})
    ratio = times.get("frechet_features", times.get("frechet_pixels"))
    whole = result.total is None or result.images >= result.total
    return [
        f"{result.images:,}" if whole else f"{result.images:,} of {result.total:,}",
        number(result.loss),
        number(result.held_out),
        number(result.measure("accuracy")),
        number(ratio),
        number(result.measure("neighbour_ratio")),
    ]


def _compare(paths: tuple[str, ...], args: Runs) -> int:
    from mezzotint.cli.drawing import exists
    from mezzotint.cli.results import Result
    from mezzotint.cli.rivals import Rivals, facts
    from mezzotint.training import Run

    page = None if args.out is None else exists(args.out, args.overwrite)
    despite = [key.strip() for key in (args.despite or "").split(",") if key.strip()]
    runs = [Run.open(path) for path in paths]
    settings = [flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    differ = {
        key: [one.get(key) for one in settings]
        for key in keys
        if any(one.get(key) != settings[0].get(key) for one in settings)
    }
    results = [Result.read(run) for run in runs]
    numbers: dict[str, list[Any]] = {
        "images": [result.images for result in results],
        "loss": [result.loss for result in results],
        "held_out": [result.held_out for result in results],
    }
    # Measures of two evaluations are held against each other below or not at all: the newest may not be alike.
    alone = sum(result.evaluation is not None for result in results) == 1
    for name in MEASURES:
        if alone and any(result.measure(name) is not None for result in results):
            numbers[name] = [result.measure(name) for result in results]
    names = _names(paths)
    rivals = [found for other in paths[1:] if (found := Rivals.of(paths[0], other, despite)) is not None]
    if page is not None:
        from mezzotint.cli.compared import Side, compared
        from mezzotint.core.folder import write_text

        sides = [Side(names[path], run, result) for path, run, result in zip(paths, runs, results, strict=True)]
        named = [replace(pair, one=names[pair.one], other=names[pair.other]) for pair in rivals]
        write_text(page, compared(sides, differ, named))
    if args.json:
        emit({
            "runs": list(paths),
            "settings": differ,
            "numbers": numbers,
            "differences": {pair.other: pair.plain() for pair in rivals},
            "reports": {pair.other: [facts(pair.mine), facts(pair.theirs)] for pair in rivals},
            "despite": {pair.other: pair.keys for pair in rivals},
            "page": None if page is None else str(page),
        })  # fmt: skip
        return _answered(rivals)
    rows = [[key, *("-" if value is None else str(value) for value in values)] for key, values in differ.items()]
    if rows:
        print(table(("setting", *paths), rows))
    else:
        print("the settings are the same")
    counted = [[key, *(f"{v:,}" if key == "images" else number(v) for v in values)] for key, values in numbers.items()]
    print("\n" + table(("number", *paths), counted))
    for pair in rivals:
        print("\n" + pair.text())
    if not rivals and not alone and any(result.evaluation for result in results):
        print(f"\nnot compared: {paths[0]}, which the others are held against, was never evaluated")
    if page is not None:
        print(f"\nfor a browser: {page}")
    return _answered(rivals)


def _answered(rivals: Sequence[Rivals]) -> int:
    """The exit code, once all is said."""
    from mezzotint.core.errors import Refusal

    if rivals and not any(pair.compared for pair in rivals):
        keys = dict.fromkeys(key for pair in rivals for key in (*pair.despite, *pair.keys))
        lacking = f"--despite {','.join(keys)} would allow it" if keys else "they share no measure"
        raise Refusal(f"these runs were evaluated, but none of their measures could be compared: {lacking}")
    return 0


def _names(paths: tuple[str, ...]) -> dict[str, str]:
    """The last part of each path, where that tells them apart."""
    from pathlib import Path

    last = {path: Path(path).resolve().name for path in paths}
    return last if len(set(last.values())) == len(last) else {path: path for path in paths}


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """A config as dotted keys, sequences of plain values as one value."""
    if isinstance(tree, dict):
        out: dict[str, Any] = {}
        for key, value in tree.items():
            out |= flat(value, f"{path}.{key}" if path else str(key))
        return out
    if isinstance(tree, list) and any(isinstance(item, dict) for item in tree):
        return flat({str(i): item for i, item in enumerate(tree)}, path)
    return {path: tree}
