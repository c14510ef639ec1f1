"""``mezzotint show``: what a run, a model or a recipe is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from mezzotint.cli.console import Flag, duration, emit, number, printable, table, use_threads
from mezzotint.cli.flags import Parameters

if TYPE_CHECKING:
    from mezzotint.cli.results import Result

_BAR = 20
_LISTED = 20  # values of a list, such as the words of a vocabulary


@dataclass(frozen=True)
class Show:
    """Say what a run, a model or a recipe is.

    Of a run: its parts and parameters, its classes, how far it is, and its error by noise level beside the
    best answer that knows only the spread of the data - a full bar means that nothing was learnt there.
    Of a cascade: its stages, how far each is and whether they fit together. Of a recipe: its parts.

    examples:
      mezzotint show runs/digits
      mezzotint show runs/digits --config > again.yaml     the recipe of a run; train it, or edit it first
      mezzotint show digits                                the recipe behind mezzotint train digits
      mezzotint show recipe.yaml
    """

    what: Annotated[Positional[str], arg(metavar="WHAT", help_behavior_hint="")]
    """A run folder, a model folder, the folder of a cascade, a recipe (.yaml), or digits."""
    max_parameters: Parameters = None
    """Refuse a model with more parameters than this; it is counted and not made."""
    config: Flag = False
    """Print the config as YAML and nothing else."""
    json: Flag = False
    """Print one JSON document instead of text."""


def run(args: Show) -> int:
    """Print what ``args.what`` is."""
    use_threads()
    from mezzotint.cascades.folder import is_cascade
    from mezzotint.cli.flags import parameters_of
    from mezzotint.core import config

    if is_cascade(args.what):
        from mezzotint.cli import stages

        return stages.show(args.what, args.json, parameters_of(args.max_parameters), args.config)
    tree, kind = _tree(args.what)
    if args.config or kind == "built-in recipe":
        emit(tree) if args.json else print(config.dumps(tree), end="")
        return 0
    from mezzotint.cli.source import is_run

    result = _result(args.what) if is_run(args.what) else None
    parameters = _parameters(tree["model"], args.max_parameters)
    classes, captions = _classes(args.what, tree), _recorded(args.what, "captions")
    if args.json:
        known = result.plain() if result is not None else {}
        known |= {"captions": captions} if captions else {}
        emit({"what": args.what, "kind": kind, "parameters": parameters, "classes": classes, **known, "config": tree})
        return 0
    print(f"{args.what}: {kind}, {parameters:,} parameters")
    if captions:
        print(f"draws what a caption says, such as {', '.join(map(repr, captions[:4]))}")
    if classes:
        print(f"{len(classes)} classes: {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}")
    elif kind != "recipe" and not captions:
        print("no classes")
    print()
    for key in ("model", "data", "training", "sampler"):
        if key in tree:
            print("\n".join(parts(key, tree[key])))
    if result is not None:
        print("\n" + progress_of(result))
        if result.levels:
            print("\n" + levels(result))
        if result.evaluation is not None:
            from mezzotint.cli.evaluate import describe

            print("\nthe newest evaluation:\n" + describe(result.evaluation))
    return 0


def _tree(what: str) -> tuple[dict[str, Any], str]:
    """The config tree of WHAT and the kind of thing it is."""
    from pathlib import Path

    from mezzotint.cli.source import BUILT_IN, is_recipe, is_run, pictures, written
    from mezzotint.core.errors import Refusal, nearest
    from mezzotint.core.store import model_config
    from mezzotint.recipes import of_data

    if what in BUILT_IN:
        return of_data(pictures(what)), "built-in recipe"
    if is_recipe(what):
        tree = written(what)
        if "model" not in tree:
            raise Refusal(f"{what!r} is not a recipe: it has no entry 'model'")
        return tree, "a run" if is_run(what) else "recipe"
    if Path(what).is_dir():
        return {key: value for key, value in model_config(what).items() if key != "schema"}, "a model"
    hint = nearest(what, BUILT_IN) if "/" not in what and "." not in what else "check the path"
    raise Refusal(f"there is no run, model folder or recipe {what!r} ({hint})")


def _result(what: str) -> Result:
    from mezzotint.cli.results import Result
    from mezzotint.training import Run

    return Result.read(Run.open(what))


def _parameters(tree: Any, most: str | None) -> int:
    """How many parameters the model of a tree has; it is measured and not made."""
    import torch

    from mezzotint.cli.flags import parameters_of
    from mezzotint.core.blueprint import blueprint
    from mezzotint.core.errors import Refusal
    from mezzotint.core.store import MODEL

    model = blueprint(tree, MODEL, parameters_of(most))
    if not isinstance(model, torch.nn.Module):
        raise Refusal(f"'model' of the config is a {type(model).__name__}, but it must be a model with weights")
    return sum(p.numel() for p in model.parameters())


def _classes(what: str, tree: dict[str, Any]) -> list[str]:
    """Class names where a model was exported, else by number from the encoder."""
    names = _recorded(what, "classes")
    encoder = tree["model"].get("encoder") if isinstance(tree["model"], dict) else None
    label = encoder.get("label") if isinstance(encoder, dict) else None
    count = label.get("count") if isinstance(label, dict) else None
    return names or [str(i) for i in range(count if isinstance(count, int) else 0)]


def _recorded(what: str, key: str) -> list[str]:
    """The texts that a model was exported with under a name; none where there is no model yet."""
    from mezzotint.core.errors import Refusal
    from mezzotint.core.store import model_config

    try:
        return [printable(str(text)) for text in model_config(what).get(key) or ()]
    except Refusal:
        return []


def parts(key: str, tree: Any, depth: int = 0) -> Iterator[str]:
    """A tree of parts as lines: the name, the plain settings, and the parts inside below it."""
    if not isinstance(tree, dict):
        yield f"{'  ' * depth}{printable(key)}: {_plain(tree)}"
        return
    inside = {name: value for name, value in tree.items() if isinstance(value, dict)}
    then = tree.get("then") if isinstance(tree.get("then"), list) and all(map(_phased, tree["then"])) else []
    beside = {"part", *inside, *(["then"] if then else [])}
    said = [f"{printable(name)}={_plain(value)}" for name, value in tree.items() if name not in beside]
    yield _wrapped(f"{'  ' * depth}{printable(key)}: {_plain(tree.get('part', ''))}", said, "  " * (depth + 2))
    for name, value in inside.items():
        yield from parts(name, value, depth + 1)
    for place, phase in enumerate(then or []):
        yield from _phase(place + 2, phase, depth + 1)


def _phased(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("begins"), int | float)


def _phase(number: int, phase: dict[str, Any], depth: int) -> Iterator[str]:
    """A later phase of a training: when it begins, and the parts that change there."""
    yield f"{'  ' * depth}phase {number} from {100 * phase['begins']:.3g} % on:"
    for name in ("objective", "rate"):
        if name in phase:
            yield from parts(name, phase[name], depth + 1)


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        more = [f"... {len(value)} in all"] if len(value) > _LISTED else []
        return f"[{', '.join([*map(_plain, value[:_LISTED]), *more])}]"
    return "-" if value is None else str(value).lower() if isinstance(value, bool) else printable(str(value))


def _wrapped(first: str, said: list[str], indent: str, width: int = 110) -> str:
    lines = [first]
    for item in said:
        if len(lines[-1]) + 2 + len(item) > width:
            lines.append(indent + item)
        else:
            lines[-1] += ("  " if lines[-1].strip() else "") + item
    return "\n".join(lines)


def progress_of(result: Result) -> str:
    """How far a run is, in one sentence."""
    import time

    total = f" of {result.total:,}" if result.total and result.total > result.images else ""
    waited = "" if result.waiting is None else f", {result.waiting:.0%} of the time spent waiting for data"
    skipped = f", {result.skipped} steps skipped because they were not finite" if result.skipped else ""
    return (
        f"{result.images:,}{total} images seen, loss {number(result.loss)}, "
        f"on held-out data {number(result.held_out)}{waited}{skipped}; "
        f"last written {duration(time.time() - result.changed)} ago"
    )


def levels(result: Result) -> str:
    """The error by noise level as a table with bars: error over that of the trivial predictor."""
    rows = []
    for row in result.levels:
        share = row["error"] / row["trivial"] if row["trivial"] else 0.0
        bar = "#" * min(_BAR, round(share * _BAR))
        rows.append([
            f"{row['low']:.1f} - {row['high']:.1f}",
            f"|{bar:.<{_BAR}}|",
            f"{share:.2f}",
            number(row["error"]),
            number(row["trivial"]),
            f"{row['count']:,}",
        ])  # fmt: skip
    which = "held-out pictures" if result.levels_of == "held_out" else "training pictures"
    head = ("noise level", "of trivial", "", "error", "trivial", "pictures")
    return f"squared error of the clean estimate by noise level (0 clean, 1 noise), on {which}:\n" + table(
        head, rows, 2
    )
