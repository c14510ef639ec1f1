"""``mezzotint runs``: what was trained here, and how two runs differ."""

# ruff: noqa: UP007, UP045
# Optional and None first in a Union: tyro checks these at once, and X | None through a library that takes 0.1 s.

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, duration, emit, number, table, use_threads

if TYPE_CHECKING:
    from mezzotint.cli.results import Result

MEASURES = ("accuracy", "classification_score", "frechet_features", "frechet_pixels", "neighbour_ratio")


@dataclass(frozen=True)
class Runs:
    """List runs, or compare them.

      list [DIR]           every run in DIR (default: runs): images, losses, the newest evaluation, age
      show RUN             what mezzotint show RUN prints
      compare RUN RUN ...  only the settings that differ, and the numbers side by side

    examples:
      mezzotint runs
      mezzotint runs list elsewhere --json
      mezzotint runs compare runs/digits runs/digits-wide
    """

    action: Annotated[
        Positional[Literal["list", "show", "compare"]], arg(metavar="[ACTION]", help_behavior_hint="(default: list)")
    ] = "list"
    """list, show or compare."""
    paths: Annotated[Positional[Union[None, tuple[str, ...]]], arg(metavar="[PATH ...]", help_behavior_hint="")] = None
    """A folder of runs for list, runs for show and compare."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Runs) -> int:
    """Do the action."""
    use_threads()
    from mezzotint.core.errors import Refusal

    paths = args.paths or ()
    if args.action == "show":
        if len(paths) != 1:
            raise Refusal(f"runs show takes one run, not {len(paths)}")
        from mezzotint.cli import show

        return show.run(show.Show(paths[0], json=args.json))
    if args.action == "compare":
        if len(paths) < 2:
            raise Refusal(f"runs compare takes two runs or more, not {len(paths)}")
        return _compare(paths, args.json)
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
    rows = [[name, *_numbers(result), f"{duration(now - result.changed)} ago"] for name, result in results.items()]
    print(table(("run", *_HEAD, "written"), rows))
    return 0


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


def _compare(paths: tuple[str, ...], machine: bool) -> int:
    from mezzotint.cli.results import Result
    from mezzotint.training import Run

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
    for name in MEASURES:
        if any(result.measure(name) is not None for result in results):
            numbers[name] = [result.measure(name) for result in results]
    if machine:
        emit({"runs": list(paths), "settings": differ, "numbers": numbers})
        return 0
    rows = [[key, *("-" if value is None else str(value) for value in values)] for key, values in differ.items()]
    if rows:
        print(table(("setting", *paths), rows))
    else:
        print("the settings are the same")
    counted = [[key, *(f"{v:,}" if key == "images" else number(v) for v in values)] for key, values in numbers.items()]
    print("\n" + table(("number", *paths), counted))
    return 0


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
